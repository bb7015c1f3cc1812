"""The recurrent mixers: matrices, small parameters and state of one layer of each kind.

Formulas as in the papers (Mamba 2312.00752, Mamba-2 2405.21060, gated delta net 2412.06464, Kimi Delta
Attention 2510.26692); what the state holds and in which dtype as vLLM 0.33 allocates it.
"""

from math import ceil

from core.models import Linear, Mixer, Recurrence, Role, Shard
from core.reading.configs.keys import Keys

Block = tuple[Mixer, tuple[Linear, ...], int]  # mixer, matrices, parameters outside them

FP32_BYTES = 4
_S = Role.STATE


def mamba1(
    hidden: int, inner: int, state: int, rank: int, kernel: int, *, conv_bias: bool, bias: bool, norms: bool = False
) -> Block:
    """Selective state space: inner·state values of state; Jamba norms dt, B and C."""
    linears = (
        Linear("in_proj", hidden, 2 * inner, _S, bias=bias),
        Linear("x_proj", inner, rank + 2 * state, _S, Shard.ROW),
        Linear("dt_proj", rank, inner, _S, bias=True),
        Linear("out_proj", inner, hidden, _S, Shard.ROW, bias=bias),
    )
    small = inner * (kernel + conv_bias) + inner * state + inner + norms * (rank + 2 * state)
    return Recurrence("mamba", inner, kernel, inner * state), linears, small


def mamba2(
    hidden: int,
    heads: int,
    head_dim: int,
    groups: int,
    state: int,
    kernel: int,
    *,
    conv_bias: bool,
    bias: bool,
    inner: int | None = None,
    gate_norm: bool = True,
    state_value_bytes: int | None = None,
) -> Block:
    """State space duality: heads·head_dim·state values of state; B and C come in groups."""
    inner = heads * head_dim if inner is None else inner
    conv = inner + 2 * groups * state
    linears = (
        Linear("in_proj", hidden, inner + conv + heads, _S, bias=bias),
        Linear("out_proj", inner, hidden, _S, Shard.ROW, bias=bias),
    )
    small = conv * (kernel + conv_bias) + 3 * heads + inner * gate_norm
    mixer = Recurrence("mamba2", inner, kernel, inner * state, state_value_bytes, groups, 2 * groups * state)
    return mixer, linears, small


def delta_net(
    hidden: int,
    key_heads: int,
    key_dim: int,
    value_heads: int,
    value_dim: int,
    kernel: int,
    *,
    state_value_bytes: int | None = None,
) -> Block:
    """Gated delta net: a key_dim x value_dim state for every value head."""
    keys, values = key_heads * key_dim, value_heads * value_dim
    linears = (
        Linear("in_proj_qkvz", hidden, 2 * keys + 2 * values, _S),
        Linear("in_proj_ba", hidden, 2 * value_heads, _S),
        Linear("out_proj", values, hidden, _S, Shard.ROW),
    )
    small = (2 * keys + values) * kernel + 2 * value_heads + value_dim
    mixer = Recurrence("delta net", 2 * keys + values, kernel, values * key_dim, state_value_bytes)
    return mixer, linears, small


def kimi_delta(
    hidden: int, heads: int, head_dim: int, kernel: int, *, full_gate: bool = False, full_decay: bool = False
) -> Block:
    """Kimi Delta Attention: a decay for every channel; the state is always fp32.

    K3 gates with a full matrix; Bailing's decay comes from one as well.
    """
    width = heads * head_dim
    gate = (
        (Linear("g_proj", hidden, width, _S),)
        if full_gate
        else (Linear("g_a_proj", hidden, head_dim, _S, Shard.REPLICATED), Linear("g_b_proj", head_dim, width, _S))
    )
    decay = (
        (Linear("f_proj", hidden, width, _S),)
        if full_decay
        else (Linear("f_a_proj", hidden, head_dim, _S, Shard.REPLICATED), Linear("f_b_proj", head_dim, width, _S))
    )
    linears = (
        Linear("qkv_proj", hidden, 3 * width, _S),
        *decay,
        Linear("b_proj", hidden, heads, _S),
        *gate,
        Linear("o_proj", width, hidden, _S, Shard.ROW),
    )
    small = 3 * width * kernel + heads + width + head_dim
    return Recurrence("kimi delta", 3 * width, kernel, width * head_dim, FP32_BYTES), linears, small


def short_conv(hidden: int, kernel: int, *, bias: bool = False) -> Block:
    """LFM2: a gated convolution; its last inputs are all it remembers."""
    linears = (
        Linear("in_proj", hidden, 3 * hidden, _S, bias=bias),
        Linear("out_proj", hidden, hidden, _S, Shard.ROW, bias=bias),
    )
    return Recurrence("short conv", hidden, kernel, 0), linears, hidden * (kernel + bias)


def lightning(hidden: int, heads: int, head_dim: int) -> Block:
    """Lightning attention (MiniMax-01, 2501.08313): a head_dim x head_dim state a head, and an output gate."""
    width = heads * head_dim
    linears = (
        Linear("qkv_proj", hidden, 3 * width, _S),
        Linear("output_gate", hidden, width, _S),
        Linear("out_proj", width, hidden, _S, Shard.ROW),
    )
    return Recurrence("lightning", 0, 0, width * head_dim), linears, width


def rg_lru(hidden: int, width: int, heads: int, kernel: int) -> Block:
    """Griffin's real-gated linear recurrence (2402.19427): two block-diagonal gates."""
    linears = (
        Linear("linear_y", hidden, width, _S, bias=True),
        Linear("linear_x", hidden, width, _S, bias=True),
        Linear("linear_out", width, hidden, _S, Shard.ROW, bias=True),
    )
    gates = 2 * (heads * (width // heads) ** 2 + width)
    return Recurrence("rg-lru", width, kernel, width, FP32_BYTES), linears, width * (kernel + 1) + width + gates


def mamba1_of(keys: Keys, hidden: int, inner: int) -> Block:
    """The Mamba-1 layer of a Mamba or Falcon-Mamba configuration."""
    rank = keys.values.get("time_step_rank", "auto")
    width = ceil(hidden / 16) if rank in ("auto", None) else keys.size("time_step_rank")
    return mamba1(
        hidden,
        inner,
        keys.size("state_size"),
        width,
        keys.size("conv_kernel", high=4096),
        conv_bias=keys.flag("use_conv_bias", default=True),
        bias=keys.flag("use_bias"),
    )


def prefixed_mamba2(keys: Keys, hidden: int, *, inner: int, gate_norm: bool = True) -> Block:
    """The Mamba-2 layer of a configuration whose keys start with mamba_ (Bamba, Granite 4, Falcon-H1)."""
    return mamba2(
        hidden,
        keys.size("mamba_n_heads", high=2**16),
        0,
        keys.size("mamba_n_groups", high=2**16),
        keys.size("mamba_d_state"),
        keys.size("mamba_d_conv", high=4096),
        conv_bias=keys.flag("mamba_conv_bias"),
        bias=keys.flag("mamba_proj_bias"),
        inner=inner,
        gate_norm=gate_norm,
    )
