"""Parameters of audio towers and their projectors, exact; source: the towers' code in transformers 5.23.0."""

from collections.abc import Mapping
from typing import Final

from core.reading.configs.keys import Keys
from core.reading.configs.vision import Tower, encoder_layer, linear

MEL_BANDS_LEFT: Final = 32  # 128 mel bands, halved by each of two strided convolutions


def gemma4_audio(audio: Keys, top: Keys, text: int) -> int:
    """A conformer: two half-step MLPs, attention with relative keys and a gated convolution a layer."""
    h, out = audio.size("hidden_size"), audio.size("output_proj_dims")
    wide, narrow = (audio.whole_numbers("subsampling_conv_channels") or [128, 32])[:2]
    front = 9 * wide + wide + 9 * wide * narrow + narrow + narrow * MEL_BANDS_LEFT * h
    mlps = 2 * (8 * h * h + 2 * h)
    attention = 5 * h * h + h // audio.size("num_attention_heads", high=2**16)
    convolution = 3 * h * h + audio.size("conv_kernel_size", high=4096) * h + 2 * h
    layers = audio.layers() * (mlps + attention + convolution + 3 * h)
    return front + layers + linear(h, out) + out * text


def gemma4_unified_audio(audio: Keys, top: Keys, text: int) -> int:
    """No tower: frames of the wave are projected as they are."""
    return audio.size_or(640, "audio_embed_dim") * text


def qwen3_omni(audio: Keys, top: Keys, text: int) -> int:
    """Three strided convolutions over the spectrum, a Whisper-like encoder, two projections."""
    h, c = audio.size("d_model"), audio.size("downsample_hidden_size")
    bands = -(-audio.size("num_mel_bins") // 8)     # halved three times
    front = linear(9, c) + 2 * linear(9 * c, c) + c * bands * h
    layers = audio.layers("encoder_layers") * encoder_layer(h, audio.size("encoder_ffn_dim"))
    return front + layers + 2 * h + linear(h, h) + linear(h, audio.size_or(text, "output_dim"))


def qwen2_5_omni(audio: Keys, top: Keys, text: int) -> int:
    """Whisper's encoder without its table of positions, two marks and a projection; keys have no bias."""
    h, out = audio.size("d_model"), audio.size_or(text, "output_dim")
    front = linear(3 * audio.size("num_mel_bins"), h) + linear(3 * h, h)
    layers = audio.layers("encoder_layers") * (encoder_layer(h, audio.size("encoder_ffn_dim")) - h)
    return front + layers + 2 * h + 2 * out + linear(h, out)


AUDIO_TOWERS: Final[Mapping[str, Tower]] = {
    "gemma4": gemma4_audio,
    "gemma4_unified": gemma4_unified_audio,
    "qwen3_omni_moe": qwen3_omni,
    "qwen2_5_omni": qwen2_5_omni,
}
