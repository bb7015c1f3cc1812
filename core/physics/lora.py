"""LoRA adapters on the GPU: bytes of their slots, exact from the layers' shapes, and what they add to a step."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from core.models import Layer, Linear, ModelSpec, Role, Shard
from core.products.engines import find as find_engine
from core.terms import Adapted, Adapters, Deployment

BYTES: Final = 2.0                 # of an adapter's weight: engines keep them in the model's 16 bits
KERNELS: Final = 2.0               # of an adapted matmul: down to the rank, up again (Punica's SGMV, arXiv 2310.18547)
# Matrices that engines fuse, each of whose parts has an adapter of its own.
PARTS: Final[Mapping[str, int]] = {
    "qkv_proj": 3, "gate_up_proj": 2, "experts.gate_up_proj": 2, "kv_proj": 2, "cross_attn.kv_proj": 2,
}
RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)     # that vLLM keeps slots for (vllm/config/lora.py, MaxLoRARanks)
_ROLES: Final[Mapping[Adapted, frozenset[Role]]] = {
    Adapted.ATTENTION: frozenset({Role.ATTENTION}),
    Adapted.DENSE: frozenset({Role.ATTENTION, Role.STATE, Role.MLP, Role.SHARED_EXPERT}),
    Adapted.ALL: frozenset({Role.ATTENTION, Role.STATE, Role.MLP, Role.SHARED_EXPERT, Role.EXPERT}),
}


def kept_rank(adapters: Adapters, engine: str) -> int:
    """The rank an engine keeps slots for."""
    if find_engine(engine).adapters != "stepped":
        return adapters.rank
    return next(rank for rank in RANKS if rank >= adapters.rank)


def adapter_params(spec: ModelSpec, rank: int, targets: Adapted = Adapted.ALL) -> int:
    """Parameters of one adapter, as its file holds them: rank x (inputs + outputs) of every matrix."""
    return sum(
        layer.count * max(1, linear.experts) * rank * (_parts(linear) * linear.inputs + linear.outputs)
        for layer, linear in _adapted(spec, targets)
    )


@dataclass(frozen=True, slots=True)
class Slots:
    """What adapters take on one GPU."""

    bytes: float                   # of all slots [B]
    matmuls: float                 # adapted ones of a step
    active_params: float           # of one adapter that one token multiplies


def slots(spec: ModelSpec, d: Deployment) -> Slots | None:
    """The adapters' slots on one GPU; None without adapters.

    As vLLM shards them: of a matrix split by columns the second factor is split, of one split by rows the first;
    the other is whole on every rank (vllm/lora/layers, fully_sharded_loras off).
    """
    if d.adapters is None:
        return None
    rank, total, matmuls, active = kept_rank(d.adapters, d.engine), 0.0, 0.0, 0.0
    for layer, linear in _adapted(spec, d.adapters.targets):
        down, up = _parts(linear) * linear.inputs, linear.outputs
        split = max(1.0, d.tp * d.dp / d.ep) if linear.experts else d.tp
        down_here = down / split if linear.shard is Shard.ROW else down
        up_here = up / split if linear.shard is Shard.COLUMN else up
        here = layer.count * rank * (down_here + up_here)
        total += here * max(1, linear.experts) / (d.ep if linear.experts else 1)
        active += here * (linear.experts_per_token if linear.experts else 1)
        matmuls += layer.count
    return Slots(d.adapters.count * total * BYTES / d.pp, matmuls, active / d.pp)


def _adapted(spec: ModelSpec, targets: Adapted) -> Iterator[tuple[Layer, Linear]]:
    roles = _ROLES[targets]
    return ((layer, linear) for layer in spec.layers for linear in layer.linears
            if linear.role in roles and linear.matrix_params)


def _parts(linear: Linear) -> int:
    return PARTS.get(linear.name, 1)


def missing(d: Deployment) -> str | None:
    """Why the engine cannot serve adapters, one sentence; None where it can."""
    engine = find_engine(d.engine)
    if d.adapters is None or engine.adapters != "none":
        return None
    return f"{engine.label} is not known to serve LoRA adapters: merge one into the model, or take another engine."
