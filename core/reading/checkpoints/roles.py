"""Which parts of the model a declaration leaves in 16 bits or gives another format."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Final

from core.models import Role
from core.reading.checkpoints.declaration import Declaration

_PREFIXES: Final = ("model.layers.", "language_model.model.layers.", "model.language_model.layers.",
                    "backbone.layers.", "layers.")
_LAYERS: Final = range(2, 40, 3)   # layers asked about: dense first layers and long stacks do not decide alone
# The largest matrix of each role under the names checkpoints use.
_MODULES: Final = {
    Role.ATTENTION: ("self_attn.o_proj", "attn.wo_b", "attn.o_proj", "mixer.o_proj"),
    Role.MLP: ("mlp.down_proj", "feed_forward.w2"),
    Role.EXPERT: ("mlp.experts.0.down_proj", "mlp.experts.down_proj", "experts.0.down_proj",
                  "block_sparse_moe.experts.0.w2", "ffn.experts.0.w2", "mixer.experts.0.down_proj"),
    Role.SHARED_EXPERT: ("mlp.shared_experts.down_proj", "mlp.shared_expert.down_proj",
                         "block_sparse_moe.shared_experts.down_proj", "ffn.shared_experts.w2",
                         "mixer.shared_experts.down_proj"),
    Role.STATE: ("linear_attn.out_proj", "mixer.out_proj", "mamba.out_proj"),
}
_MAX_PATTERNS: Final = 256   # the most in a real list is 6 expressions (moonshotai/Kimi-K3)
_NAMED: Final = (   # role of a module in a per-layer map, first match wins
    (Role.SHARED_EXPERT, r"shared_experts?\b"),
    (Role.EXPERT, r"\bexperts\b"),
    (Role.STATE, r"\b(linear_attn|mamba)\b|mixer\.(in|out)_proj"),
    (Role.ATTENTION, r"attn\b|mixer\.[qkvo]_proj"),
    (Role.MLP, r"\b(mlp|ffn|feed_forward)\b"),
    (Role.HEAD, r"(^|\.)(lm_)?head$"),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """Modules a declaration keeps in 16 bits, ready to be asked about."""

    names: frozenset[str]               # a module and all inside it; also a part of a path: 'gate'
    prefixes: tuple[str, ...]           # globs with nothing but a star at the end
    patterns: tuple[re.Pattern[str], ...]

    def holds(self, module: str) -> bool:
        """Whether the module, or something it lies in, is named."""
        return (
            module.startswith(self.prefixes)
            or any(part in self.names for part in _paths(module))
            or any(pattern.match(module) for pattern in self.patterns)
        )


def kept(unquantised: Sequence[str]) -> Kept:
    """Reads names, `*` globs (ModelOpt) and `re:` expressions (compressed-tensors)."""
    names, prefixes, patterns = set(), [], []
    for text in unquantised:
        if text.startswith("re:") or "*" in text[:-1] or "?" in text:
            patterns.append(text)
        elif text.endswith("*"):
            prefixes.append(text[:-1])
        else:
            names.add(text)
    compiled = (_compiled(text) for text in patterns[:_MAX_PATTERNS])
    return Kept(frozenset(names), tuple(prefixes), tuple(found for found in compiled if found))


def _compiled(text: str) -> re.Pattern[str] | None:
    """None for what does not compile and for expressions that could run for ever."""
    if not text.startswith("re:"):
        return re.compile(translate(text) + "|" + translate(text + ".*"))   # and all inside it
    expression = text[3:]
    if len(expression) > 200 or len(re.findall(r"[*+{]", expression)) > 4 or re.search(r"\)[*+{]", expression):
        return None
    try:
        return re.compile(expression)
    except re.error:
        return None


def _paths(module: str) -> Iterator[str]:
    """Every run of components of a dotted name."""
    parts = module.split(".")
    for begin in range(len(parts)):
        for end in range(begin + 1, len(parts) + 1):
            yield ".".join(parts[begin:end])


def role_formats(declared: Declaration) -> tuple[tuple[Role, str], ...]:
    """The format of each role whose matrices are mostly not in the declared one."""
    if declared.layers:
        return _mapped(declared)
    if not declared.unquantised:
        return tuple((role, declared.elsewhere) for role in _MODULES
                     if declared.elsewhere and role is not Role.EXPERT)
    unquantised = kept(declared.unquantised)
    return tuple(
        (role, "bf16") for role, modules in _MODULES.items()
        if any(_mostly(unquantised, module) for module in modules)
    )


def _mostly(unquantised: Kept, module: str) -> bool:
    layers = sum(
        any(unquantised.holds(f"{prefix}{layer}.{module}") for prefix in _PREFIXES) for layer in _LAYERS
    )
    return 2 * layers > len(_LAYERS)


def _mapped(declared: Declaration) -> tuple[tuple[Role, str], ...]:
    """A map names what is quantised: roles it does not name stay 16-bit."""
    votes: dict[Role, Counter[str]] = {}
    for module, name in declared.layers:
        role = next((role for role, pattern in _NAMED if re.search(pattern, module)), None)
        if role:
            votes.setdefault(role, Counter())[name] += 1
    named = {role: count.most_common(1)[0][0] for role, count in votes.items()}
    head = [(Role.HEAD, named[Role.HEAD])] if Role.HEAD in named else []   # a head stays 16-bit unless named
    apart = [(role, named.get(role, "bf16")) for role in _MODULES if named.get(role) != declared.format]
    return (*apart, *head)
