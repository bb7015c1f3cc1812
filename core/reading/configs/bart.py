"""BART and its kin: an encoder and a decoder of plain blocks, told apart by positions, norms and biases.

A file saved for a CausalLM class has the decoder alone. Source: each family's code in transformers 5.24.0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from core.models import Attention, Layer, Linear, ModelSpec, Part
from core.reading.configs import blocks
from core.reading.configs.decoder import EXPERT_COUNT
from core.reading.configs.keys import MAX_COUNT, Keys
from core.reading.configs.seq2seq import cross
from core.reading.configs.stack import assemble
from core.reading.configs.vision import encoder_layer, linear

Parts = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class BartTraits:
    """What differs from BART in a family's code."""

    spare: int | None = 2           # positions beside those named; None: computed, no parameters
    embedding_norm: bool = True
    final_norm: bool = False
    bias: bool | str = True         # of attention: fixed, or the key that says so
    own_head: bool = False          # the CausalLM class does not tie its head
    listens: bool = False           # its encoder reads sound
    moe: bool = False


def _speech_front(keys: Keys, h: int) -> int:
    """Speech2Text: strided convolutions, each gated, so that half of its channels go on."""
    kernels, middle = keys.whole_numbers("conv_kernel_sizes", high=4096) or [], keys.size("conv_channels")
    inputs = keys.size("input_feat_per_channel") * keys.size_or(1, "input_channels")
    widths = [inputs, *[middle // 2] * (len(kernels) - 1)]
    outputs = [middle] * (len(kernels) - 1) + [2 * h]
    return sum(linear(i * kernel, o) for i, kernel, o in zip(widths, kernels, outputs, strict=True))


FAMILIES: Final[Mapping[str, BartTraits]] = {
    "bart": BartTraits(),
    "plbart": BartTraits(),
    "mvp": BartTraits(),
    "trocr": BartTraits(),
    "mbart": BartTraits(final_norm=True),
    "blenderbot-small": BartTraits(spare=0),
    "blenderbot": BartTraits(spare=0, embedding_norm=False, final_norm=True),
    "pegasus": BartTraits(spare=0, embedding_norm=False, final_norm=True),
    "marian": BartTraits(spare=0, embedding_norm=False),
    "fsmt": BartTraits(embedding_norm=False),
    "bigbird_pegasus": BartTraits(spare=0, bias="use_bias", own_head=True),
    "pegasus_x": BartTraits(spare=None, embedding_norm=False, final_norm=True, bias=False),
    "led": BartTraits(spare=0),
    "m2m_100": BartTraits(spare=None, embedding_norm=False, final_norm=True),
    "nllb-moe": BartTraits(spare=None, embedding_norm=False, final_norm=True, moe=True),
    "speech_to_text": BartTraits(spare=None, embedding_norm=False, final_norm=True, listens=True),
    "pp_formulanet_text": BartTraits(final_norm=True),
}


def _positions(keys: Keys, traits: BartTraits, h: int, *, encoder: bool) -> int:
    if traits.spare is None or not keys.flag("use_learned_position_embeddings", default=True):
        return 0
    name = "max_encoder_position_embeddings" if encoder else "max_decoder_position_embeddings"
    return (keys.size(name if name in keys else "max_position_embeddings", high=2**31) + traits.spare) * h


def _norms(keys: Keys, traits: BartTraits, h: int) -> int:
    """Parameters of a stack's norms outside its layers."""
    first = traits.embedding_norm and keys.flag("layernorm_embedding", default=True)
    return 2 * h * (first + traits.final_norm)


def _experts(keys: Keys, h: int, inner: int) -> tuple[Linear, ...]:
    n = keys.size(*EXPERT_COUNT, high=MAX_COUNT)
    return blocks.router(h, n), *blocks.experts(h, inner, n, 2, gated=False, bias=True)


def _sparse(keys: Keys, n: int, side: str) -> list[bool]:
    """NLLB-MoE: every so many layers route."""
    step = keys.size_or(4, f"{side}_sparse_step", high=MAX_COUNT)
    return [step > 0 and (i + 1) % step == 0 for i in range(n)]


def _encoder(keys: Keys, traits: BartTraits, h: int, *, bias: bool) -> int:
    n, inner = keys.layers("encoder_layers"), keys.size("encoder_ffn_dim")
    layer = encoder_layer(h, inner) - 4 * h * (not bias)
    norms = _norms(keys, traits, h)
    extra = _positions(keys, traits, h, encoder=True)
    if keys.family == "led":        # Longformer: queries, keys and values of their own for global tokens
        layer += 3 * linear(h, h)
    if keys.family == "pegasus_x":  # global tokens and a norm for them
        layer, extra = layer + 2 * h, extra + keys.size_or(32, "num_global_tokens") * h
    if traits.listens:
        extra += _speech_front(keys, h)
    if traits.moe:
        dense, routed = linear(h, inner) + linear(inner, h), sum(m.params for m in _experts(keys, h, inner))
        extra += sum(_sparse(keys, n, "encoder")) * (routed - dense)
    return n * layer + norms + extra


def read(name: str, keys: Keys, traits: BartTraits, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """The decoder is planned layer by layer; the encoder is a part that every request runs through."""
    h, heads = keys.size("d_model", "hidden_size"), keys.size("decoder_attention_heads", high=2**16)
    if heads > h:
        raise keys.fail("decoder_attention_heads", heads, f"no more than d_model ({h})")
    bias = traits.bias if isinstance(traits.bias, bool) else keys.flag(traits.bias)
    alone = keys.family == "trocr" or any(said.endswith("ForCausalLM") for said in keys.texts("architectures") or ())
    dim, inner, n = h // heads, keys.size("decoder_ffn_dim"), keys.layers("decoder_layers")
    seen = keys.size_or(1024, "max_source_positions", "max_encoder_position_embeddings", "max_position_embeddings",
                        high=2**31)
    mixer, cross_linears, small = cross(h, heads, heads, dim, seen, bias=bias, k_bias=bias)
    attention = (*blocks.qkv_o(h, heads, heads, dim, dim, bias=bias, o_bias=bias), *cross_linears)
    dense = blocks.mlp(h, inner, bias=True)
    routed = _experts(keys, h, inner) if traits.moe else dense
    order = [
        Layer(1, (Attention(heads, heads, dim, dim), mixer), attention + (routed if sparse else dense), small + 6 * h)
        for sparse in (_sparse(keys, n, "decoder") if traits.moe else [False] * n)
    ]
    norms = _norms(keys, traits, h)
    vocab = keys.size("tgt_vocab_size" if keys.family == "fsmt" else "vocab_size")
    encoder = 0 if alone else _encoder(keys, traits, h, bias=bias)
    if keys.family == "fsmt":       # two languages, two tables
        encoder += keys.size("src_vocab_size") * h
    tied = keys.flag("tie_word_embeddings", default=True) and not (alone and traits.own_head)
    return assemble(
        name, keys, order, hidden=h, top=top, vocab=vocab, tied=tied,
        other=_positions(keys, traits, h, encoder=False) + norms,
        parts=parts if alone else (*parts, Part("encoder", encoder, resident=True, text=True)),
    )


def _reader(traits: BartTraits) -> Callable[[str, Keys, Keys | None, Parts], ModelSpec]:
    def read_family(name: str, keys: Keys, top: Keys | None, parts: Parts) -> ModelSpec:
        return read(name, keys, traits, top, parts)

    return read_family


READERS: Final[Mapping[str, Callable[[str, Keys, Keys | None, Parts], ModelSpec]]] = {
    family: _reader(traits) for family, traits in FAMILIES.items()
}
