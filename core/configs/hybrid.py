"""Models that mix attention with recurrence, layer by layer, and purely recurrent ones.

Source: each family's code in transformers 5.23.0; where the layer kinds come from is said at each reader.
"""

from collections.abc import Callable, Iterable, Sequence
from math import ceil

from core.configs import blocks, decoder, latent, recurrent
from core.configs.decoder import Traits, mixture, shape
from core.configs.keys import MAX_COUNT, Keys
from core.configs.patterns import SLIDING, layer_types, moe_layers
from core.configs.recurrent import Block
from core.configs.stack import assemble, max_context
from core.models import Attention, CrossAttention, Layer, Linear, ModelSpec, Part, Recurrence, Role, Shard

Parts = tuple[Part, ...]
RECURRENT = ("linear_attention", "mamba", "mamba2", "conv", "recurrent", "hybrid_mamba", "lightning")


def plain_attention(keys: Keys, traits: Traits, window: int | None = None) -> Block:
    """Softmax attention as a block."""
    s = shape(keys)
    small = decoder.norm_params(keys, traits, s)
    return Attention(s.heads, s.kv_heads, s.head_dim, s.head_dim, window), decoder.attention_linears(keys, traits, s), small


def layer(block: Block, mlp: tuple[Linear, ...], small: int) -> Layer:
    mixer, linears, own = block
    return Layer(1, (mixer,), linears + mlp, own + small)


def memo(kinds: Iterable[object], build: Callable[..., Layer]) -> list[Layer]:
    """A layer for each kind, every distinct kind built once."""
    made: dict[object, Layer] = {}
    return [made.setdefault(kind, made[kind] if kind in made else build(kind)) for kind in kinds]


def is_attention(keys: Keys, n: int, listed: Sequence[str] = ("layer_types", "layers_block_type")) -> list[bool]:
    """Which layers attend, by the lists that name every layer."""
    for name in listed:
        types = keys.texts(name)
        if types is not None:
            if len(types) < n:
                raise keys.fail(name, len(types), f"a list of {n} entries, one a layer")
            return [kind not in RECURRENT for kind in types[:n]]
    return [False] * n


