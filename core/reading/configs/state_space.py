"""Attention between state spaces: Nemotron-H, Jamba, Bamba, Granite 4, Falcon-H1, Zamba2.

Source: each family's code in transformers 5.23.0.
"""

from math import ceil

from core.models import Attention, Layer, Linear, ModelSpec, Role, Shard
from core.reading.configs import blocks, decoder, recurrent
from core.reading.configs.decoder import Traits, mixture, shape
from core.reading.configs.hybrid import Parts, is_attention, layer, memo, plain_attention
from core.reading.configs.keys import MAX_COUNT, Keys
from core.reading.configs.recurrent import Block
from core.reading.configs.stack import assemble

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
            hidden,
            keys.size("mamba_num_heads", high=2**16),
            keys.size("mamba_head_dim"),
            keys.size("n_groups", "mamba_n_groups", high=2**16),
            keys.size("ssm_state_size", "mamba_state_dim"),
            keys.size("conv_kernel", "mamba_d_conv", high=4096),
            conv_bias=keys.flag("use_conv_bias", "mamba_conv_bias"),
            bias=keys.flag("mamba_proj_bias", "use_bias"),
            state_value_bytes=4 if dtype == "float32" else 2,
        )
        return layer(block, (), hidden)
    if kind == "attention":
        heads = keys.size("num_attention_heads", high=2**16)
        kv_heads, dim = (
            keys.count(heads, "num_key_value_heads") or heads,
            keys.size_or(hidden // heads, "head_dim", "attention_head_dim"),
        )
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
            (
                Linear("fc1_latent_proj", hidden, narrow, Role.MLP, Shard.REPLICATED, bias=bias),
                Linear("fc2_latent_proj", narrow, hidden, Role.MLP, Shard.REPLICATED, bias=bias),
            )
            if "moe_latent_size" in keys
            else ()
        )
        shared = keys.size("moe_shared_expert_intermediate_size") * keys.count(1, "n_shared_experts")
        linears = (
            blocks.router(hidden, n),
            *to_narrow,
            *blocks.experts(narrow, keys.size("moe_intermediate_size"), n, decoder.top_k(keys), gated=False),
            *blocks.shared_expert(hidden, shared, gated=False, bias=bias),
        )
        return Layer(1, (), linears, hidden)
    raise keys.fail("layers_block_type", kind, "made of mamba, attention, mlp and moe")


def read_nemotron_h(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """Nemotron-H, 3 and 3.5: one mixer a layer."""
    hidden = keys.size("hidden_size")
    order = memo(_nemotron_kinds(keys), lambda kind: _nemotron_block(kind, keys, hidden))
    return assemble(name, keys, order, hidden=hidden, top=top, parts=parts, other=hidden)


def read_jamba(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """Jamba: attention every attn_layer_period layers, experts every expert_layer_period."""
    s = shape(keys)

    def every(what: str) -> list[bool]:
        period = keys.size(f"{what}_layer_period", high=MAX_COUNT)
        offset = keys.size_or(0, f"{what}_layer_offset", high=MAX_COUNT)
        return [i % period == offset for i in range(s.layers)]

    rank = keys.values.get("mamba_dt_rank", "auto")
    state_space = recurrent.mamba1(
        s.hidden,
        keys.size("mamba_expand", high=64) * s.hidden,
        keys.size("mamba_d_state"),
        ceil(s.hidden / 16) if rank in ("auto", None) else keys.size("mamba_dt_rank"),
        keys.size("mamba_d_conv", high=4096),
        conv_bias=keys.flag("mamba_conv_bias"),
        bias=keys.flag("mamba_proj_bias"),
        norms=True,
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
    blocks_of = {
        False: recurrent.prefixed_mamba2(keys, s.hidden, inner=inner),
        True: plain_attention(keys, Traits("attention_bias", "attention_bias")),
    }
    mlp = blocks.glu(s.hidden, s.inner, bias=keys.flag("mlp_bias"))
    order = memo(attends, lambda attend: layer(blocks_of[attend], mlp, 2 * s.hidden))
    return assemble(name, keys, order, hidden=s.hidden, top=top, parts=parts, other=s.hidden)


def read_granite_hybrid(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """Granite 4: every layer, Mamba-2 or attention, also has experts and a shared MLP."""
    s = shape(keys)
    inner = keys.size("mamba_expand", high=64) * s.hidden
    blocks_of = {
        False: recurrent.prefixed_mamba2(keys, s.hidden, inner=inner),
        True: plain_attention(keys, Traits("attention_bias", "attention_bias")),
    }
    routed = (
        mixture(keys, Traits(moe=True, expert_inner="intermediate_size"), s)[0]
        if keys.count(0, *decoder.EXPERT_COUNT)
        else ()
    )
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
        keys, s.hidden, inner=inner, gate_norm=keys.flag("mamba_rms_norm")
    )
    attention, linears, small = plain_attention(keys, Traits("attention_bias", "attention_bias"))
    mlp = blocks.glu(s.hidden, s.inner, bias=keys.flag("mlp_bias"))
    both = Layer(1, (attention, mamba), linears + state_linears + mlp, small + state_small + 2 * s.hidden)
    return assemble(name, keys, [both] * s.layers, hidden=s.hidden, top=top, parts=parts, other=s.hidden)


def read_zamba2(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Zamba2: Mamba-2, and a few shared transformer blocks used again and again, each use with its own adapter."""
    hidden, n = keys.size("hidden_size"), keys.layers()
    state = recurrent.mamba2(
        hidden,
        keys.size("n_mamba_heads", high=2**16),
        0,
        keys.size("mamba_ngroups", high=2**16),
        keys.size("mamba_d_state"),
        keys.size("mamba_d_conv", high=4096),
        conv_bias=keys.flag("use_conv_bias"),
        bias=keys.flag("add_bias_linear"),
        inner=int(keys.number(2, "mamba_expand", high=64) * hidden),
    )
    types, ids = keys.texts("layers_block_type", "layer_types"), set(keys.whole_numbers("hybrid_layer_ids") or ())
    uses = [kind.startswith("hybrid") for kind in types[:n]] if types else [i in ids for i in range(n)]
    if len(uses) < n:
        raise keys.fail("layers_block_type", len(uses), f"a list of {n} entries, one per layer")
    owned = keys.size("num_mem_blocks", high=4096)
    order, used = [], 0
    for use in uses:
        order.append(_zamba2_layer(keys, hidden, state, reused=used >= owned) if use else layer(state, (), hidden))
        used += use
    return assemble(name, keys, order, hidden=hidden, top=top, parts=parts, other=hidden)


def _zamba2_layer(keys: Keys, hidden: int, state: Block, *, reused: bool) -> Layer:
    """A Mamba-2 layer fed by a shared block that sees the stream alongside the embeddings (2h wide)."""
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
    own: tuple[Linear, ...] = (
        Linear("adapter_down", hidden, rank, Role.MLP, Shard.REPLICATED),
        Linear("adapter_up", rank, 2 * inner, Role.MLP),
        Linear("linear", hidden, hidden, Role.MLP, Shard.REPLICATED),
    )
    if keys.flag("use_shared_attention_adapter"):
        own += (
            Linear("qkv_adapter_down", 2 * hidden, 3 * rank, Role.ATTENTION, Shard.REPLICATED),
            Linear("qkv_adapter_up", rank, qkv, Role.ATTENTION),
        )
    mixer, linears, small = state
    norms = 0 if reused else 3 * hidden
    return Layer(1, (Attention(heads, kv_heads, dim, dim), mixer), shared + own + linears, small + hidden + norms)
