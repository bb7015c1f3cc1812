"""Parameters of vision towers and their projectors, exact; they are resident but planned as one part.

A function a tower: (vision keys, keys of the whole file, hidden size of the text model) -> parameters.
Source: the towers' code in transformers 5.23.0.
"""

from collections.abc import Callable, Mapping
from typing import Final

from core.reading.configs.keys import MAX_LAYERS, Keys

Tower = Callable[[Keys, Keys, int], int]


def linear(inputs: int, outputs: int, bias: bool = True) -> int:
    """Parameters of a matrix [inputs, outputs] and its bias."""
    return inputs * outputs + bias * outputs


def encoder_layer(h: int, inner: int, *, bias: bool = True, norm: int = 2) -> int:
    """Attention, two-matrix MLP and two norms (norm = 2: with biases)."""
    return 4 * linear(h, h, bias) + linear(h, inner, bias) + linear(inner, h, bias) + 2 * norm * h


def patches(vision: Keys) -> int:
    """Patches of one image; width and height may be given apart."""
    image, patch = (side(vision, name) for name in ("image_size", "patch_size"))
    return (image[0] // patch[0]) * (image[-1] // patch[-1])


def side(vision: Keys, name: str) -> list[int]:
    """Width and height that the key gives, together or apart."""
    sides = (vision.whole_numbers(name) if vision.is_list(name) else None) or [vision.size(name)]
    if min(sides) < 1:
        raise vision.fail(name, min(sides), "whole numbers from 1")
    return sides


def pixels(vision: Keys) -> int:
    """Values of one patch."""
    patch = side(vision, "patch_size")
    return vision.size_or(3, "num_channels", "in_channels", "in_chans") * patch[0] * patch[-1]


def clip(vision: Keys) -> int:
    """CLIP with a class token, a norm before and one after its layers."""
    h = vision.size("hidden_size")
    layers = vision.layers() * encoder_layer(h, vision.size("intermediate_size"))
    return h + pixels(vision) * h + (patches(vision) + 1) * h + 2 * h + layers + 2 * h


def siglip(vision: Keys) -> int:
    """SigLIP and SigLIP 2, with the pooling head where the class makes one."""
    h, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    positions = vision.size_or(0, "num_patches") if "siglip2" in vision.family else patches(vision)
    layers = vision.layers() * encoder_layer(h, inner)
    pooled = h + linear(h, 3 * h) + linear(h, h) + 2 * h + linear(h, inner) + linear(inner, h)
    head = vision.flag("vision_use_head", default="idefics" not in vision.family and "smolvlm" not in vision.family)
    return linear(pixels(vision), h) + positions * h + layers + 2 * h + head * pooled


def _pixtral(vision: Keys) -> int:
    h, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    return pixels(vision) * h + h + vision.layers() * (4 * h * h + 3 * h * inner + 2 * h)


def _internvit(vision: Keys) -> int:
    h, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    qkv = 3 * linear(h, h, vision.flag("attention_bias", "qkv_bias"))
    layer = qkv + linear(h, h) + linear(h, inner) + linear(inner, h)
    norms = (4 if vision.text("norm_type", default="layer_norm") == "layer_norm" else 2) * h + 2 * h
    pooled = 0 if vision.flag("use_mean_pooling", default=True) else 2 * h
    qk = 2 * h * vision.flag("use_qk_norm", "qk_normalization")
    positions = (patches(vision) + 1) * h if vision.flag("use_absolute_position_embeddings", default=True) else 0
    mask = h * vision.flag("use_mask_token")
    return h + mask + positions + linear(pixels(vision), h) + vision.layers() * (layer + norms + qk) + pooled


def encoder(vision: Keys) -> int:
    """The bare tower, by the kind the vision config says it is."""
    kinds = {
        "clip": clip,
        "siglip": siglip,
        "pixtral": _pixtral,
        "intern": _internvit,  # internvl_vision, intern_vit_6b
        "qianfan": _internvit,
        "idefics3": siglip,
        "smolvlm": siglip,
    }
    for kind, build in kinds.items():
        if vision.family.startswith(kind):
            return build(vision)
    raise vision.fail("model_type", vision.family, f"one of {', '.join(kinds)}")


def llava(vision: Keys, top: Keys, text: int) -> int:
    """Tower and a two-matrix projector."""
    h, vip = vision.size("hidden_size"), top.family == "vipllava"      # which norms the layers it takes
    bias = top.flag("multimodal_projector_bias", default=vip)
    said = "vision_feature_layers" if vip else "vision_feature_layer"   # counted from the last, so below zero
    taken = len(top.whole_numbers(said, low=-MAX_LAYERS) or [0]) if top.is_list(said) else 1
    newline = text if top.family in ("llava_next", "llava_next_video", "llava_onevision") else 0
    return encoder(vision) + 2 * h * taken * vip + linear(h * taken, text, bias) + linear(text, text, bias) + newline


def gemma3(vision: Keys, top: Keys, text: int) -> int:
    """Tower, an RMS norm and one projection without bias."""
    h = vision.size("hidden_size")
    return encoder(vision) + h * text + h


def paligemma(vision: Keys, top: Keys, text: int) -> int:
    """Tower and one projection with bias."""
    return encoder(vision) + linear(vision.size("hidden_size"), text)


def mistral3(vision: Keys, top: Keys, text: int) -> int:
    """Tower, an RMS norm, a merger of neighbouring patches and a two-matrix projector."""
    h, bias = vision.size("hidden_size"), top.flag("multimodal_projector_bias")
    merge = top.size("spatial_merge_size", high=256) ** 2
    return encoder(vision) + h + merge * h * h + linear(h, text, bias) + linear(text, text, bias)


def idefics3(vision: Keys, top: Keys, text: int) -> int:
    """Tower and one projection, without bias, of scale_factor² patches side by side."""
    return encoder(vision) + vision.size("hidden_size") * top.size("scale_factor", high=256) ** 2 * text


def internvl(vision: Keys, top: Keys, text: int) -> int:
    """Tower, a LayerNorm over 1 / downsample_ratio² patches side by side and a two-matrix projector."""
    ratio = top.number(0.5, "downsample_ratio", low=1e-3, high=1)
    wide = vision.size("hidden_size") * int(1 / ratio) ** 2
    return encoder(vision) + 2 * wide + linear(wide, text) + linear(text, text)


def lfm2(vision: Keys, top: Keys, text: int) -> int:
    """Tower, a LayerNorm on demand over downsample_factor² patches side by side and a two-matrix projector."""
    wide = vision.size("hidden_size") * top.size("downsample_factor", high=256) ** 2
    middle, bias = top.size("projector_hidden_size"), top.flag("projector_bias", default=True)
    norm = 2 * wide * top.flag("projector_use_layernorm", default=True)
    return encoder(vision) + norm + linear(wide, middle, bias) + linear(middle, text, bias)


def _qwen_patch(vision: Keys, h: int) -> int:
    return pixels(vision) * vision.size("temporal_patch_size", high=256) * h


def qwen2(vision: Keys, top: Keys, text: int) -> int:
    """Qwen2-VL: two-matrix MLPs, and a merger of spatial_merge_size² patches: LayerNorm and two matrices."""
    h, merge = vision.size("embed_dim"), vision.size("spatial_merge_size", high=256) ** 2
    inner = int(h * vision.number(4, "mlp_ratio", high=64))
    wide = merge * h
    merger = 2 * h + linear(wide, wide) + linear(wide, vision.size("hidden_size"))
    return _qwen_patch(vision, h) + vision.layers("depth") * encoder_layer(h, inner) + merger


def qwen2_5(vision: Keys, top: Keys, text: int) -> int:
    """Qwen2.5-VL: gated MLPs with biases, RMS norms, and a two-matrix merger of spatial_merge_size² patches.

    EXAONE-4.5 groups its keys and values.
    """
    h, inner, heads = vision.size("hidden_size"), vision.size("intermediate_size"), vision.size("num_heads", high=2**16)
    grouped = 2 * (vision.count(heads, "num_key_value_heads") or heads) * (h // heads)
    wide = vision.size("spatial_merge_size", high=256) ** 2 * h
    layer = linear(h, h + grouped) + linear(h, h) + 2 * linear(h, inner) + linear(inner, h) + 2 * h
    merger = h + linear(wide, wide) + linear(wide, vision.size("out_hidden_size"))
    return _qwen_patch(vision, h) + vision.layers("depth") * layer + merger


def qwen3(vision: Keys, top: Keys, text: int) -> int:
    """Qwen3-VL: learnt positions, a two-matrix merger, and one more with a norm for every deepstack layer."""
    h, inner, out = vision.size("hidden_size"), vision.size("intermediate_size"), vision.size("out_hidden_size")
    wide = vision.size("spatial_merge_size", high=256) ** 2 * h
    merger = linear(wide, wide) + linear(wide, out)
    deep = len(vision.whole_numbers("deepstack_visual_indexes") or ())
    positions = vision.size("num_position_embeddings") * h
    layers = vision.layers("depth") * encoder_layer(h, inner)
    return _qwen_patch(vision, h) + h + positions + layers + 2 * h + merger + deep * (2 * wide + merger)


def llama4(vision: Keys, top: Keys, text: int) -> int:
    """Llama 4: a ViT with a class token and positions, a two-matrix adapter without biases and one projection."""
    if not vision.values:  # dropped from the file: what Scout and Maverick both ship (their model cards' tower)
        vision = Keys({"hidden_size": 1408, "image_size": 336, "vision_output_dim": 4096}, vision.family, vision.where)
    h, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    adapter_in, adapter_out = vision.size("projector_input_dim"), vision.size("projector_output_dim")
    adapter = inner * adapter_in + adapter_out * adapter_out
    embeddings = h + (patches(vision) + 1) * h + pixels(vision) * h + 4 * h
    return embeddings + vision.layers() * encoder_layer(h, inner) + adapter + vision.size("vision_output_dim") * text


def kimi(vision: Keys, top: Keys, text: int) -> int:
    """Kimi-VL's MoonViT: a learnt grid of positions, and a LayerNorm and two-matrix merger of neighbouring patches."""
    h = vision.size("vt_hidden_size", "hidden_size")
    inner = vision.size("vt_intermediate_size", "intermediate_size")
    n = vision.layers("vt_num_hidden_layers", "num_hidden_layers")
    grid = vision.size("init_pos_emb_height", "pos_emb_height") * vision.size("init_pos_emb_width", "pos_emb_width")
    kernel = vision.whole_numbers("merge_kernel_size") or [2, 2]
    wide = h * kernel[0] * kernel[-1]
    tower = linear(pixels(vision), h) + grid * h + n * encoder_layer(h, inner) + 2 * h
    return tower + 2 * h + linear(wide, wide) + linear(wide, text)


def kimi_k3(vision: Keys, top: Keys, text: int) -> int:
    """MoonViT without biases: RMS norms, a q-k-v narrower than the stream's three heads, a two-matrix merger."""
    h, inner = vision.size("vt_hidden_size"), vision.size("vt_intermediate_size")
    width = vision.size_or(h, "qkv_hidden_size")
    bias, more = vision.flag("attn_bias"), vision.flag("linear_bias")
    layer = (
        linear(h, 3 * width, bias) + linear(width, h, bias) + linear(h, inner, more) + linear(inner, h, more) + 2 * h
    )
    grid = vision.size("init_pos_emb_height") * vision.size("init_pos_emb_width")
    kernel = vision.whole_numbers("merge_kernel_size") or [2, 2]
    wide = vision.size_or(h, "mm_hidden_size") * kernel[0] * kernel[-1]
    patch = linear(pixels(vision), h, vision.flag("patch_embed_proj_bias"))
    merger = linear(wide, wide, False) + linear(wide, text, False) + text
    return patch + grid * h + vision.layers("vt_num_hidden_layers") * layer + h + merger


def gemma4(vision: Keys, top: Keys, text: int) -> int:
    """A gated MLP, four norms and norms a head; two learnt position tables, one an axis."""
    h, inner, dim = vision.size("hidden_size"), vision.size("intermediate_size"), vision.size("head_dim")
    heads, kv_heads = vision.size("num_attention_heads", high=2**16), vision.size("num_key_value_heads", high=2**16)
    bias = vision.flag("attention_bias") * (2 * (heads + kv_heads) * dim - heads * dim + h)
    layer = 2 * h * (heads + kv_heads) * dim + bias + 3 * h * inner + 2 * dim + 4 * h
    return 2 * vision.size("position_embedding_size") * h + pixels(vision) * h + vision.layers() * layer + h * text


def gemma4_unified(vision: Keys, top: Keys, text: int) -> int:
    """No tower: patches pooled, normed and projected, with learnt positions along both axes."""
    h = vision.size_or(text, "mm_embed_dim")
    pooled = 3 * (vision.size_or(16, "patch_size", high=4096) * vision.size_or(3, "pooling_kernel_size", high=256)) ** 2
    positions = 2 * vision.size_or(1120, "mm_posemb_size") * h
    return positions + 2 * pooled + linear(pooled, h) + 4 * h + h * text


def glm(vision: Keys, top: Keys, text: int) -> int:
    """GLM-5-Next and GLM-OCR: gated MLPs, norms a head, a strided convolution and a gated merger."""
    h, inner, out = vision.size("hidden_size"), vision.size("intermediate_size"), vision.size("out_hidden_size")
    bias = vision.flag("attention_bias")
    layer = linear(h, 3 * h, bias) + linear(h, h, bias) + 2 * linear(h, inner) + linear(inner, h) + 2 * h
    layer += 2 * (h // vision.size("num_heads", high=2**16))
    merge = vision.size("spatial_merge_size", high=256) ** 2
    merged = vision.size_or(3 * out, "projection_intermediate_size")    # GLM-OCR: out_hidden_size x in_channels
    merger = out * out + 2 * out + 3 * out * merged
    return _qwen_patch(vision, h) + h + vision.layers("depth") * layer + linear(merge * h, out) + h + merger


def glm4v(vision: Keys, top: Keys, text: int) -> int:
    """GLM-4.1V and 4.5V: gated MLPs as wide as the text, learnt positions, a strided convolution, a gated merger."""
    h, out = vision.size("hidden_size"), vision.size("out_hidden_size")
    bias = vision.flag("attention_bias")
    layer = linear(h, 3 * h, bias) + linear(h, h, False) + 3 * h * out + 2 * h
    merger = out * out + 2 * out + 3 * out * vision.size("intermediate_size")
    down = linear(vision.size("spatial_merge_size", high=256) ** 2 * h, out)
    around = _qwen_patch(vision, h) + h + patches(vision) * h + 2 * h
    return around + vision.layers("depth") * layer + down + merger


CLIP_LARGE_336: Final = {  # openai/clip-vit-large-patch14-336 config.json
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "image_size": 336,
    "patch_size": 14,
}


def phi3(vision: Keys, top: Keys, text: int) -> int:
    """Phi-3.5-vision: CLIP-L/336, two separators between crops, four patches projected as one."""
    large = Keys(CLIP_LARGE_336, "clip_vision_model")
    wide = 4 * large.size("hidden_size")
    return clip(large) + 2 * wide + linear(wide, text) + linear(text, text)


def step3(vision: Keys, top: Keys, text: int) -> int:
    """A ViT with layer scales, then two strided convolutions that double the width."""
    h, n = vision.size("hidden_size", "width"), vision.layers("num_hidden_layers", "layers")
    inner = int(h * vision.number(8960 / 1536, "mlp_ratio", high=64))
    scales = 2 * h
    down = linear(9 * h, 2 * h) + linear(9 * 2 * h, 4 * h)
    positions = patches(vision) * h
    return pixels(vision) * h + positions + 2 * h + n * (encoder_layer(h, inner) + scales) + down + 4 * h * text


def mllama(vision: Keys, top: Keys, text: int) -> int:
    """Local and gated global layers over tiles, then one projection of all kept layers."""
    h, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    tiles = vision.size("max_num_tiles", high=256)
    shapes = vision.values.get("supported_aspect_ratios")
    ratios = len(shapes) if isinstance(shapes, list) else 8        # those of four tiles
    positions = patches(vision) + 1
    plain = 4 * h * h + linear(h, inner) + linear(inner, h) + 4 * h
    local = vision.layers() * plain
    gated = vision.layers("num_global_layers") * (plain + 2)
    gated_positions = 1 + positions * h + (ratios + 1) * tiles * positions * h
    tile_embeddings = 2 * ((ratios + 1) * tiles * h + 1)
    kept = len(vision.whole_numbers("intermediate_layers_indices") or [0] * 5) + 1
    return pixels(vision) * h + h + gated_positions + tile_embeddings + 4 * h + local + gated + linear(h * kept, text)


def minimax(vision: Keys, top: Keys, text: int) -> int:
    """MiniMax: a tower, a two-matrix projector, and a two-matrix merger of spatial_merge_size² projected patches."""
    h, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    packing = vision.part("img_token_compression_config") or vision
    merge = packing.size_or(2, "spatial_merge_size", high=256) ** 2
    temporal = packing.size_or(2, "temporal_patch_size", high=256)
    middle = top.size_or(text, "projector_hidden_size")
    tower = pixels(vision) * temporal * h + 2 * h + vision.layers() * encoder_layer(h, inner)
    return tower + linear(h, middle) + linear(middle, text) + linear(merge * text, middle) + linear(middle, text)


TOWERS: Final[Mapping[str, Tower]] = {
    "llava": llava,
    "llava_next": llava,
    "vipllava": llava,
    "gemma3": gemma3,
    "paligemma": paligemma,
    "mistral3": mistral3,
    "mistral_large4": mistral3,
    "idefics3": idefics3,
    "smolvlm": idefics3,
    "internvl": internvl,
    "internvl_chat": internvl,
    "glm4v": glm4v,
    "glm4v_moe": glm4v,
    "lfm2_vl": lfm2,
    "lfm3_vl": lfm2,
    "qwen2_vl": qwen2,
    "qwen2_5_vl": qwen2_5,
    "qwen2_5_omni": qwen2_5,
    "qwen3_omni_moe": qwen3,
    "qwen3_vl": qwen3,
    "qwen3_vl_moe": qwen3,
    "qwen3_5": qwen3,
    "qwen3_5_moe": qwen3,
    "llama4": llama4,
    "kimi_k25": kimi,
    "kimi_k3": kimi_k3,
    "minimax_m3_vl": minimax,
    "ministral3": mistral3,
    "gemma4": gemma4,
    "gemma4_unified": gemma4_unified,
    "step3p7": step3,
    "glm5_next": glm,
    "phi3_v": phi3,
    "mllama": mllama,
}
