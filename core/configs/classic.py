"""The decoders before Llama: biases, LayerNorm, plain MLPs, learnt positions; and ChatGLM.

Source: each family's code in transformers 5.23.0; ChatGLM3: zai-org/chatglm3-6b modeling_chatglm.py.
"""

from collections.abc import Callable, Mapping
from typing import Final

from core.configs import blocks
from core.configs.keys import Keys
from core.configs.stack import assemble
from core.models import Attention, Layer, Linear, ModelSpec, Part

Parts = tuple[Part, ...]


def _stack(
    name: str,
    keys: Keys,
    hidden: int,
    heads: int,
    kv_heads: int,
    linears: tuple[Linear, ...],
    *,
    small: int,
    other: int,
    n: int,
    parts: Parts = (),
    head_dim: int | None = None,
    tied: bool | None = None,
    head_bias: bool = False,
    embedding: int | None = None,
    head_inputs: int | None = None,
    notes: tuple[str, ...] = (),
) -> ModelSpec:
    """`n` equal layers of full attention."""
    dim = head_dim or hidden // heads
    layer = Layer(1, (Attention(heads, kv_heads, dim, dim),), linears, small)
    return assemble(
        name,
        keys,
        [layer] * n,
        hidden=hidden,
        other=other,
        parts=parts,
        tied=tied,
        head_bias=head_bias,
        embedding=embedding,
        head_inputs=head_inputs,
        notes=notes,
    )


def _widths(keys: Keys) -> tuple[int, int, int]:
    hidden = keys.size("hidden_size", "n_embd", "d_model")
    heads = keys.size("num_attention_heads", "n_head", "num_heads", "n_heads", high=2**16)
    if heads > hidden:
        raise keys.fail("num_attention_heads", heads, f"no more than hidden_size ({hidden})")
    return hidden, heads, keys.layers("num_hidden_layers", "n_layer", "n_layers", "num_layers")


def _norms(hidden: int, n: int) -> int:
    """LayerNorms: weight and bias each."""
    return 2 * n * hidden


