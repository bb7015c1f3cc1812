"""The grid of everything one could deploy: formats x KV formats x GPUs x batch x context."""

from core.answers.sweep.benchmarks import Benchmark, anchors, benchmarks
from core.answers.sweep.grid import BATCHES, CONTEXTS, SOURCE, Sweep, overflow_text, points, sweep
from core.answers.sweep.layouts import (
    DEFAULT_ENGINE,
    DEFAULT_GPU_COUNTS,
    KERNELS,
    NOTHING_MORE,
    STRUCTURE,
    Layouts,
    Refusal,
    layouts,
    weight_choices,
)

__all__ = [
    "BATCHES",
    "CONTEXTS",
    "DEFAULT_ENGINE",
    "DEFAULT_GPU_COUNTS",
    "KERNELS",
    "NOTHING_MORE",
    "SOURCE",
    "STRUCTURE",
    "Benchmark",
    "Layouts",
    "Refusal",
    "Sweep",
    "anchors",
    "benchmarks",
    "layouts",
    "overflow_text",
    "points",
    "sweep",
    "weight_choices",
]
