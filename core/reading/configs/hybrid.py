"""Models that mix attention with recurrence, layer by layer, and purely recurrent ones.

Source: each family's code in transformers 5.23.0; where the layer kinds come from is said at each reader.
"""

from collections.abc import Callable, Iterable, Sequence

from core.models import Attention, Layer, Linear, ModelSpec, Part, Role, Shard
from core.reading.configs import blocks, decoder, recurrent
from core.reading.configs.decoder import Traits, mixture, shape
from core.reading.configs.keys import MAX_COUNT, Keys
from core.reading.configs.patterns import SLIDING, layer_types, moe_layers
from core.reading.configs.recurrent import Block
from core.reading.configs.stack import assemble, max_context

Parts = tuple[Part, ...]
RECURRENT = ("linear_attention", "mamba", "mamba2", "conv", "recurrent", "hybrid_mamba", "lightning")


def plain_attention(keys: Keys, traits: Traits, window: int | None = None) -> Block:
    """Softmax attention as a block."""
    s = shape(keys)
    small = decoder.norm_params(keys, traits, s)
    return (
        Attention(s.heads, s.kv_heads, s.head_dim, s.head_dim, window),
        decoder.attention_linears(keys, traits, s),
        small,
    )


def layer(block: Block, mlp: tuple[Linear, ...], small: int) -> Layer:
    """One layer: a block's mixer and matrices, the MLP's, and the small parameters of both."""
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
                raise keys.fail(name, len(types), f"a list of {n} entries, one per layer")
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
        s.hidden,
        keys.size("linear_num_key_heads", high=2**16),
        keys.size("linear_key_head_dim"),
        keys.size("linear_num_value_heads", high=2**16),
        keys.size("linear_value_head_dim"),
        keys.size("linear_conv_kernel_dim", high=4096),
        state_value_bytes=ssm,
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


def read_lara_mini(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """LARA Mini: gated delta nets between sliding and full attention, experts and a shared one in every layer."""
    s, types = shape(keys), layer_types(keys, keys.layers())
    if types is None:
        raise keys.fail("layer_types", None, f"a list of {s.layers} entries, one per layer")
    linear = recurrent.delta_net(
        s.hidden,
        keys.size("linear_num_key_heads", high=2**16),
        keys.size("linear_key_head_dim"),
        keys.size("linear_num_value_heads", high=2**16),
        keys.size("linear_value_head_dim"),
        keys.size("linear_conv_kernel_dim", high=4096),
    )
    routed, more = mixture(keys, Traits(moe=True, shared="size"), s)
    window, traits = keys.optional("sliding_window"), Traits("attention_bias", "attention_bias", qk_norm="head")

    def build(kind: str) -> Layer:
        full = plain_attention(keys, traits, window if kind in SLIDING else None)
        return layer(linear if kind in RECURRENT else full, routed, more + 2 * s.hidden)

    return assemble(name, keys, memo(types, build), hidden=s.hidden, top=top, parts=parts, other=s.hidden)


def read_olmo_hybrid(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """OLMo Hybrid: gated delta nets, every fourth layer attention with full-width norms."""
    s, n = shape(keys), keys.layers()
    types = layer_types(keys, n)
    attends = [kind == "full_attention" for kind in types] if types else [(i + 1) % 4 == 0 for i in range(n)]
    value_heads = keys.count(s.heads, "linear_num_value_heads") or s.heads
    linear = recurrent.delta_net(
        s.hidden,
        keys.count(value_heads, "linear_num_key_heads") or s.heads,
        keys.size_or(int(0.75 * s.hidden / value_heads), "linear_key_head_dim"),
        value_heads,
        keys.size_or(2 * int(0.75 * s.hidden / value_heads), "linear_value_head_dim"),
        keys.size("linear_conv_kernel_dim", high=4096),
    )
    full = plain_attention(keys, Traits("attention_bias", "attention_bias", qk_norm="full"))
    mlp = blocks.glu(s.hidden, s.inner)
    order = memo(attends, lambda attend: layer(full if attend else linear, mlp, 2 * s.hidden))
    return assemble(name, keys, order, hidden=s.hidden, top=top, parts=parts, other=s.hidden)


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
    full: Block = (
        Attention(heads, kv_heads, head_dim, head_dim),
        blocks.qkv_o(hidden, heads, kv_heads, head_dim, head_dim),
        2 * head_dim,
    )
    experts = keys.count(0, *decoder.EXPERT_COUNT)
    first = keys.size_or(0, "num_dense_layers", high=MAX_COUNT) if experts else n
    inner = keys.size("intermediate_size") if experts else _lfm_inner(keys)
    dense = blocks.glu(hidden, inner)
    routed: tuple[Linear, ...] = ()
    if experts:
        width = keys.size_or(inner, "moe_intermediate_size", low=1)
        routed = (blocks.router(hidden, experts), *blocks.experts(hidden, width, experts, decoder.top_k(keys)))

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
        raise keys.fail("layer_types", None, f"a list of {s.layers} entries, one per layer")
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
