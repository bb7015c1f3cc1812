"""Models and deployments as columns: the matmuls, caches and messages one GPU works through."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.models import Attention, ModelSpec, Role, Shard
from core.physics import images
from core.physics.efficiency import operators
from core.physics.efficiency.labels import Pair, compute, release, unpacked_from, widens, width
from core.physics.network import local
from core.physics.speed.adapting import Adapting, adapting
from core.physics.speed.cases import Floats, Rows
from core.physics.speed.drafts import Drafts, drafts
from core.physics.speed.hosts import Hosts, hosts
from core.physics.speed.networks import Network, network
from core.physics.speed.shape import SHARD_CODE, Shape, shape
from core.products.engines import find
from core.products.formats import Format
from core.products.gpus import GpuSpec
from core.terms import Deployment

ACTIVATION_BYTES: Final = 2.0               # hidden states travel in 16 bits
HEAD_BITS: Final = 16.0                     # lm_head and routers stay in 16 bits but for GGUF
CONTEXTS: Final[Floats] = np.exp2(np.arange(23))   # tokens at which caches are tabulated


@dataclass(frozen=True, slots=True)
class Work:
    """Operators of every pair on one GPU, flattened: arrays [ops] ordered by pair, arrays [pairs]."""

    pair: Rows                   # [ops]
    first: Rows                  # [pairs] first op of the pair
    head: Rows                   # [pairs] op index of lm_head
    inputs: Floats               # [ops] K on this GPU
    outputs: Floats              # [ops] N on this GPU
    count: Floats                # [ops]
    experts: Floats              # [ops] experts of the whole group, 0 when dense
    active: Floats               # [ops]
    expert_share: Floats         # [ops] part of the experts that live on this GPU
    rows_per_token: Floats       # [ops] tokens of all data-parallel ranks meet at the experts
    weight_bytes: Floats         # [ops] bytes of one weight
    peak: Floats                 # [ops] FLOP/s of the matrix units for this op
    power_s: Floats              # [ops] s/FLOP the board's power allows
    quantises: NDArray[np.bool_]     # [ops] activations are quantised first
    dequantises: NDArray[np.bool_]   # [ops] weights are unpacked in the kernel
    widens: NDArray[np.bool_]    # [ops] multiplied as weights of 16 bits, once unpacked
    unpacked_from: Floats        # [ops] rows from which weights are unpacked to memory first, else inf
    unpack: Floats               # [pairs] weights/s the multiprocessors unpack
    layers: Floats
    units: Floats                # launches of one step, in 16-bit matmul kernels
    eager_units: Floats          # the same, quantised or not: what an eager host launches
    reductions: Floats
    expert_layers: Floats
    hidden: Floats
    bandwidth: Floats
    peak_16bit: Floats
    link: Floats                 # bytes/s, one direction
    network: Network | None      # what leaves a machine; None where nothing does
    tp: Floats
    pp: Floats
    dp: Floats
    gpus: Floats
    eager: NDArray[np.bool_]
    layer_split: NDArray[np.bool_]
    prefills_apart: NDArray[np.bool_]
    writes_scores: NDArray[np.bool_]
    chunk: Floats                # tokens of prompt in one step
    seats: Floats                # sequences a step may carry, inf when not set
    default_seats: Floats        # the same with the engine's default where not set
    state_bytes: Floats          # recurrent state of one sequence
    kv_elements: Floats          # values one byte of cache holds where a unit must widen them, else 0
    cache_values: Floats         # cached values in one byte
    kv_read: Floats              # [pairs, contexts] bytes read to decode one token
    decode_flops: Floats         # [pairs, contexts] of one GPU
    prefill_flops: Floats        # [pairs, contexts] of one GPU, per prompt token
    drafts: Drafts | None        # what a pass of each pair's drafter takes; None where nothing drafts
    hosts: Hosts | None          # what hosts hold and multiply; None where GPUs hold all
    seeing: Floats | None        # [pairs] FLOPs of the images of one prompt on one GPU; None where none has images
    adapters: Adapting | None    # what LoRA adapters add; None where nothing has them


def work(pairs: Sequence[Pair]) -> Work:
    """Columns for all pairs; each model's operators are read once."""
    specs: dict[int, int] = {}
    shapes: list[Shape] = []
    of_pair = np.empty(len(pairs), np.intp)
    for i, (spec, _) in enumerate(pairs):
        if id(spec) not in specs:
            specs[id(spec)] = len(shapes)
            shapes.append(shape(spec))
        of_pair[i] = specs[id(spec)]
    sizes = np.array([len(s.inputs) for s in shapes])[of_pair]
    first = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.intp)
    pair = np.repeat(np.arange(len(pairs)), sizes)
    start = np.concatenate(([0], np.cumsum([len(s.inputs) for s in shapes])[:-1]))[of_pair]
    op = start[pair] + np.arange(len(pair)) - first[pair]      # op of the pair -> op of the shapes

    deployments = [deployment for _, deployment in pairs]
    engines = [find(deployment.engine) for deployment in deployments]
    tp, pp, dp, ep = (
        np.array([getattr(d, name) for d in deployments], float) for name in ("tp", "pp", "dp", "ep")
    )
    role = np.concatenate([s.role for s in shapes])[op]
    shard = np.concatenate([s.shard for s in shapes])[op]
    experts = np.concatenate([s.experts for s in shapes])[op]
    expert = experts > 0
    expert_tp = np.maximum(1.0, tp * dp / ep)
    split = np.where(expert, expert_tp[pair], tp[pair])
    inputs = np.concatenate([s.inputs for s in shapes])[op]
    outputs = np.concatenate([s.outputs for s in shapes])[op]
    bits, peaks, peak_16bit = _arithmetic(pairs)
    narrow = (bits < HEAD_BITS)[pair, role]
    widths = np.array([width(d.weights, d.gpu) for d in deployments])
    quantises = narrow & (widths[pair] < HEAD_BITS)
    dequantises = narrow & ~quantises
    unpacked = np.array([unpacked_from(d) for d in deployments])
    power = np.array([_joules(d, 16) for d in deployments])
    narrow_power = np.array([_joules(d, int(bits)) for d, bits in zip(deployments, widths, strict=True)])
    kv_read, decode_flops, prefill_flops, state = _mixing(pairs)

    def shaped(name: str) -> Floats:
        return np.array([getattr(s, name) for s in shapes], float)[of_pair]

    return Work(
        pair=pair, first=first, head=first + sizes - 1,
        inputs=np.where(shard == SHARD_CODE[Shard.ROW], inputs / split, inputs),
        outputs=np.where(shard == SHARD_CODE[Shard.COLUMN], outputs / split, outputs),
        count=np.concatenate([s.count for s in shapes])[op],
        experts=experts,
        active=np.concatenate([s.active for s in shapes])[op],
        expert_share=np.where(expert, 1 / np.maximum(1.0, ep[pair]), 1.0),
        rows_per_token=np.where(expert, dp[pair], 1.0),
        weight_bytes=bits[pair, role] / 8,
        peak=peaks[pair, role],
        power_s=np.where(quantises, narrow_power[pair], power[pair]),
        quantises=quantises, dequantises=dequantises,
        widens=dequantises & np.array([widens(d) for d in deployments])[pair],
        unpacked_from=np.where(dequantises, unpacked[pair], np.inf),
        unpack=np.array([_unpack(d.gpu) for d in deployments]),
        layers=shaped("layers"), reductions=shaped("reductions"),
        units=shaped("fixed_units")
        + shaped("dense_units") * np.where(widths < HEAD_BITS, operators.QUANTISED_MATMUL, 1.0),
        eager_units=shaped("fixed_units") + shaped("dense_units"),
        expert_layers=shaped("expert_layers"), hidden=shaped("hidden"),
        bandwidth=np.array([d.gpu.bandwidth_bytes_per_s for d in deployments]),
        peak_16bit=peak_16bit,
        link=np.array([_link(d) for d in deployments], float), network=network(deployments),
        tp=tp, pp=pp, dp=dp, gpus=tp * pp * dp,
        eager=np.array([engine.eager for engine in engines]),
        layer_split=np.array([engine.splits_layers for engine in engines]),
        prefills_apart=np.array([engine.prefills_apart for engine in engines]),
        writes_scores=np.array([engine.writes_scores for engine in engines]),
        chunk=np.array([chunk_tokens(d) for d in deployments], float),
        seats=np.array([_seats(d, engine.most_seqs) for d, engine in zip(deployments, engines, strict=True)], float),
        default_seats=np.array(
            [d.max_num_seqs or engine.max_num_seqs for d, engine in zip(deployments, engines, strict=True)], float
        ),
        kv_elements=np.array([_widened(d) for d in deployments]),
        cache_values=np.array([1 / d.kv_cache.bytes_per_value for d in deployments]),
        state_bytes=state, kv_read=kv_read, decode_flops=decode_flops, prefill_flops=prefill_flops,
        drafts=drafts(pairs), hosts=hosts(pairs), seeing=_seeing(pairs), adapters=adapting(pairs),
    )


