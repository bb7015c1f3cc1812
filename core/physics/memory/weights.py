"""Bytes of weights on one GPU: what the format quantises, what stays 16-bit, how ranks share it."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import ceil
from typing import Final

from core.models import Attention, LatentAttention, Layer, Linear, ModelSpec, Role, Shard, Shipped
from core.physics.memory import gguf
from core.physics.memory.identity import SpecKey
from core.products.engines import ENGINES, release
from core.products.engines import find as find_engine
from core.products.formats import FORMATS, Format
from core.products.latents import latent_row
from core.terms import Deployment

VOCAB_PADDING: Final = 64        # rows; vLLM DEFAULT_VOCAB_PADDING_SIZE, split over tp afterwards
_KEPT: Final = (Role.ROUTER, Role.HEAD)   # 16-bit under every quantiser of linear layers
# What quantisers leave in 16 bits of linear attention where no checkpoint says otherwise: all that reads the stream.
# A Qwen3.8-27B in NVFP4 loads 12.02 GiB at tp 2 (vLLM 0.26.1 log, recipes pull request 810); without, 9.31.
_STATE_INPUTS_KEPT: Final = ("nvfp4",)
_MXFP4_ALIGN: Final = (256, 128)  # vLLM 0.33 mxfp4: hidden and expert width are padded to these


def _plain_bytes(fmt: Format) -> float:
    """Bytes of a value outside the matrices: norms, biases; FP32 in GGUF files."""
    return 4.0 if fmt.name == "fp32" or fmt.scope == "file" else 2.0


def _mixture(fmt: Format) -> str:
    """llama.cpp's name of a file's mixture of types."""
    return fmt.name.removeprefix("gguf-").removeprefix("UD-")


def _gguf_stack(spec: ModelSpec) -> gguf.Stack:
    attention = [mixer for mixer, _ in spec.mixers() if isinstance(mixer, Attention)]
    shared = max((mixer.heads / max(1, mixer.kv_heads) for mixer in attention), default=1.0)
    experts = max((linear.experts for linear, _ in spec.linears()), default=0)
    return gguf.Stack(spec.n_layers, shared, experts)


def _gguf_bits(spec: ModelSpec, linear: Linear, layer: Layer, mixture: str) -> float:
    """Bits per weight of a matrix in a GGUF mixture; a fused projection is the mean of its parts."""
    stack, row = _gguf_stack(spec), linear.inputs
    if linear.role is Role.ROUTER:
        return 32.0
    if linear.role is Role.EXPERT and mixture == "MXFP4_MOE":
        return gguf.tensor_bits(mixture, "experts", row, stack)
    if linear.role in (Role.MLP, Role.EXPERT, Role.SHARED_EXPERT):
        return gguf.tensor_bits(mixture, "ffn_down" if linear.shard is Shard.ROW else "ffn_gate_up", row, stack)
    if linear.role is Role.ATTENTION and linear.shard is Shard.ROW:
        return gguf.tensor_bits(mixture, "attn_output", row, stack)
    plain = gguf.tensor_bits(mixture, "attn_q" if linear.role is Role.ATTENTION else "other", row, stack)
    keys, values = _kv_rows(layer)
    if linear.role is not Role.ATTENTION or not values or linear.outputs <= keys + values:
        return plain
    special = keys * gguf.tensor_bits(mixture, "attn_k", row, stack)
    special += values * gguf.tensor_bits(mixture, "attn_v", row, stack)
    return (special + (linear.outputs - keys - values) * plain) / linear.outputs


def _kv_rows(layer: Layer) -> tuple[int, int]:
    """Rows of keys and of values in a layer's fused projection."""
    for mixer in layer.mixers:
        if isinstance(mixer, Attention) and mixer.writes_kv:
            return mixer.kv_heads * mixer.qk_dim, mixer.kv_heads * mixer.v_dim
    return 0, 0


