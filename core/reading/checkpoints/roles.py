"""What a declaration means for the parts of a model: the format of each role, and its bits to the layer."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from core.models import Attention, Layer, Linear, ModelSpec, Role
from core.reading.checkpoints.declaration import Declaration
from core.reading.checkpoints.storage import PLAIN, Scheme, Storage

_PREFIXES: Final = ("model.layers.", "language_model.model.layers.", "model.language_model.layers.",
                    "backbone.layers.", "layers.")
_BLOCKS: Final = {     # where checkpoints keep the matrices of a role
    Role.ATTENTION: ("self_attn", "attn", "mixer"),
    Role.MLP: ("mlp", "feed_forward"),
    Role.EXPERT: ("mlp.experts.0", "mlp.experts", "experts.0", "block_sparse_moe.experts.0", "ffn.experts.0",
                  "mixer.experts.0"),
    Role.SHARED_EXPERT: ("mlp.shared_experts", "mlp.shared_expert", "block_sparse_moe.shared_experts",
                         "ffn.shared_experts", "mixer.shared_experts"),
    Role.STATE: ("linear_attn", "mixer", "mamba"),
}
_ALSO: Final = {       # other names of a matrix
    "down_proj": ("down_proj", "w2"), "gate_proj": ("gate_proj", "w1"), "up_proj": ("up_proj", "w3"),
    "o_proj": ("o_proj", "wo_b", "out_proj"),
}
_LARGEST: Final = {    # asked about where no shapes are known
    Role.ATTENTION: "o_proj", Role.MLP: "down_proj", Role.EXPERT: "down_proj", Role.SHARED_EXPERT: "down_proj",
    Role.STATE: "out_proj",
}
_USUAL_INPUTS: Final = 4096
_LAYERS: Final = range(2, 40, 3)   # asked about then: dense first layers and long stacks do not decide alone
_MOST_QUESTIONS: Final = 20_000   # expressions times matrices; a longer declaration is asked about every nth layer
_NAMED: Final = (   # role of a module in a per-layer map, first match wins
    (Role.SHARED_EXPERT, r"shared_experts?\b"),
    (Role.EXPERT, r"\bexperts\b"),
    (Role.STATE, r"\b(linear_attn|mamba)\b|mixer\.(in|out)_proj"),
    (Role.ATTENTION, r"attn\b|mixer\.[qkvo]_proj"),
    (Role.MLP, r"\b(mlp|ffn|feed_forward)\b"),
    (Role.HEAD, r"(^|\.)(lm_)?head$"),
)
_LEADING: Final = (Role.EXPERT, Role.MLP, Role.ATTENTION, Role.STATE, Role.SHARED_EXPERT)   # who names the format


@dataclass(frozen=True, slots=True)
class Matrix:
    """A part of a layer that checkpoints store under a name of its own."""

    role: Role
    layer: int
    name: str
    inputs: int
    weights: int


@dataclass(frozen=True, slots=True)
class Placement:
    """What of the model is stored how."""

    format: str                                  # of the experts, else of the MLPs, else of most
    roles: tuple[tuple[Role, str], ...]          # roles whose matrices are mostly in another format
    bits: tuple[tuple[Role, float], ...]         # mean bits a weight of each role, where the shapes are known


def placement(declared: Declaration, spec: ModelSpec | None = None) -> Placement:
    """The format of each role, and with the shapes of a model its mean bits over all layers."""
    stored = list(_stored(declared.scheme, spec))
    votes: dict[Role, Counter[str]] = {}
    bits: dict[Role, float] = {}
    weights: dict[Role, int] = {}
    for matrix, held in stored:
        votes.setdefault(matrix.role, Counter())[held.format] += matrix.weights
        bits[matrix.role] = bits.get(matrix.role, 0.0) + matrix.weights * held.bits(matrix.inputs)
        weights[matrix.role] = weights.get(matrix.role, 0) + matrix.weights
    formats = {role: count.most_common(1)[0][0] for role, count in votes.items()}
    if declared.layers:
        formats |= {role: "bf16" for role in _LARGEST if spec is None} | _voted(declared)
    main = next((formats[role] for role in _LEADING if formats.get(role, PLAIN.format) != PLAIN.format), None)
    if main is None:                     # a minority of every role: the format of most of it
        minority = sum((Counter({k: n for k, n in count.items() if k != PLAIN.format}) for count in votes.values()),
                       Counter[str]())
        main = minority.most_common(1)[0][0] if minority else PLAIN.format
    head = declared.scheme.stored_head()
    apart: dict[Role, str] = {role: name for role, name in formats.items() if name != main and role is not Role.HEAD}
    own_head = head is not PLAIN
    means = {role: bits[role] / weights[role] for role in bits if spec is not None and weights[role]}
    if own_head:
        apart[Role.HEAD] = head.format
        means |= {Role.HEAD: head.bits(spec.hidden_size)} if spec else {}
    return Placement(main, tuple((role, apart[role]) for role in Role if role in apart), tuple(means.items()))


def _voted(declared: Declaration) -> dict[Role, str]:
    """A map names modules one by one, perhaps of a few layers only: each role is what most of its names say."""
    votes: dict[Role, Counter[str]] = {}
    for module, name in declared.layers:
        role = next((role for role, pattern in _NAMED if re.search(pattern, module)), None)
        if role:
            votes.setdefault(role, Counter())[name] += 1
    return {role: count.most_common(1)[0][0] for role, count in votes.items()}


def _stored(scheme: Scheme, spec: ModelSpec | None) -> Iterator[tuple[Matrix, Storage]]:
    matrices = tuple(_matrices(spec) if spec else _usual())
    questions = len(matrices) * max(1, sum(rule.questions for rule in scheme.rules))
    stride = -(-questions // _MOST_QUESTIONS)
    for matrix in matrices:
        if matrix.layer % stride == 0:
            yield matrix, _held(scheme, matrix)


def _held(scheme: Scheme, matrix: Matrix) -> Storage:
    names = _modules(matrix.role, matrix.name, matrix.layer)
    return next((rule.stored for rule in scheme.rules if any(map(rule.holds, names))), scheme.default)


@lru_cache(maxsize=8192)
def _modules(role: Role, name: str, layer: int) -> tuple[str, ...]:
    """The names a matrix may have in a checkpoint."""
    return tuple(f"{prefix}{layer}.{block}.{leaf}" for prefix in _PREFIXES for block in _BLOCKS[role]
                 for leaf in _ALSO.get(name, (name,)))


def _usual() -> Iterator[Matrix]:
    for role, name in _LARGEST.items():
        for layer in _LAYERS:
            yield Matrix(role, layer, name, _USUAL_INPUTS, 1)


def _matrices(spec: ModelSpec) -> Iterator[Matrix]:
    for index, kind in enumerate(spec.layer_order):
        layer = spec.layers[kind]
        for linear in layer.linears:
            if linear.role in _BLOCKS:
                for name, share in _parts(linear, layer):
                    yield Matrix(linear.role, index, name, linear.inputs, round(share * linear.matrix_params))


def _parts(linear: Linear, layer: Layer) -> tuple[tuple[str, float], ...]:
    """The matrices a fused projection is stored as, with their shares of it."""
    name = linear.name.removeprefix("experts.")
    if name == "gate_up_proj":
        return ("gate_proj", 0.5), ("up_proj", 0.5)
    mixer = next((mixer for mixer in layer.mixers if isinstance(mixer, Attention)), None)
    if name != "qkv_proj" or mixer is None:
        return ((name, 1.0),)
    keys, values = mixer.kv_heads * mixer.qk_dim / linear.outputs, mixer.kv_heads * mixer.v_dim / linear.outputs
    return ("q_proj", 1 - keys - values), ("k_proj", keys), ("v_proj", values)
