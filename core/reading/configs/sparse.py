"""Attention that compresses, picks or varies by layer: DeepSeek-V4, MiniMax-M3, MiMo, Step, Llama 4, Mllama.

Source: each family's code in transformers 5.23.0.
"""

from core.models import (
    Attention,
    CompressedAttention,
    CrossAttention,
    Indexer,
    Layer,
    Linear,
    ModelSpec,
    Part,
    Recurrence,
    Role,
    Shard,
)
from core.reading.configs import blocks, latent
from core.reading.configs.decoder import EXPERT_COUNT, Traits, attention_linears, mixture, shape, top_k
from core.reading.configs.keys import MAX_COUNT, Keys
from core.reading.configs.patterns import layer_types, moe_layers, windows
from core.reading.configs.stack import assemble

Parts = tuple[Part, ...]
OVERLAPPED_RATIO = 4  # DeepSeek-V4: at this ratio blocks overlap and an indexer picks among them
V4_RATIOS = {"sliding_attention": 0, "compressed_sparse_attention": 4, "heavily_compressed_attention": 128}


def _v4_ratios(keys: Keys, n: int) -> list[int]:
    """One ratio a layer; the list may have one more for MTP."""
    ratios = keys.whole_numbers("compress_ratios", high=MAX_COUNT)
    if ratios is None and (types := layer_types(keys, n)) is not None:
        unknown = set(types) - set(V4_RATIOS)
        if unknown:
            raise keys.fail("layer_types", min(unknown), f"one of {', '.join(V4_RATIOS)}")
        return [V4_RATIOS[kind] for kind in types]
    if ratios is None or len(ratios) < n:
        raise keys.fail("compress_ratios", ratios and len(ratios), f"a list of {n} whole numbers, one per layer")
    return ratios[:n]


def _compressor(hidden: int, ratio: int, dim: int, prefix: str) -> tuple[tuple[Linear, ...], int]:
    """Values and gates of `dim` per token, a position bias per slot, and a norm on the entry."""
    wide = dim * (2 if ratio == OVERLAPPED_RATIO else 1)
    linears = (
        Linear(f"{prefix}kv_proj", hidden, wide, Role.ATTENTION, Shard.REPLICATED),
        Linear(f"{prefix}gate_proj", hidden, wide, Role.ATTENTION, Shard.REPLICATED),
    )
    return linears, ratio * wide + dim


