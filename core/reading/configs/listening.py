"""Audio encoders and what joins them to the text model; exact in every key of the configuration.

A function a family: (its part of the file, the whole file, hidden size of the text model) -> parameters.
Source: the encoders' code in transformers 5.24.0.
"""

from collections.abc import Callable, Mapping
from typing import Final

from core.reading.configs.audio import AUDIO_TOWERS as EARLIER
from core.reading.configs.keys import Keys
from core.reading.configs.towers import qformer, two
from core.reading.configs.vision import Tower, encoder_layer, linear


def whisper_encoder(audio: Keys, *, positions: bool = True) -> int:
    """Two convolutions over the spectrum, Whisper's layers (keys without biases) and a norm."""
    h = audio.size("hidden_size", "d_model")
    inner = audio.size("intermediate_size", "encoder_ffn_dim")
    n = audio.layers("num_hidden_layers", "encoder_layers")
    front = linear(3 * audio.size("num_mel_bins"), h) + linear(3 * h, h)
    table = audio.size_or(1500, "max_source_positions") * h * positions
    return front + table + n * (encoder_layer(h, inner) - h) + 2 * h


def _wave(audio: Keys, norms: Callable[[list[int]], int]) -> tuple[int, int]:
    """wav2vec 2.0's convolutions over the wave, and their last width."""
    widths, kernels = audio.whole_numbers("conv_dim") or [], audio.whole_numbers("conv_kernel") or []
    if len(widths) != len(kernels) or not widths or min(widths) < 1 or min(kernels) < 1:
        raise audio.fail("conv_dim", widths, "a list of whole numbers from 1, as many as conv_kernel")
    bias, steps = audio.flag("conv_bias"), zip([1, *widths], widths, kernels, strict=False)
    return sum(narrow * wide * kernel + bias * wide for narrow, wide, kernel in steps) + norms(widths), widths[-1]


def _stack(audio: Keys, last: int, *, positions: int) -> int:
    """A projection of the wave, one grouped convolution for positions, a plain encoder."""
    h = audio.size("hidden_size")
    layers = audio.layers() * encoder_layer(h, audio.size("intermediate_size"))
    return 2 * last + linear(last, h) + positions + layers + 2 * h