def read_qwen_next(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """Qwen3-Next and Qwen3.5: three gated delta nets, then attention with an output gate."""
    s, n = shape(keys), keys.layers()
    every = max(1, keys.size_or(4, "full_attention_interval", high=MAX_COUNT))
    types = layer_types(keys, n)
    attends = [kind == "full_attention" for kind in types] if types else [(i + 1) % every == 0 for i in range(n)]
    bias = keys.flag("attention_bias")
    full: Block = (
        Attention(s.heads, s.kv_heads, s.head_dim, s.head_dim),
        (
            Linear("qkv_proj", s.hidden, (2 * s.heads + 2 * s.kv_heads) * s.head_dim, Role.ATTENTION, bias=bias),
            Linear("o_proj", s.heads * s.head_dim, s.hidden, Role.ATTENTION, Shard.ROW, bias=bias),
        ),
        2 * s.head_dim,
    )
    ssm = recurrent.FP32_BYTES if keys.text("mamba_ssm_dtype") == "float32" else None
    linear = recurrent.delta_net(
        s.hidden, keys.size("linear_num_key_heads", high=2**16), keys.size("linear_key_head_dim"),
        keys.size("linear_num_value_heads", high=2**16), keys.size("linear_value_head_dim"),
        keys.size("linear_conv_kernel_dim", high=4096), state_value_bytes=ssm,
    )
    experts = keys.count(0, *decoder.EXPERT_COUNT)
    sparse = moe_layers(keys, n) if experts else [False] * n
    routed = mixture(keys, Traits(moe=True, shared="size", shared_gate=True), s) if experts else ((), 0)
    dense = blocks.glu(s.hidden, s.inner) if not all(sparse) else ()

    def build(kind: tuple[bool, bool]) -> Layer:
        attend, moe = kind
        mlp, more = routed if moe else (dense, 0)
        return layer(full if attend else linear, mlp, more + 2 * s.hidden)

    order = memo(zip(attends, sparse, strict=True), build)
    return assemble(name, keys, order, hidden=s.hidden, top=top, parts=parts, other=s.hidden)


def read_olmo_hybrid(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """OLMo Hybrid: gated delta nets, every fourth layer attention with full-width norms."""
    s, n = shape(keys), keys.layers()
    types = layer_types(keys, n)
    attends = [kind == "full_attention" for kind in types] if types else [(i + 1) % 4 == 0 for i in range(n)]
    value_heads = keys.count(s.heads, "linear_num_value_heads") or s.heads
    linear = recurrent.delta_net(
        s.hidden, keys.count(value_heads, "linear_num_key_heads") or s.heads,
        keys.size_or(int(0.75 * s.hidden / value_heads), "linear_key_head_dim"),
        value_heads, keys.size_or(2 * int(0.75 * s.hidden / value_heads), "linear_value_head_dim"),
        keys.size("linear_conv_kernel_dim", high=4096),
    )
    full = plain_attention(keys, Traits("attention_bias", "attention_bias", qk_norm="full"))
    mlp = blocks.glu(s.hidden, s.inner)
    order = memo(attends, lambda attend: layer(full if attend else linear, mlp, 2 * s.hidden))
    return assemble(name, keys, order, hidden=s.hidden, top=top, parts=parts, other=s.hidden)


NEMOTRON_LETTERS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}
NEMOTRON_WORDS = {"linear_attention": "mamba", "full_attention": "attention"}


def _nemotron_kinds(keys: Keys) -> list[str]:
    """hybrid_override_pattern letter by letter, or a list of words."""
    pattern = keys.values.get("hybrid_override_pattern")
    if isinstance(pattern, str) and pattern and len(pattern) <= 4096:
        unknown = set(pattern) - set(NEMOTRON_LETTERS)
        if unknown:
            raise keys.fail("hybrid_override_pattern", min(unknown), "made of the letters M, E, * and -")
        return [NEMOTRON_LETTERS[letter] for letter in pattern]
    words = keys.texts("layers_block_type") or keys.texts("layer_types")
    if not words:
        raise keys.fail("hybrid_override_pattern", pattern, "a pattern of the letters M, E, * and -")
    return [NEMOTRON_WORDS.get(word, word) for word in words]


def _nemotron_block(kind: str, keys: Keys, hidden: int) -> Layer:
    """One mixer a layer and its norm; MLPs are squared ReLU, without a gate."""
    if kind == "mamba":
        dtype = keys.text("mamba_ssm_cache_dtype", default="float32")
        block = recurrent.mamba2(
            hidden, keys.size("mamba_num_heads", high=2**16), keys.size("mamba_head_dim"),
            keys.size("n_groups", "mamba_n_groups", high=2**16), keys.size("ssm_state_size", "mamba_state_dim"),
            keys.size("conv_kernel", "mamba_d_conv", high=4096), conv_bias=keys.flag("use_conv_bias", "mamba_conv_bias"),
            bias=keys.flag("mamba_proj_bias", "use_bias"), state_value_bytes=4 if dtype == "float32" else 2,
        )
        return layer(block, (), hidden)
    if kind == "attention":
        heads = keys.size("num_attention_heads", high=2**16)
        kv_heads, dim = keys.count(heads, "num_key_value_heads") or heads, keys.size_or(hidden // heads, "head_dim", "attention_head_dim")
        bias = keys.flag("attention_bias")
        linears = blocks.qkv_o(hidden, heads, kv_heads, dim, dim, bias=bias, o_bias=bias)
        return Layer(1, (Attention(heads, kv_heads, dim, dim),), linears, hidden)
    bias = keys.flag("mlp_bias")
    if kind == "mlp":
        return Layer(1, (), blocks.mlp(hidden, keys.size("intermediate_size"), bias=bias), hidden)
    if kind == "moe":
        n = keys.size(*decoder.EXPERT_COUNT, high=MAX_COUNT)
        narrow = keys.size_or(hidden, "moe_latent_size")  # routed experts may work in a narrower space
        to_narrow = (
            Linear("fc1_latent_proj", hidden, narrow, Role.MLP, Shard.REPLICATED, bias=bias),
            Linear("fc2_latent_proj", narrow, hidden, Role.MLP, Shard.REPLICATED, bias=bias),
        ) if "moe_latent_size" in keys else ()
        shared = keys.size("moe_shared_expert_intermediate_size") * keys.count(1, "n_shared_experts")
        linears = (
            blocks.router(hidden, n),
            *to_narrow,
            *blocks.experts(narrow, keys.size("moe_intermediate_size"), n, keys.count(1, *decoder.TOP_K), gated=False),
            *blocks.shared_expert(hidden, shared, gated=False, bias=bias),
        )
        return Layer(1, (), linears, hidden)
    raise keys.fail("layers_block_type", kind, "made of mamba, attention, mlp and moe")


def read_nemotron_h(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """Nemotron-H, 3 and 3.5: one mixer a layer."""
    hidden = keys.size("hidden_size")
    order = memo(_nemotron_kinds(keys), lambda kind: _nemotron_block(kind, keys, hidden))
    return assemble(name, keys, order, hidden=hidden, top=top, parts=parts, other=hidden)


def read_mamba(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """Mamba: the inner width is expand·h."""
    hidden = keys.size("hidden_size", "d_model")
    inner = int(keys.number(2, "expand", high=64) * hidden)
    return _pure(name, keys, hidden, recurrent.mamba1_of(keys, hidden, inner), top)


def read_falcon_mamba(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """Falcon-Mamba: intermediate_size is the inner width and `expand` is to be ignored."""
    hidden = keys.size("hidden_size")
    inner = keys.size_or(int(keys.number(2, "expand", high=64) * hidden), "intermediate_size")
    return _pure(name, keys, hidden, recurrent.mamba1_of(keys, hidden, inner), top)


def read_mamba2(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """Mamba-2."""
    hidden = keys.size("hidden_size", "d_model")
    block = recurrent.mamba2(
        hidden, keys.size("num_heads", high=2**16), keys.size("head_dim"), keys.size("n_groups", high=2**16),
        keys.size("state_size"), keys.size("conv_kernel", high=4096), conv_bias=keys.flag("use_conv_bias", default=True),
        bias=keys.flag("use_bias"), inner=int(keys.number(2, "expand", high=64) * hidden),
    )
    return _pure(name, keys, hidden, block, top)


def _pure(name: str, keys: Keys, hidden: int, block: Block, top: Keys | None) -> ModelSpec:
    order = [layer(block, (), hidden)] * keys.layers("num_hidden_layers", "n_layer")
    return assemble(name, keys, order, hidden=hidden, top=top, other=hidden)


def read_jamba(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """Jamba: attention every attn_layer_period layers, experts every expert_layer_period."""
    s = shape(keys)

    def every(what: str) -> list[bool]:
        period = keys.size(f"{what}_layer_period", high=MAX_COUNT)
        offset = keys.size_or(0, f"{what}_layer_offset", high=MAX_COUNT)
        return [i % period == offset for i in range(s.layers)]

    rank = keys.values.get("mamba_dt_rank", "auto")
    state_space = recurrent.mamba1(
        s.hidden, keys.size("mamba_expand", high=64) * s.hidden, keys.size("mamba_d_state"),
        ceil(s.hidden / 16) if rank in ("auto", None) else keys.size("mamba_dt_rank"), keys.size("mamba_d_conv", high=4096),
        conv_bias=keys.flag("mamba_conv_bias"), bias=keys.flag("mamba_proj_bias"), norms=True,
    )
    full = plain_attention(keys, Traits())
    many = keys.count(0, *decoder.EXPERT_COUNT) > 1
    routed, _ = mixture(keys, Traits(moe=True, expert_inner="intermediate_size"), s) if many else ((), 0)
    dense = blocks.glu(s.hidden, s.inner)

    def build(kind: tuple[bool, bool]) -> Layer:
        attend, moe = kind
        return layer(full if attend else state_space, routed if moe and many else dense, 2 * s.hidden)

    order = memo(zip(every("attn"), every("expert"), strict=True), build)
    return assemble(name, keys, order, hidden=s.hidden, top=top, parts=parts, other=s.hidden)


def read_bamba(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """Bamba: Mamba-2 with attention in the layers attn_layer_indices names."""
    s = shape(keys)
    inner = keys.size("mamba_expand", high=64) * s.hidden
    where = set(keys.whole_numbers("attn_layer_indices") or ())
    attends = [i in where for i in range(s.layers)] if where else is_attention(keys, s.layers)
    blocks_of = {False: recurrent.prefixed_mamba2(keys, s.hidden, inner=inner),
                 True: plain_attention(keys, Traits("attention_bias", "attention_bias"))}
    mlp = blocks.glu(s.hidden, s.inner, bias=keys.flag("mlp_bias"))
    order = memo(attends, lambda attend: layer(blocks_of[attend], mlp, 2 * s.hidden))
    return assemble(name, keys, order, hidden=s.hidden, top=top, parts=parts, other=s.hidden)


def read_granite_hybrid(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """Granite 4: every layer, Mamba-2 or attention, also has experts and a shared MLP."""
    s = shape(keys)
    inner = keys.size("mamba_expand", high=64) * s.hidden
    blocks_of = {False: recurrent.prefixed_mamba2(keys, s.hidden, inner=inner),
                 True: plain_attention(keys, Traits("attention_bias", "attention_bias"))}
    routed = mixture(keys, Traits(moe=True, expert_inner="intermediate_size"), s)[0] if keys.count(0, *decoder.EXPERT_COUNT) else ()
    mlp = routed + blocks.shared_expert(s.hidden, keys.size_or(0, "shared_intermediate_size"))
    order = memo(is_attention(keys, s.layers), lambda attend: layer(blocks_of[attend], mlp, 2 * s.hidden))
    return assemble(name, keys, order, hidden=s.hidden, top=top, parts=parts, other=s.hidden)


def read_falcon_h1(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """Falcon-H1: attention and Mamba-2 side by side in every layer."""
    s = shape(keys)
    inner = keys.size_or(keys.size("mamba_expand", high=64) * s.hidden, "mamba_d_ssm")
    if "mamba_d_ssm" not in keys and keys.values.get("mamba_d_head") is not None and "mamba_n_heads" in keys:
        inner = keys.size("mamba_n_heads", high=2**16) * keys.size("mamba_d_head")
    mamba, state_linears, state_small = recurrent.prefixed_mamba2(
        keys, s.hidden, inner=inner, gate_norm=keys.flag("mamba_rms_norm"))
    attention, linears, small = plain_attention(keys, Traits("attention_bias", "attention_bias"))
    mlp = blocks.glu(s.hidden, s.inner, bias=keys.flag("mlp_bias"))
    both = Layer(1, (attention, mamba), linears + state_linears + mlp, small + state_small + 2 * s.hidden)
    return assemble(name, keys, [both] * s.layers, hidden=s.hidden, top=top, parts=parts, other=s.hidden)


def _lfm_inner(keys: Keys) -> int:
    """2/3 of the stated width, rounded up to a multiple, when the configuration asks for it."""
    inner = keys.size("block_ff_dim", "intermediate_size")
    if keys.flag("block_auto_adjust_ff_dim", default=True):
        inner = int(2 * inner / 3)
        inner = int(keys.number(1.0, "block_ffn_dim_multiplier", high=64) * inner)
        multiple = max(1, keys.size_or(256, "block_multiple_of"))
        inner = multiple * ((inner + multiple - 1) // multiple)
    return inner


def read_lfm2(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """LFM2: short convolutions, attention in the layers named; the MoE variant routes after dense layers."""
    hidden, n = keys.size("hidden_size"), keys.layers()
    heads = keys.size("num_attention_heads", high=2**16)
    kv_heads, head_dim = keys.count(heads, "num_key_value_heads") or heads, keys.size_or(hidden // heads, "head_dim")
    where = keys.whole_numbers("full_attn_idxs")
    types = layer_types(keys, n)
    attends = [kind == "full_attention" for kind in types] if types else [where is None or i in where for i in range(n)]
    conv = recurrent.short_conv(hidden, keys.size("conv_L_cache", high=4096), bias=keys.flag("conv_bias"))
    full: Block = (Attention(heads, kv_heads, head_dim, head_dim),
                   blocks.qkv_o(hidden, heads, kv_heads, head_dim, head_dim), 2 * head_dim)
    experts = keys.count(0, *decoder.EXPERT_COUNT)
    first = keys.size_or(0, "num_dense_layers", high=MAX_COUNT) if experts else n
    inner = keys.size("intermediate_size") if experts else _lfm_inner(keys)
    dense = blocks.glu(hidden, inner)
    routed = (blocks.router(hidden, experts),
              *blocks.experts(hidden, keys.size_or(inner, "moe_intermediate_size"), experts, keys.count(1, *decoder.TOP_K)))

    def build(kind: tuple[bool, bool]) -> Layer:
        attend, moe = kind
        return layer(full if attend else conv, routed if moe else dense, 2 * hidden)

    order = memo(((attend, i >= first) for i, attend in enumerate(attends)), build)
    return assemble(name, keys, order, hidden=hidden, top=top, parts=parts, other=hidden)


def read_lfm3(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """LFM3: short convolutions, sliding and full attention with a gate a head, norms before and after."""
    s = shape(keys)
    types = layer_types(keys, s.layers)
    if types is None:
        raise keys.fail("layer_types", None, f"a list of {s.layers} entries, one a layer")
    longest, window = max_context(keys), keys.optional("sliding_window")
    window = None if window and longest and window >= longest else window
    conv = recurrent.short_conv(s.hidden, keys.size("conv_L_cache", high=4096), bias=keys.flag("conv_bias"))
    gate = Linear("g_proj", s.hidden, s.heads, Role.ATTENTION)
    mlp = blocks.glu(s.hidden, s.inner)

    def build(kind: str) -> Layer:
        if kind in RECURRENT:
            return layer(conv, mlp, 4 * s.hidden)
        mixer, linears, small = plain_attention(keys, Traits(qk_norm="head"), window if kind in SLIDING else None)
        return layer((mixer, (*linears, gate), small), mlp, 4 * s.hidden)

    return assemble(name, keys, memo(types, build), hidden=s.hidden, top=top, parts=parts, other=s.hidden)


def read_minimax(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """MiniMax-Text-01: lightning attention, softmax attention in the layers the list names; all layers routed."""
    s = shape(keys)
    flags = keys.whole_numbers("attn_type_list", high=1)
    types = layer_types(keys, s.layers)
    if types is not None:
        attends = [kind == "full_attention" for kind in types]
    elif flags is not None and len(flags) >= s.layers:
        attends = [bool(flag) for flag in flags[: s.layers]]
    else:
        attends = [bool((i + 1) % 2) for i in range(s.layers)]
    routed, _ = mixture(keys, Traits(moe=True, expert_inner="intermediate_size"), s)
    full = plain_attention(keys, Traits())
    linear = recurrent.lightning(s.hidden, s.heads, s.head_dim)
    order = memo(attends, lambda attend: layer(full if attend else linear, routed, 2 * s.hidden))
    return assemble(name, keys, order, hidden=s.hidden, top=top, parts=parts, other=s.hidden)


def read_recurrent_gemma(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """RecurrentGemma: two linear recurrences, then local attention."""
    s = shape(keys)
    types = keys.texts("block_types", "_block_types", "layers_block_type") or ["recurrent", "recurrent", "attention"]
    inner = s.inner // 2  # the file states gate and up together
    width = keys.size_or(s.hidden, "lru_width") or s.hidden
    linear = recurrent.rg_lru(s.hidden, width, s.heads, keys.size("conv1d_width", high=4096))
    window = keys.size("attention_window_size", high=2**31)
    local = plain_attention(keys, Traits("attention_bias", True), window)
    mlp = blocks.glu(s.hidden, inner, bias=True)
    order = memo(
        (types[i % len(types)] for i in range(s.layers)),
        lambda kind: layer(local if kind == "attention" else linear, mlp, 2 * s.hidden),
    )
    return assemble(name, keys, order, hidden=s.hidden, top=top, parts=parts, other=s.hidden)


def read_rwkv(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """RWKV-4 and 5: time mixing and channel mixing; version 5 keeps a matrix a head."""
    hidden = keys.size("hidden_size")
    width = keys.size_or(hidden, "attention_hidden_size") or hidden
    five = keys.family == "rwkv5"
    inner = keys.size_or(0, "intermediate_size") or (int(hidden * 3.5) // 32 * 32 if five else 4 * hidden)
    head = keys.size_or(64, "head_size")
    state = width * head if five else 3 * width
    time = (
        Linear("receptance_key_value", hidden, (4 if five else 3) * width, Role.STATE),
        Linear("output", width, hidden, Role.STATE, Shard.ROW),
    )
    channel = (
        Linear("key", hidden, inner, Role.MLP),
        Linear("receptance", hidden, hidden, Role.MLP, Shard.REPLICATED),
        Linear("value", inner, hidden, Role.MLP, Shard.ROW),
    )
    mixes = (4 if five else 3) * hidden + 2 * hidden
    norms = 4 * hidden + 2 * width * five
    mixer = Recurrence("rwkv", 2 * hidden, 2, state, recurrent.FP32_BYTES)
    block = Layer(1, (mixer,), time + channel, 2 * width + mixes + norms)
    return assemble(name, keys, [block] * keys.layers(), hidden=hidden, top=top, other=4 * hidden, tied=keys.flag("tie_word_embeddings") and not five)


def read_zamba2(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Zamba2: Mamba-2, and a few shared transformer blocks used again and again, each use with its own adapter."""
    hidden, n = keys.size("hidden_size"), keys.layers()
    state = recurrent.mamba2(
        hidden, keys.size("n_mamba_heads", high=2**16), 0, keys.size("mamba_ngroups", high=2**16), keys.size("mamba_d_state"),
        keys.size("mamba_d_conv", high=4096), conv_bias=keys.flag("use_conv_bias"), bias=keys.flag("add_bias_linear"),
        inner=int(keys.number(2, "mamba_expand", high=64) * hidden),
    )
    types, ids = keys.texts("layers_block_type", "layer_types"), set(keys.whole_numbers("hybrid_layer_ids") or ())
    uses = [kind.startswith("hybrid") for kind in types[:n]] if types else [i in ids for i in range(n)]
    if len(uses) < n:
        raise keys.fail("layers_block_type", len(uses), f"a list of {n} entries, one a layer")
    owned = keys.size("num_mem_blocks", high=4096)
    order, used = [], 0
    for use in uses:
        order.append(_zamba2_layer(keys, hidden, state, reused=used >= owned) if use else layer(state, (), hidden))
        used += use
    return assemble(name, keys, order, hidden=hidden, top=top, parts=parts, other=hidden)


def _zamba2_layer(keys: Keys, hidden: int, state: Block, *, reused: bool) -> Layer:
    """A Mamba-2 layer fed by a shared block that sees the stream beside the embeddings (2h wide)."""
    heads = keys.size("num_attention_heads", high=2**16)
    kv_heads = keys.count(heads, "num_key_value_heads") or heads
    dim = keys.size_or(2 * hidden // heads, "attention_head_dim")
    inner, rank = keys.size_or(4 * hidden, "intermediate_size"), keys.size("adapter_rank")
    qkv = (heads + 2 * kv_heads) * dim
    bias = keys.flag("add_bias_linear")
    shared = (
        Linear("qkv_proj", 2 * hidden, qkv, Role.ATTENTION, reused=reused),
        Linear("o_proj", heads * dim, hidden, Role.ATTENTION, Shard.ROW, reused=reused),
        Linear("gate_up_proj", hidden, 2 * inner, Role.MLP, bias=bias, reused=reused),
        Linear("down_proj", inner, hidden, Role.MLP, Shard.ROW, bias=bias, reused=reused),
    )
    own = (
        Linear("adapter_down", hidden, rank, Role.MLP, Shard.REPLICATED),
        Linear("adapter_up", rank, 2 * inner, Role.MLP),
        Linear("linear", hidden, hidden, Role.MLP, Shard.REPLICATED),
    )
    if keys.flag("use_shared_attention_adapter"):
        own += (Linear("qkv_adapter_down", 2 * hidden, 3 * rank, Role.ATTENTION, Shard.REPLICATED),
                Linear("qkv_adapter_up", rank, qkv, Role.ATTENTION))
    mixer, linears, small = state
    norms = 0 if reused else 3 * hidden
    return Layer(1, (Attention(heads, kv_heads, dim, dim), mixer), shared + own + linears, small + hidden + norms)


def read_xlstm(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """xLSTM (2405.04517): matrix memories with scalar gates."""
    hidden, heads = keys.size("hidden_size", "embedding_dim"), keys.size("num_heads", high=2**16)
    qk = int(hidden * keys.number(0.5, "qk_dim_factor", high=64))
    v = int(hidden * keys.number(1.0, "v_dim_factor", high=64))
    multiple = keys.size_or(64, "ffn_round_up_to_multiple_of")
    inner = ceil(keys.number(2.667, "ffn_proj_factor", high=64) * hidden / multiple) * multiple
    bias = keys.flag("use_bias")
    linears = (
        Linear("qk", hidden, 2 * qk, Role.STATE, bias=bias),
        Linear("v_ogate", hidden, 2 * v, Role.STATE, bias=bias),
        Linear("gates", hidden, 2 * heads, Role.STATE, bias=True),
        Linear("out_proj", v, hidden, Role.STATE, Shard.ROW, bias=bias),
        *blocks.glu(hidden, inner, bias=bias),
    )
    memory = heads * ((qk // heads) * (v // heads) + qk // heads + 1)
    block = Layer(1, (Recurrence("mlstm", 0, 0, memory, recurrent.FP32_BYTES),), linears, v + 2 * hidden)
    return assemble(name, keys, [block] * keys.layers("num_hidden_layers", "num_blocks"), hidden=hidden, top=top, other=hidden)
