"""Decoders of softmax attention and an MLP or a mixture of experts: one reader, a row of traits a family."""

from dataclasses import dataclass
from typing import Literal

from core.models import Attention, Layer, Linear, ModelSpec, Part
from core.reading.configs import blocks
from core.reading.configs.keys import Keys
from core.reading.configs.patterns import moe_layers, windows
from core.reading.configs.stack import assemble

Flag = bool | str  # fixed by the class, or the key that says so


@dataclass(frozen=True, slots=True)
class Traits:
    """What a family's code fixes; parameters by norm in multiples of the hidden size."""

    qkv_bias: Flag = False
    o_bias: Flag = False
    mlp_bias: Flag = False
    gated: bool = True
    norms: int = 2  # norm vectors a layer, biases counted
    norms_key: str = ""  # the key that adds a norm after each block
    final_norms: int = 1
    qk_norm: Literal["", "head", "full", "heads"] = ""  # of d, of all heads' width, a d for every head
    qk_norm_key: str = ""  # the key that turns it on, when it is a choice
    square_o: bool = False  # o_proj is h x h whatever the heads
    gate_proj: bool = False  # an output gate as wide as the heads (AFMoE)
    extra: tuple[
        tuple[str, int], ...
    ] = ()  # (unit, multiple): "layer" 1, "head_dim" d, "heads" H, "inner" I, "hidden" h
    head_bias: Flag = False
    every: int | None = None  # class rule: each such layer attends in full
    window_gate: bool = False  # slides only if use_sliding_window
    # mixture of experts
    moe: bool = False
    expert_inner: str = "moe_intermediate_size"  # "intermediate_size" where experts have that width
    shared: Literal["", "count", "size", "one", "hidden"] = ""  # width of the shared expert: how it is found
    shared_gate: bool = False
    router_bias: Flag = False
    router_params: int = 0  # parameters an expert adds to the router beside h (a balance bias)
    expert_bias: bool = False


EXPERT_COUNT = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
TOP_K = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "experts_per_token",
    "top_k_experts",
    "moe_topk",
    "moe_k",
    "moe_top_k",
    "num_selected_experts",
)


@dataclass(frozen=True, slots=True)
class Shape:
    """The widths every decoder has."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int


def flag(keys: Keys, said: Flag) -> bool:
    """A trait as the family fixes it, or by the config's flag of that name; raises ConfigInvalid if that is no flag."""
    return said if isinstance(said, bool) else keys.flag(said)


def top_k(keys: Keys) -> int:
    """Experts a token is sent to; at least one, since a mixture that uses none is no model."""
    return keys.count(1, *TOP_K, low=1)


