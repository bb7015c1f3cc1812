"""Walls that import-linter (pyproject.toml) cannot keep: heavy libraries load late, products have their place."""

import ast
import re
import subprocess
import sys
import tomllib

import pytest

from core.basics.places import ROOT
from tests.conftest import PATIENCE_S
from tests.house.source import calls, files, module_of, name_of, nodes

# vLLM itself asks for this name when it sizes its scheduler steps.
NAMED_BY_AN_ENGINE = {("core/physics/memory/settings.py", "a100")}

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