def _seeing(pairs: Sequence[Pair]) -> Floats | None:
    """FLOPs of the images of one prompt on one GPU; ranks share the tower's matrices."""
    if not any(d.images for _, d in pairs):
        return None
    return np.array([images.flops(spec, d.images) / d.tp for spec, d in pairs])


def chunk_tokens(deployment: Deployment) -> int:
    """Prompt tokens of one step."""
    return deployment.max_num_batched_tokens or find(deployment.engine).chunk_tokens


def _seats(deployment: Deployment, most: int | None) -> float:
    return min(deployment.max_num_seqs or np.inf, most or np.inf)


def _joules(deployment: Deployment, bits: int) -> float:
    """Seconds one FLOP takes at the board's power limit; zero where no limit is known [s/FLOP]."""
    gpu = deployment.gpu
    if not gpu.tdp_w or bits > HEAD_BITS or f"matmul_rate {bits}" in gpu.measured:   # measured under that limit
        return 0.0
    energy = operators.JOULES_PER_FLOP.get(gpu.compute_capability, operators.JOULES_PER_FLOP_OTHERS)
    return energy * operators.NARROW_ENERGY[bits] / gpu.tdp_w


def _unpack(gpu: GpuSpec) -> float:
    """Weights a GPU dequantises a second; inf where its multiprocessors are not known [1/s]."""
    if not gpu.sm_count or not gpu.boost_mhz or gpu.vendor != "NVIDIA":
        return float("inf")
    return operators.DEQUANTISED_PER_CLOCK_SM * gpu.sm_count * gpu.boost_mhz * 1e6


