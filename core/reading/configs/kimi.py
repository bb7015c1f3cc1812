"""Kimi Linear, Kimi K3 and GLM-5-Next: Kimi Delta Attention with latent attention every few layers.

Source: KimiLinear and Glm5Next in transformers 5.23.0; K3: the tensor list of moonshotai/Kimi-K3.
"""

from core.models import Layer, Linear, ModelSpec, Role, Shard
from core.reading.configs import blocks, latent, recurrent, sparse
from core.reading.configs.decoder import EXPERT_COUNT, top_k
from core.reading.configs.hybrid import Parts
from core.reading.configs.keys import MAX_COUNT, Keys
from core.reading.configs.patterns import layer_types, moe_layers
from core.reading.configs.recurrent import Block
from core.reading.configs.stack import assemble


def _delta(keys: Keys, hidden: int, *, full_gate: bool) -> tuple[Block, list[bool]]:
    """The delta-attention block, and which layers attend in full; layer lists count from one."""
    n, nested = keys.layers(), keys.part("linear_attn_config")
    source = nested or keys
    heads = source.size("num_heads", "linear_num_heads", high=2**16)
    dim, kernel = (
        source.size("head_dim" if nested else "linear_head_dim"),
        source.size("short_conv_kernel_size", "linear_conv_kernel_dim", high=4096),
    )
    mixer, linears, small = recurrent.kimi_delta(hidden, heads, dim, kernel, full_gate=full_gate)
    if full_gate:
        small += dim - heads  # K3 keeps a decay a channel of the head, not a head
    types = layer_types(keys, n)
    if nested is not None and (listed := nested.whole_numbers("full_attn_layers")) is not None:
        full = set(listed)
        attends = [i + 1 in full for i in range(n)]
    elif types is not None:
        attends = [kind != "linear_attention" for kind in types]
    else:
        attends = [(i + 1) % 4 == 0 for i in range(n)]
    return (mixer, linears, small), attends


def read_kimi_linear(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """K3 adds output gates to full layers, learnt residual mixing, and experts in a narrower space."""
    w, k3 = latent.widths(keys), "routed_expert_hidden_size" in keys
    delta, attends = _delta(keys, w.hidden, full_gate=k3)
    mixer, linears, small = latent.attention(keys, w, latent.LatentTraits(), owns_index=False)
    gate = (Linear("g_proj", w.hidden, w.heads * w.v_dim, Role.ATTENTION),) if k3 else ()
    full: Block = (mixer, linears + gate, small)
    residual = 4 * w.hidden if k3 else 0
    dense = blocks.glu(w.hidden, keys.size("intermediate_size"))
    routed, norm = _mixture(keys, w.hidden)

    def build(attend: bool, moe: bool) -> Layer:
        own, matrices, own_small = full if attend else delta
        return Layer(1, (own,), matrices + (routed if moe else dense), own_small + norm * moe + 2 * w.hidden + residual)

    kinds = list(zip(attends, moe_layers(keys, keys.layers()), strict=True))
    made = {kind: build(*kind) for kind in set(kinds)}
    return assemble(
        name,
        keys,
        [made[kind] for kind in kinds],
        hidden=w.hidden,
        top=top,
        parts=parts,
        other=w.hidden + 2 * w.hidden * k3,
    )


def read_bailing_hybrid(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Ling 2.5: delta attention with full gates and decays, every layer_group_size-th latent with a gate a head."""
    w, n = latent.widths(keys), keys.layers()
    heads, dim = keys.size("linear_num_heads", high=2**16), keys.size("linear_head_dim")
    kernel = keys.size("linear_conv_kernel_dim", "short_conv_kernel_size", high=4096)
    delta = recurrent.kimi_delta(w.hidden, heads, dim, kernel, full_gate=True, full_decay=True)
    mixer, linears, small = latent.attention(keys, w, latent.LatentTraits(), owns_index=False)
    full: Block = (mixer, (*linears, Linear("g_proj", w.hidden, w.heads, Role.ATTENTION)), small)
    group = keys.size_or(6, "layer_group_size", low=1, high=MAX_COUNT)
    types = layer_types(keys, n)
    attends = [k != "linear_attention" for k in types] if types else [(i + 1) % group == 0 for i in range(n)]
    dense, (routed, _) = blocks.glu(w.hidden, keys.size("intermediate_size")), _mixture(keys, w.hidden)

    def build(attend: bool, moe: bool) -> Layer:
        own, matrices, own_small = full if attend else delta
        return Layer(1, (own,), matrices + (routed if moe else dense), own_small + 2 * w.hidden)

    kinds = list(zip(attends, moe_layers(keys, n), strict=True))
    made = {kind: build(*kind) for kind in set(kinds)}
    return assemble(name, keys, [made[k] for k in kinds], hidden=w.hidden, top=top, parts=parts, other=w.hidden)


def _mixture(keys: Keys, hidden: int) -> tuple[tuple[Linear, ...], int]:
    """Experts; in K3 between a shared down and up projection with a norm."""
    n, inner = keys.size(*EXPERT_COUNT, high=MAX_COUNT), keys.size("moe_intermediate_size")
    narrow = keys.size_or(0, "routed_expert_hidden_size")
    into = (
        (
            Linear("routed_expert_down_proj", hidden, narrow, Role.MLP, Shard.REPLICATED),
            Linear("routed_expert_up_proj", narrow, hidden, Role.MLP, Shard.REPLICATED),
        )
        if narrow
        else ()
    )
    norm = narrow * keys.flag("latent_moe_use_norm", default=True)
    linears = (
        blocks.router(hidden, n),
        *into,
        *blocks.experts(narrow or hidden, inner, n, top_k(keys)),
        *blocks.shared_expert(hidden, inner * keys.count(0, "num_shared_experts", "n_shared_experts")),
    )
    return linears, norm


def read_glm5_next(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """GLM-5-Next: no rotary part at all, index keys pooled by a learnt gate, hyper-connections around every block."""
    w, n = latent.widths(keys), keys.layers()
    delta, attends = _delta(keys, w.hidden, full_gate=False)
    mixer, linears, small = latent.attention(keys, w, latent.LatentTraits(indexer=True), owns_index=True)
    dim, pool = keys.size("index_head_dim"), keys.size("index_kpool", high=MAX_COUNT)
    gate = Linear("indexer.compress_gate", w.hidden, dim, Role.ATTENTION, Shard.REPLICATED)
    full: Block = (mixer, (*linears, gate), small + pool * dim)
    around = 2 * sparse.hyper_connections(w.hidden, keys.size("hc_mult", high=64))
    dense, (routed, _) = blocks.glu(w.hidden, keys.size("intermediate_size")), _mixture(keys, w.hidden)

    def build(attend: bool, moe: bool) -> Layer:
        own, matrices, own_small = full if attend else delta
        return Layer(1, (own,), matrices + (routed if moe else dense), own_small + 2 * w.hidden + around)

    known = "mlp_layer_types" in keys or "first_k_dense_replace" in keys
    routes = moe_layers(keys, n) if known else [i >= 3 for i in range(n)]
    order = [build(*kind) for kind in zip(attends, routes, strict=True)]
    return assemble(name, keys, order, hidden=w.hidden, top=top, parts=parts, other=w.hidden)
