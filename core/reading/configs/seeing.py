"""By which rule a family's image processor turns images into tokens.

Sizes that stand in config.json are read from it. Budgets of pixels and tiles stand in preprocessor_config.json: here
they are those of the family's published checkpoints, else of the class. Source: image processors of transformers
5.17.0 and the checkpoints named at the line.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from core.models.images import (
    Canvas,
    Chunks,
    Crops,
    Eyes,
    Fixed,
    Merged,
    Native,
    Pooled,
    Rows,
    Rule,
    Split,
    Tiles,
)
from core.reading.configs.keys import Keys
from core.reading.configs.vision import CLIP_LARGE_336, patches, side

Reader = Callable[[Keys, Keys], Rule]

LLAVA_NEXT: Final = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
ONEVISION: Final = tuple((384 * tall, 384 * wide) for tall in range(1, 7) for wide in range(1, 7))
QWEN_2: Final = (56 * 56, 28 * 28 * 16384)            # Qwen2-VL and Qwen2.5-VL checkpoints: 4 to 16,384 tokens
QWEN_3: Final = (65_536, 16_777_216)                  # Qwen3-VL checkpoints: 64 to 16,384 tokens of 32 x 32 pixels
GLM: Final = (112 * 112 // 2, 9_633_792 // 2)         # GLM-4.1V checkpoint, counted over two frames
M3: Final = (4 * 28 * 28, 451_584)                    # MiniMaxM3VLImageProcessor


def _merged(budget: tuple[int, int], patch: int, narrow: str = "rounded") -> Reader:
    def read(vision: Keys, top: Keys) -> Rule:
        size = vision.size_or(patch, "patch_size", high=4096)
        merge = vision.size_or(2, "spatial_merge_size", high=256)
        return Merged(size, merge, *budget, "enlarged" if narrow == "enlarged" else "rounded")
    return read


def _native(vision: Keys, top: Keys) -> Rule:
    kernel = vision.whole_numbers("merge_kernel_size") or [2, 2]
    return Native(vision.size_or(14, "patch_size", high=4096), kernel[0], 16_384, 512)


def _gemma3(vision: Keys, top: Keys) -> Rule:
    return Fixed(top.size_or(256, "mm_tokens_per_image"), patches(vision))


def _gemma4(vision: Keys, top: Keys) -> Rule:
    pool, patch = vision.size_or(3, "pooling_kernel_size", high=256), vision.size_or(16, "patch_size", high=4096)
    return Pooled(patch, pool, top.size_or(280, "vision_soft_tokens_per_image", low=1))


def _llava(vision: Keys, top: Keys) -> Rule:
    if vision.family.startswith("pixtral"):
        return Rows(side(vision, "patch_size")[0], 1, side(vision, "image_size")[0])
    whole = top.text("vision_feature_select_strategy", default="default") == "full"
    return Fixed(patches(vision) + whole, patches(vision))


def _llava_next(vision: Keys, top: Keys) -> Rule:
    return Canvas(side(vision, "image_size")[0], side(vision, "patch_size")[0], _canvases(top) or LLAVA_NEXT)


def _onevision(vision: Keys, top: Keys) -> Rule:
    most = top.text("vision_aspect_ratio", default="anyres_max_9").removeprefix("anyres_max_")
    tiles = int(most) if most.isdigit() else 9
    return Canvas(side(vision, "image_size")[0], side(vision, "patch_size")[0], _canvases(top) or ONEVISION, tiles)


def _canvases(top: Keys) -> tuple[tuple[int, int], ...]:
    """The canvases a file names, where it names some."""
    said = top.values.get("image_grid_pinpoints")
    pairs = said if isinstance(said, list) else []
    return tuple((pair[0], pair[1]) for pair in pairs
                 if isinstance(pair, list) and len(pair) == 2 and all(isinstance(n, int) and n > 0 for n in pair))


def _mistral3(vision: Keys, top: Keys) -> Rule:
    merge = top.size_or(2, "spatial_merge_size", high=256)
    return Rows(side(vision, "patch_size")[0], merge, side(vision, "image_size")[0])


def _internvl(vision: Keys, top: Keys) -> Rule:
    ratio = top.number(0.5, "downsample_ratio", low=1e-3, high=1)
    tokens = int(patches(vision) * ratio**2)
    most = top.size_or(12, "max_dynamic_patch", low=1, high=256)
    return Tiles(side(vision, "image_size")[0], tokens, 0, 2, 1, most, patches(vision))


def _cohere(vision: Keys, top: Keys) -> Rule:
    factor = top.size_or(2, "downsample_factor", low=1, high=64)
    tokens = patches(vision) // factor**2
    return Tiles(side(vision, "image_size")[0], tokens, 1, 2, 1, 12, patches(vision))


def _lfm2(vision: Keys, top: Keys) -> Rule:
    patch, factor = side(vision, "patch_size")[0], top.size_or(2, "downsample_factor", low=1, high=64)
    block, tile = patch * factor, 512
    whole = Merged(patch, factor, 64 * block**2, 256 * block**2, "a block")
    return Tiles(tile, (tile // block) ** 2, 1, 2, 2, 10, (tile // patch) ** 2, whole)


def _llama4(vision: Keys, top: Keys) -> Rule:
    if not vision.values:          # dropped from the file: what Scout and Maverick both ship
        return Chunks(336, 144, 16, 576)
    grid = patches(vision)
    ratio = vision.number(0.5, "pixel_shuffle_ratio", low=1e-3, high=1)
    return Chunks(side(vision, "image_size")[0], int(grid * ratio**2), 16, grid)


def _idefics3(vision: Keys, top: Keys) -> Rule:
    square, grid = side(vision, "image_size")[0], patches(vision)
    return Split(square, 4 * square, grid // top.size_or(2, "scale_factor", low=1, high=256) ** 2, grid)


def _phi3(vision: Keys, top: Keys) -> Rule:
    return Crops(336, 4)          # Phi-3.5-vision's preprocessor_config: num_crops 4


@dataclass(frozen=True, slots=True)
class Family:
    """What is known of how a family sees."""

    rule: Reader
    source: str
    every: int = 1                 # of so many layers one attends to the whole image, the others to windows


_CLASS: Final = "image processor of transformers 5.17"
_QWEN_2: Final = "Qwen2VLImageProcessor; 3,136 to 12,845,056 pixels as in the checkpoints"

SEES: Final[Mapping[str, Family]] = {
    "qwen2_vl": Family(_merged(QWEN_2, 14), _QWEN_2),
    "qwen2_5_vl": Family(_merged(QWEN_2, 14), _QWEN_2, every=8),
    "qwen2_5_omni": Family(_merged(QWEN_2, 14), _QWEN_2, every=8),
    "qwen3_omni_moe": Family(_merged(QWEN_2, 16), _QWEN_2),
    **dict.fromkeys(("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"), Family(
        _merged(QWEN_3, 16), "Qwen2VLImageProcessor; 65,536 to 16,777,216 pixels as in Qwen3-VL's checkpoints")),
    **dict.fromkeys(("glm4v", "glm4v_moe"), Family(
        _merged(GLM, 14, "enlarged"), "Glm4vImageProcessor; up to 9,633,792 pixels of two frames as in GLM-4.1V")),
    "minimax_m3_vl": Family(_merged(M3, 14), f"MiniMaxM3VL's {_CLASS}"),
    "kimi_k25": Family(_native, f"Kimi_K25's {_CLASS}"),
    "gemma3": Family(_gemma3, "mm_tokens_per_image, 256; one square of 896 pixels without pan and scan"),
    "gemma4": Family(_gemma4, f"Gemma4's {_CLASS}: up to 280 tokens"),
    "gemma4_unified": Family(_gemma4, f"Gemma4Unified's {_CLASS}: up to 280 tokens"),
    "paligemma": Family(_llava, "(image_size / patch_size)²"),
    **dict.fromkeys(("llava", "vipllava"), Family(_llava, f"{_CLASS}: (image_size / patch_size)²; Pixtral's rows")),
    "llava_next": Family(_llava_next, f"LlavaNext's {_CLASS}"),
    "llava_onevision": Family(_onevision, f"LlavaOnevision's {_CLASS}; several images of a prompt have fewer tokens"),
    **dict.fromkeys(("mistral3", "ministral3"), Family(_mistral3, f"Pixtral's {_CLASS}, patches merged")),
    **dict.fromkeys(("internvl", "internvl_chat"), Family(
        _internvl, "GotOcr2ImageProcessor with crop_to_patches, up to 12 tiles as in InternVL's checkpoints")),
    "cohere2_vision": Family(_cohere, f"Cohere2Vision's {_CLASS}"),
    "lfm2_vl": Family(_lfm2, f"Lfm2Vl's {_CLASS}"),
    "llama4": Family(_llama4, f"Llama4's {_CLASS}: up to 16 chunks"),
    **dict.fromkeys(("idefics3", "smolvlm"), Family(_idefics3, f"Idefics3's {_CLASS}: longest edge 4 squares")),
    "phi3_v": Family(_phi3, "Phi-3.5-vision's own processor, num_crops 4"),
}


def eyes(top: Keys, vision: Keys, params: int) -> Eyes | None:
    """How a file's family sees, with `params` of tower and projector; None where its rule is not known."""
    known = SEES.get(top.family)
    if known is None or not params:
        return None
    if top.family == "phi3_v":
        vision = Keys(CLIP_LARGE_336, "clip_vision_model")
    width = vision.size_or(0, "embed_dim", "vt_hidden_size", "hidden_size")
    layers = vision.size_or(0, "depth", "vt_num_hidden_layers", "num_hidden_layers", "layers", high=4096)
    return Eyes(known.rule(vision, top), params, width, layers // known.every, known.source)