def shape(keys: Keys) -> Shape:
    """Widths; absent KV heads are as many as heads, an absent head_dim is h / H."""
    hidden = keys.size("hidden_size", "n_embd", "d_model")
    heads = keys.size("num_attention_heads", "n_head", "num_heads", high=2**16)
    kv_heads = keys.count(heads, "num_key_value_heads", low=1)
    if kv_heads > heads:
        raise keys.fail("num_key_value_heads", kv_heads, f"a whole number from 1 to {heads} (the attention heads)")
    head_dim = keys.size_or(hidden // heads, "head_dim", "attention_head_dim") or hidden // heads
    if head_dim < 1:
        raise keys.fail("num_attention_heads", heads, f"no more than hidden_size ({hidden})")
    layers = keys.layers("num_hidden_layers", "n_layer", "num_layers")
    inner = keys.size_or(0, "intermediate_size", "ff_intermediate_size", "ffn_hidden_size", "n_inner")
    return Shape(
        hidden,
        layers,
        heads,
        kv_heads,
        head_dim,
        inner or 4 * hidden * ("n_embd" in keys),
    )


def _shared_inner(keys: Keys, traits: Traits, inner: int) -> int:
    """Width of the experts every token visits, together."""
    if traits.shared == "count":
        return inner * keys.count(0, "n_shared_experts", "num_shared_experts", "moe_num_shared_experts")
    if traits.shared == "size":
        return keys.size_or(0, "shared_expert_intermediate_size", "shared_intermediate_size")
    return {"one": inner, "hidden": keys.size("hidden_size")}.get(traits.shared, 0)


def mixture(keys: Keys, traits: Traits, s: Shape) -> tuple[tuple[Linear, ...], int]:
    """Router, routed and shared experts of one layer, and what is not a matrix."""
    n = keys.count(0, *EXPERT_COUNT)
    inner = s.inner if traits.expert_inner == "intermediate_size" else keys.size_or(s.inner, traits.expert_inner, low=1)
    if inner < 1:
        raise keys.fail(traits.expert_inner, inner, "a whole number from 1")
    shared = _shared_inner(keys, traits, inner)
    linears = (
        blocks.router(s.hidden, n, bias=flag(keys, traits.router_bias)),
        *blocks.experts(s.hidden, inner, n, top_k(keys), gated=traits.gated, bias=traits.expert_bias),
        *blocks.shared_expert(s.hidden, shared, gated=traits.gated),
    )
    return linears, n * traits.router_params + s.hidden * traits.shared_gate


def norm_params(keys: Keys, traits: Traits, s: Shape) -> int:
    """Parameters of one layer's norms on queries and keys; 0 where the config's key for them is off."""
    if traits.qk_norm_key and not keys.flag(traits.qk_norm_key):
        return 0
    both = s.heads + s.kv_heads
    return {"": 0, "head": 2 * s.head_dim, "full": both * s.head_dim, "heads": both * s.head_dim}[traits.qk_norm]


def _extra(traits: Traits, s: Shape) -> int:
    mask = s.kv_heads * (s.kv_heads * s.head_dim + 1)  # Doge's dynamic mask: a projection and a decay
    units = {"mask": mask, "layer": 1, "head_dim": s.head_dim, "heads": s.heads, "inner": s.inner, "hidden": s.hidden}
    return sum(multiple * units[unit] for unit, multiple in traits.extra)


def attention_linears(keys: Keys, traits: Traits, s: Shape) -> tuple[Linear, ...]:
    """Fused q-k-v, an output gate where the family has one, and the output projection."""
    qkv, out = blocks.qkv_o(
        s.hidden,
        s.heads,
        s.kv_heads,
        s.head_dim,
        s.head_dim,
        bias=flag(keys, traits.qkv_bias),
        o_bias=flag(keys, traits.o_bias),
    )
    if traits.square_o:
        out = Linear("o_proj", s.hidden, s.hidden, out.role, out.shard, bias=out.bias)
    gate = (Linear("gate_proj", s.hidden, s.heads * s.head_dim, qkv.role),) if traits.gate_proj else ()
    return qkv, *gate, out


def _layer(keys: Keys, traits: Traits, window: int | None, sparse: bool) -> Layer:
    """One layer as its own keys describe it."""
    s = shape(keys)
    build = blocks.glu if traits.gated else blocks.mlp
    if sparse:
        matrices, more = mixture(keys, traits, s)
    elif s.inner:
        matrices, more = build(s.hidden, s.inner, bias=flag(keys, traits.mlp_bias)), 0
    else:
        raise keys.fail("intermediate_size", None, "a whole number from 1")
    norms = traits.norms + (2 if traits.norms_key and keys.flag(traits.norms_key) else 0)
    small = norms * s.hidden + norm_params(keys, traits, s) + _extra(traits, s)
    mixer = Attention(s.heads, s.kv_heads, s.head_dim, s.head_dim, window)
    return Layer(1, (mixer,), attention_linears(keys, traits, s) + matrices, small + more)


def read(name: str, keys: Keys, traits: Traits, top: Keys | None = None, parts: tuple[Part, ...] = ()) -> ModelSpec:
    """A decoder of that family."""
    s = shape(keys)
    slides = windows(keys, s.layers, every=traits.every, gate=traits.window_gate)
    sparse = moe_layers(keys, s.layers) if traits.moe and keys.count(0, *EXPERT_COUNT) else [False] * s.layers
    kinds = list(zip(keys.by_layer(s.layers), slides, sparse, strict=True))
    made = {kind: _layer(kind[0], traits, kind[1], kind[2]) for kind in set(kinds)}
    return assemble(
        name,
        keys,
        [made[kind] for kind in kinds],
        hidden=s.hidden,
        top=top,
        parts=parts,
        head_bias=flag(keys, traits.head_bias),
        other=traits.final_norms * s.hidden,
    )
