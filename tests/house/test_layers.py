"""The walls: who may import whom, where torch and streamlit may stand, who may know a product's name.

Data flows one way: hub -> configs -> models -> (memory, speed) -> serving -> sweep -> advice -> charts
and export. pages call core; core knows neither pages nor streamlit; torch belongs to probe and quality.
"""

import ast
import re
import subprocess
import sys

import pytest

from core.basics.places import ROOT

CORE = ROOT / "core"

# Rooms of core from the ground up. A room imports from the layers below, not from beside it unless the
# two are neighbours. A new room has to be given its place here.
LAYERS = [
    ("errors", "units", "settings", "sources"),
    ("jobs", "store", "gpus", "worker", "fields"),
    ("cluster",),
    ("engines", "formats", "kernels"),      # a format runs on a GPU where an engine has a kernel for it
    ("models", "terms"),
    ("cost", "checkpoints", "support", "shorthand"),
    ("configs",),                           # a declared quantisation is part of what a config says
    ("catalogue",),
    ("hub",),
    ("memory", "efficiency"),
    ("speed", "serving"),                   # serving is speed's steady state, seen as one module from outside
    ("efficiency.published",),              # fitting runs the whole model against published figures
    ("efficiency.fit",),
    ("traffic", "curves", "quality_measured", "quality_prior", "track_record", "one_anchor"),
    ("sweep", "accuracy", "losses"),     # what a format costs: measured, else as published
    ("advice", "regime"),
    ("charts", "compare"),
    ("export",),                            # its report holds charts
    ("estimate",),                          # writes its tables as export does
    ("probe", "quality"),
    ("__main__",),
]
NEIGHBOURS = [{"engines", "formats", "kernels"}, {"models", "terms"}, {"speed", "serving"}]
# vLLM itself asks for this name when it sizes its scheduler steps.
NAMED_BY_AN_ENGINE = {("core/physics/memory/settings.py", "a100")}

LAYER = {room: height for height, rooms in enumerate(LAYERS) for room in rooms}

TORCH_ROOMS = {"probe", "quality"}
HEAVY = {"torch", "transformers", "llmcompressor", "compressed_tensors", "bitsandbytes", "accelerate", "safetensors"}

# Rooms that may name an engine or a GPU in a literal: their subject is what differs between products.
# memory and speed model what each engine reserves and how it steps; the command line reads and writes names.
GPU_ROOMS = {"gpus", "engines", "formats", "kernels", "efficiency"}
ENGINE_ROOMS = GPU_ROOMS | {"sources", "memory", "speed", "terms", "export", "estimate", "__main__"}
LONGEST_NAME = 3     # words: "GeForce RTX 4090"
GPU_NAME = re.compile(
    r"\b([ABH][1-3]00|[HL]20|L40S?|L4|T4|V100S?|GB[1-3]00|RTX|GTX|MI[0-9]{3}X?|Tesla|GeForce|Gaudi[23]?"
    r"|Hopper|Blackwell|Ampere|Turing|Volta|Ada Lovelace)\b",
    re.IGNORECASE,
)
ENGINE_NAME = re.compile(
    r"\b(vllm|sglang|trtllm|tensorrt|llamacpp|lmdeploy|exllama|tinychat|autoawq|qserve|hf-eager|torch-compile)\b"
)


def modules(folder):
    return sorted(folder.rglob("*.py"))


