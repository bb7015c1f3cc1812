"""Weights that stay in the host's memory: which layers or experts, how many bytes, and what a token needs of them.

llama.cpp's words: `ngl` layers, the last ones and then the output, lie on the GPU; of the first `ncmoe` layers the
routed experts stay on the host, where the processor multiplies them.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from core.models import Layer, ModelSpec, Role
from core.physics.memory import weights as stored
from core.physics.memory.identity import SpecKey
from core.terms import Deployment, Placement

_ROOM_TOKENS: Final = 4096       # of cache that a placement of its own choice leaves room for


@dataclass(frozen=True, slots=True)
class Hosted:
    """What the host holds of a model, and what is left to the GPU."""

    placement: Placement         # as named, or as chosen for the memory at hand
    host_bytes: float            # weights in host memory [B]
    dense_bytes: float           # of them, those that every step reads [B]
    expert_bytes: float          # routed experts of the layers on the host, all of them [B]
    flops_per_token: float       # of the host [FLOP]
    stack_share: float           # of a token's bytes of the layers that the GPU still streams
    layers_share: float          # of the layers whose attention and cache are on the GPU
    head_share: float            # 1 where the output is on the GPU
    crossings: int               # times a token changes sides in a step


def placed(key: SpecKey, d: Deployment, room_bytes: float, token_bytes: float) -> Hosted:
    """The placement that a deployment names, else the one that leaves least on the host.

    `room_bytes` is what the GPU has for weights and cache together, `token_bytes` what a token takes of a cache.
    """
    if d.placement is not None:
        return _hosted(key, d, d.placement)
    room = room_bytes - token_bytes * min(_ROOM_TOKENS, d.max_model_len or _ROOM_TOKENS)
    whole = stored.weight_bytes_per_gpu(key.spec, d)
    spec, layers = key.spec, key.spec.n_layers
    experts = range(layers + 1) if spec.is_moe else range(1)
    choices = [Placement(n, layers + 1) for n in experts] + [
        Placement(layers if spec.is_moe else 0, n) for n in range(layers, -1, -1)]
    found = (_hosted(key, d, choice) for choice in choices)
    return next((one for one in found if whole - one.host_bytes / d.pp <= room), _hosted(key, d, choices[-1]))


@lru_cache(maxsize=8192)
def _hosted(key: SpecKey, d: Deployment, placement: Placement) -> Hosted:
    spec, fmt = key.spec, d.weights
    layers = [_layer_parts(spec, spec.layers[kind], fmt.name, d) for kind in spec.layer_order]
    head = spec.head.params * stored.head_bits(spec, fmt) / 8
    on_gpu = min(placement.gpu_layers, len(layers))
    first_on_gpu = len(layers) - on_gpu
    dense = sum(part.dense for part in layers[:first_on_gpu])
    expert_layers = range(len(layers)) if placement.cpu_experts >= len(layers) else range(placement.cpu_experts)
    hosted_experts = [n for n, part in enumerate(layers) if part.experts and (n in expert_layers or n < first_on_gpu)]
    experts = sum(layers[n].experts for n in hosted_experts)
    routed = sum(layers[n].experts * layers[n].routed for n in hosted_experts)
    streamed = sum(part.dense + part.experts * part.routed for part in layers)
    has_head = placement.gpu_layers > len(layers) or not layers
    per_byte = 2 * 8 / fmt.bits_per_weight                       # FLOPs a stored byte takes for one token
    split = len([n for n in hosted_experts if n >= first_on_gpu])
    return Hosted(
        placement=placement,
        host_bytes=dense + experts + (0.0 if has_head else head),
        dense_bytes=dense + (0.0 if has_head else head),
        expert_bytes=experts,
        flops_per_token=(dense + routed + (0.0 if has_head else head)) * per_byte,
        stack_share=1 - (dense + routed) / streamed if streamed else 1.0,
        layers_share=on_gpu / len(layers) if layers else 1.0,
        head_share=1.0 if has_head else 0.0,
        crossings=2 * split + (1 if 0 < on_gpu < len(layers) else 0),
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    dense: float                 # bytes that every token reads
    experts: float               # bytes of the routed experts
    routed: float                # share of them that one token reads


@lru_cache(maxsize=4096)
def _layer_parts_of(key: SpecKey, index: int, fmt: str, tp: int) -> _Parts:
    spec = key.spec
    layer = spec.layers[index]
    sizes = stored.matrix_bytes(spec, layer, fmt)
    routed = [linear for linear in layer.linears if linear.role is Role.EXPERT]
    experts = sum(size for linear, size in zip(layer.linears, sizes, strict=True) if linear.experts)
    share = routed[0].experts_per_token / routed[0].experts if routed else 0.0
    return _Parts((sum(sizes) - experts) / tp, experts / tp, share)


def _layer_parts(spec: ModelSpec, layer: Layer, fmt: str, d: Deployment) -> _Parts:
    index = next(n for n, other in enumerate(spec.layers) if other is layer)
    return _layer_parts_of(SpecKey(spec), index, fmt, d.tp)
