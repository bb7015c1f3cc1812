"""Encoder-decoders: the decoder is the stack that is planned, the encoder a part every request runs through.

Source: each family's code in transformers 5.23.0.
"""

from core.models import Attention, CrossAttention, Layer, Linear, ModelSpec, Part, Role, Shard
from core.reading.configs import blocks
from core.reading.configs.keys import Keys
from core.reading.configs.patterns import sliding_layers
from core.reading.configs.stack import assemble
from core.reading.configs.vision import encoder_layer, linear

Parts = tuple[Part, ...]


def cross(
    hidden: int,
    heads: int,
    kv_heads: int,
    dim: int,
    source: int,
    *,
    bias: bool = False,
    k_bias: bool = False,
    source_width: int | None = None,
) -> tuple[CrossAttention, tuple[Linear, ...], int]:
    """Attention over the encoder: keys and values are computed once a request."""
    width = source_width or hidden
    linears = (
        Linear("cross_attn.q_proj", hidden, heads * dim, Role.ATTENTION, bias=bias),
        Linear("cross_attn.kv_proj", width, 2 * kv_heads * dim, Role.ATTENTION),
        Linear("cross_attn.o_proj", heads * dim, hidden, Role.ATTENTION, Shard.ROW, bias=bias),
    )
    return CrossAttention(heads, kv_heads, dim, source), linears, kv_heads * dim * (bias + k_bias)