def read_gpt2(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    hidden, heads, n = _widths(keys)
    inner = keys.size_or(4 * hidden, "n_inner", "intermediate_size")
    linears = blocks.qkv_o(hidden, heads, heads, hidden // heads, hidden // heads, bias=True, o_bias=True)
    positions = keys.size("n_positions", "max_position_embeddings", high=2**31)
    return _stack(
        name,
        keys,
        hidden,
        heads,
        heads,
        linears + blocks.mlp(hidden, inner, bias=True),
        small=_norms(hidden, 2),
        other=_norms(hidden, 1) + positions * hidden,
        n=n,
        tied=keys.flag("tie_word_embeddings", default=True),
    )


def read_gpt_bigcode(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """GPT-2 with one key-value head."""
    hidden, heads, n = _widths(keys)
    dim, kv_heads = hidden // heads, 1 if keys.flag("multi_query", default=True) else heads
    inner = keys.size_or(4 * hidden, "n_inner")
    linears = blocks.qkv_o(hidden, heads, kv_heads, dim, dim, bias=True, o_bias=True)
    positions = keys.size("n_positions", high=2**31)
    return _stack(
        name,
        keys,
        hidden,
        heads,
        kv_heads,
        linears + blocks.mlp(hidden, inner, bias=True),
        small=_norms(hidden, 2),
        other=_norms(hidden, 1) + positions * hidden,
        n=n,
    )


def read_gptj(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """GPT-J and CodeGen: attention and MLP in parallel behind one norm; a head with bias."""
    hidden, heads, n = _widths(keys)
    inner = keys.size_or(4 * hidden, "n_inner")
    linears = blocks.qkv_o(hidden, heads, heads, hidden // heads, hidden // heads)
    return _stack(
        name,
        keys,
        hidden,
        heads,
        heads,
        linears + blocks.mlp(hidden, inner, bias=True),
        small=_norms(hidden, 1),
        other=_norms(hidden, 1),
        n=n,
        head_bias=True,
    )


def read_gpt_neo(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    hidden, heads, n = _widths(keys)
    inner = keys.size_or(4 * hidden, "intermediate_size")
    linears = blocks.qkv_o(hidden, heads, heads, hidden // heads, hidden // heads, o_bias=True)
    positions = keys.size("max_position_embeddings", high=2**31)
    return _stack(
        name,
        keys,
        hidden,
        heads,
        heads,
        linears + blocks.mlp(hidden, inner, bias=True),
        small=_norms(hidden, 2),
        other=_norms(hidden, 1) + positions * hidden,
        n=n,
    )


def read_gpt_neox(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    hidden, heads, n = _widths(keys)
    bias = keys.flag("attention_bias", default=True)
    linears = blocks.qkv_o(hidden, heads, heads, hidden // heads, hidden // heads, bias=bias, o_bias=bias)
    mlp = blocks.mlp(hidden, keys.size("intermediate_size"), bias=True)
    return _stack(
        name, keys, hidden, heads, heads, linears + mlp, small=_norms(hidden, 2), other=_norms(hidden, 1), n=n
    )


def read_persimmon(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    hidden, heads, n = _widths(keys)
    dim = hidden // heads
    linears = blocks.qkv_o(hidden, heads, heads, dim, dim, bias=True, o_bias=True)
    mlp = blocks.mlp(hidden, keys.size("intermediate_size"), bias=True)
    small = _norms(hidden, 2) + 4 * dim * keys.flag("qk_layernorm", default=True)
    return _stack(name, keys, hidden, heads, heads, linears + mlp, small=small, other=_norms(hidden, 1), n=n)


def read_bloom(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Biases everywhere and a norm on the embeddings."""
    hidden, heads, n = _widths(keys)
    linears = blocks.qkv_o(hidden, heads, heads, hidden // heads, hidden // heads, bias=True, o_bias=True)
    return _stack(
        name,
        keys,
        hidden,
        heads,
        heads,
        linears + blocks.mlp(hidden, 4 * hidden, bias=True),
        small=_norms(hidden, 2),
        other=_norms(hidden, 2),
        n=n,
    )


def read_opt(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Two spare positions in the table; the 350M variant embeds in a narrower space."""
    hidden, heads, n = _widths(keys)
    bias, narrow = keys.flag("enable_bias", default=True), keys.size_or(hidden, "word_embed_proj_dim") or hidden
    norm = _norms(hidden, 1) if keys.flag("layer_norm_elementwise_affine", default=True) else 0
    linears = blocks.qkv_o(hidden, heads, heads, hidden // heads, hidden // heads, bias=bias, o_bias=bias)
    mlp = blocks.mlp(hidden, keys.size("ffn_dim"), bias=bias)
    final = norm if keys.flag("do_layer_norm_before", default=True) and not keys.flag("_remove_final_layer_norm") else 0
    between = 2 * narrow * hidden if narrow != hidden else 0
    positions = (keys.size("max_position_embeddings", high=2**31) + 2) * hidden
    vocab = keys.size("vocab_size")
    return _stack(
        name,
        keys,
        hidden,
        heads,
        heads,
        linears + mlp,
        small=2 * norm,
        other=final + between + positions,
        n=n,
        embedding=vocab * narrow,
        head_inputs=narrow,
    )


def read_mpt(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """No bias at all: 2h of norm weights a layer; ALiBi instead of positions."""
    hidden, heads, n = _widths(keys)
    dim = hidden // heads
    attention = keys.part("attn_config")
    kv_heads = attention.count(heads, "kv_n_heads") if attention else heads
    linears = blocks.qkv_o(hidden, heads, kv_heads or heads, dim, dim)
    mlp = blocks.mlp(hidden, int(keys.number(4, "expansion_ratio", high=64) * hidden))
    return _stack(name, keys, hidden, heads, kv_heads or heads, linears + mlp, small=2 * hidden, other=hidden, n=n)


def read_falcon(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Without the new decoder architecture, multi_query means one KV head whatever num_kv_heads says."""
    hidden, heads, n = _widths(keys)
    dim, new = hidden // heads, keys.flag("new_decoder_architecture")
    if new:
        kv_heads = keys.count(heads, "num_kv_heads", "n_head_kv") or heads
    else:
        kv_heads = 1 if keys.flag("multi_query", default=True) else heads
    bias = keys.flag("bias")
    linears = blocks.qkv_o(hidden, heads, kv_heads, dim, dim, bias=bias, o_bias=bias)
    mlp = blocks.mlp(hidden, keys.size_or(4 * hidden, "ffn_hidden_size") or 4 * hidden, bias=bias)
    norms = 2 if new and keys.size_or(2, "num_ln_in_parallel_attn") == 2 else 1
    if not new and not keys.flag("parallel_attn", default=True):
        norms = 2
    return _stack(
        name, keys, hidden, heads, kv_heads, linears + mlp, small=_norms(hidden, norms), other=_norms(hidden, 1), n=n
    )


def read_chatglm(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """ChatGLM2 and 3: grouped queries, a gated MLP, biases on queries, keys and values."""
    hidden, heads, n = _widths(keys)
    dim = keys.size_or(hidden // heads, "kv_channels")
    kv_heads = keys.size("multi_query_group_num", high=2**16) if keys.flag("multi_query_attention") else heads
    bias = keys.flag("add_bias_linear")
    linears = blocks.qkv_o(hidden, heads, kv_heads, dim, dim, bias=bias or keys.flag("add_qkv_bias"), o_bias=bias)
    norm = hidden if keys.flag("rmsnorm", default=True) else 2 * hidden
    final = norm if keys.flag("post_layer_norm", default=True) else 0
    mlp = blocks.glu(hidden, keys.size("ffn_hidden_size"), bias=bias)
    return _stack(name, keys, hidden, heads, kv_heads, linears + mlp, small=2 * norm, other=final, n=n, head_dim=dim)


def read_qwen1(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """The first Qwen: intermediate_size counts gate and up together; c_attn alone has a bias."""
    hidden, heads, n = _widths(keys)
    dim = keys.size_or(hidden // heads, "kv_channels")
    linears = blocks.qkv_o(hidden, heads, heads, dim, dim, bias=True, o_bias=not keys.flag("no_bias", default=True))
    mlp = blocks.glu(hidden, keys.size("intermediate_size") // 2, bias=not keys.flag("no_bias", default=True))
    return _stack(name, keys, hidden, heads, heads, linears + mlp, small=2 * hidden, other=hidden, n=n, head_dim=dim)


def read_stablelm(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """LayerNorms; one of them less where attention and MLP run in parallel; norms a head on demand."""
    hidden, heads, n = _widths(keys)
    kv_heads, dim = keys.count(heads, "num_key_value_heads") or heads, hidden // heads
    linears = blocks.qkv_o(hidden, heads, kv_heads, dim, dim, bias=keys.flag("use_qkv_bias"))
    norms = _norms(hidden, 1 if keys.flag("use_parallel_residual") else 2)
    small = norms + (heads + kv_heads) * dim * keys.flag("qk_layernorm")
    mlp = blocks.glu(hidden, keys.size("intermediate_size"))
    return _stack(name, keys, hidden, heads, kv_heads, linears + mlp, small=small, other=_norms(hidden, 1), n=n)


def read_decilm(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Nemotron-NAS: every block its own KV groups and MLP width, or nothing at all.

    Source: nvidia/Llama-3_3-Nemotron-Super-49B-v1 modeling_decilm.py (block_configs).
    """
    hidden, heads, _ = _widths(keys)
    described = keys.values.get("block_configs")
    if (
        not isinstance(described, list)
        or not 0 < len(described) <= 4096
        or not all(isinstance(b, dict) for b in described)
    ):
        raise keys.fail("block_configs", described, "a list of objects, one a layer")
    order = [_decilm_block(Keys(block, "", f"block_configs[{i}]."), hidden, heads) for i, block in enumerate(described)]
    return assemble(name, keys, order, hidden=hidden, other=hidden)


def _decilm_block(block: Keys, hidden: int, heads: int) -> Layer:
    dim = hidden // heads
    mixers: tuple[Attention, ...] = ()
    linears: tuple[Linear, ...] = ()
    norms = 0
    attention, ffn = block.part_or_default("attention"), block.part_or_default("ffn")
    if attention.flag("replace_with_linear"):
        linears += (Linear("linear_attn", hidden, hidden, blocks.A),)
        norms += hidden
    elif not attention.flag("no_op"):
        kv_heads = heads // attention.size("n_heads_in_group", high=heads)
        mixers = (Attention(heads, kv_heads, dim, dim, attention.optional("window_length")),)
        linears += blocks.qkv_o(hidden, heads, kv_heads, dim, dim)
        norms += hidden
    if ffn.flag("replace_with_linear"):
        linears += (Linear("linear_mlp", hidden, hidden, blocks.M),)
        norms += hidden
    elif not ffn.flag("no_op"):
        inner = int(2 * ffn.number(4, "ffn_mult", high=64) * hidden / 3)
        linears += blocks.glu(hidden, -(-inner // 256) * 256)
        norms += hidden
    return Layer(1, mixers, linears, norms)


def read_dbrx(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """DBRX: grouped queries, norms without bias, gated experts in every layer."""
    hidden, heads, n = _widths(keys)
    attention, ffn = keys.part_or_default("attn_config"), keys.part_or_default("ffn_config")
    kv_heads, dim = attention.count(heads, "kv_n_heads") or heads, hidden // heads
    experts, inner = ffn.size("moe_num_experts", high=2**20), ffn.size("ffn_hidden_size")
    routed = blocks.experts(hidden, inner, experts, ffn.size("moe_top_k", high=2**20))
    linears = (*blocks.qkv_o(hidden, heads, kv_heads, dim, dim), blocks.router(hidden, experts), *routed)
    return _stack(name, keys, hidden, heads, kv_heads, linears, small=2 * hidden, other=hidden, n=n)


READERS: Final[Mapping[str, Callable[[str, Keys, Keys | None, Parts], ModelSpec]]] = {
    "gpt2": read_gpt2,
    "dbrx": read_dbrx,
    "gpt_bigcode": read_gpt_bigcode,
    "gptj": read_gptj,
    "codegen": read_gptj,
    "gpt_neo": read_gpt_neo,
    "gpt_neox": read_gpt_neox,
    "persimmon": read_persimmon,
    "bloom": read_bloom,
    "opt": read_opt,
    "mpt": read_mpt,
    "falcon": read_falcon,
    "chatglm": read_chatglm,
    "qwen": read_qwen1,
    "stablelm": read_stablelm,
    "nemotron-nas": read_decilm,
}