def _widened(deployment: Deployment) -> float:
    """Cached values in one byte read where Hopper's attention widens FP8 first; zero elsewhere."""
    widens = deployment.gpu.compute_capability == "9.0" and not find(deployment.engine).native_fp8_cache
    return 1.0 if widens and deployment.kv_cache.bits_per_value == 8 else 0.0


def _link(deployment: Deployment) -> float:
    """Bandwidth between the ranks: groups beyond the bridged GPUs talk over PCIe [B/s]."""
    gpu = deployment.gpu
    beyond = local(deployment) > gpu.link_gpus
    return (gpu.pcie_bytes_per_s or gpu.link_bytes_per_s) if beyond else gpu.link_bytes_per_s


def _bits(fmt: Format, role: Role, is_moe: bool) -> float:
    """Bits a weight of this role takes: routers stay in 16 bits, lm_head too unless GGUF.

    A format of experts is one of all matrices where a model has no experts: Quark's dense MXFP4 checkpoints.
    """
    kept = role is Role.ROUTER or (role is Role.HEAD and not fmt.name.startswith("gguf"))
    if fmt.bits_per_weight > HEAD_BITS:
        return fmt.bits_per_weight
    if kept or (fmt.scope == "experts" and is_moe and role is not Role.EXPERT):
        return HEAD_BITS
    return fmt.bits_per_weight


