"""Recurrence alone or nearly so: Mamba, Falcon-Mamba, RecurrentGemma, RWKV, xLSTM.

Source: each family's code in transformers 5.23.0; RWKV-5: RWKV/rwkv-5-world-3b modeling_rwkv5.py.
"""

from math import ceil

from core.models import Layer, Linear, ModelSpec, Recurrence, Role, Shard
from core.reading.configs import blocks, recurrent
from core.reading.configs.decoder import Traits, shape
from core.reading.configs.hybrid import Parts, layer, memo, plain_attention
from core.reading.configs.keys import Keys
from core.reading.configs.recurrent import Block
from core.reading.configs.stack import assemble


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
        hidden,
        keys.size("num_heads", high=2**16),
        keys.size("head_dim"),
        keys.size("n_groups", high=2**16),
        keys.size("state_size"),
        keys.size("conv_kernel", high=4096),
        conv_bias=keys.flag("use_conv_bias", default=True),
        bias=keys.flag("use_bias"),
        inner=int(keys.number(2, "expand", high=64) * hidden),
    )
    return _pure(name, keys, hidden, block, top)


def _pure(name: str, keys: Keys, hidden: int, block: Block, top: Keys | None) -> ModelSpec:
    order = [layer(block, (), hidden)] * keys.layers("num_hidden_layers", "n_layer")
    return assemble(name, keys, order, hidden=hidden, top=top, other=hidden)


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
    return assemble(
        name,
        keys,
        [block] * keys.layers(),
        hidden=hidden,
        top=top,
        other=4 * hidden,
        tied=keys.flag("tie_word_embeddings") and not five,
    )


def read_xlstm(name: str, keys: Keys, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """xLSTM (2405.04517): matrix memories with scalar gates."""
    hidden, heads = keys.size("hidden_size", "embedding_dim"), keys.size("num_heads", high=2**16)
    qk = int(hidden * keys.number(0.5, "qk_dim_factor", high=64))
    v = int(hidden * keys.number(1.0, "v_dim_factor", high=64))
    multiple = keys.size_or(64, "ffn_round_up_to_multiple_of", low=1)
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
    return assemble(
        name, keys, [block] * keys.layers("num_hidden_layers", "num_blocks"), hidden=hidden, top=top, other=hidden
    )
