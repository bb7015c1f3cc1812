"""Towers of further families, and what joins them to the text model; exact in every key of the configuration.

A function a family: (its part of the file, the whole file, hidden size of the text model) -> parameters.
Source: the towers' code in transformers 5.24.0.
"""

from collections.abc import Mapping
from typing import Final

from core.reading.configs.keys import MAX_SIZE, Keys
from core.reading.configs.vision import (
    Tower,
    clip,
    encoder,
    encoder_layer,
    gemma3,
    glm,
    glm4v,
    internvl,
    linear,
    llava,
    mistral3,
    patches,
    pixels,
    qwen2_5,
    qwen3,
    side,
    siglip,
)


def two(inputs: int, middle: int, outputs: int, bias: bool = True, *, second: bool | None = None) -> int:
    """A projector of two matrices."""
    return linear(inputs, middle, bias) + linear(middle, outputs, bias if second is None else second)


def plain_siglip(vision: Keys) -> int:
    """SigLIP without its pooling head; positions may be said as a number of patches."""
    h = vision.size("hidden_size")
    positions = vision.size("num_patches") if "num_patches" in vision else patches(vision)
    layers = vision.layers() * encoder_layer(h, vision.size("intermediate_size"))
    return linear(pixels(vision), h) + positions * h + layers + 2 * h