def read_whisper(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Keys have no bias, everything else has; both position tables are parameters."""
    h, heads = keys.size("d_model"), keys.size("decoder_attention_heads", high=2**16)
    source, bins = keys.size("max_source_positions", high=2**31), keys.size("num_mel_bins")
    inner = keys.size("encoder_ffn_dim")
    encoder = (3 * bins * h + h) + (3 * h * h + h) + source * h + 2 * h
    encoder += keys.layers("encoder_layers") * (encoder_layer(h, inner) - h)
    qkv, out = blocks.qkv_o(h, heads, heads, h // heads, h // heads, o_bias=True)
    mixer, cross_linears, small = cross(h, heads, heads, h // heads, source, bias=True)
    linears = (qkv, out, *cross_linears, *blocks.mlp(h, keys.size("decoder_ffn_dim"), bias=True))
    layer = Layer(1, (Attention(heads, heads, h // heads, h // heads), mixer), linears, 2 * h + small + 6 * h)
    positions = keys.size("max_target_positions", high=2**31) * h
    return assemble(
        name,
        keys,
        [layer] * keys.layers("decoder_layers"),
        hidden=h,
        other=positions + 2 * h,
        parts=(Part("audio encoder", encoder, resident=True, text=True),),
    )


def read_bart(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Biases everywhere, positions offset by two, a norm on the embeddings; a CausalLM file has the decoder alone."""
    h, heads = keys.size("d_model"), keys.size("decoder_attention_heads", high=2**16)
    positions = (keys.size("max_position_embeddings", high=2**31) + 2) * h
    encoder = keys.layers("encoder_layers") * encoder_layer(h, keys.size("encoder_ffn_dim")) + positions + 2 * h
    dim = h // heads
    mixer, cross_linears, small = cross(
        h, heads, heads, dim, keys.size("max_position_embeddings", high=2**31), bias=True, k_bias=True
    )
    linears = (
        *blocks.qkv_o(h, heads, heads, dim, dim, bias=True, o_bias=True),
        *cross_linears,
        *blocks.mlp(h, keys.size("decoder_ffn_dim"), bias=True),
    )
    layer = Layer(1, (Attention(heads, heads, dim, dim), mixer), linears, small + 6 * h)
    alone = any(said.endswith("ForCausalLM") for said in keys.texts("architectures") or ())
    parts = () if alone else (Part("encoder", encoder, resident=True, text=True),)
    return assemble(
        name,
        keys,
        [layer] * keys.layers("decoder_layers"),
        hidden=h,
        other=positions + 2 * h,
        parts=parts,
        tied=keys.flag("tie_word_embeddings", default=True),
    )


def read_t5(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """T5 and mT5: no biases; relative positions live in the first layer of each stack, or in all (UMT5)."""
    h, heads, dim = keys.size("d_model"), keys.size("num_heads", high=2**16), keys.size("d_kv")
    inner, n = keys.size("d_ff"), keys.layers("num_layers")
    gated = keys.text("feed_forward_proj", default="relu").startswith("gated") or keys.flag("is_gated_act")
    build = blocks.glu if gated else blocks.mlp
    attention, mlp = 4 * h * heads * dim, (3 if gated else 2) * h * inner
    buckets = keys.size("relative_attention_num_buckets") * heads
    encoder = n * (attention + mlp + 2 * h) + buckets + h
    mixer, cross_linears, _ = cross(h, heads, heads, dim, keys.size_or(512, "n_positions"))
    linears = (*blocks.qkv_o(h, heads, heads, dim, dim), *cross_linears, *build(h, inner))
    layer = Layer(1, (Attention(heads, heads, dim, dim), mixer), linears, 3 * h)
    return assemble(
        name,
        keys,
        [layer] * (keys.optional("num_decoder_layers", high=4096) or n),
        hidden=h,
        other=buckets + h,
        parts=(Part("encoder", encoder, resident=True, text=True),),
        tied=keys.flag("tie_word_embeddings", default=True),
    )


def read_moonshine(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Three convolutions over the wave, then a small encoder; the decoder's MLP is gated."""
    h, inner = keys.size("hidden_size"), keys.size("intermediate_size")
    heads = keys.size("decoder_num_attention_heads", high=2**16)
    kv_heads = keys.count(heads, "decoder_num_key_value_heads") or heads
    e_heads = keys.size("encoder_num_attention_heads", high=2**16)
    e_kv = keys.count(e_heads, "encoder_num_key_value_heads") or e_heads
    bias, dim, e_dim = keys.flag("attention_bias"), h // heads, h // e_heads
    wave = 127 * h + (2 * h * h * 7 + 2 * h) + (2 * h * h * 3 + h) + 2 * h
    projections = 2 * h * e_heads * e_dim + 2 * h * e_kv * e_dim + bias * (e_heads + 2 * e_kv) * e_dim
    encoder = (
        wave
        + h
        + keys.layers("encoder_num_hidden_layers") * (projections + linear(h, inner) + linear(inner, h) + 2 * h)
    )
    mixer, cross_linears, _ = cross(h, heads, kv_heads, dim, 1500)
    linears = (*blocks.qkv_o(h, heads, kv_heads, dim, dim, bias=bias), *cross_linears, *blocks.glu(h, inner, bias=True))
    layer = Layer(1, (Attention(heads, kv_heads, dim, dim), mixer), linears, 3 * h)
    return assemble(
        name,
        keys,
        [layer] * keys.layers("decoder_num_hidden_layers"),
        hidden=h,
        other=h,
        parts=(Part("audio encoder", encoder, resident=True, text=True),),
    )


def read_t5gemma(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """A Gemma 2 encoder and a Gemma 2 decoder with cross attention, each with its own embedding."""
    encoder, decoder = keys.part_or_default("encoder"), keys.part_or_default("decoder")
    e_hidden, h = encoder.size("hidden_size"), decoder.size("hidden_size")

    def attention(part: Keys) -> tuple[int, int, int]:
        return (
            part.size("num_attention_heads", high=2**16),
            part.size("num_key_value_heads", high=2**16),
            part.size("head_dim"),
        )

    e_heads, e_kv, e_dim = attention(encoder)
    e_layer = 2 * e_hidden * (e_heads + e_kv) * e_dim + 3 * e_hidden * encoder.size("intermediate_size") + 4 * e_hidden
    encoded = encoder.layers() * e_layer + encoder.size("vocab_size") * e_hidden + e_hidden
    heads, kv_heads, dim = attention(decoder)
    mixer, cross_linears, _ = cross(
        h, heads, kv_heads, dim, decoder.size_or(8192, "max_position_embeddings", high=2**31), source_width=e_hidden
    )
    linears = (
        *blocks.qkv_o(h, heads, kv_heads, dim, dim),
        *cross_linears,
        *blocks.glu(h, decoder.size("intermediate_size")),
    )
    window, n = decoder.size("sliding_window", high=2**31), decoder.layers()
    order = [
        Layer(1, (Attention(heads, kv_heads, dim, dim, window if slides else None), mixer), linears, 6 * h)
        for slides in sliding_layers(decoder, n, every=2)
    ]
    return assemble(
        name,
        decoder,
        order,
        hidden=h,
        top=keys,
        other=h,
        vocab=keys.size_or(decoder.size("vocab_size"), "vocab_size"),
        parts=(Part("encoder", encoded, resident=True, text=True),),
    )
