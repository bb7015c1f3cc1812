"""Parameters of audio towers and their projectors, exact; source: the towers' code in transformers 5.23.0."""

from collections.abc import Callable, Mapping
from typing import Final

from core.configs.keys import Keys
from core.configs.vision import linear

MEL_BANDS_LEFT: Final = 32  # 128 mel bands, halved by each of two strided convolutions


def gemma4_audio(audio: Keys, text: int) -> int:
    """A conformer: two half-step MLPs, attention with relative keys and a gated convolution a layer."""
    h, out = audio.size("hidden_size"), audio.size("output_proj_dims")
    wide, narrow = (audio.whole_numbers("subsampling_conv_channels") or [128, 32])[:2]
    front = 9 * wide + wide + 9 * wide * narrow + narrow + narrow * MEL_BANDS_LEFT * h
    mlps = 2 * (8 * h * h + 2 * h)
    attention = 5 * h * h + h // audio.size("num_attention_heads", high=2**16)
    convolution = 3 * h * h + audio.size("conv_kernel_size", high=4096) * h + 2 * h
    layers = audio.layers() * (mlps + attention + convolution + 3 * h)
    return front + layers + linear(h, out) + out * text


def gemma4_unified_audio(audio: Keys, text: int) -> int:
    """No tower: frames of the wave are projected as they are."""
    return audio.size_or(640, "audio_embed_dim") * text


AUDIO_TOWERS: Final[Mapping[str, Callable[[Keys, int], int]]] = {
    "gemma4": gemma4_audio,
    "gemma4_unified": gemma4_unified_audio,
}
