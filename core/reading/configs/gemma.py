"""Gemma 3n and Gemma 4: layers that share keys and values, per-layer embeddings, wider global heads.

Source: Gemma3n and Gemma4 in transformers 5.23.0.
"""

from core.models import Attention, Layer, Linear, ModelSpec, Part, Role, Shard
from core.reading.configs import blocks
from core.reading.configs.keys import MAX_COUNT, Keys
from core.reading.configs.patterns import pick, sliding_layers
from core.reading.configs.stack import assemble

Parts = tuple[Part, ...]


def _per_layer(keys: Keys, hidden: int, n: int) -> tuple[tuple[Linear, ...], int, int, int]:
    """Matrices and norm of each layer's own embedding, its table, and the projection that feeds all layers."""
    p = keys.size_or(0, "hidden_size_per_layer_input")
    if not p:
        return (), 0, 0, 0
    linears = (
        Linear("per_layer_input_gate", hidden, p, Role.MLP, Shard.REPLICATED),
        Linear("per_layer_projection", p, hidden, Role.MLP, Shard.REPLICATED),
    )
    table = keys.size("vocab_size_per_layer_input") * n * p
    return linears, hidden, table, hidden * n * p + p


def read_gemma4(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Global layers have their own head width and KV heads; the last layers reuse keys and values."""
    hidden, n = keys.size("hidden_size"), keys.layers()
    slides = sliding_layers(keys, n, every=6)
    slides[-1] = False
    shared_from = n - keys.size_or(0, "num_kv_shared_layers", high=n)
    gates, norm, table, feed = _per_layer(keys, hidden, n)

    def build(own: Keys, sliding: bool, owns: bool) -> Layer:
        mixer, attention, small = _gemma4_attention(own, hidden, sliding, owns)
        wide = 1 + (keys.flag("use_double_wide_mlp") and not owns)
        mlp = blocks.glu(hidden, wide * keys.size("intermediate_size"))
        routed, more = _gemma4_experts(keys, hidden)
        scalars = small + 4 * hidden + norm + more
        return Layer(1, (mixer,), attention + mlp + routed + gates, scalars)

    kinds = [(own, slides[i], i < shared_from) for i, own in enumerate(keys.by_layer(n))]
    made = {kind: build(*kind) for kind in set(kinds)}
    order = [made[kind] for kind in kinds]
    return assemble(name, keys, order, hidden=hidden, top=top, parts=parts, other=hidden + feed, lookup=table)


def _gemma4_attention(keys: Keys, hidden: int, sliding: bool, owns: bool) -> tuple[Attention, tuple[Linear, ...], int]:
    heads, kv_heads, dim = (
        keys.size("num_attention_heads", high=2**16),
        keys.size("num_key_value_heads", high=2**16),
        keys.size("head_dim"),
    )
    same = keys.flag("attention_k_eq_v") and not sliding  # the value is the key before its norm
    if not sliding and "per_layer_config" not in keys:   # saved by transformers < 5.17
        dim = keys.size_or(512, "global_head_dim")
        kv_heads = keys.count(kv_heads, "num_global_key_value_heads") if same else kv_heads
    window = keys.size("sliding_window", high=2**31) if sliding else None
    bias = keys.flag("attention_bias")
    mixer = Attention(heads, kv_heads, dim, dim, window, writes_kv=owns)
    if not owns:
        return mixer, blocks.q_o(hidden, heads, dim, dim, bias=bias, o_bias=bias), dim
    qkv, out = blocks.qkv_o(hidden, heads, kv_heads, dim, 0 if same else dim, bias=bias)
    out = Linear(out.name, heads * dim, hidden, out.role, out.shard, bias=bias)
    return mixer, (qkv, out), 2 * dim


def _gemma4_experts(keys: Keys, hidden: int) -> tuple[tuple[Linear, ...], int]:
    """Experts alongside the dense MLP: three norms, a scale on the router's input and one per expert."""
    if not keys.flag("enable_moe_block"):
        return (), 0
    n, inner = keys.size("num_experts", high=MAX_COUNT), keys.size("moe_intermediate_size")
    experts = blocks.experts(hidden, inner, n, keys.size("top_k_experts", high=MAX_COUNT))
    return (blocks.router(hidden, n), *experts), 3 * hidden + hidden + n


def read_gemma3n(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Gemma 3n: alternating updates over four streams, a low-rank residual, and shared keys and values."""
    hidden, n = keys.size("hidden_size"), keys.layers()
    heads, kv_heads = keys.size("num_attention_heads", high=2**16), keys.size("num_key_value_heads", high=2**16)
    dim, streams, rank = keys.size("head_dim"), keys.size("altup_num_inputs", high=64), keys.size("laurel_rank")
    slides = sliding_layers(keys, n, every=5)
    shared_from = n - keys.size_or(0, "num_kv_shared_layers", high=n)
    inners = (
        keys.whole_numbers("intermediate_size")
        if keys.is_list("intermediate_size")
        else [keys.size("intermediate_size")]
    )
    if not inners or (len(inners) > 1 and len(inners) < n):
        raise keys.fail("intermediate_size", len(inners or ()), f"a list of {n} entries, one per layer")
    gates, norm, table, feed = _per_layer(keys, hidden, n)
    window, bias = keys.size("sliding_window", high=2**31), keys.flag("attention_bias")

    def build(sliding: bool, owns: bool, inner: int) -> Layer:
        mixer = Attention(heads, kv_heads, dim, dim, window if sliding else None, writes_kv=owns)
        if owns:
            attention = blocks.qkv_o(hidden, heads, kv_heads, dim, dim, bias=bias, o_bias=bias)
        else:
            attention = blocks.q_o(hidden, heads, dim, dim, bias=bias, o_bias=bias)
        streams_mix = (Linear("altup.modality_router", hidden, streams, Role.MLP, Shard.REPLICATED),)
        residual = (
            Linear("laurel.linear_left", hidden, rank, Role.MLP, Shard.REPLICATED),
            Linear("laurel.linear_right", rank, hidden, Role.MLP, Shard.REPLICATED),
        )
        altup = hidden + streams**2 + streams**3 + hidden  # output scale, coefficients, router norm
        small = (2 if owns else 1) * dim + 4 * hidden + altup + hidden + norm
        return Layer(1, (mixer,), attention + blocks.glu(hidden, inner) + streams_mix + residual + gates, small)

    kinds = [(s, i < shared_from, pick(inners, i)) for i, s in enumerate(slides)]
    made = {kind: build(*kind) for kind in set(kinds)}
    projections = 2 * (streams - 1) * hidden * hidden
    return assemble(
        name,
        keys,
        [made[kind] for kind in kinds],
        hidden=hidden,
        top=top,
        parts=parts,
        other=hidden + feed + projections,
        lookup=table,
    )