def _bits(spec: ModelSpec, linear: Linear, layer: Layer, fmt: Format) -> float:
    """Bits per weight of a matrix of the stack."""
    if fmt.scope == "file":
        return _gguf_bits(spec, linear, layer, _mixture(fmt))
    shipped = as_shipped(spec, fmt)
    if shipped and (bits := _role_bits(shipped, linear.role)):
        return bits
    if fmt.scope == "all":
        return fmt.bits_per_weight
    experts_alone = fmt.scope == "experts" and spec.is_moe
    quantised = linear.role is Role.EXPERT if experts_alone else linear.role not in _KEPT
    if shipped is None and fmt.name in _STATE_INPUTS_KEPT and linear.role is Role.STATE:
        quantised = linear.shard is Shard.ROW
    stored = shipped and (shipped.bits_per_weight or FORMATS[shipped.format].bits_per_weight)
    return (stored or fmt.bits_per_weight) if quantised else 16.0


def as_shipped(spec: ModelSpec, fmt: Format) -> Shipped | None:
    """How the repository stores its weights, when that is the format to deploy ('int4' is any of its group sizes)."""
    shipped = spec.shipped
    if shipped is None or shipped.format not in FORMATS:
        return None
    return shipped if shipped.format == fmt.name or shipped.format.startswith(f"{fmt.name}-g") else None


def _role_bits(shipped: Shipped, role: Role) -> float | None:
    """Bits of a role's weights: counted over the layers, else those of the format it is declared in."""
    own = dict(shipped.role_formats).get(role)
    return dict(shipped.role_bits).get(role) or (FORMATS[own].bits_per_weight if own else None)


@dataclass(frozen=True, slots=True)
class _Ranks:
    """How many ways a replica's weights are split."""

    tp: int
    pp: int = 1
    ep: int = 1
    dp: int = 1


def _share(linear: Linear, layer: Layer, ranks: _Ranks) -> float:
    """Part of a matrix that one rank holds; key and value heads replicate once ranks outnumber them."""
    tp = ranks.tp
    if linear.experts:
        ep = min(ranks.ep, tp * ranks.dp, linear.experts)
        return ceil(linear.experts / ep) / linear.experts * ep / (tp * ranks.dp)
    if linear.shard is Shard.REPLICATED:
        return 1.0
    keys, values = _kv_rows(layer)
    heads = next((m.kv_heads for m in layer.mixers if isinstance(m, Attention)), 0)
    if linear.role is Role.ATTENTION and 0 < heads < tp and linear.outputs > keys + values > 0 \
            and linear.shard is Shard.COLUMN:
        return ((linear.outputs - keys - values) / tp + (keys + values) / heads) / linear.outputs
    return 1 / tp


def _mxfp4_padding(linear: Linear, fmt: Format, tp: int) -> float:
    """How much the MXFP4 expert kernels pad a matrix: gpt-oss's 2,880 becomes 3,072 and 2,944."""
    if not linear.experts or fmt.name != "mxfp4":
        return 1.0
    fused = 2 if linear.shard is Shard.COLUMN else 1          # gate and up
    hidden, wide = (linear.inputs, linear.outputs) if fused == 2 else (linear.outputs, linear.inputs)
    align_hidden, align_wide = _MXFP4_ALIGN
    padded_hidden = ceil(hidden / align_hidden) * align_hidden
    padded_wide = ceil(wide / fused / tp / align_wide) * align_wide * fused * tp
    return padded_hidden * padded_wide / (hidden * wide)


def _layer_bytes(spec: ModelSpec, index: int, fmt: Format, ranks: _Ranks, padded: bool) -> float:
    """Bytes of one layer of a kind on one rank [B]."""
    layer, plain = spec.layers[index], _plain_bytes(fmt)
    total = layer.other_params * plain
    for linear in layer.linears:
        stored = linear.matrix_params * _bits(spec, linear, layer, fmt) / 8
        stored *= _mxfp4_padding(linear, fmt, ranks.tp) if padded else 1.0
        biases = (linear.params - linear.matrix_params) * plain
        total += (stored + biases) * _share(linear, layer, ranks)
    return total


