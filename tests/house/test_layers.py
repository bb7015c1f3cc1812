"""Walls that import-linter (pyproject.toml) cannot keep: heavy libraries load late, products have their place."""

import ast
import re
import subprocess
import sys
import tomllib

import pytest

from core.basics.places import ROOT
from core.products.engines import DEFAULT, ENGINES
from tests.conftest import PATIENCE_S
from tests.house.source import bound, calls, files, module_of, name_of, nodes

# vLLM itself asks for this name when it sizes its scheduler steps.
NAMED_BY_AN_ENGINE = {("core/physics/memory/settings.py", "a100")}

# Where an engine or a GPU may stand in a literal: the subject there is what differs between products.
# Files to launch hold the engines' own commands, whose first word is often their name.
GPU_ROOMS = ("core/products/", "core/physics/efficiency/", "core/calibration/fit", "core/calibration/published")
ENGINE_ROOMS = ("core/products/", "core/basics/sources", "core/delivery/export/")
# What is a fact about one engine stands in its row of assets/engines.csv; this file alone names engines to decide by:
# the default, and the one without a name.
ENGINES_TOLD_APART = {"core/products/engines.py"}
ALSO_OTHER_THINGS = {"transformers", "mlx", "other"}     # a library, a way to quantise, a word
LONGEST_NAME = 3     # words: "GeForce RTX 4090"
GPU_NAME = re.compile(
    r"\b([ABH][1-3]00|[HL]20|L40S?|L4|T4|V100S?|GB[1-3]00|RTX|GTX|MI[0-9]{3}X?|Tesla|GeForce|Gaudi[23]?"
    r"|Hopper|Blackwell|Ampere|Turing|Volta|Ada Lovelace)\b",
    re.IGNORECASE,
)
ENGINE_NAME = re.compile(
    r"\b(vllm|sglang|trtllm|tensorrt|llamacpp|lmdeploy|exllama|tinychat|autoawq|qserve|hf-eager|torch-compile)\b"
)


def names_in(path):
    """String literals short enough to be names, with their lines: no docstrings, sentences or sources."""
    docstrings = {
        id(node.body[0].value)
        for node in nodes(path)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in nodes(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings \
                and len(node.value.split()) <= LONGEST_NAME:
            yield node.lineno, node.value


def test_every_room_loads_first_and_what_is_heavy_waits_until_it_runs():
    """In a fresh interpreter, each room before any other, so that no circle hides behind an order; then all.

    Not `__main__`, which starts the command line. What is heavy is what pyproject.toml protects, and the app.
    """
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    heavy = {name for contract in tools["importlinter"]["contracts"] for name in contract.get("protected_modules", ())}
    assert {"torch", "ray"} <= heavy
    names = [module_of(path) for path in files("core") if path.name != "__main__.py"]
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
print(*(name for name in {sorted(heavy | {"streamlit", "pages"})!r} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.strip() == "", done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


def test_whatever_a_page_imports_is_there():
    """Page scripts draw when they are imported, and mypy reads `core` alone."""
    wrong = [
        f"{name_of(path)}:{node.lineno} {node.module}.{alias.name}"
        for path in files("pages")
        for node in nodes(path)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in {"core", "pages"}
        for alias in node.names if not defined(node.module, alias.name)
    ]
    assert not wrong, wrong


def defined(module, name):
    """Whether a module of ours is a folder with that file, or binds that name at its top."""
    place = ROOT / module.replace(".", "/")
    if (place / f"{name}.py").exists() or (place / name).is_dir():
        return True
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return path.exists() and name in bound(path)


def test_every_import_is_written_where_import_linter_sees_it():
    hidden = [f"{name_of(path)}:{call.lineno}" for path in files("core", "pages") for call in calls(path)
              if ast.unparse(call.func).split(".")[-1] in {"import_module", "__import__"}]
    assert not hidden, hidden


@pytest.mark.parametrize(
    ("pattern", "rooms"), [(GPU_NAME, GPU_ROOMS), (ENGINE_NAME, ENGINE_ROOMS)], ids=["GPUs", "engines"]
)
def test_products_are_named_only_where_they_are_the_subject(pattern, rooms):
    wrong = [
        f"{name_of(path)}:{line} says {text[:60]!r}"
        for path in files("core")
        if not name_of(path).startswith(rooms)
        for line, text in names_in(path)
        if pattern.search(text) and (name_of(path), text) not in NAMED_BY_AN_ENGINE
    ]
    assert not wrong, "\n".join(wrong)


def engine_names_decided_by(path):
    """Lines where a comparison, the key of a dictionary or a constant collection names an engine."""
    names = {name for engine in ENGINES.values() for name in (engine.name, *engine.aliases)} - ALSO_OTHER_THINGS
    for node in nodes(path):
        if isinstance(node, ast.Compare):
            inside = [each for part in (node.left, *node.comparators) for each in ast.walk(part)]
        elif isinstance(node, ast.Dict):
            inside = [key for key in node.keys if key is not None]
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            inside = [node.value, *getattr(node.value, "elts", ()), *getattr(node.value, "args", ())]
            inside += [each for part in inside[1:] for each in getattr(part, "elts", ())]
        else:
            continue
        yield from (each.lineno for each in inside if isinstance(each, ast.Constant) and each.value in names)


def test_engines_are_told_apart_by_their_rows():
    told = {
        name_of(path) for path in files("core", "pages")
        if any(engine_names_decided_by(path))
    }
    assert told == ENGINES_TOLD_APART
    assert next(iter(ENGINES)) == DEFAULT, "the first row is the one people meet"


def test_one_desk_makes_what_the_speed_model_is_asked():
    """Loads become columns in `core.physics.ask` alone, and figures a `Choice` in `core.answers.advice.row`."""
    made = {
        (getattr(call.func, "id", getattr(call.func, "attr", "")), name_of(path))
        for path in files("core", "pages", "tests") for call in calls(path)
    }
    makers = {name: sorted(path for called, path in made if called == name) for name in ("Cases", "Choice")}
    assert makers == {"Cases": ["core/physics/ask.py"], "Choice": ["core/answers/advice/row.py"]}