def _v4_attention(keys: Keys, hidden: int, ratio: int) -> tuple[CompressedAttention, tuple[Linear, ...], int]:
    heads, dim, rank = keys.size("num_attention_heads", high=2**16), keys.size("head_dim"), keys.size("q_lora_rank")
    groups, out_rank = keys.size("o_groups", high=2**16), keys.size("o_lora_rank")
    rope = keys.size_or(64, "qk_rope_head_dim")
    linears: tuple[Linear, ...] = (
        Linear("q_a_proj", hidden, rank, Role.ATTENTION, Shard.REPLICATED),
        Linear("q_b_proj", rank, heads * dim, Role.ATTENTION),
        Linear("kv_proj", hidden, dim, Role.ATTENTION, Shard.REPLICATED),
        Linear("o_a_proj", heads * dim // groups, groups * out_rank, Role.ATTENTION),
        Linear("o_b_proj", groups * out_rank, hidden, Role.ATTENTION, Shard.ROW),
    )
    small = heads + rank + dim
    index = None
    if ratio:
        compress, more = _compressor(hidden, ratio, dim, "compressor.")
        linears, small = linears + compress, small + more
    if ratio == OVERLAPPED_RATIO:
        index = Indexer(
            keys.size("index_n_heads", high=2**16), keys.size("index_head_dim"), keys.size("index_topk", high=2**31)
        )
        compress, more = _compressor(hidden, ratio, index.dim, "indexer.")
        linears += (
            *compress,
            Linear("indexer.q_b_proj", rank, index.heads * index.dim, Role.ATTENTION, Shard.REPLICATED),
            Linear("indexer.weights_proj", hidden, index.heads, Role.ATTENTION, Shard.REPLICATED),
        )
        small += more
    window = keys.size("sliding_window", "window_size", high=2**31)
    return CompressedAttention(heads, dim, rope, window, ratio, index), linears, small


def hyper_connections(hidden: int, streams: int) -> int:
    """Manifold-constrained hyper-connections around one block: (m² + 2m)(m·h) weights, as many biases, 3 scales."""
    mixes = streams * streams + 2 * streams
    return mixes * streams * hidden + mixes + 3


def read_deepseek_v4(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Compressed attention with sinks, grouped output projection, hyper-connections, experts in every layer."""
    hidden, n, streams = keys.size("hidden_size"), keys.layers(), keys.size("hc_mult", high=64)
    experts = latent.mixture(keys, hidden)
    made: dict[int, Layer] = {}
    ratios = _v4_ratios(keys, n)
    for ratio in set(ratios):
        mixer, linears, small = _v4_attention(keys, hidden, ratio)
        made[ratio] = Layer(1, (mixer,), linears + experts, small + 2 * hidden + 2 * hyper_connections(hidden, streams))
    head = streams * streams * hidden + streams + 1
    return assemble(
        name, keys, [made[ratio] for ratio in ratios], hidden=hidden, top=top, parts=parts, other=hidden + head
    )


def read_minimax_m3(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """GQA; sparse layers score blocks of keys with a small index and attend to the best."""
    s, n = shape(keys), keys.layers()
    sparse_config = keys.part("sparse_attention_config")
    flags = sparse_config.whole_numbers("sparse_attention_freq", high=1) if sparse_config else None
    if flags is None or len(flags) < n:
        types = layer_types(keys, n)
        flags = [int("sparse" in kind) for kind in types] if types else [0] * n
    source = sparse_config or keys
    heads = source.size_or(4, "sparse_num_index_heads", "index_n_heads", high=2**16)
    dim = source.size_or(128, "sparse_index_dim", "index_head_dim")
    top_k = source.size_or(16, "sparse_topk_blocks", "index_topk_blocks") * source.size_or(
        128, "sparse_block_size", "index_block_size"
    )
    said = keys.optional("shared_intermediate_size") is not None and keys.count(0, "n_shared_experts") == 0
    routed, _ = mixture(keys, Traits(moe=True, shared="size" if said else "count"), s)
    dense = blocks.glu(s.hidden, keys.size_or(s.inner, "dense_intermediate_size"))

    def build(sparse: int, moe: bool) -> Layer:
        index = (
            (
                Linear("index_q_proj", s.hidden, heads * dim, Role.ATTENTION, Shard.REPLICATED),
                Linear("index_k_proj", s.hidden, dim, Role.ATTENTION, Shard.REPLICATED),
            )
            if sparse
            else ()
        )
        mixer = Attention(
            s.heads,
            s.kv_heads,
            s.head_dim,
            s.head_dim,
            None,
            True,
            heads * sparse,
            dim * sparse,
            top_k if sparse else None,
        )
        attention = blocks.qkv_o(s.hidden, s.heads, s.kv_heads, s.head_dim, s.head_dim)
        small = 2 * s.head_dim + 2 * dim * sparse + 2 * s.hidden
        return Layer(1, (mixer,), attention + index + (routed if moe else dense), small)

    kinds = list(zip(flags[:n], moe_layers(keys, n), strict=True))
    made = {kind: build(*kind) for kind in set(kinds)}
    return assemble(name, keys, [made[kind] for kind in kinds], hidden=s.hidden, top=top, parts=parts, other=s.hidden)


def read_mimo_v2(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Sliding layers have their own KV heads, widths and sinks; values are narrower than keys."""
    s, n = shape(keys), keys.layers()
    slides = windows(keys, n)
    inner = keys.size("moe_intermediate_size")
    routed = (
        blocks.router(s.hidden, keys.size(*EXPERT_COUNT, high=MAX_COUNT)),
        *blocks.experts(s.hidden, inner, keys.size(*EXPERT_COUNT, high=MAX_COUNT), top_k(keys)),
        *blocks.shared_expert(s.hidden, inner * keys.count(0, "n_shared_experts")),
    )
    dense = blocks.glu(s.hidden, s.inner)

    def build(window: int | None, moe: bool) -> Layer:
        prefix = "swa_" if window else ""
        heads = keys.count(s.heads, f"{prefix}num_attention_heads") or s.heads
        # absent, a sliding layer has twice the KV heads of a full one
        kv_heads = keys.count(s.kv_heads * (2 if window else 1), f"{prefix}num_key_value_heads") or s.kv_heads
        qk, v = (
            keys.size_or(s.head_dim, f"{prefix}head_dim"),
            keys.size_or(s.head_dim, f"{prefix}v_head_dim", "v_head_dim"),
        )
        sinks = keys.flag(
            "add_swa_attention_sink_bias" if window else "add_full_attention_sink_bias", default=bool(window)
        )
        attention = blocks.qkv_o(s.hidden, heads, kv_heads, qk, v, bias=keys.flag("attention_bias"))
        return Layer(
            1,
            (Attention(heads, kv_heads, qk, v, window),),
            attention + (routed if moe else dense),
            heads * sinks + 2 * s.hidden,
        )

    kinds = list(zip(slides, moe_layers(keys, n), strict=True))
    made = {kind: build(*kind) for kind in set(kinds)}
    return assemble(name, keys, [made[kind] for kind in kinds], hidden=s.hidden, top=top, parts=parts, other=s.hidden)


def _step_moe(keys: Keys, n: int) -> list[bool]:
    listed = keys.values.get("moe_layers_enum")
    if isinstance(listed, str):
        named = {int(item) for item in listed.split(",") if item.strip().isdigit()}
        return [i in named for i in range(n)]
    if isinstance(listed, list):
        return [i in set(keys.whole_numbers("moe_layers_enum") or ()) for i in range(n)]
    if "mlp_layer_types" in keys or "first_k_dense_replace" in keys:
        return moe_layers(keys, n)
    return [i >= 3 for i in range(n)]


def read_step(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Step 3.5 and 3.7: a gate a head; sliding layers may have more heads."""
    hidden, n = keys.size("hidden_size"), keys.layers()
    heads = keys.size("num_attention_heads", high=2**16)
    kv_heads, dim = keys.size("num_key_value_heads", "num_attention_groups", high=2**16), keys.size("head_dim")
    other = keys.part("attention_other_setting")
    sliding_heads = keys.count(0, "num_sliding_attention_heads") or (
        other.count(heads, "num_attention_heads") if other else heads
    )
    kv_sliding = other.count(kv_heads, "num_attention_groups", "num_key_value_heads") if other else kv_heads
    inner, count = keys.size("moe_intermediate_size"), keys.size("n_routed_experts", *EXPERT_COUNT, high=MAX_COUNT)
    routed = (
        blocks.router(hidden, count),
        *blocks.experts(hidden, inner, count, top_k(keys)),
        *blocks.shared_expert(hidden, keys.size_or(inner, "share_expert_dim", "share_expert_dims")),
    )
    dense = blocks.glu(hidden, keys.size("intermediate_size"))

    listed = "per_layer_config" in keys     # where transformers >= 5.17 moves the heads of sliding layers

    def build(own: Keys, window: int | None, moe: bool) -> Layer:
        h, k = (sliding_heads, kv_sliding) if window and not listed else (heads, kv_heads)
        if listed:
            h = own.size("num_attention_heads", high=2**16)
            k = own.size("num_key_value_heads", "num_attention_groups", high=2**16)
        gate = Linear("g_proj", hidden, h, Role.ATTENTION)
        attention = (*blocks.qkv_o(hidden, h, k, dim, dim), gate)
        return Layer(
            1, (Attention(h, k, dim, dim, window),), attention + (routed if moe else dense), 2 * dim + 2 * hidden
        )

    kinds = list(zip(keys.by_layer(n), windows(keys, n), _step_moe(keys, n), strict=True))
    made = {kind: build(*kind) for kind in set(kinds)}
    return assemble(name, keys, [made[kind] for kind in kinds], hidden=hidden, top=top, parts=parts, other=hidden)


def read_laguna(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Laguna: heads a layer as listed, a gate a head or a value, norms a head, a balance bias an expert."""
    s = shape(keys)
    heads = keys.whole_numbers("num_attention_heads_per_layer", high=2**16) or [s.heads] * s.layers
    if len(heads) < s.layers or min(heads) < s.kv_heads:
        raise keys.fail("num_attention_heads_per_layer", heads, f"{s.layers} whole numbers from {s.kv_heads}")
    a_value = keys.values.get("gating") not in (True, None, "per-head")
    routed, _ = mixture(keys, Traits(moe=True), s)
    routed = (*routed, *blocks.shared_expert(s.hidden, keys.size_or(0, "shared_expert_intermediate_size")))
    balance = keys.count(0, *EXPERT_COUNT)
    dense, bias = blocks.glu(s.hidden, s.inner), keys.flag("attention_bias")

    def build(h: int, window: int | None, moe: bool) -> Layer:
        gate = Linear("g_proj", s.hidden, h * s.head_dim if a_value else h, Role.ATTENTION)
        attention = blocks.qkv_o(s.hidden, h, s.kv_heads, s.head_dim, s.head_dim, bias=bias, o_bias=bias)
        mixer = Attention(h, s.kv_heads, s.head_dim, s.head_dim, window)
        small = 2 * s.head_dim + 2 * s.hidden + balance * moe
        return Layer(1, (mixer,), (*attention, gate, *(routed if moe else dense)), small)

    kinds = list(zip(heads[: s.layers], windows(keys, s.layers), moe_layers(keys, s.layers), strict=True))
    made = {kind: build(*kind) for kind in set(kinds)}
    return assemble(name, keys, [made[kind] for kind in kinds], hidden=s.hidden, top=top, parts=parts, other=s.hidden)


def read_inkling(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Inkling: relative positions from the stream, short convolutions on keys, values and every block's output."""
    hidden, n, kernel = keys.size("hidden_size"), keys.layers(), keys.size("conv_kernel_size", high=4096)
    experts, shared = keys.size(*EXPERT_COUNT, high=MAX_COUNT), keys.count(0, "n_shared_experts")
    inner, rel = keys.size("moe_intermediate_size"), keys.size("d_rel")
    routed = (
        blocks.router(hidden, experts + shared), *blocks.experts(hidden, inner, experts, top_k(keys)),
        *blocks.shared_expert(hidden, inner * shared),
    )
    dense, window = blocks.glu(hidden, keys.size("intermediate_size")), keys.size("sliding_window_size", high=2**31)

    def build(slides: bool, moe: bool) -> Layer:
        prefix = "swa_" if slides else ""
        heads = keys.size(f"{prefix}num_attention_heads", high=2**16)
        kv_heads, dim = keys.size(f"{prefix}num_key_value_heads", high=2**16), keys.size(f"{prefix}head_dim")
        extent = window if slides else keys.size("rel_extent")
        positions = Linear("r_proj", hidden, heads * rel, Role.ATTENTION)
        attention = (*blocks.qkv_o(hidden, heads, kv_heads, dim, dim), positions)
        channels = 2 * kv_heads * dim + 2 * hidden
        mixers = (
            Attention(heads, kv_heads, dim, dim, window if slides else None),
            Recurrence("short conv", channels, kernel, 0),
        )
        small = channels * kernel + 2 * dim + rel * extent + 2 * hidden + moe
        return Layer(1, mixers, attention + (routed if moe else dense), small)

    types = layer_types(keys, n) or []
    if not types:
        raise keys.fail("layer_types", None, f"a list of {n} entries, one per layer")
    kinds = list(zip([kind.endswith("sliding") for kind in types], moe_layers(keys, n), strict=True))
    made = {kind: build(*kind) for kind in set(kinds)}
    order = [made[kind] for kind in kinds]
    return assemble(name, keys, order, hidden=hidden, top=top, parts=parts, other=2 * hidden)


def read_muse_spark(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Muse Spark: gated attention, learnt gates on the stream, experts in a narrower space between two projections."""
    s, narrow = shape(keys), keys.size("moe_hidden_size")
    n, inner = keys.size(*EXPERT_COUNT, high=MAX_COUNT), keys.size("moe_intermediate_size")
    routed = (
        blocks.router(s.hidden, n),
        Linear("pre_expert_proj", s.hidden, narrow, Role.MLP, Shard.REPLICATED),
        *blocks.experts(narrow, inner, n, top_k(keys)),
        Linear("post_expert_proj", narrow, s.hidden, Role.MLP, Shard.REPLICATED),
    )
    dense, traits = blocks.glu(s.hidden, s.inner), Traits("attention_bias", "attention_bias", gate_proj=True)
    attention = attention_linears(keys, traits, s)

    def build(window: int | None, moe: bool) -> Layer:
        mixer = Attention(s.heads, s.kv_heads, s.head_dim, s.head_dim, window)
        return Layer(1, (mixer,), attention + (routed if moe else dense), 5 * s.hidden + 2 * narrow * moe)

    kinds = list(zip(windows(keys, s.layers), moe_layers(keys, s.layers), strict=True))
    made = {kind: build(*kind) for kind in set(kinds)}
    return assemble(name, keys, [made[kind] for kind in kinds], hidden=s.hidden, top=top, parts=parts, other=s.hidden)


def read_ernie_vl(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """ERNIE-4.5-VL: experts for text and, narrower, for images; text never visits the second kind."""
    s = shape(keys)
    inners = keys.whole_numbers("moe_intermediate_size") if keys.is_list("moe_intermediate_size") else None
    if inners is None or len(inners) != 2 or min(inners) < 1:
        raise keys.fail("moe_intermediate_size", inners, "two whole numbers from 1, for text and for images")
    n, bias = keys.size(*EXPERT_COUNT, high=MAX_COUNT), keys.flag("use_bias")
    shared = inners[0] * keys.count(0, "moe_num_shared_experts")
    text = (blocks.router(s.hidden, n), *blocks.experts(s.hidden, inners[0], n, top_k(keys)),
            *blocks.shared_expert(s.hidden, shared))
    seen = sum(m.params for m in (blocks.router(s.hidden, n), *blocks.experts(s.hidden, inners[1], n, top_k(keys))))
    attention = blocks.qkv_o(s.hidden, s.heads, s.kv_heads, s.head_dim, s.head_dim, bias=bias, o_bias=bias)
    dense, mixer = blocks.glu(s.hidden, s.inner, bias=bias), Attention(s.heads, s.kv_heads, s.head_dim, s.head_dim)
    said = moe_layers(keys, s.layers)
    made = {moe: Layer(1, (mixer,), attention + (text if moe else dense), 2 * s.hidden + 2 * n * moe)
            for moe in (True, False)}
    images = Part("experts for images", sum(said) * seen, resident=True)
    return assemble(
        name, keys, [made[moe] for moe in said], hidden=s.hidden, top=top, parts=(*parts, images), other=s.hidden
    )


def read_llama4(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Chunked attention on rotary layers; experts every interleave_moe_layer_step, always with a shared one."""
    s, n = shape(keys), keys.layers()
    chunk = keys.optional("attention_chunk_size", high=2**31)
    types, rotary = layer_types(keys, n), keys.whole_numbers("no_rope_layers", high=1)
    if types is not None:
        chunked = [kind == "chunked_attention" for kind in types]
    elif rotary:
        if len(rotary) < n:
            raise keys.fail("no_rope_layers", len(rotary), f"a list of {n} entries, one per layer")
        chunked = [bool(flag) for flag in rotary[:n]]
    else:
        chunked = [(i + 1) % 4 != 0 for i in range(n)]
    step = keys.size("interleave_moe_layer_step", high=MAX_COUNT)
    listed = keys.whole_numbers("moe_layers")
    sparse = [i in listed for i in range(n)] if listed is not None else [(i + 1) % step == 0 for i in range(n)]
    routed, _ = mixture(keys, Traits(moe=True, expert_inner="intermediate_size", shared="one"), s)
    dense = blocks.glu(s.hidden, keys.size("intermediate_size_mlp"))
    attention = blocks.qkv_o(
        s.hidden,
        s.heads,
        s.kv_heads,
        s.head_dim,
        s.head_dim,
        bias=keys.flag("attention_bias"),
        o_bias=keys.flag("attention_bias"),
    )
    made = {
        (c, m): Layer(
            1,
            (Attention(s.heads, s.kv_heads, s.head_dim, s.head_dim, chunk if c else None),),
            attention + (routed if m else dense),
            2 * s.hidden,
        )
        for c in (True, False)
        for m in (True, False)
    }
    order = [made[kind] for kind in zip(chunked, sparse, strict=True)]
    return assemble(name, keys, order, hidden=s.hidden, top=top, parts=parts, other=s.hidden)


def read_mllama(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Llama 3.2 Vision: layers that attend to the image alone, skipped by a text-only request; 8 spare embeddings."""
    s, n = shape(keys), keys.layers()
    where = set(keys.whole_numbers("cross_attention_layers") or ())
    mlp, attention = blocks.glu(s.hidden, s.inner), blocks.qkv_o(s.hidden, s.heads, s.kv_heads, s.head_dim, s.head_dim)
    own = Layer(1, (Attention(s.heads, s.kv_heads, s.head_dim, s.head_dim),), attention + mlp, 2 * s.hidden)
    image = Layer(
        1, (CrossAttention(s.heads, s.kv_heads, s.head_dim, 0),), attention + mlp, 2 * s.head_dim + 2 + 2 * s.hidden
    )
    vocab = keys.size("vocab_size")
    return assemble(
        name,
        keys,
        [image if i in where else own for i in range(n)],
        hidden=s.hidden,
        top=top,
        parts=parts,
        other=s.hidden,
        embedding=(vocab + 8) * s.hidden,
    )
