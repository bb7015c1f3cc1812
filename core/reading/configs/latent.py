"""Decoders of multi-head latent attention: DeepSeek V2 to V3.2, Kimi K2, GLM 4.7 Flash and 5, Mistral 4, LongCat.

Source: DeepSeek-V2, arXiv 2405.04434; DeepSeek-V3.2 (indexer); the families' code in transformers 5.23.0.
"""

from dataclasses import dataclass
from typing import Final

from core.models import Indexer, LatentAttention, Layer, Linear, ModelSpec, Part, Role, Shard
from core.reading.configs import blocks
from core.reading.configs.decoder import EXPERT_COUNT, top_k
from core.reading.configs.keys import MAX_COUNT, Keys
from core.reading.configs.patterns import moe_layers
from core.reading.configs.stack import assemble


@dataclass(frozen=True, slots=True)
class LatentTraits:
    """What differs between the families that share latent attention."""

    routed: bool = True  # False: every MLP is dense (MiniCPM3, Youtu)
    norms_if_moe: int = 0  # norm vectors a mixture adds
    indexer: bool = False
    index_from_hidden: bool = False  # index queries and scales come from h, not the query latent (Mistral Large 4)


def _indexer_types(keys: Keys, n: int) -> list[bool]:
    """Which layers run an indexer of their own; the others take the last choice."""
    if (types := keys.texts("indexer_types")) is not None:
        if len(types) < n:
            raise keys.fail("indexer_types", len(types), f"a list of {n} entries, one per layer")
        return [kind == "full" for kind in types[:n]]
    pattern = keys.values.get("index_topk_pattern")
    if isinstance(pattern, str) and len(pattern) >= n:
        return [letter == "F" for letter in pattern[:n]]
    every = max(1, keys.size_or(1, "index_topk_freq", high=MAX_COUNT))
    offset = keys.size_or(2, "index_skip_topk_offset", high=MAX_COUNT)
    return [max(i - offset + 1, 0) % every == 0 for i in range(n)]


def _no_rope(keys: Keys, n: int, traits: LatentTraits) -> list[bool]:
    """Layers without a rotary part (Mistral Large 4: every fourth)."""
    if not traits.index_from_hidden:
        return [False] * n
    if (flags := keys.whole_numbers("no_rope_layers", high=1)) is not None and len(flags) >= n:
        return [not flag for flag in flags[:n]]
    every = max(1, keys.size_or(4, "no_rope_layer_interval", high=MAX_COUNT))
    return [(i + 1) % every == 0 for i in range(n)]


@dataclass(frozen=True, slots=True)
class Latents:
    """The widths of latent attention."""

    hidden: int
    heads: int
    q_rank: int | None
    kv_rank: int
    nope: int
    rope: int
    v_dim: int


def widths(keys: Keys) -> Latents:
    """The widths as the config gives them; raises ConfigInvalid naming the key that is missing or no width."""
    return Latents(
        keys.size("hidden_size"),
        keys.size("num_attention_heads", high=2**16),
        keys.optional("q_lora_rank", high=2**24) or None,
        keys.size("kv_lora_rank"),
        keys.size("qk_nope_head_dim"),
        keys.size("qk_rope_head_dim", low=0),
        keys.size("v_head_dim"),
    )


def indexer_linears(hidden: int, query: int, heads: int, dim: int) -> tuple[Linear, ...]:
    """q·Hi·di + h·di + h·Hi; its key norm (2·di) counts with the norms."""
    return (
        Linear("indexer.wq_b", query, heads * dim, Role.ATTENTION, Shard.REPLICATED),
        Linear("indexer.wk", hidden, dim, Role.ATTENTION, Shard.REPLICATED),
        Linear("indexer.weights_proj", hidden, heads, Role.ATTENTION, Shard.REPLICATED),
    )


def attention(
    keys: Keys, w: Latents, traits: LatentTraits, *, owns_index: bool, rope: bool = True
) -> tuple[LatentAttention, tuple[Linear, ...], int]:
    """Mixer, matrices and small parameters of one layer's attention."""
    bias = keys.flag("attention_bias")
    nope, rope_dim = (w.nope, w.rope) if rope else (w.nope + w.rope, 0)
    linears = blocks.latent(w.hidden, w.heads, w.q_rank, w.kv_rank, nope, rope_dim, w.v_dim, bias=bias, o_bias=bias)
    small = blocks.latent_norms(w.q_rank, w.kv_rank)
    index = None
    if traits.indexer:
        heads, dim = keys.size("index_n_heads", high=2**16), keys.size("index_head_dim")
        index = Indexer(heads, dim, keys.size("index_topk", high=2**31), owns_index)
        if owns_index:
            query = w.hidden if traits.index_from_hidden else w.q_rank or w.hidden
            linears += indexer_linears(w.hidden, query, heads, dim)
            small += 2 * dim + (2 * w.hidden + 2 * heads) * traits.index_from_hidden
    if traits.index_from_hidden:
        small += 2 * w.heads  # a learnt scale and bias of the softmax for every head
    return LatentAttention(w.heads, w.kv_rank, rope_dim, nope, w.v_dim, index), linears, small


