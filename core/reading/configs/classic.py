"""The decoders before Llama: biases, LayerNorm, plain MLPs, learnt positions; and ChatGLM.

Source: each family's code in transformers 5.23.0; ChatGLM3: zai-org/chatglm3-6b modeling_chatglm.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.models import Attention, Layer, Linear, ModelSpec, Part
from core.reading.configs import blocks
from core.reading.configs.keys import Keys
from core.reading.configs.patterns import local_layers
from core.reading.configs.stack import assemble

Parts = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What every family here is made from: `n` layers, equal but for a window."""

    hidden: int
    heads: int
    kv_heads: int
    dim: int                # of one head
    n: int                  # layers

    def attention(self, *, bias: bool = False, o_bias: bool = False) -> tuple[Linear, ...]:
        return blocks.qkv_o(self.hidden, self.heads, self.kv_heads, self.dim, self.dim, bias=bias, o_bias=o_bias)

    def norms(self, n: int) -> int:
        """Parameters of `n` LayerNorms: weight and bias each."""
        return 2 * n * self.hidden


def _shape(keys: Keys, kv_heads: int | None = None, dim: int | None = None) -> _Shape:
    """Widths by any of the names these families use; as many KV heads as heads unless told."""
    hidden = keys.size("hidden_size", "n_embd", "d_model")
    heads = keys.size("num_attention_heads", "n_head", "num_heads", "n_heads", high=2**16)
    if heads > hidden:
        raise keys.fail("num_attention_heads", heads, f"no more than hidden_size ({hidden})")
    n = keys.layers("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    return _Shape(hidden, heads, kv_heads or heads, dim or hidden // heads, n)


def _stack(
    name: str,
    keys: Keys,
    shape: _Shape,
    linears: tuple[Linear, ...],
    *,
    small: int,
    other: int,
    tied: bool | None = None,
    head_bias: bool = False,
    embedding: int | None = None,
    head_inputs: int | None = None,
    windows: Sequence[int | None] | None = None,
) -> ModelSpec:
    """Layers of full attention, or each with a window; `small` parameters besides matrices, `other` outside."""
    layers = [
        Layer(1, (Attention(shape.heads, shape.kv_heads, shape.dim, shape.dim, window),), linears, small)
        for window in windows or [None] * shape.n
    ]
    return assemble(
        name, keys, layers, hidden=shape.hidden, other=other, tied=tied, head_bias=head_bias,
        embedding=embedding, head_inputs=head_inputs,
    )


def _positions(keys: Keys, hidden: int, spare: int = 0) -> int:
    """Parameters of a table of learnt positions."""
    return (keys.size("n_positions", "max_position_embeddings", high=2**31) + spare) * hidden


def read_gpt2(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """GPT-2: learnt positions, a plain MLP, biases throughout; the head is tied unless the file says no."""
    s = _shape(keys)
    mlp = blocks.mlp(s.hidden, keys.size_or(4 * s.hidden, "n_inner", "intermediate_size"), bias=True)
    return _stack(
        name, keys, s, s.attention(bias=True, o_bias=True) + mlp, small=s.norms(2),
        other=s.norms(1) + _positions(keys, s.hidden), tied=keys.flag("tie_word_embeddings", default=True),
    )


def read_gpt_bigcode(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """GPT-2 with one key-value head."""
    s = _shape(keys, kv_heads=1 if keys.flag("multi_query", default=True) else None)
    mlp = blocks.mlp(s.hidden, keys.size_or(4 * s.hidden, "n_inner"), bias=True)
    return _stack(
        name, keys, s, s.attention(bias=True, o_bias=True) + mlp, small=s.norms(2),
        other=s.norms(1) + _positions(keys, s.hidden),
    )


def read_gptj(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """GPT-J and CodeGen: attention and MLP in parallel behind one norm; a head with bias."""
    s = _shape(keys)
    mlp = blocks.mlp(s.hidden, keys.size_or(4 * s.hidden, "n_inner"), bias=True)
    return _stack(name, keys, s, s.attention() + mlp, small=s.norms(1), other=s.norms(1), head_bias=True)


def read_gpt_neo(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """GPT-Neo: learnt positions; biases in the MLP and the output projection, none on queries, keys and values.

    Local layers see a window; that transformers masks the tokens before it and keeps them is its own affair.
    """
    s, window = _shape(keys), keys.size("window_size")
    mlp = blocks.mlp(s.hidden, keys.size_or(4 * s.hidden, "intermediate_size"), bias=True)
    return _stack(
        name, keys, s, s.attention(o_bias=True) + mlp, small=s.norms(2),
        other=s.norms(1) + _positions(keys, s.hidden),
        windows=[window if local else None for local in local_layers(keys, s.n)],
    )


def read_gpt_neox(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """GPT-NeoX and Pythia: rotary positions, biases in the MLP and, unless the file says no, in attention."""
    s, bias = _shape(keys), keys.flag("attention_bias", default=True)
    mlp = blocks.mlp(s.hidden, keys.size("intermediate_size"), bias=True)
    return _stack(name, keys, s, s.attention(bias=bias, o_bias=bias) + mlp, small=s.norms(2), other=s.norms(1))


def read_persimmon(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Persimmon: biases throughout; by default LayerNorms over each head's query and key."""
    s = _shape(keys)
    mlp = blocks.mlp(s.hidden, keys.size("intermediate_size"), bias=True)
    small = s.norms(2) + 4 * s.dim * keys.flag("qk_layernorm", default=True)
    return _stack(name, keys, s, s.attention(bias=True, o_bias=True) + mlp, small=small, other=s.norms(1))


def read_bloom(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Biases everywhere and a norm on the embeddings."""
    s = _shape(keys)
    mlp = blocks.mlp(s.hidden, 4 * s.hidden, bias=True)
    return _stack(name, keys, s, s.attention(bias=True, o_bias=True) + mlp, small=s.norms(2), other=s.norms(2))


def read_opt(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Two spare positions in the table; the 350M variant embeds in a narrower space."""
    s, bias = _shape(keys), keys.flag("enable_bias", default=True)
    narrow = keys.size_or(s.hidden, "word_embed_proj_dim") or s.hidden
    norm = s.norms(1) if keys.flag("layer_norm_elementwise_affine", default=True) else 0
    mlp = blocks.mlp(s.hidden, keys.size("ffn_dim"), bias=bias)
    final = norm if keys.flag("do_layer_norm_before", default=True) and not keys.flag("_remove_final_layer_norm") else 0
    between = 2 * narrow * s.hidden if narrow != s.hidden else 0
    return _stack(
        name, keys, s, s.attention(bias=bias, o_bias=bias) + mlp, small=2 * norm,
        other=final + between + _positions(keys, s.hidden, spare=2), embedding=keys.size("vocab_size") * narrow,
        head_inputs=narrow,
    )


def read_mpt(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """No bias at all: 2h of norm weights a layer; ALiBi instead of positions."""
    attention = keys.part("attn_config")
    s = _shape(keys, kv_heads=attention.count(0, "kv_n_heads") if attention else None)
    mlp = blocks.mlp(s.hidden, int(keys.number(4, "expansion_ratio", high=64) * s.hidden))
    return _stack(name, keys, s, s.attention() + mlp, small=2 * s.hidden, other=s.hidden)


def read_falcon(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Without the new decoder architecture, multi_query means one KV head whatever num_kv_heads says."""
    new, bias = keys.flag("new_decoder_architecture"), keys.flag("bias")
    if new:
        s = _shape(keys, kv_heads=keys.count(0, "num_kv_heads", "n_head_kv"))
    else:
        s = _shape(keys, kv_heads=1 if keys.flag("multi_query", default=True) else None)
    mlp = blocks.mlp(s.hidden, keys.size_or(4 * s.hidden, "ffn_hidden_size") or 4 * s.hidden, bias=bias)
    norms = 2 if new and keys.size_or(2, "num_ln_in_parallel_attn") == 2 else 1
    if not new and not keys.flag("parallel_attn", default=True):
        norms = 2
    return _stack(name, keys, s, s.attention(bias=bias, o_bias=bias) + mlp, small=s.norms(norms), other=s.norms(1))


def read_chatglm(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """ChatGLM2 and 3: grouped queries, a gated MLP, biases on queries, keys and values."""
    kv_heads = keys.size("multi_query_group_num", high=2**16) if keys.flag("multi_query_attention") else None
    s, bias = _shape(keys, kv_heads, keys.size_or(0, "kv_channels")), keys.flag("add_bias_linear")
    norm = s.hidden if keys.flag("rmsnorm", default=True) else s.norms(1)
    final = norm if keys.flag("post_layer_norm", default=True) else 0
    linears = s.attention(bias=bias or keys.flag("add_qkv_bias"), o_bias=bias)
    mlp = blocks.glu(s.hidden, keys.size("ffn_hidden_size"), bias=bias)
    return _stack(name, keys, s, linears + mlp, small=2 * norm, other=final)


def read_qwen1(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """The first Qwen: intermediate_size counts gate and up together; c_attn alone has a bias."""
    s, bias = _shape(keys, dim=keys.size_or(0, "kv_channels")), not keys.flag("no_bias", default=True)
    mlp = blocks.glu(s.hidden, keys.size("intermediate_size") // 2, bias=bias)
    return _stack(name, keys, s, s.attention(bias=True, o_bias=bias) + mlp, small=2 * s.hidden, other=s.hidden)


def read_stablelm(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """LayerNorms; one of them less where attention and MLP run in parallel; norms a head on demand."""
    s = _shape(keys, kv_heads=keys.count(0, "num_key_value_heads"))
    norms = s.norms(1 if keys.flag("use_parallel_residual") else 2)
    small = norms + (s.heads + s.kv_heads) * s.dim * keys.flag("qk_layernorm")
    linears = s.attention(bias=keys.flag("use_qkv_bias")) + blocks.glu(s.hidden, keys.size("intermediate_size"))
    return _stack(name, keys, s, linears, small=small, other=s.norms(1))


def read_decilm(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Nemotron-NAS: every block its own KV groups and MLP width, or nothing at all.

    Source: nvidia/Llama-3_3-Nemotron-Super-49B-v1 modeling_decilm.py (block_configs).
    """
    s = _shape(keys)
    described = keys.values.get("block_configs")
    if (
        not isinstance(described, list)
        or not 0 < len(described) <= 4096
        or not all(isinstance(b, dict) for b in described)
    ):
        raise keys.fail("block_configs", described, "a list of objects, one per layer")
    order = [
        _decilm_block(Keys(block, "", f"block_configs[{i}]."), s.hidden, s.heads) for i, block in enumerate(described)
    ]
    return assemble(name, keys, order, hidden=s.hidden, other=s.hidden)


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
    attention, ffn = keys.part_or_default("attn_config"), keys.part_or_default("ffn_config")
    s = _shape(keys, kv_heads=attention.count(0, "kv_n_heads"))
    experts, inner = ffn.size("moe_num_experts", high=2**20), ffn.size("ffn_hidden_size")
    routed = blocks.experts(s.hidden, inner, experts, ffn.size("moe_top_k", high=2**20))
    linears = (*s.attention(), blocks.router(s.hidden, experts), *routed)
    return _stack(name, keys, s, linears, small=2 * s.hidden, other=s.hidden)


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
