"""Encoder-decoders: the decoder is the stack that is planned, the encoder a part every request runs through.

Source: each family's code in transformers 5.23.0.
"""

from core.models import Attention, CrossAttention, Layer, Linear, ModelSpec, Part, Role, Shard
from core.reading.configs import blocks
from core.reading.configs.decoder import EXPERT_COUNT
from core.reading.configs.keys import MAX_COUNT, Keys
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
    """Attention over the encoder: keys and values are computed once per request."""
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
    alone = any(said.endswith("ForCausalLM") for said in keys.texts("architectures") or ())
    return assemble(
        name,
        keys,
        [layer] * keys.layers("decoder_layers"),
        hidden=h,
        other=positions + 2 * h,
        parts=() if alone else (Part("audio encoder", encoder, resident=True, text=True),),
    )


def _switches(keys: Keys, n: int, count: str, step: str) -> list[bool]:
    """Switch Transformers: the second of every `step` layers on routes (all of them at step 1)."""
    every = keys.optional(step, high=MAX_COUNT)
    if every is None:
        routed = keys.size_or(3, count, high=MAX_COUNT)
        every = n // routed if routed else 0
    return [every > 0 and (i % every == 1 or every == 1) for i in range(n)]


def read_t5(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
    """T5 and its kin: no biases; relative positions live in the first layer of each stack, in all of UMT5's.

    Switch routes every so many layers; Pop2Piano never ties its head and knows composers; UDOP sees the page.
    """
    h, heads, dim = keys.size("d_model"), keys.size("num_heads", high=2**16), keys.size("d_kv")
    inner, n = keys.size("d_ff"), keys.layers("num_layers")
    gated = keys.text("feed_forward_proj", default="relu").startswith("gated") or keys.flag("is_gated_act")
    build = blocks.glu if gated else blocks.mlp
    attention, mlp = 4 * h * heads * dim, (3 if gated else 2) * h * inner
    buckets = keys.size("relative_attention_num_buckets") * heads
    m = keys.optional("num_decoder_layers", high=4096) or n
    everywhere = keys.family == "umt5"
    encoder = n * (attention + mlp + 2 * h) + buckets * (n if everywhere else 1) + h
    other = buckets * (m if everywhere else 1) + h
    if keys.family == "longt5" and keys.text("encoder_attention_type", default="local") != "local":
        encoder += buckets + n * h      # transient-global attention: a table and a norm of its own
    if keys.family == "pop2piano":
        other += keys.size_or(21, "composer_vocab_size") * h
    if keys.family == "udop":           # patches for each stack, a grid of positions, biases along both axes
        patch = linear(keys.size_or(3, "num_channels") * keys.size("patch_size") ** 2, h)
        encoder += patch + 2 * keys.size("max_2d_position_embeddings") * h + 2 * buckets
        other += patch + 2 * buckets
    mixer, cross_linears, _ = cross(h, heads, heads, dim, keys.size_or(512, "n_positions"))
    linears = (*blocks.qkv_o(h, heads, heads, dim, dim), *cross_linears, *build(h, inner))
    layer = Layer(1, (Attention(heads, heads, dim, dim), mixer), linears, 3 * h)
    order = [layer] * m
    if keys.family == "switch_transformers":
        experts = keys.size(*EXPERT_COUNT, high=MAX_COUNT)
        routed = (blocks.router(h, experts), *blocks.experts(h, inner, experts, 1, gated=gated))
        sparse = Layer(1, layer.mixers, linears[: -len(build(h, inner))] + routed, 3 * h)
        more = sum(matrix.params for matrix in routed) - mlp
        encoder += more * sum(_switches(keys, n, "num_sparse_encoder_layers", "encoder_sparse_step"))
        order = [sparse if is_sparse else layer for is_sparse in
                 _switches(keys, m, "num_sparse_decoder_layers", "decoder_sparse_step")]
    # transformers >= 5.18 writes tie_word_embeddings: true always, and what the file had said as scale_decoder_outputs
    tied = keys.flag("tie_word_embeddings", default=True) and keys.flag("scale_decoder_outputs", default=True)
    tied = tied and keys.family != "pop2piano"
    return assemble(
        name,
        keys,
        order,
        hidden=h,
        other=other,
        parts=(Part("encoder", encoder, resident=True, text=True),),
        tied=tied,
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
