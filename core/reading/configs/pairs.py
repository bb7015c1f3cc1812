"""Two models of other families joined: an encoder of sight, sound or text, and a decoder that attends to it.

Source: EncoderDecoder, VisionEncoderDecoder and SpeechEncoderDecoder in transformers 5.24.0.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from core.basics.errors import ArchitectureUnknown
from core.models import ModelSpec, Part
from core.reading.configs import bart, bert
from core.reading.configs.keys import Keys
from core.reading.configs.listening import wav2vec2
from core.reading.configs.towers import vit
from core.reading.configs.vision import linear

ENCODERS: Final[Mapping[str, Callable[[Keys], int]]] = {
    "bert": bert.encoder,
    "roberta": bert.encoder,
    "vit": vit,
    "deit": vit,
    "wav2vec2": wav2vec2,
}


def read(name: str, keys: Keys, top: Keys | None, parts: tuple[Part, ...]) -> ModelSpec:
    """The decoder's spec with the encoder as a part that every request runs through."""
    encoder, decoder = keys.part_or_default("encoder"), keys.part_or_default("decoder")
    count = ENCODERS.get(encoder.family)
    if count is None or (decoder.family not in bert.FAMILIES and decoder.family not in bart.FAMILIES):
        unknown = encoder.family if count is None else decoder.family
        raise ArchitectureUnknown(
            f"{name} joins an encoder and a decoder, and its part of the family '{' '.join(unknown.split())[:60]}' is "
            "not understood; pick a model of the catalogue with the same shapes."
        )
    inside = {**decoder.values, "is_decoder": True, "add_cross_attention": True, "architectures": ["ForCausalLM"]}
    own = Keys(inside, decoder.family, "decoder.")
    if (traits := bert.FAMILIES.get(decoder.family)) is not None:
        spec = bert.read(name, own, traits)
    else:
        spec = bart.read(name, own, bart.FAMILIES[decoder.family])
    spec = replace(spec, family=keys.family)
    h, seen = spec.hidden_size, encoder.size("hidden_size")
    join = linear(seen, h) if seen != h else 0
    whole = Part("encoder", count(encoder) + join, resident=True, text=True)
    return replace(spec, parts=(*parts, whole))
