"""Images in a prompt: tokens, work of the vision tower, memory while it works, and why a model cannot take them."""

from dataclasses import replace
from typing import Final

from core.models import ModelSpec
from core.models.images import Seen
from core.products.engines import find as find_engine
from core.terms import Deployment, Images, Workload

BYTES: Final = 2.0                # of an activation of the tower
# Vectors a patch keeps while a layer of a ViT runs: the stream, its norm, queries, keys and values, attention's
# output, and an MLP of four widths twice (before and after its function).
VECTORS: Final = 14.0


def seen(spec: ModelSpec, images: Images | None) -> Seen | None:
    """What one image comes to; None without images, or where the model's rule is not known."""
    return spec.eyes.seen(images.width, images.height) if images and spec.eyes else None


def prompt_tokens(spec: ModelSpec, images: Images | None) -> int:
    """Tokens that the images add to each prompt."""
    one = seen(spec, images)
    return one.tokens * images.count if one and images else 0


def resolved(spec: ModelSpec, workload: Workload) -> Workload:
    """The workload with the tokens of an image as this model sees it."""
    one = seen(spec, workload.pictures)
    tokens = one.tokens if one else 0
    return workload if workload.image_tokens == tokens else replace(workload, image_tokens=tokens)


def flops(spec: ModelSpec, images: Images | None) -> float:
    """FLOPs of the vision tower for the images of one prompt [FLOP]."""
    return images.count * spec.eyes.flops(images.width, images.height) if images and spec.eyes else 0.0


def encoder_bytes(spec: ModelSpec, images: Images | None, step_tokens: int, activations: float) -> float:
    """Memory that images take beside the `activations` of a step: the tower's output, and what it needs more [B].

    The tower works before the step and leaves its memory to it, its output aside. vLLM profiles as many images of the
    size it is told as fit the tokens of a step, at least one
    (vllm/v1/core/encoder_cache_manager.py).
    """
    one, eyes = seen(spec, images), spec.eyes
    if one is None or eyes is None or images is None:
        return 0.0
    at_once = max(1, step_tokens // one.tokens)
    running = at_once * one.crops * one.patches * eyes.width * VECTORS * BYTES
    return max(0.0, running - activations) + max(step_tokens, one.tokens) * spec.hidden_size * BYTES


def missing(spec: ModelSpec, d: Deployment) -> str | None:
    """Why the model cannot be planned with images, one sentence; None where it can."""
    engine = find_engine(d.engine)
    if d.images is None:
        return None
    if not engine.takes_images:
        return f"{engine.label} is not known to take images: plan with 0 images, or take another engine."
    if spec.eyes is not None:
        return None
    if spec.sees:
        return f"how {spec.name} turns images into tokens is not known: plan with 0 images and longer prompts."
    return f"{spec.name} sees no images as it is loaded here: plan with 0 images, or pick a model with a vision tower."
