"""A model's operators without its deployment: the matmuls, launches and messages of one step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from core.models import Layer, Linear, ModelSpec, Role, Shard
from core.physics.efficiency import operators
from core.physics.speed.cases import Floats, Rows

ROLE_CODE: Final = {role: i for i, role in enumerate(Role)}
SHARD_CODE: Final = {shard: i for i, shard in enumerate(Shard)}


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's operators without its deployment."""

    inputs: Floats               # [ops] K of one layer's matmuls, lm_head last
    outputs: Floats              # [ops] N
    count: Floats                # [ops] layers that own it
    experts: Floats              # [ops] 0 when dense
    active: Floats               # [ops] experts a token visits, 1 when dense
    role: Rows                   # [ops]
    shard: Rows                  # [ops]
    names: tuple[str, ...]
    layers: int
    fixed_units: float           # launches of one step beside matmuls, all layers, in matmul kernels
    dense_units: float           # matmul kernels of one step outside the experts
    reductions: float            # all-reduces of one step when tensor parallel
    expert_layers: float
    hidden: int


def shape(spec: ModelSpec) -> Shape:
    """The operators of one decoder stack; embeddings are lookups and cost nothing here."""
    owned = [(linear, count) for linear, count in spec.linears() if linear.matrix_params]
    owned.append((spec.head, 1))
    linears = [linear for linear, _ in owned]
    return Shape(
        inputs=np.array([linear.inputs for linear in linears], float),
        outputs=np.array([linear.outputs for linear in linears], float),
        count=np.array([count for _, count in owned], float),
        experts=np.array([linear.experts for linear in linears], float),
        active=np.array([linear.experts_per_token if linear.experts else 1 for linear in linears], float),
        role=np.array([ROLE_CODE[linear.role] for linear in linears], np.intp),
        shard=np.array([SHARD_CODE[linear.shard] for linear in linears], np.intp),
        names=tuple(linear.name for linear in linears),
        layers=spec.n_layers,
        fixed_units=float(sum(layer.count * _fixed_units(layer) for layer in spec.layers)),
        dense_units=float(sum(layer.count * sum(not m.experts for m in layer.linears) for layer in spec.layers)),
        reductions=float(sum(layer.count * _reductions(layer.linears) for layer in spec.layers)),
        expert_layers=float(sum(layer.count for layer in spec.layers if _routed(layer))),
        hidden=spec.hidden_size,
    )


def _routed(layer: Layer) -> bool:
    return any(linear.experts for linear in layer.linears)


def _fixed_units(layer: Layer) -> float:
    """Launches of one layer beside its dense matmuls, with the usual fusions."""
    experts = operators.EXPERTS_UNITS if _routed(layer) else 0.0
    return operators.MIXER_UNITS * len(layer.mixers) + operators.NORM_UNITS + experts


def _reductions(linears: Sequence[Linear]) -> int:
    """All-reduces of one layer: one after the mixer, one after the MLP or the experts."""
    feeds = {linear.role in (Role.ATTENTION, Role.STATE) for linear in linears if linear.shard is Shard.ROW}
    return len(feeds)
