"""Published end-to-end figures: assets/published.csv as cases with what was measured."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.basics.errors import ModelNotFound
from core.basics.places import ASSETS
from core.models import ModelSpec
from core.physics import memory
from core.physics.efficiency.labels import Pair
from core.physics.speed.cases import Cases, Floats, Rows
from core.products import formats, gpus
from core.reading import catalogue
from core.terms import Deployment

PATH: Final = ASSETS / "published.csv"
METRICS: Final = ("ttft", "tpot", "throughput")


@dataclass(frozen=True, slots=True)
class Published:
    """Measured cases, one row each; NaN where a figure was not published."""

    cases: Cases
    ttft_s: Floats
    tpot_s: Floats
    output_tokens_per_s_per_gpu: Floats
    source: NDArray[np.str_]        # [rows]
    group: Rows                     # [rows] source x architecture x GPU: figures that share their conditions
    fold: Rows                      # [rows] architecture x GPU: what cross-validation leaves out

    def measured(self, metric: str) -> Floats:
        """Measurements of one of `METRICS`."""
        return {
            "ttft": self.ttft_s, "tpot": self.tpot_s, "throughput": self.output_tokens_per_s_per_gpu,
        }[metric]


def assumed_kv_format(weights: str, engine: str) -> str:
    """KV cache of a benchmark that does not state it.

    Tuned runs of FP8 and NVFP4 checkpoints cache in FP8: TensorRT-LLM by ModelOpt's cache scales,
    vLLM and SGLang by the launch scripts (their published runs hold twice the requests 16 bits allow).
    """
    tuned = weights in ("fp8", "nvfp4") and engine in ("trtllm", "vllm", "sglang")
    return "fp8" if tuned else "bf16"


def published(path: Path = PATH) -> Published:
    """Read the table.

    Raises: ModelNotFound when a model of the table is not in the catalogue.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    pairs: dict[tuple[str, ...], int] = {}
    which, built = [], []
    for row in rows:
        key = tuple(row[name] for name in _PAIR)
        if key not in pairs:
            pairs[key] = len(pairs)
            built.append(_pair(row))
        which.append(pairs[key])

    def column(name: str, scale: float = 1.0) -> Floats:
        return np.array([float(row[name]) * scale if row[name] else np.nan for row in rows])

    cases = Cases(
        pairs=tuple(built), which=np.array(which, np.intp), static=np.array([row["mode"] == "static" for row in rows]),
        concurrency=column("concurrency"), input_tokens=column("input_tokens"), output_tokens=column("output_tokens"),
        kv_tokens=np.array([memory.footprint(*pair).kv_tokens for pair in built]),
    )
    shape = [architecture(built[i][0]) for i in which]
    return Published(
        cases, column("ttft_ms", 1e-3), column("tpot_ms", 1e-3), column("output_tokens_per_s_per_gpu"),
        np.array([row["source"] for row in rows]),
        _numbered([f"{row['source']}|{s}|{row['gpu']}" for row, s in zip(rows, shape, strict=True)]),
        _numbered([f"{s}|{row['gpu']}" for row, s in zip(rows, shape, strict=True)]),
    )


_PAIR: Final = ("model", "gpu", "tp", "pp", "ep", "dp", "weights", "kv_cache", "engine", "engine_version")


def architecture(spec: ModelSpec) -> str:
    """What fine-tunes and quantised copies of one model share."""
    return f"{spec.family} {spec.n_layers} x {spec.hidden_size} {spec.text_params / 1e9:.1f}B"


def _pair(row: dict[str, str]) -> Pair:
    spec = catalogue.load(row["model"])
    if spec is None:
        raise ModelNotFound(f"No '{row['model']}' in the bundled catalogue: add it before fitting.")
    deployment = Deployment(
        gpu=gpus.find(row["gpu"]),
        weights=formats.find(row["weights"]),
        kv_cache=formats.find_kv(row["kv_cache"] or assumed_kv_format(row["weights"], row["engine"])),
        tp=int(row["tp"]), pp=int(row["pp"]), ep=int(row["ep"]), dp=int(row["dp"]),
        engine=row["engine"], engine_version=row["engine_version"],
    )
    return spec, deployment


def _numbered(names: Sequence[str]) -> Rows:
    return np.unique(np.array(names), return_inverse=True)[1]
