"""Decoders from before GPT-J, and their kin: GPT-1, CTRL, XLM, XLNet, XGLM, BioGPT, CPM-Ant, GPT-NeoX Japanese, GIT.

Source: each family's code in transformers 5.24.0.
"""

from collections.abc import Callable, Mapping
from typing import Final

from core.models import Attention, Layer, Linear, ModelSpec, Part, Role
from core.reading.configs import blocks
from core.reading.configs.keys import Keys
from core.reading.configs.patterns import SLIDING, layer_types
from core.reading.configs.stack import assemble

Parts = tuple[Part, ...]


def _written(
    name: str,
    keys: Keys,
    parts: Parts,
    *,
    heads: int,
    inner: int,
    layers: int,
    other: int,
    bias: bool = True,
    mlp_bias: bool = True,
    norms: int = 4,
    head_bias: bool = False,
    cached: bool = True,
    more: tuple[Linear, ...] = (),
    small: int = 0,
    embedding: int | None = None,
) -> ModelSpec:
    """Equal layers of full attention and a plain MLP; a head's bias counts beside a tied embedding."""
    h, vocab = keys.size("hidden_size", "d_model", "n_embd", "emb_dim"), keys.size("vocab_size")
    if heads > h:
        raise keys.fail("num_attention_heads", heads, f"no more than hidden_size ({h})")
    tied = keys.flag("tie_word_embeddings", default=True)
    linears = (
        *blocks.qkv_o(h, heads, heads, h // heads, h // heads, bias=bias, o_bias=bias),
        *more,
        *blocks.mlp(h, inner, bias=mlp_bias),
    )
    mixer = Attention(heads, heads, h // heads, h // heads, writes_kv=cached)
    return assemble(
        name, keys, [Layer(1, (mixer,), linears, norms * h + small)] * layers, hidden=h, parts=parts, tied=tied,
        embedding=embedding, head_bias=head_bias and not tied, other=other + vocab * (head_bias and tied),
    )


def read_gpt1(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """GPT: norms after the blocks, so none at the end."""
    h = keys.size("n_embd", "hidden_size")
    return _written(
        name, keys, parts, heads=keys.size("n_head", "num_attention_heads", high=2**16), inner=4 * h,
        layers=keys.layers("n_layer", "num_hidden_layers"), other=keys.size("n_positions", high=2**31) * h,
    )


def read_ctrl(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """CTRL: positions are computed, the head has a bias."""
    h = keys.size("n_embd", "hidden_size")
    return _written(
        name, keys, parts, heads=keys.size("n_head", "num_attention_heads", high=2**16), inner=keys.size("dff"),
        layers=keys.layers("n_layer", "num_hidden_layers"), other=2 * h, head_bias=True,
    )


def read_biogpt(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """BioGPT: two spare positions."""
    h = keys.size("hidden_size")
    return _written(
        name, keys, parts, heads=keys.size("num_attention_heads", high=2**16), inner=keys.size("intermediate_size"),
        layers=keys.layers(), other=(keys.size("max_position_embeddings", high=2**31) + 2) * h + 2 * h,
    )


def read_xglm(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """XGLM: positions are computed."""
    return _written(
        name, keys, parts, heads=keys.size("attention_heads", "num_attention_heads", high=2**16),
        inner=keys.size("ffn_dim"), layers=keys.layers("num_layers", "num_hidden_layers"),
        other=2 * keys.size("d_model", "hidden_size"),
    )


def read_xlm(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """XLM: learnt positions and languages, a norm on their sum, a bias on the head; it keeps a cache if causal."""
    h, languages = keys.size("emb_dim", "hidden_size"), keys.size_or(1, "n_langs")
    tables = keys.size("max_position_embeddings", high=2**31) + languages * (
        languages > 1 and keys.flag("use_lang_emb", default=True)
    )
    return _written(
        name, keys, parts, heads=keys.size("n_heads", "num_attention_heads", high=2**16), inner=4 * h,
        layers=keys.layers("n_layers", "num_hidden_layers"), other=tables * h + 2 * h, head_bias=True,
    )


def read_xlnet(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """XLNet: a fifth matrix for relative positions, three biases and two segments a head, a learnt mask."""
    h, heads = keys.size("d_model", "hidden_size"), keys.size("n_head", "num_attention_heads", high=2**16)
    return _written(
        name, keys, parts, heads=heads, inner=keys.size("d_inner"), bias=False, small=5 * h, other=h, head_bias=True,
        layers=keys.layers("n_layer", "num_hidden_layers"), more=(Linear("r", h, h, Role.ATTENTION),),
    )


def read_neox_japanese(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """GPT-NeoX Japanese: no bias but one, on the output of the last layer's attention."""
    h = keys.size("hidden_size")
    inner = keys.size_or(4, "intermediate_multiple_size", high=64) * h
    return _written(
        name, keys, parts, heads=keys.size("num_attention_heads", high=2**16), inner=inner, layers=keys.layers(),
        other=2 * h + h, bias=False, mlp_bias=False,
    )


def read_cpmant(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """CPM-Ant: gated MLPs without biases, prompts in the embedding, a table of relative positions."""
    h, heads, dim = keys.size("hidden_size"), keys.size("num_attention_heads", high=2**16), keys.size("dim_head")
    kinds, prompts = keys.size_or(32, "segment_types"), keys.size_or(32, "prompt_types")
    vocab = keys.size("vocab_size")
    rows = vocab + prompts * keys.size_or(32, "prompt_length")
    relative = (kinds * kinds + keys.size("position_bias_num_buckets")) * heads
    linears = (*blocks.qkv_o(h, heads, heads, dim, dim), *blocks.glu(h, keys.size("dim_ff")))
    layer = Layer(1, (Attention(heads, heads, dim, dim),), linears, 2 * h)
    return assemble(
        name, keys, [layer] * keys.layers(), hidden=h, parts=parts, embedding=rows * h, tied=False,
        other=h + kinds * h + relative,
    )


def read_git(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """GIT: BERT's blocks behind an image, learnt positions, a head of its own with a bias."""
    h = keys.size("hidden_size")
    return _written(
        name, keys, parts, heads=keys.size("num_attention_heads", high=2**16), inner=keys.size("intermediate_size"),
        layers=keys.layers(), other=keys.size("max_position_embeddings", high=2**31) * h + 2 * h, head_bias=True,
    )


def read_modernbert(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """ModernBERT as a decoder: gated MLPs, no first norm of the first layer, BERT's head over a tied embedding."""
    h, heads, n = keys.size("hidden_size"), keys.size("num_attention_heads", high=2**16), keys.layers()
    if heads > h:
        raise keys.fail("num_attention_heads", heads, f"no more than hidden_size ({h})")
    norm, bias = h * (1 + keys.flag("norm_bias")), keys.flag("attention_bias")
    more, dim = keys.flag("mlp_bias"), h // heads
    linears = (
        *blocks.qkv_o(h, heads, heads, dim, dim, bias=bias, o_bias=bias),
        *blocks.glu(h, keys.size("intermediate_size"), bias=more),
    )
    types, window = layer_types(keys, n), keys.optional("sliding_window", "local_attention")
    every = keys.size_or(3, "global_attn_every_n_layers", low=1)
    slides = [kind in SLIDING for kind in types] if types else [i % every != 0 for i in range(n)]
    order = [
        Layer(1, (Attention(heads, heads, dim, dim, window if slide else None),), linears, norm * (1 + (i > 0)))
        for i, slide in enumerate(slides)
    ]
    vocab, tied = keys.size("vocab_size"), keys.flag("tie_word_embeddings", default=True)
    said = keys.flag("decoder_bias", default=True)
    head = h * h + h * keys.flag("classifier_bias") + norm
    return assemble(
        name, keys, order, hidden=h, parts=parts, tied=tied, head_bias=said and not tied,
        other=2 * norm + head + vocab * (said and tied),
    )


READERS: Final[Mapping[str, Callable[[str, Keys, Keys | None, Parts], ModelSpec]]] = {
    "openai-gpt": read_gpt1,
    "ctrl": read_ctrl,
    "biogpt": read_biogpt,
    "xglm": read_xglm,
    "xlm": read_xlm,
    "xlnet": read_xlnet,
    "gpt_neox_japanese": read_neox_japanese,
    "cpmant": read_cpmant,
    "git": read_git,
    "modernbert-decoder": read_modernbert,
}