def _table_bits(spec: ModelSpec, fmt: Format) -> tuple[float, float]:
    """Bits per weight of the embedding and of the head."""
    if fmt.scope == "file":
        mixture, row = _mixture(fmt), spec.hidden_size
        head = gguf.head_bits(mixture, row)
        return (head if spec.tied_embeddings else gguf.embedding_bits(mixture, row)), head
    shipped = as_shipped(spec, fmt)
    everywhere = fmt.bits_per_weight if fmt.scope == "all" else None
    head = (_role_bits(shipped, Role.HEAD) if shipped else None) or everywhere or 16.0
    return (shipped.embedding_bits if shipped and shipped.embedding_bits < 16 else everywhere or 16.0), head


def matrix_bytes(spec: ModelSpec, layer: Layer, fmt: str) -> tuple[float, ...]:
    """Bytes of every matrix of a layer, all experts of a routed one together [B]."""
    stored = FORMATS[fmt]
    return tuple(linear.matrix_params * _bits(spec, linear, layer, stored) / 8 for linear in layer.linears)


def head_bits(spec: ModelSpec, fmt: Format) -> float:
    """Bits per weight of the output."""
    return _table_bits(spec, fmt)[1]


@lru_cache(maxsize=4096)
def _stage_bytes(key: SpecKey, fmt: Format, ranks: _Ranks, engine: str | None = None) -> float:
    """Bytes of the largest pipeline stage on one rank, as the engine lays it out; None: as the file has it [B]."""
    padded_experts = engine is not None and ENGINES[engine].loader_tables
    spec, plain, tp, pp = key.spec, _plain_bytes(fmt), ranks.tp, ranks.pp
    kinds = [_layer_bytes(spec, index, fmt, ranks, padded_experts) for index in range(len(spec.layers))]
    stack = [kinds[kind] for kind in spec.layer_order]
    embedding_bits, head_bits = _table_bits(spec, fmt)
    padded = ceil(spec.vocab_size / VOCAB_PADDING) * VOCAB_PADDING / max(1, spec.vocab_size)
    tables = (spec.embedding_params * padded + spec.lookup_params) * embedding_bits / 8
    if engine is not None and ENGINES[engine].host_embeddings:      # a tied table is on the GPU as the output
        tables = 0.0
    towers = sum(part.params for part in spec.parts if part.resident) * min(plain, 2.0)
    head = spec.head.params * padded * head_bits / 8
    shared = spec.tied_embeddings and pp == 1 and tables > 0
    bounds = [round(stage * len(stack) / pp) for stage in range(pp + 1)]
    stages = [sum(stack[start:end]) for start, end in pairwise(bounds)]
    stages[0] += (tables + towers) / tp
    stages[-1] += spec.other_params * plain + (0 if shared else head / tp)
    return max(stages)


@lru_cache(maxsize=1024)
def _loader_tables(key: SpecKey, value_bytes: float, tp: int, pp: int, max_len: int) -> float:
    """Rotary tables and absorbed MLA matrices that the loader adds on one rank [B].

    vLLM 0.33: one cos and sin table of max_position_embeddings rows a rotary width (it explains 2.5 GiB of
    Llama-4-Scout's weights, whose context is 10 M tokens); W_UK and W_UV are kept beside kv_b_proj.
    """
    spec, widths, absorbed = key.spec, set(), 0.0
    for mixer, layers in spec.mixers():
        if isinstance(mixer, LatentAttention):
            widths.add(mixer.rope_dim)
            absorbed += layers * mixer.heads * (mixer.nope_dim + mixer.v_dim) * mixer.latent * value_bytes
        elif isinstance(mixer, Attention):
            widths.add(mixer.qk_dim)
    return sum(widths) * max_len * value_bytes + absorbed / tp / pp


