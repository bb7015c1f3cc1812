"""Which matrices a quantised checkpoint keeps in 16 bits, by the module names it lists."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from core.models import Linear, Role

# Where a matrix of each role sits in a checkpoint.
_PATHS: Final = {
    Role.ATTENTION: "self_attn", Role.MLP: "mlp", Role.EXPERT: "mlp.experts.0",
    Role.SHARED_EXPERT: "mlp.shared_experts", Role.ROUTER: "mlp.gate", Role.STATE: "linear_attn",
}
_PARTS: Final = {"qkv_proj": "q_proj", "gate_up_proj": "gate_proj", "q_kv_a_proj": "q_a_proj"}
_MAX_REPEATS: Final = 6      # a longer or nested expression could run for ever on purpose


@lru_cache(maxsize=64)
def _split(patterns: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...], tuple[re.Pattern[str], ...]]:
    """Plain names, globs and the expressions that are safe to run."""
    plain = frozenset(p for p in patterns if not p.startswith("re:") and not set(p) & set("*?["))
    globs = tuple(p for p in patterns if not p.startswith("re:") and p not in plain)
    return plain, globs[:256], tuple(_compiled(p[3:] for p in patterns if p.startswith("re:")))[:256]


def _compiled(expressions: Iterable[str]) -> Iterable[re.Pattern[str]]:
    for expression in expressions:
        nested = re.search(r"\)[*+{]", expression)
        if nested or len(re.findall(r"[*+{]", expression)) > _MAX_REPEATS:
            continue
        try:
            yield re.compile(expression)
        except re.error:
            continue


def _is_listed(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether a module, or one that holds it, is listed by name, part of a name, glob or 're:' expression."""
    plain, globs, expressions = _split(patterns)
    parts = path.split(".")
    holders = {".".join(parts[a:b]) for a in range(len(parts)) for b in range(a + 1, len(parts) + 1)}
    return (
        not plain.isdisjoint(holders)
        or any(fnmatchcase(path, glob) for glob in globs)
        or any(expression.match(path) for expression in expressions)
    )


def kept_share(linear: Linear, where: tuple[int, ...], patterns: tuple[str, ...]) -> float:
    """Share of the layers at `where` whose matrix is listed as kept in 16 bits."""
    if not patterns or not where or linear.role not in _PATHS:
        return 0.0
    path = f"{_PATHS[linear.role]}.{_PARTS.get(linear.name, linear.name)}"
    return sum(_is_listed(f"model.layers.{i}.{path}", patterns) for i in where) / len(where)