def sam(vision: Keys) -> int:
    """Segment Anything's ViT: relative positions a head along both axes, as wide as the window or the image."""
    h, inner = vision.size("hidden_size"), vision.size("mlp_dim")
    n, out = vision.layers(), vision.size_or(256, "output_channels")
    image, patch = side(vision, "image_size")[0], side(vision, "patch_size")[0]
    grid, window = image // patch, vision.size_or(14, "window_size")
    whole = len(vision.whole_numbers("global_attn_indexes") or ())
    spans = whole * (2 * grid - 1) + (n - whole) * (2 * window - 1 if window else 2 * grid - 1)
    relative = 2 * spans * (h // vision.size("num_attention_heads", high=2**16))
    qkv = linear(h, 3 * h, vision.flag("qkv_bias", default=True))
    layer = qkv + linear(h, h) + linear(h, inner) + linear(inner, h) + 4 * h
    positions = grid * grid * h * vision.flag("use_abs_pos", default=True)
    return (
        linear(pixels(vision), h) + positions + n * layer
        + relative * vision.flag("use_rel_pos", default=True) + sam_neck(h, out)
    )


def sam_neck(h: int, out: int) -> int:
    """Two convolutions without biases, a norm after each."""
    return h * out + 2 * out + 9 * out * out + 2 * out


def eva(vision: Keys) -> int:
    """BLIP-2's ViT-g: fused queries, keys and values, a class token."""
    h, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    qkv = linear(h, 3 * h, vision.flag("qkv_bias", default=True))
    layer = qkv + linear(h, h) + linear(h, inner) + linear(inner, h) + 4 * h
    return h + (patches(vision) + 1) * h + linear(pixels(vision), h) + vision.layers() * layer + 2 * h


def qformer(keys: Keys, *, reads_text: bool) -> int:
    """BLIP-2's Q-Former: BERT's blocks over learnt queries, cross attention every so many layers."""
    h, inner, seen = keys.size("hidden_size"), keys.size("intermediate_size"), keys.size("encoder_hidden_size")
    n = keys.layers()
    attention = 4 * linear(h, h) + 2 * h
    across = 2 * linear(h, h) + 2 * linear(seen, h) + 2 * h
    ffn = linear(h, inner) + linear(inner, h) + 2 * h
    crossing = -(-n // keys.size_or(2, "cross_attention_frequency", low=1))
    words = (keys.size("vocab_size") + keys.size("max_position_embeddings", high=2**31)) * h * reads_text
    return words + 2 * h + n * (attention + ffn * (1 + reads_text)) + crossing * across


def blip2(vision: Keys, top: Keys, text: int) -> int:
    """ViT-g, learnt queries, a Q-Former that reads text in InstructBLIP, one projection."""
    queries = top.part_or_default("qformer_config")
    h = queries.size("hidden_size")
    reads = "instruct" in top.family or queries.flag("use_qformer_text_input")
    learnt = top.size_or(32, "num_query_tokens") * h
    return eva(vision) + learnt + qformer(queries, reads_text=reads) + linear(h, text)


def blip(vision: Keys, top: Keys, text: int) -> int:
    """BLIP's ViT."""
    return eva(vision)


def git(vision: Keys, top: Keys, text: int) -> int:
    """CLIP, one projection and a norm."""
    return clip(vision) + linear(vision.size("hidden_size"), text) + 2 * text


def deepseek_vl(vision: Keys, top: Keys, text: int) -> int:
    """SigLIP and two matrices; the hybrid adds SAM for fine detail, a neck and two convolutions."""
    h = vision.size("hidden_size")
    if "high_res_vision_config" not in top and top.family == "deepseek_vl":
        return siglip(vision) + two(h, text, text)
    fine = top.part_or_default("high_res_vision_config")
    out = fine.size_or(256, "output_channels")
    convolutions = 9 * out * 2 * out + 9 * 2 * out * 4 * out
    aligner = linear(h, text // 2) + linear(4 * out, text // 2) + linear(text, text)
    neck = sam_neck(fine.size("hidden_size"), out)
    return siglip(vision) + sam(fine) + neck + convolutions + 1 + aligner


def cosmos3_edge(vision: Keys, top: Keys, text: int) -> int:
    """SigLIP, a norm, and two matrices over spatial_merge_size² patches."""
    h, wide = vision.size("hidden_size"), top.size("projector_hidden_size")
    return plain_siglip(vision) + 2 * h + two(h * vision.size("spatial_merge_size", high=256) ** 2, wide, text)


def cohere2_vision(vision: Keys, top: Keys, text: int) -> int:
    """SigLIP; downsample_factor² patches through a gated pair of matrices (SwiGLU halves the middle)."""
    wide = vision.size("hidden_size") * top.size_or(2, "downsample_factor", high=256) ** 2
    middle = top.size_or(36864, "alignment_intermediate_size")
    return encoder(vision) + linear(wide, middle) + linear(middle // 2, text)


def granite_docling(vision: Keys, top: Keys, text: int) -> int:
    """SigLIP; a coarse and a fine route of merged patches, each with three mergers of earlier layers."""
    h, out = vision.size("hidden_size"), vision.size("out_hidden_size")
    scale = vision.size_or(4, "scale_factor", high=256)
    scales = (scale, scale // 2) if vision.flag("use_fine_route", default=True) else (scale,)
    taken = len(vision.whole_numbers("deepstack_visual_indexes", "deepstack_layer_indices") or [0] * 3)
    routes = sum(
        h * s * s * out + taken * (2 * h * s * s + linear(h * s * s, out) + linear(out, out)) for s in scales
    )
    return plain_siglip(vision) + 2 * h + 4 * out + out * out + routes


def muse_glimmer(vision: Keys, top: Keys, text: int) -> int:
    """A ViT with two outer norms; merged patches through two matrices and one projection, all without biases."""
    h, merge = vision.size("hidden_size"), vision.size("merge_size", high=256)
    middle = top.size("projector_hidden_size")
    patch = pixels(vision) * vision.size_or(2, "patch_temporal", high=256) * h
    grid = vision.size("pos_emb_height") * vision.size("pos_emb_width") * h
    layers = vision.layers() * encoder_layer(h, vision.size("intermediate_size"))
    return patch + grid + 4 * h + layers + h * merge**2 * middle + middle * middle + middle * text


def radio(vision: Keys) -> int:
    """NVIDIA RADIO: registers, layer scales, positions for the largest image, a projection for video."""
    h, inner = vision.size("hidden_size"), int(vision.size("hidden_size") * vision.number(4, "mlp_ratio", high=64))
    grid = (vision.size("max_img_size") // side(vision, "patch_size")[0]) ** 2
    tokens = len(vision.whole_numbers("summary_idxs") or [0] * 2) + 1 + vision.size_or(7, "num_registers")
    video = pixels(vision) * vision.size_or(2, "video_temporal_patch_size", high=256)
    layer = encoder_layer(h, inner) + 2 * h
    return (grid + tokens + pixels(vision) + video) * h + vision.layers() * layer


def nemotron_omni(vision: Keys, top: Keys, text: int) -> int:
    """RADIO; an RMS norm over 1 / downsample_ratio² patches and two matrices without biases."""
    wide = vision.size("hidden_size") * int(1 / top.number(0.5, "downsample_ratio", low=1e-3, high=1)) ** 2
    middle = top.size("projector_hidden_size")
    return radio(vision) + wide + wide * middle + middle * text


def unlimited_ocr(vision: Keys, top: Keys, text: int) -> int:
    """SAM, two convolutions into CLIP (without patches of its own or a last norm), one projection, two separators."""
    fine, coarse = vision.part_or_default("sam_config"), vision.part_or_default("encoder_config")
    h = coarse.size("hidden_size")
    middle, out = fine.whole_numbers("downsample_channels") or [512, 1024]
    convolutions = 9 * fine.size_or(256, "output_channels") * middle + 9 * middle * out
    layers = coarse.layers() * encoder_layer(h, coarse.size("intermediate_size"))
    seen = h + (patches(coarse) + 1) * h + 2 * h + layers
    return sam(fine) + convolutions + seen + linear(h + out, text) + 2 * text


def lfm3_vl(vision: Keys, top: Keys, text: int) -> int:
    """Short convolutions over the plane and grouped-query attention in turn; gated MLPs; a merger of two matrices."""
    h, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    heads = vision.size("num_attention_heads", high=2**16)
    dim, n = h // heads, vision.layers()
    attends = sum("attention" in kind for kind in vision.texts("layer_types") or ())
    attention = 2 * h * h + 2 * h * vision.size("num_key_value_heads", high=2**16) * dim + 2 * dim
    convolution = 4 * h * h + vision.size_or(3, "conv_kernel_size", high=256) ** 2 * h
    patch = pixels(vision) * vision.size_or(2, "temporal_patch_size", high=256) * h
    layers = attends * attention + (n - attends) * convolution + n * (3 * h * inner + 2 * h)
    wide = h * vision.size_or(2, "spatial_merge_size", high=256) ** 2
    middle, bias = top.size("projector_hidden_size"), top.flag("projector_bias", default=True)
    return patch + h + layers + 2 * h + two(wide, middle, text, bias)


def minicpm_v(vision: Keys, top: Keys, text: int) -> int:
    """SigLIP with a merger of four patches halfway, then further mergers down to the text's width."""
    h = vision.size("hidden_size")
    window = vision.whole_numbers("window_kernel_size") or [2, 2]
    merge = top.whole_numbers("merge_kernel_size") or [2, 2]
    wide, last = h * window[0] * window[-1], h * merge[0] * merge[-1]
    halfway = 4 * linear(h, h) + 2 * h + 2 * wide + two(wide, 4 * wide, h)
    times = top.size_or(1, "merger_times", high=64)
    after = times * 2 * last + (times - 1) * two(last, last, h) + two(last, last, text)
    return plain_siglip(vision) + halfway + after


def got_ocr(vision: Keys, top: Keys, text: int) -> int:
    """SAM, two convolutions that double the width, one projection."""
    out = vision.size_or(256, "output_channels")
    return sam(vision) + 9 * out * 2 * out + 9 * 2 * out * 4 * out + linear(4 * out, text)


def paddle_ocr(vision: Keys, top: Keys, text: int) -> int:
    """SigLIP, a norm and a merger of two matrices."""
    h = vision.size("hidden_size")
    wide = h * vision.size("spatial_merge_size", high=256) ** 2
    return plain_siglip(vision) + 2 * h + two(wide, wide, text)


def aria(vision: Keys, top: Keys, text: int) -> int:
    """Learnt queries attend to the image, then a feed-forward without biases."""
    h = vision.size("hidden_size")
    queries = top.values.get("projector_patch_to_query_dict")
    counts = [n for n in queries.values() if isinstance(n, int)] if isinstance(queries, dict) else []
    learnt = min(max([*counts, top.size_or(1, "max_value_projector_patch_to_query_dict")]), MAX_SIZE)
    attention = 3 * h * h + linear(h, h) + 4 * h + linear(h, 3 * h) + linear(h, h)
    return encoder(vision) + learnt * h + 2 * h + attention + h * text + text * text


def molmo2(vision: Keys, top: Keys, text: int) -> int:
    """A ViT without a last norm; attention pools two of its layers, a gated MLP projects."""
    h, adapter = vision.size("hidden_size"), top.part_or_default("adapter_config")
    layers = vision.layers() * encoder_layer(h, vision.size("intermediate_size"))
    wide, inner = adapter.size("hidden_size"), adapter.size("intermediate_size")
    taken = h * len(adapter.whole_numbers("vision_feature_layer") or [0] * 2)
    out = adapter.size_or(text, "text_hidden_size")
    pooled = 3 * linear(taken, wide) + linear(wide, wide)
    projected = 2 * wide * inner + inner * out
    return vision.size("num_position_embeddings") * h + linear(pixels(vision), h) + layers + pooled + projected


def hyperclovax(vision: Keys, top: Keys, text: int) -> int:
    """Qwen2.5-VL's tower and one projection."""
    return qwen2_5(vision, top, text) + linear(vision.size("out_hidden_size"), text)


def ernie(vision: Keys, top: Keys, text: int) -> int:
    """ERNIE-4.5-VL: a ViT, then patches merged in space and, by as many frames, in time."""
    h, inner = vision.size("hidden_size"), vision.size_or(0, "intermediate_size")
    inner = inner or int(h * vision.number(4, "mlp_ratio", high=64))
    wide = h * vision.size_or(2, "spatial_merge_size", high=256) ** 2
    frames = wide * vision.size_or(2, "temporal_merge_size", high=256)
    tower = pixels(vision) * h + vision.layers("depth") * encoder_layer(h, inner) + 2 * h
    return tower + two(wide, wide, wide) + 2 * wide + two(frames, wide, wide) + 2 * wide + linear(wide, text) + text


def ovis2(vision: Keys, top: Keys, text: int) -> int:
    """A ViT with gated MLPs and RMS norms whose outputs pick rows of a table of visual words."""
    h, inner, bias = vision.size("hidden_size"), vision.size("intermediate_size"), vision.flag("qkv_bias")
    more = vision.flag("mlp_bias")
    layer = 4 * linear(h, h, bias) + 2 * linear(h, inner, more) + linear(inner, h, more) + 2 * h
    words = vision.size("vocab_size")
    picked = words - vision.size_or(5, "num_visual_indicator_tokens", high=words - 1)
    head = h * vision.size_or(1, "hidden_stride", high=256) ** 2 * picked + 2 * picked
    tower = linear(pixels(vision), h) + patches(vision) * h + h + vision.layers() * layer + h
    return tower + head + words * top.size_or(text, "hidden_size")


def video_llama(vision: Keys, top: Keys, text: int) -> int:
    """SigLIP with rotary positions and two matrices."""
    h = vision.size("hidden_size")
    layers = vision.layers() * encoder_layer(h, vision.size("intermediate_size"))
    return linear(pixels(vision), h) + layers + 2 * h + two(h, text, text)


def fuyu(vision: Keys, top: Keys, text: int) -> int:
    """No tower: patches are projected as they are."""
    return linear(pixels(top), text)


def video_llava(vision: Keys, top: Keys, text: int) -> int:
    """A tower for images, one for video, one projector."""
    return encoder(vision) + encoder(top.part_or_default("video_config") if "video_config" in top else vision) + two(
        vision.size("hidden_size"), text, text, top.flag("multimodal_projector_bias", default=True)
    )


def idefics2(vision: Keys, top: Keys, text: int) -> int:
    """A gated projection, then learnt queries attend to the image and themselves."""
    h, queries = vision.size("hidden_size"), top.part_or_default("perceiver_config")
    wide = queries.size("hidden_size")
    inner = top.part_or_default("text_config").size("intermediate_size")
    heads, dim = queries.size("resampler_n_heads", high=2**16), queries.size("resampler_head_dim")
    kv_heads = queries.count(heads, "num_key_value_heads") or heads
    layer = 2 * wide * heads * dim + 2 * wide * kv_heads * dim + 3 * wide * 4 * wide + 3 * wide
    resampler = queries.size("resampler_n_latents") * wide + queries.layers("resampler_depth") * layer + wide
    return plain_siglip(vision) + 2 * h * inner + inner * wide + resampler


def vit(vision: Keys) -> int:
    """ViT with a class token and, in the encoder-decoder class, its pooler."""
    h, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    qkv = linear(h, 3 * h, vision.flag("qkv_bias", default=True))
    layer = qkv + linear(h, h) + linear(h, inner) + linear(inner, h) + 4 * h
    return h + (patches(vision) + 1) * h + linear(pixels(vision), h) + vision.layers() * layer + 2 * h + linear(h, h)


TOWERS: Final[Mapping[str, Tower]] = {
    "blip-2": blip2,
    "instructblip": blip2,
    "instructblipvideo": blip2,
    "git": git,
    "deepseek_vl": deepseek_vl,
    "deepseek_vl_hybrid": deepseek_vl,
    "cosmos3_edge": cosmos3_edge,
    "cohere2_vision": cohere2_vision,
    "granite_docling": granite_docling,
    "muse_glimmer": muse_glimmer,
    "muse_spark": muse_glimmer,
    "nemotron_h_omni": nemotron_omni,
    "unlimited_ocr": unlimited_ocr,
    "lfm3_vl": lfm3_vl,
    "minicpmv4_6": minicpm_v,
    "minicpmv4_7": minicpm_v,
    "minicpm_ocr": minicpm_v,
    "glm46v": glm4v,
    "glmga": glm4v,
    "glm_ocr": glm,
    "got_ocr2": got_ocr,
    "pp_chart2table": got_ocr,
    "lighton_ocr": mistral3,
    "paddleocr_vl": paddle_ocr,
    "aria": aria,
    "molmo2": molmo2,
    "hyperclovax_vision_v2": hyperclovax,
    "exaone4_5": qwen2_5,
    "qwen2_5_omni_thinker": qwen2_5,
    "qwen3_omni_moe_thinker": qwen3,
    "cosmos3_omni": qwen3,
    "ernie4_5_vl_moe": ernie,
    "ovis2": ovis2,
    "video_llama_3": video_llama,
    "fuyu": fuyu,
    "video_llava": video_llava,
    "idefics2": idefics2,
    "blip": blip,
    "qianfan_ocr": internvl,
    "llava_onevision": llava,
    "llava_next_video": llava,
    "shieldgemma2": gemma3,
}
