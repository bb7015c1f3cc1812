"""Encoder-decoders that hear: SeamlessM4T, Canary and Cohere's ASR; and ProphetNet, whose blocks are theirs.

Source: each family's code in transformers 5.24.0.
"""

from collections.abc import Callable, Mapping
from typing import Final

from core.models import Attention, Layer, Linear, ModelSpec, Part, Role
from core.reading.configs import blocks
from core.reading.configs.keys import Keys
from core.reading.configs.seq2seq import cross
from core.reading.configs.stack import assemble
from core.reading.configs.vision import encoder_layer, linear

Parts = tuple[Part, ...]


def _ffn(h: int, inner: int) -> int:
    return linear(h, inner) + linear(inner, h)


def _seamless_speech(keys: Keys, h: int) -> int:
    """A conformer over stacked frames, then an adapter whose convolutions shorten the sequence."""
    inner, frames = keys.size("speech_encoder_intermediate_size"), keys.size("feature_projection_input_dim")
    if keys.text("position_embeddings_type", default="relative") == "relative":
        positions = h * h + 2 * h
    else:   # a table of distances
        span = keys.size_or(64, "left_max_position_embeddings") + keys.size_or(8, "right_max_position_embeddings") + 1
        positions = span * (h // keys.size("speech_encoder_attention_heads", high=2**16))
    convolution = 4 * h + 3 * h * h + h * keys.size("conv_depthwise_kernel_size", high=4096)
    layer = 8 * h + 2 * _ffn(h, inner) + 4 * linear(h, h) + positions + convolution
    shorten = 2 * linear(h * keys.size("adaptor_kernel_size", high=4096), 2 * h)
    adapter = (6 * h + shorten + 4 * linear(h, h) + _ffn(h, inner)) * keys.size_or(1, "num_adapter_layers", high=4096)
    around = 2 * frames + linear(frames, h) + 2 * h + _ffn(h, inner) + 2 * h
    return around + keys.layers("speech_encoder_layers") * layer + adapter * keys.flag("add_adapter", default=True)


def _decoder_layer(h: int, heads: int, inner: int, *, source: int, more: tuple[Linear, ...] = ()) -> Layer:
    """Self-attention, attention to the encoder and a plain MLP, biases and LayerNorms throughout."""
    dim = h // heads
    mixer, cross_linears, small = cross(h, heads, heads, dim, source, bias=True, k_bias=True)
    linears = (
        *blocks.qkv_o(h, heads, heads, dim, dim, bias=True, o_bias=True), *more, *cross_linears,
        *blocks.mlp(h, inner, bias=True),
    )
    return Layer(1, (Attention(heads, heads, dim, dim), mixer), linears, small + 6 * h)


def _heads(keys: Keys, h: int, *names: str) -> int:
    heads = keys.size(*names, high=2**16)
    if heads > h:
        raise keys.fail(names[0], heads, f"no more than hidden_size ({h})")
    return heads


def read_seamless(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """SeamlessM4T as its class hears or reads; what speaks is not counted."""
    h = keys.size("hidden_size")
    hears = not any("TextTo" in said for said in keys.texts("architectures") or ())
    text = keys.layers("encoder_layers") * encoder_layer(h, keys.size("encoder_ffn_dim")) + 2 * h
    layer = _decoder_layer(
        h, _heads(keys, h, "decoder_attention_heads"), keys.size("decoder_ffn_dim"),
        source=keys.size_or(4096, "max_source_positions", high=2**31),
    )
    encoder = Part("encoder", _seamless_speech(keys, h) if hears else text, resident=True, text=True)
    return assemble(
        name, keys, [layer] * keys.layers("decoder_layers"), hidden=h, other=2 * h, parts=(*parts, encoder),
        tied=keys.flag("tie_word_embeddings", default=True),
    )


def parakeet(audio: Keys) -> int:
    """NVIDIA's FastConformer: strided separable convolutions, then two half-step MLPs around attention and a filter."""
    h, inner = audio.size("hidden_size"), audio.size("intermediate_size")
    c, kernel = audio.size("subsampling_conv_channels"), audio.size("subsampling_conv_kernel_size", high=4096) ** 2
    steps = max(1, audio.size_or(8, "subsampling_factor", high=1024).bit_length() - 1)
    bands = -(-audio.size("num_mel_bins") // 2**steps)
    front = linear(kernel, c) + (steps - 1) * (linear(kernel, c) + linear(c, c)) + linear(c * bands, h)
    bias, more = audio.flag("attention_bias", default=True), audio.flag("convolution_bias", default=True)
    filters = linear(h, 2 * h, more) + h * audio.size("conv_kernel_size", high=4096) + h * more + 2 * h
    attention = 4 * linear(h, h, bias) + h * h + 2 * h
    layer = 2 * (linear(h, inner, bias) + linear(inner, h, bias)) + attention + filters + linear(h, h, more) + 10 * h
    return front + audio.layers() * layer


def read_asr(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """Canary and Cohere's ASR: a FastConformer and a small decoder; the head has a bias."""
    audio = keys.part_or_default("encoder_config")
    own = keys.part("decoder_config") or keys
    h, vocab = own.size("hidden_size"), own.size("vocab_size")
    layer = _decoder_layer(h, _heads(own, h, "num_attention_heads"), own.size("intermediate_size"), source=1500)
    learnt = keys.family == "cohere_asr"        # positions, and a matrix from the encoder's width
    join = own.size("max_position_embeddings", high=2**31) * h + linear(audio.size("hidden_size"), h)
    other = 4 * h + join * learnt
    tied = keys.flag("tie_word_embeddings", default=not learnt)
    encoder = Part("audio encoder", parakeet(audio), resident=True, text=True)
    return assemble(
        name, own, [layer] * own.layers(), hidden=h, top=keys, tied=tied, head_bias=not tied,
        other=other + vocab * tied, parts=(*parts, encoder),
    )


def read_prophetnet(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """ProphetNet: predicts n-grams; relative positions come from a matrix in every layer of the decoder."""
    h = keys.size("hidden_size")
    heads = _heads(keys, h, "num_decoder_attention_heads")
    table = keys.size("max_position_embeddings", high=2**31) * h + 2 * h
    relative = Linear("relative_pos_embeddings", h, keys.size("num_buckets") * heads, Role.ATTENTION, bias=True)
    layer = _decoder_layer(h, heads, keys.size("decoder_ffn_dim"), source=512, more=(relative,))
    alone = any(said.endswith("ForCausalLM") for said in keys.texts("architectures") or ())
    read = keys.layers("num_encoder_layers") * encoder_layer(h, keys.size("encoder_ffn_dim")) + table
    whole = () if alone else (Part("encoder", read, resident=True, text=True),)
    return assemble(
        name, keys, [layer] * keys.layers("num_decoder_layers"), hidden=h, parts=(*parts, *whole),
        other=table + keys.size("ngram") * h, tied=keys.flag("tie_word_embeddings", default=True),
    )


READERS: Final[Mapping[str, Callable[[str, Keys, Keys | None, Parts], ModelSpec]]] = {
    "seamless_m4t": read_seamless,
    "seamless_m4t_v2": read_seamless,
    "canary": read_asr,
    "cohere_asr": read_asr,
    "prophetnet": read_prophetnet,
}