def omni_asr(audio: Keys, top: Keys, text: int) -> int:
    """wav2vec 2.0 with a norm after every convolution, and one projection."""
    h = audio.size("hidden_size")
    wave, last = _wave(audio, lambda widths: 2 * sum(widths))
    groups = audio.size_or(16, "num_conv_pos_embedding_groups", low=1)
    positions = linear(h // groups * audio.size_or(128, "num_conv_pos_embeddings"), h)
    return wave + _stack(audio, last, positions=positions) + linear(h, text)


def wav2vec2(audio: Keys) -> int:
    """wav2vec 2.0: a norm after the first convolution, weight norm on the positions', a vector for masked frames."""
    h = audio.size("hidden_size")
    wave, last = _wave(audio, lambda widths: 2 * widths[0])
    taps = audio.size_or(128, "num_conv_pos_embeddings")
    positions = linear(h // audio.size_or(16, "num_conv_pos_embedding_groups", low=1) * taps, h) + taps
    return wave + _stack(audio, last, positions=positions) + h


def _whisper_and(project: Callable[[int, Keys, Keys, int], int], *, positions: bool = True) -> Tower:
    def tower(audio: Keys, top: Keys, text: int) -> int:
        h = audio.size("hidden_size", "d_model")
        return whisper_encoder(audio, positions=positions) + project(h, audio, top, text)

    return tower


def _flamingo(h: int, audio: Keys, top: Keys, text: int) -> int:
    return two(h, text, text, top.flag("projector_bias", default=True))


def _qwen2(h: int, audio: Keys, top: Keys, text: int) -> int:
    return linear(h, text)


def _voxtral(h: int, audio: Keys, top: Keys, text: int) -> int:
    return two(audio.size("intermediate_size"), text, text, False)


def _glm_asr(h: int, audio: Keys, top: Keys, text: int) -> int:
    return two(audio.size("intermediate_size"), 2 * text, text)


def _moss(h: int, audio: Keys, top: Keys, text: int) -> int:
    wide = h * top.size_or(4, "audio_merge_size", high=256)
    return two(wide, text, text, top.flag("projector_bias", default=True)) + 2 * text


def voxtral_realtime(audio: Keys, top: Keys, text: int) -> int:
    """Causal convolutions, gated MLPs and RMS norms; heads wider than the stream; a projector without biases."""
    h, inner = audio.size("hidden_size"), audio.size("intermediate_size")
    heads = audio.size("num_attention_heads", high=2**16)
    kv_heads = audio.count(heads, "num_key_value_heads") or heads
    dim = audio.size_or(h // heads, "head_dim")
    attention = linear(h, heads * dim) + h * kv_heads * dim + linear(h, kv_heads * dim) + linear(heads * dim, h)
    layer = attention + 2 * h * inner + linear(inner, h) + 2 * h
    front = linear(3 * audio.size("num_mel_bins"), h) + linear(3 * h, h)
    merged = h * top.size_or(4, "downsample_factor", high=256)
    return front + audio.layers() * layer + h + two(merged, text, text, False)


def fun_asr_nano(audio: Keys, top: Keys, text: int) -> int:
    """SANM: attention with a memory convolution over stacked frames; two norms mark where parts end; an adaptor."""
    h, inner = audio.size("hidden_size"), audio.size("intermediate_size")
    stacked = audio.size("num_mel_bins") * audio.size_or(7, "num_stacked_frames", high=256)
    memory = h * audio.size_or(11, "fsmn_kernel_size", high=256)
    rest = 3 * h + linear(h, h) + memory + linear(h, inner) + linear(inner, h) + 2 * h
    layers = audio.layers() * rest + (audio.layers() - 1) * (3 * h * h + 2 * h) + 3 * stacked * h + 2 * stacked
    adaptor = top.part_or_default("adaptor_config")
    wide, narrow = adaptor.size("hidden_size"), adaptor.size("intermediate_size")
    middle = adaptor.size_or(2048, "projector_hidden_size")
    return layers + 4 * h + two(h, middle, wide) + adaptor.layers() * encoder_layer(wide, narrow)


def conformer(audio: Keys) -> int:
    """Granite Speech: two half-step MLPs, attention with relative positions and a gated convolution a layer."""
    h, n = audio.size("hidden_dim"), audio.layers("num_layers")
    wide = h * audio.size_or(4, "feedforward_mult", high=64)
    heads, dim = audio.size("num_heads", high=2**16), audio.size("dim_head")
    inner = h * audio.size_or(2, "conv_expansion_factor", high=64)
    ffn = 2 * h + linear(h, wide) + linear(wide, h)
    attention = 2 * h + 3 * h * heads * dim + linear(heads * dim, h) + (2 * audio.size("max_pos_emb") + 1) * dim
    taps = inner * audio.size_or(15, "conv_kernel_size", high=4096)
    convolution = 2 * h + linear(h, 2 * inner) + taps + 2 * inner + linear(inner, h)
    out = audio.size("output_dim")
    return linear(audio.size("input_dim"), h) + linear(h, out) + linear(out, h) + n * (
        2 * ffn + attention + convolution + 2 * h
    )


def granite_speech(audio: Keys, top: Keys, text: int) -> int:
    """A conformer, a Q-Former over windows of its output, one projection."""
    queries = top.part_or_default("projector_config")
    h = queries.size("hidden_size")
    learnt = top.size_or(15, "window_size") // top.size_or(5, "downsample_rate", low=1) * h
    return conformer(audio) + learnt + qformer(queries, reads_text=False) + linear(h, text)


def muse_spark(audio: Keys, top: Keys, text: int) -> int:
    """A ConvNeXt over the spectrum: each stage patches, then convolves a channel at a time beside an MLP."""
    widths, patches = audio.whole_numbers("hidden_sizes") or [], audio.whole_numbers("patch_sizes") or []
    depths = audio.whole_numbers("depths", high=4096) or []
    if not widths or not len(widths) == len(patches) == len(depths) or min(*widths, *patches, *depths) < 1:
        raise audio.fail("hidden_sizes", widths, "a list of whole numbers from 1, as long as patch_sizes and depths")
    kernel, ratio = audio.size("conv_kernel_size", high=4096), audio.number(4, "mlp_ratio", high=64)
    total = 0
    for before, h, patch, depth in zip([1, *widths], widths, patches, depths, strict=False):
        inner = int(h * ratio)
        total += linear(before * patch, h) + h + depth * (linear(kernel, h) + h + linear(h, inner) + linear(inner, h))
    out = audio.size_or(text, "out_hidden_size")
    return total + widths[-1] + linear(widths[-1], out) + out


AUDIO_TOWERS: Final[Mapping[str, Tower]] = {
    **EARLIER,
    "qwen2_5_omni_thinker": EARLIER["qwen2_5_omni"],
    "qwen3_omni_moe_thinker": EARLIER["qwen3_omni_moe"],
    "qwen3_asr": EARLIER["qwen3_omni_moe"],
    "voxtral": _whisper_and(_voxtral),
    "audioflamingo3": _whisper_and(_flamingo),
    "musicflamingo": _whisper_and(_flamingo),
    "qwen2_audio": _whisper_and(_qwen2),
    "glmasr": _whisper_and(_glm_asr, positions=False),
    "moss_transcribe_diarize": _whisper_and(_moss),
    "voxtral_realtime": voxtral_realtime,
    "fun_asr_nano": fun_asr_nano,
    "omniasr": omni_asr,
    "muse_spark": muse_spark,
    "granite_speech": granite_speech,
    "granite_speech_plus": granite_speech,
}
