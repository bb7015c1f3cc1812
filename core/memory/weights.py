"""Bytes of weights on one GPU: what the format quantises, what stays 16-bit, how ranks share it."""

from functools import lru_cache
from math import ceil
from typing import Final

from core.formats import Format
from core.memory.identity import SpecKey
from core.models import Attention, Layer, Linear, ModelSpec, Role, Shard
from core.terms import Deployment

VOCAB_PADDING: Final = 64        # rows; vLLM DEFAULT_VOCAB_PADDING_SIZE, divided over tp afterwards
_KEPT: Final = (Role.ROUTER, Role.HEAD)   # 16-bit under every quantiser of linear layers


def bits_of(linear: Linear, fmt: Format) -> float:
    """Bits per weight that a format gives a matrix."""
    quantised = {
        "all": True,
        "file": True,
        "linears": linear.role not in _KEPT,
        "experts": linear.role is Role.EXPERT,
    }[fmt.scope]
    return fmt.bits_per_weight if quantised else 16.0


def _plain_bytes(fmt: Format) -> float:
    """Bytes of a value outside the matrices: norms, biases, embeddings."""
    return 4.0 if fmt.name == "fp32" else 2.0


def _kv_rows(layer: Layer) -> tuple[int, int]:
    """KV heads of a layer's attention and the rows of the fused projection they take."""
    for mixer in layer.mixers:
        if isinstance(mixer, Attention) and mixer.writes_kv:
            return mixer.kv_heads, mixer.kv_heads * (mixer.qk_dim + mixer.v_dim)
    return 0, 0


def _share(linear: Linear, layer: Layer, tp: int, dp: int) -> float:
    """Part of a matrix that one rank holds."""
    if linear.experts:
        return 1 / (tp * dp)
    if linear.shard is Shard.REPLICATED:
        return 1.0
    if linear.name == "qkv_proj":
        kv_heads, kv_rows = _kv_rows(layer)
        if 0 < kv_heads < tp:
            return ((linear.outputs - kv_rows) / tp + kv_rows / kv_heads) / linear.outputs
    return 1 / tp


def layer_bytes(layer: Layer, fmt: Format, tp: int, dp: int) -> float:
    """Bytes of one layer on one rank [B]."""
    plain = _plain_bytes(fmt)
    matrices = sum(
        (linear.matrix_params * bits_of(linear, fmt) / 8 + (linear.params - linear.matrix_params) * plain)
        * _share(linear, layer, tp, dp)
        for linear in layer.linears
    )
    return matrices + layer.other_params * plain


@lru_cache(maxsize=4096)
def _stage_bytes(key: SpecKey, fmt: Format, tp: int, pp: int, dp: int) -> float:
    """Bytes of the largest pipeline stage on one rank [B]."""
    spec, plain = key.spec, _plain_bytes(fmt)
    per_kind = [layer_bytes(layer, fmt, tp, dp) for layer in spec.layers]
    stack = [per_kind[kind] for kind in spec.layer_order]
    padded = ceil(spec.vocab_size / VOCAB_PADDING) * VOCAB_PADDING / spec.vocab_size
    table = fmt.bytes_per_weight if fmt.scope in ("all", "file") else plain
    embedding = spec.embedding_params * table * padded / tp
    head = spec.head.params * (bits_of(spec.head, fmt) / 8) * padded / tp
    first = embedding + sum(part.params for part in spec.parts if part.resident) * plain / tp
    last = spec.other_params * plain
    if not spec.tied_embeddings or pp > 1:
        last += head
    bounds = [round(stage * len(stack) / pp) for stage in range(pp + 1)]
    stages = [sum(stack[a:b]) for a, b in zip(bounds, bounds[1:], strict=False)]
    stages[0] += first
    stages[-1] += last
    return max(stages)


def weight_bytes_per_gpu(spec: ModelSpec, deployment: Deployment) -> float:
    """Bytes of weights on the fullest GPU of a deployment [B]."""
    fmt, key = deployment.weights, SpecKey(spec)
    computed = _stage_bytes(key, fmt, deployment.tp, deployment.pp, deployment.dp)
    shipped = spec.shipped
    if shipped and shipped.weight_bytes and shipped.format == fmt.name:
        return computed * shipped.weight_bytes / _stage_bytes(key, fmt, 1, 1, 1)
    return computed