_FP32_SCALES_BEFORE: Final = 5.16   # of SGLang: mxfp4_marlin_moe.py made them of one byte then


def _loading_scales(spec: ModelSpec, deployment: Deployment, ranks: _Ranks) -> float:
    """FP32 scales of MXFP4 experts beside FP8 layers (DeepSeek-V4) that SGLang loads before it packs them [B].

    Without FP4 tensor cores Marlin gets packed ones and the room of the loaded ones stays with the allocator. Source:
    SGLang 0.5.14 mxfp4_marlin_moe.py `create_weights`, one FP32 scale per 32 weights; 0.5.16 has bytes.
    """
    shipped, engine = as_shipped(spec, deployment.weights), find_engine(deployment.engine)
    beside_fp8 = bool(shipped and any(name == "fp8" for _, name in shipped.role_formats))
    if engine.memory != "static" or deployment.weights.name != "mxfp4" or not beside_fp8 \
            or "fp4" in deployment.gpu.flops or release(deployment.engine_version, engine.name) >= _FP32_SCALES_BEFORE:
        return 0.0
    scales = sum(
        count * linear.matrix_params / 32 * _share(linear, layer, ranks)
        for layer, count in ((spec.layers[kind], spec.layer_order.count(kind)) for kind in set(spec.layer_order))
        for linear in layer.linears if linear.experts
    )
    return 4.0 * scales / ranks.pp


_QUERIES: Final = ("q_b_proj", "q_proj")


def _folded_projections(spec: ModelSpec, deployment: Deployment, ranks: _Ranks) -> float:
    """What queries and outputs grow by where the engine multiplies them with the latent's projections [B].

    Every head then reads and writes rows as wide as the latent, in 16 bits whatever the checkpoint has.
    Source: LMDeploy 0.12.2 turbomind/deploy/source_model/deepseek2.py, MLA folding.
    """
    engine = find_engine(deployment.engine)
    if latent_row(engine.name, spec.family, release(deployment.engine_version, engine.name)) != "folded":
        return 0.0
    total = 0.0
    for layer, count in ((spec.layers[kind], spec.layer_order.count(kind)) for kind in set(spec.layer_order)):
        for mixer in layer.mixers:
            if isinstance(mixer, LatentAttention):
                query = next(linear.inputs for linear in layer.linears if linear.name in _QUERIES)
                wide = mixer.heads * ((mixer.latent + mixer.rope_dim) * query + mixer.latent * spec.hidden_size)
                stored = sum(linear.matrix_params * _bits(spec, linear, layer, deployment.weights) / 8
                             for linear in layer.linears if linear.name in (*_QUERIES, "kv_b_proj", "o_proj"))
                total += count * (2.0 * wide - stored)
    return total / ranks.tp / ranks.pp


def weight_bytes_per_gpu(spec: ModelSpec, deployment: Deployment) -> float:
    """Bytes of weights on the fullest GPU of a deployment, as the engine's log counts them [B].

    Exact where the tensor headers were read and one GPU holds all of it; what ranks share is scaled from there.
    """
    fmt, key = deployment.weights, SpecKey(spec)
    ranks = _Ranks(deployment.tp, deployment.pp, deployment.ep, deployment.dp)
    engine = find_engine(deployment.engine)
    computed = _stage_bytes(key, fmt, ranks, engine.name)
    shipped = as_shipped(spec, fmt)
    if shipped and shipped.weight_bytes:
        computed *= shipped.weight_bytes / _stage_bytes(key, fmt, _Ranks(1))
    computed += _loading_scales(spec, deployment, ranks) + _folded_projections(spec, deployment, ranks)
    if engine.loader_tables:
        computed += _loader_tables(key, _plain_bytes(fmt), ranks.tp, ranks.pp, spec.max_context or 0)
    return computed
