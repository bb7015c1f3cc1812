"""The project's own code as syntax trees, each file parsed once."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from core.basics.places import ROOT


@cache
def files(*folders: str) -> tuple[Path, ...]:
    """The Python files under these folders, in order; the pages begin with `app.py`, which starts them."""
    starts = (ROOT / "app.py",) if "pages" in folders else ()
    return (*starts, *(path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Every node of a file's syntax tree."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def calls(path: Path) -> Iterator[ast.Call]:
    """Every call in a file."""
    return (node for node in nodes(path) if isinstance(node, ast.Call))


@cache
def bound(path: Path) -> frozenset[str]:
    """Every name that a file assigns, defines or imports."""
    names = {node.id for node in nodes(path) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {node.name for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return frozenset(names | {alias.asname or alias.name for node in nodes(path)
                              if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names})


def name_of(path: Path) -> str:
    """A file's path inside the project."""
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    """A file's dotted name, as it is imported."""
    return name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
