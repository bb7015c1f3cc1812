"""What a quality check will take, told before it starts, and why one cannot be run here."""

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from core.basics.errors import QualityError
from core.basics.settings import is_public, switch
from core.basics.units import GIB
from core.machinery.worker import free_memory_bytes
from core.models import ModelSpec
from core.products import gpus
from core.quality.compressor import LOGITS
from core.quality.order import SEQUENCE_TOKENS, SEQUENCES
from core.quality.variants import Variant

CPU: Final = "cpu"
CHARACTERS_A_TOKEN: Final = 4       # English with vocabularies of 50,000 and more
FULL_BYTES: Final = 4               # of a weight of the reference
LIBRARIES_BYTES: Final = 2 * GIB    # torch, transformers and llm-compressor, loaded
LOGITS_COPIES: Final = 3            # of the longest prompt: as computed, in 32 bits, and a few rows more
START_S: Final = 12.0               # importing all that: 9 to 15 s on two busy cores
LOAD_S_PER_WEIGHT: Final = 1.7e-7   # dequantising a GGUF on a busy core: 135M weights in 17 to 30 s
ROUND_S_PER_WEIGHT: Final = 4e-8    # copying and rounding on two busy cores: 135M weights in 3 to 8 s
SAMPLING_PASSES: Final = 6.0        # sampling the calibration text, token by token, in passes over it
GPU_SHARE: Final = 0.3              # of the peak in 32 bits that plain kernels reach
SPREAD: Final = 2.0                 # the time may be this many times more or less
SHARE: Final = 0.9                  # of what is free that a check may take


@dataclass(frozen=True, slots=True)
class Cost:
    """What a check takes."""

    seconds: float
    low_s: float
    high_s: float
    memory_bytes: float             # of the device
    disk_bytes: float               # for the reference's log-probabilities, while it runs


def is_allowed() -> bool:
    """SWEETSPOT_QUALITY decides; unset: where no stranger can reach the app."""
    said = switch("quality")
    return not is_public() if said is None else said


def about_tokens(text: str) -> int:
    """Tokens of a text before any tokenizer has seen it."""
    return max(1, len(text) // CHARACTERS_A_TOKEN)


def estimate_cost(
    spec: ModelSpec, prompts: Sequence[str], variants: Sequence[Variant], device: str,
    sequences: int = SEQUENCES, sequence_tokens: int = SEQUENCE_TOKENS, own_text: bool = True,
) -> Cost:
    """Time and memory of a check. `own_text`: the calibration text is sampled from the model first.

    A forward pass over T tokens multiplies every weight twice a token: 2 x parameters x T FLOPs.
    """
    tokens = sum(map(about_tokens, prompts))
    longest = max(map(about_tokens, prompts), default=0)
    pass_s = 2.0 * spec.total_params / flops_per_s(device)      # of one token
    calibrated = [variant for variant in variants if variant.calibrated]
    text_tokens = sequences * sequence_tokens
    making = sum(variant.passes for variant in calibrated) + (SAMPLING_PASSES if calibrated and own_text else 0.0)
    handling = spec.total_params * (LOAD_S_PER_WEIGHT + len(variants) * ROUND_S_PER_WEIGHT)
    seconds = START_S + handling + pass_s * ((1 + len(variants)) * tokens + making * text_tokens)
    in_32_bits = spec.shipped is not None and spec.shipped.format.startswith("gguf")
    copies = 2 * FULL_BYTES if in_32_bits else FULL_BYTES       # model and variant, each in the checkpoint's own bits
    batch = LOGITS if calibrated else 0         # of calibration texts side by side
    logits = max(longest * spec.vocab_size, batch) * FULL_BYTES
    return Cost(
        seconds, seconds / SPREAD, seconds * SPREAD,
        memory_bytes=spec.total_params * copies + LOGITS_COPIES * logits + LIBRARIES_BYTES,
        disk_bytes=float(tokens) * spec.vocab_size * FULL_BYTES,
    )


def refusal(cost: Cost, device: str, seconds: float) -> str:
    """Why a check of that cost cannot be run here, in one sentence; empty where it can."""
    free, disk = free_bytes(device), shutil.disk_usage(tempfile.gettempdir()).free
    if free is not None and cost.memory_bytes > SHARE * free:
        return (f"This check needs about {cost.memory_bytes / GIB:.1f} GiB of memory and {free / GIB:.1f} GiB are "
                f"free: take a smaller model or shorter prompts, or run it on a larger machine.")
    if cost.disk_bytes > SHARE * disk:
        return (f"The reference's logits need {cost.disk_bytes / GIB:.1f} GiB of temporary disk and "
                f"{disk / GIB:.1f} GiB are free: use fewer prompts.")
    if cost.low_s > seconds:
        return (f"This check takes about {cost.seconds / 60:,.0f} minutes and {seconds / 60:,.0f} are allowed: "
                f"allow more, or use fewer prompts or variants.")
    return ""


def free_bytes(device: str) -> float | None:
    """Memory that a check could take on a device; None where it is not told."""
    if device == CPU:
        return free_memory_bytes()
    local = _local(device)
    return local.spec.memory_bytes - (local.in_use_bytes or 0)


def checked_device(name: str | None) -> str:
    """The device of that name; the first GPU, else the processor, for none. Raises QualityError."""
    known = [f"cuda:{gpu.index}" for gpu in gpus.detect()] + [CPU]
    if name is not None and name not in known:
        raise QualityError(f"There is no device '{name[:40]}' here: use one of {', '.join(known)}.")
    return name or known[0]


def flops_per_s(device: str) -> float:
    """What plain kernels in 32 bits reach: timed on the processor, a share of the peak on a GPU."""
    if device == CPU:
        return _processor_flops_per_s()
    spec = _local(device).spec
    return GPU_SHARE * (spec.peak("fp32") or spec.peak("fp16") or 1e13)


def _local(device: str) -> gpus.LocalGpu:
    return next(gpu for gpu in gpus.detect() if f"cuda:{gpu.index}" == checked_device(device))


@cache
def _processor_flops_per_s() -> float:
    """The best of a few matrix products, 20 ms each."""
    size = 768
    a = np.ones((size, size), np.float32)
    times = []
    for _ in range(4):
        began = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - began)
    return float(2.0 * size**3 / min(times))