def peak_flops(gpu: GpuSpec, kind: str, engine: str) -> float:
    """Dense peak of the matrix units; engines that accumulate in FP16 use the faster GeForce mode [FLOP/s]."""
    found = gpu.flops.get(kind) or next(
        gpu.flops[name] for name in ("bf16", "fp16", "fp32") if name in gpu.flops
    )
    if kind in ("fp16", "bf16") and find(engine).fp16_accumulation and gpu.fp16_accumulate_flops:
        return gpu.fp16_accumulate_flops
    return found


def _arithmetic(pairs: Sequence[Pair]) -> tuple[Floats, Floats, Floats]:
    """Bits a weight and peak FLOP/s by role, [pairs, roles]; 16-bit peak [pairs]."""
    bits = np.empty((len(pairs), len(Role)))
    peaks = np.empty_like(bits)
    plain = np.empty(len(pairs))
    is_moe = {id(spec): spec.is_moe for spec, _ in pairs}
    by_format: dict[tuple[str, bool], list[float]] = {}
    by_gpu: dict[tuple[str, str, str], tuple[float, float]] = {}
    for i, (spec, d) in enumerate(pairs):
        stored = d.weights.name, is_moe[id(spec)]
        if stored not in by_format:
            by_format[stored] = [_bits(d.weights, role, stored[1]) for role in Role]
        key = (d.gpu.name, d.weights.name, d.engine)
        if key not in by_gpu:
            kind = compute(d.weights, d.gpu)
            by_gpu[key] = (peak_flops(d.gpu, kind, d.engine), peak_flops(d.gpu, "bf16", d.engine))
        bits[i] = by_format[stored]
        quantised = bits[i] < HEAD_BITS
        fast, plain[i] = by_gpu[key]
        peaks[i] = np.where(quantised | (d.weights.bits_per_weight >= HEAD_BITS), fast, plain[i])
    return bits, peaks, plain


def _mixing(pairs: Sequence[Pair]) -> tuple[Floats, Floats, Floats, Floats]:
    """Cache bytes, decode and prefill FLOPs of one GPU on the grid of contexts, and state bytes."""
    known: dict[tuple[int, str, int, bool], tuple[Floats, Floats, Floats, float]] = {}
    rows = []
    for spec, d in pairs:
        key = (id(spec), d.kv_cache.name, d.tp, _ignores_windows(d))
        if key not in known:
            known[key] = _mixers(spec, d)
        rows.append(known[key])
    read, decode, prefill, state = zip(*rows, strict=True)
    return np.stack(read), np.stack(decode), np.stack(prefill), np.array(state)


def _ignores_windows(d: Deployment) -> bool:
    """Whether a release reads whole contexts: TensorRT-LLM before 0.20, unless max_attention_window is set."""
    since = find(d.engine).windows_since_minor or 0
    return release(d) in {f"{d.engine} 0.{minor}" for minor in range(0, since, 10)}


def _mixers(spec: ModelSpec, d: Deployment) -> tuple[Floats, Floats, Floats, float]:
    read, decode, prefill = (np.zeros(len(CONTEXTS)) for _ in range(3))
    full_attention = _ignores_windows(d)
    for layer in spec.layers:
        for mixer in layer.mixers:
            if full_attention and isinstance(mixer, Attention):
                mixer = replace(mixer, window=None)
            read += layer.count * mixer.kv_bytes_read(CONTEXTS, d.kv_cache, d.tp)
            decode += layer.count * mixer.decode_flops(CONTEXTS) / d.tp
            prefill += layer.count * mixer.prefill_flops(CONTEXTS) / d.tp / CONTEXTS
    return read, decode, prefill, float(spec.state_bytes(ACTIVATION_BYTES, d.tp))
