"""Published end-to-end figures: assets/published.csv as cases with what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.basics import tables
from core.basics.errors import ModelNotFound
from core.basics.tables import Note, Table, Within
from core.models import ModelSpec
from core.physics.ask import Load, desk
from core.physics.efficiency.labels import Pair
from core.physics.speed.cases import Cases, Floats, Rows
from core.products import formats, gpus
from core.products.engines import find as find_engine
from core.reading import catalogue
from core.terms import Deployment

METRICS: Final = ("ttft", "tpot", "throughput")


Degree: TypeAlias = Annotated[int, Within(1, 1024)]
Tokens: TypeAlias = Annotated[float, Within(1, 10_000_000)]
Milliseconds: TypeAlias = Annotated[float, Within(0.001, 10_000_000)]


@dataclass(frozen=True, slots=True)
class Figure:
    """One published measurement: a row of assets/published.csv."""

    source: str
    model: str
    gpu: str
    tp: Degree
    pp: Degree
    ep: Degree
    dp: Degree
    weights: str
    kv_cache: Note             # empty: not stated
    engine: str
    engine_version: Note
    mode: Literal["static", "serving"]
    concurrency: Annotated[float, Within(1, 1_000_000)] | None     # empty: maximum load
    input_tokens: Tokens
    output_tokens: Tokens
    ttft_ms: Milliseconds | None
    tpot_ms: Milliseconds | None
    output_tokens_per_s_per_gpu: Annotated[float, Within(0.001, 10_000_000)] | None


@dataclass(frozen=True, slots=True)
class Source:
    """Where figures stand and how far they are trusted: a row of assets/published_sources.csv."""

    name: str
    trust: Annotated[float, Within(0.05, 1)]   # weight of its figures: old engines, noisy hosts, nominal lengths
    where: Note


SOURCES: Final[Mapping[str, Source]] = Table("published_sources.csv", Source)


@dataclass(frozen=True, slots=True)
class Published:
    """Measured cases, one row each; NaN where a figure was not published."""

    cases: Cases
    ttft_s: Floats
    tpot_s: Floats
    output_tokens_per_s_per_gpu: Floats
    source: NDArray[np.str_]        # [rows]
    trust: Floats                   # [rows] weight of the source's figures, 0..1
    group: Rows                     # [rows] source x architecture x GPU: figures that share their conditions
    fold: Rows                      # [rows] architecture x GPU: what cross-validation leaves out

    @property
    def source_number(self) -> Rows:
        """Number of every row's source [rows]."""
        return _numbered(self.source.tolist())

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
    return "fp8" if weights in ("fp8", "nvfp4") and find_engine(engine).tuned_cache else "bf16"


def published() -> Published:
    """Read the table.

    Raises: ModelNotFound when a model of the table is not in the catalogue.
    """
    rows = tables.read("published.csv", Figure)
    pairs: dict[tuple[object, ...], int] = {}
    which, built = [], []
    for row in rows:
        key = tuple(getattr(row, name) for name in _PAIR)
        if key not in pairs:
            pairs[key] = len(pairs)
            built.append(_pair(row))
        which.append(pairs[key])

    def column(name: str, scale: float = 1.0) -> Floats:
        return np.array([np.nan if (value := getattr(row, name)) is None else value * scale for row in rows])

    cases = desk(built).cases(Load(
        np.array([row.mode == "static" for row in rows]),
        column("concurrency"), column("input_tokens"), column("output_tokens"),
    ), np.array(which, np.intp))
    trust = {source.name: source.trust for source in SOURCES.values()}
    shape = [architecture(built[i][0]) for i in which]
    return Published(
        cases, column("ttft_ms", 1e-3), column("tpot_ms", 1e-3), column("output_tokens_per_s_per_gpu"),
        np.array([row.source for row in rows]), np.array([trust[row.source] for row in rows]),
        _numbered([f"{row.source}|{s}|{row.gpu}" for row, s in zip(rows, shape, strict=True)]),
        _numbered([f"{s}|{row.gpu}" for row, s in zip(rows, shape, strict=True)]),
    )


_PAIR: Final = ("model", "gpu", "tp", "pp", "ep", "dp", "weights", "kv_cache", "engine", "engine_version")


def architecture(spec: ModelSpec) -> str:
    """What fine-tunes and quantised copies of one model share."""
    return f"{spec.family} {spec.n_layers} x {spec.hidden_size} {spec.text_params / 1e9:.1f}B"


def _pair(row: Figure) -> Pair:
    spec = catalogue.load(row.model)
    if spec is None:
        raise ModelNotFound(f"No '{row.model}' in the bundled catalogue: add it before fitting.")
    deployment = Deployment(
        gpu=gpus.find(row.gpu),
        weights=formats.find(row.weights),
        kv_cache=formats.find_kv(row.kv_cache or assumed_kv_format(row.weights, row.engine)),
        tp=row.tp, pp=row.pp, ep=row.ep, dp=row.dp, engine=row.engine, engine_version=row.engine_version,
    )
    return spec, deployment


def _numbered(names: Sequence[str]) -> Rows:
    return np.unique(np.array(names), return_inverse=True)[1]