def imported(path):
    """(module or what is taken from it, inside a function or a TYPE_CHECKING block) of every import in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    deferred = {
        id(node)
        for scope in ast.walk(tree)
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(scope, ast.If) and "TYPE_CHECKING" in ast.dump(scope.test))
        for node in ast.walk(scope)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "import_module":
            names = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
        else:
            assert not isinstance(node, ast.ImportFrom), f"{path}: relative import"
            continue
        for name in names:
            yield name, id(node) in deferred


def room(path):
    """Where a file of core belongs: its folder or module, or the place of its own that LAYERS gives it."""
    return place(".".join(path.relative_to(ROOT).with_suffix("").parts))


def place(module):
    """ "core.physics.speed.cases" -> "speed"; "core.calibration.fit" -> itself, as LAYERS names it."""
    _, first, *rest = [*module.split("."), ""]
    return f"{first}.{rest[0]}" if f"{first}.{rest[0]}" in LAYER else first


def names_in(path):
    """String literals short enough to be names, with their lines: no docstrings, sentences or sources."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings \
                and len(node.value.split()) <= LONGEST_NAME:
            yield node.lineno, node.value


def test_every_room_has_its_place():
    rooms = {room(path) for path in modules(CORE)} - {"__init__"}
    assert rooms <= set(LAYER), f"give these rooms a layer: {sorted(rooms - set(LAYER))}"


def test_data_flows_one_way():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(CORE)
        for name, _ in imported(path)
        if name.startswith("core.") and not may_import(room(path), place(name))
    ]
    assert not wrong, "\n".join(wrong)


def may_import(one, other):
    """Downwards, within a room, and between neighbours."""
    if one == other or any({one, other} <= rooms for rooms in NEIGHBOURS):
        return True
    return LAYER.get(other, len(LAYERS)) < LAYER.get(one, len(LAYERS))


def test_core_knows_neither_the_pages_nor_streamlit():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(CORE)
        for name, _ in imported(path)
        if name.split(".")[0] in {"streamlit", "pages", "app", "tests"}
    ]
    assert not wrong, "\n".join(wrong)


def test_torch_stays_in_probe_and_quality_and_waits_until_they_run():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}{'' if late else ' when it is loaded'}"
        for path in [*modules(CORE), *modules(ROOT / "pages"), ROOT / "app.py"]
        for name, late in imported(path)
        if name.split(".")[0] in HEAVY
        and not (path.is_relative_to(CORE) and room(path) in TORCH_ROOMS and late)
    ]
    assert not wrong, "\n".join(wrong)


def test_ray_stays_in_the_cluster_and_waits_until_it_is_asked_for():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}{'' if late else ' when it is loaded'}"
        for path in [*modules(CORE), *modules(ROOT / "pages"), ROOT / "app.py"]
        for name, late in imported(path)
        if name.split(".")[0] in {"ray", "grpc"}
        and not (path.is_relative_to(CORE) and room(path) == "cluster" and late)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_room_loads_first_and_none_loads_torch_or_streamlit():
    """In a fresh interpreter, each room before any other, so that no circle hides behind an order; then all.

    Not `__main__`, which starts the command line.
    """
    files = [path.relative_to(ROOT) for path in modules(CORE) if path.name != "__main__.py"]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files]
    rooms = [name for name in names if name.count(".") == 1]
    assert len(rooms) > 20
    program = f"""
import importlib, sys
for room in {rooms!r}:
    for loaded in [loaded for loaded in sys.modules if loaded.split('.')[0] == 'core']:
        del sys.modules[loaded]
    try:
        importlib.import_module(room)
    except Exception as error:
        print(room, 'does not load first:', error)
for name in {names!r}:
    importlib.import_module(name)
print(*(name for name in ('torch', 'transformers', 'ray', 'streamlit', 'pages') if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "", done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("pattern", "rooms"), [(GPU_NAME, GPU_ROOMS), (ENGINE_NAME, ENGINE_ROOMS)], ids=["GPUs", "engines"]
)
def test_products_are_named_only_where_they_are_the_subject(pattern, rooms):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} says {text[:60]!r}"
        for path in modules(CORE)
        if room(path).split(".")[0] not in rooms
        for line, text in names_in(path)
        if pattern.search(text) and (str(path.relative_to(ROOT)), text) not in NAMED_BY_AN_ENGINE
    ]
    assert not wrong, "\n".join(wrong)