def mixture(keys: Keys, hidden: int) -> tuple[Linear, ...]:
    """Router, routed experts and the shared expert of one layer."""
    inner, n = keys.size("moe_intermediate_size"), keys.size(*EXPERT_COUNT, high=MAX_COUNT)
    shared = inner * keys.count(0, "n_shared_experts", "num_shared_experts")
    return (
        blocks.router(hidden, n),
        *blocks.experts(hidden, inner, n, top_k(keys)),
        *blocks.shared_expert(hidden, shared),
    )


def read(
    name: str, keys: Keys, traits: LatentTraits, top: Keys | None = None, parts: tuple[Part, ...] = ()
) -> ModelSpec:
    """A decoder of that family."""
    w, n = widths(keys), keys.layers()
    sparse = moe_layers(keys, n) if traits.routed else [False] * n
    full = _indexer_types(keys, n) if traits.indexer else [False] * n
    no_rope = _no_rope(keys, n, traits)
    dense = blocks.glu(w.hidden, keys.size("intermediate_size"), bias=keys.flag("mlp_bias")) if not all(sparse) else ()
    routed = mixture(keys, w.hidden) if any(sparse) else ()
    order = []
    kinds: dict[tuple[bool, bool, bool], Layer] = {}
    for kind in zip(sparse, full, no_rope, strict=True):
        if kind not in kinds:
            is_sparse, owns, bare = kind
            mixer, linears, small = attention(keys, w, traits, owns_index=owns, rope=not bare)
            norms = 2 + traits.norms_if_moe * is_sparse
            kinds[kind] = Layer(1, (mixer,), linears + (routed if is_sparse else dense), small + norms * w.hidden)
        order.append(kinds[kind])
    return assemble(name, keys, order, hidden=w.hidden, top=top, parts=parts, other=w.hidden)


def read_hy_v4(name: str, keys: Keys, top: Keys | None = None, parts: tuple[Part, ...] = ()) -> ModelSpec:
    """Hunyuan 4: sparse latent attention with sinks and an output gate, light hyper-connections around each block."""
    w, n, streams = widths(keys), keys.layers(), keys.size("hc_mult", high=64)
    gate = Linear("gate_proj", w.hidden, w.heads * w.v_dim, Role.ATTENTION)
    around = 2 * (2 * streams * streams * w.hidden + 2 * streams + 2)
    dense, routed = blocks.glu(w.hidden, keys.size("intermediate_size")), mixture(keys, w.hidden)

    def build(owns: bool, moe: bool) -> Layer:
        mixer, linears, small = attention(keys, w, LatentTraits(indexer=True), owns_index=owns)
        matrices = (*linears, gate, *(routed if moe else dense))
        return Layer(1, (mixer,), matrices, small + w.heads + 2 * w.hidden + around)

    kinds = list(zip(_indexer_types(keys, n), moe_layers(keys, n), strict=True))
    made = {kind: build(*kind) for kind in set(kinds)}
    head = streams * streams * w.hidden + streams + 1
    order = [made[kind] for kind in kinds]
    return assemble(name, keys, order, hidden=w.hidden, top=top, parts=parts, other=w.hidden + head)


IDLE: Final = "Its experts that do nothing have no weights in the checkpoint: transformers allocates them, we do not."


def read_longcat(name: str, keys: Keys, top: Keys | None = None, parts: tuple[Part, ...] = ()) -> ModelSpec:
    """LongCat-Flash: two attentions and two dense MLPs a layer beside one mixture with experts that do nothing."""
    w = widths(keys)
    mixer, linears, small = attention(keys, w, LatentTraits(), owns_index=False)
    n, idle = keys.size(*EXPERT_COUNT, high=MAX_COUNT), keys.count(0, "zero_expert_num")
    inner = keys.size("expert_ffn_hidden_size", "moe_intermediate_size")
    layer = Layer(
        1,
        (mixer, mixer),
        linears * 2
        + blocks.glu(w.hidden, keys.size("ffn_hidden_size", "intermediate_size")) * 2
        + (blocks.router(w.hidden, n + idle, bias=keys.flag("router_bias")),)
        + blocks.experts(w.hidden, inner, n, top_k(keys)),
        2 * small + 4 * w.hidden,
    )
    return assemble(
        name,
        keys,
        [layer] * keys.layers("num_layers", "num_hidden_layers"),
        hidden=w.hidden,
        top=top,
        parts=parts,
        other=w.hidden,
        notes=(IDLE,) if idle else (),
    )
