"""Walls that import-linter (pyproject.toml) cannot keep: torch and Ray wait until they run, products have a place."""

import ast
import re
import subprocess
import sys

import pytest

from core.basics.places import ROOT

CORE = ROOT / "core"

# vLLM itself asks for this name when it sizes its scheduler steps.
NAMED_BY_AN_ENGINE = {("core/physics/memory/settings.py", "a100")}

TORCH_ROOMS = {"probe", "quality"}
HEAVY = {"torch", "transformers", "llmcompressor", "compressed_tensors", "bitsandbytes", "accelerate", "safetensors"}

# Where an engine or a GPU may stand in a literal: the subject there is what differs between products.
# memory and speed model what each engine reserves and how it steps; the command line reads and writes names.
GPU_ROOMS = ("core/products/", "core/physics/efficiency/", "core/calibration/fit", "core/calibration/published")
ENGINE_ROOMS = (*GPU_ROOMS, "core/basics/sources", "core/physics/", "core/terms", "core/delivery/", "core/__main__")
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
        and not (path.is_relative_to(CORE) and path.relative_to(CORE).parts[0] in TORCH_ROOMS and late)
    ]
    assert not wrong, "\n".join(wrong)


def test_ray_stays_in_the_cluster_and_waits_until_it_is_asked_for():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}{'' if late else ' when it is loaded'}"
        for path in [*modules(CORE), *modules(ROOT / "pages"), ROOT / "app.py"]
        for name, late in imported(path)
        if name.split(".")[0] in {"ray", "grpc"}
        and not (path.is_relative_to(CORE / "machinery" / "cluster") and late)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_room_loads_first_and_none_loads_torch_or_streamlit():
    """In a fresh interpreter, each room before any other, so that no circle hides behind an order; then all.

    Not `__main__`, which starts the command line.
    """
    files = [path.relative_to(ROOT) for path in modules(CORE) if path.name != "__main__.py"]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files]
    rooms = [name for name in names if name.count(".") == 1]
    assert len(rooms) > 10
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
        if not str(path.relative_to(ROOT)).startswith(rooms)
        for line, text in names_in(path)
        if pattern.search(text) and (str(path.relative_to(ROOT)), text) not in NAMED_BY_AN_ENGINE
    ]
    assert not wrong, "\n".join(wrong)
