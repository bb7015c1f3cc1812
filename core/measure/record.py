"""What measuring an engine leaves behind: its memory, the loads it ran, on which device, under which conditions.

An `EngineRun` travels as JSON, so that a run on a GPU box opens in a planner elsewhere and its plans follow. Its
loads are rows of the `estimate` command, as those of kept benchmarks are.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from core.basics.bounds import Bounds
from core.basics.fields import clean, document, number, positive, text_of
from core.delivery.export.tables import safe
from core.probe.measurement import Conditions, conditions_of
from core.products import formats
from core.products.engines import known
from core.terms import Mode

VERSION: Final = 1
MARK: Final = "sweetspot_engine_run"
MOST_LOADS: Final = 200
MOST_WORDS: Final = 200             # of the command
RANDOM, REAL = "random", "real"
_TEXTS: Final = ("model", "gpu", "weights", "kv_cache", "engine", "engine_version", "mode")
_COUNTS: Final[Mapping[str, Bounds]] = {
    **dict.fromkeys(("tp", "pp", "ep", "dp"), Bounds(1, 4096, whole=True)),
    "concurrency": Bounds(1, 1_000_000, whole=True), "input_tokens": Bounds(1, 100_000_000, whole=True),
    "output_tokens": Bounds(1, 100_000_000, whole=True), "max_num_batched_tokens": Bounds(1, 10_000_000, whole=True),
}
_MEASURED: Final[Mapping[str, Bounds]] = {
    "measured_ttft_ms": Bounds(1e-4, 1e8, "ms"), "measured_tpot_ms": Bounds(1e-4, 1e7, "ms"),
    "measured_output_tokens_per_s_per_gpu": Bounds(1e-6, 1e8, "tokens/s"),
}
PREDICTED: Final = ("ttft_ms", "tpot_ms", "output_tokens_per_s_per_gpu")
_MAY_LACK: Final = "measured_tpot_ms"           # answers of a single token have none

Cells = Mapping[str, str | float]


@dataclass(frozen=True, slots=True)
class EngineRun:
    """One engine on one deployment: what its log said and how fast it was."""

    model: str
    gpu: str                            # of the plan: the catalogue's name, or the one typed in
    device: str                         # as the driver names it; the processor's name where there is no GPU
    engine: str
    weights_are: str                    # random or real
    tool: str                           # the client or benchmark that ran the loads
    versions: Mapping[str, str]
    date: str                           # ISO 8601, UTC
    seconds: float                      # from the start of the engine to its end
    conditions: Conditions
    command: tuple[str, ...]            # that started the engine, or the benchmark without a server
    memory: Mapping[str, float]         # terms of the log: GiB of one GPU, kv_tokens
    planned_memory: Mapping[str, float] # the same, estimated
    cells: tuple[Cells, ...]            # rows of `estimate --measurements`, one a load
    predicted: tuple[Mapping[str, float], ...]      # the same figures, estimated before
    lost: tuple[str, ...] = ()          # loads that failed, one sentence each


def to_json(run: EngineRun) -> str:
    """JSON text that `from_json` reads."""
    return json.dumps({MARK: VERSION, **asdict(run)}, indent=1, allow_nan=False)


def from_json(text: str) -> EngineRun:
    """A run from its JSON. Raises InputError naming what is wrong; nothing in it is executed."""
    return document(text, MARK, VERSION, "engine run", "Measure", _run)


def is_run(text: str) -> bool:
    """Whether a text says that it is one."""
    return f'"{MARK}"' in text[:200]


def measurements_csv(run: EngineRun) -> str:
    """The loads as `estimate --measurements` reads them."""
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in run.cells for name in row))
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: safe(value) for name, value in row.items()} for row in run.cells)
    return text.getvalue()


def _run(data: Mapping[str, Any]) -> EngineRun:
    cells = tuple(_cells(row) for row in _listed(data, "cells", 1))
    predicted = tuple({name: number(row, name) for name in PREDICTED} for row in _listed(data, "predicted", len(cells)))
    if len(predicted) != len(cells):
        raise ValueError("it needs one prediction a load")
    if data["weights_are"] not in (RANDOM, REAL):
        raise ValueError("weights are neither random nor real")
    return EngineRun(
        model=text_of(data, "model"), gpu=text_of(data, "gpu"), device=text_of(data, "device"),
        engine=known(text_of(data, "engine")), weights_are=text_of(data, "weights_are"), tool=text_of(data, "tool"),
        versions={clean(k): clean(v) for k, v in dict(data["versions"]).items()},
        date=text_of(data, "date"), seconds=number(data, "seconds"), conditions=conditions_of(data["conditions"]),
        command=tuple(clean(word) for word in _listed(data, "command", 0)[:MOST_WORDS]),
        memory=_figures(data["memory"]), planned_memory=_figures(data["planned_memory"]), cells=cells,
        predicted=predicted, lost=tuple(clean(sentence) for sentence in _listed(data, "lost", 0)),
    )


def _listed(data: Mapping[str, Any], key: str, least: int) -> Sequence[Any]:
    rows = data[key]
    if not isinstance(rows, list) or not least <= len(rows) <= MOST_LOADS:
        raise ValueError(f"{key} needs {least} to {MOST_LOADS} entries")
    return rows


def _cells(row: Mapping[str, Any]) -> Cells:
    """A load within its ranges. Raises InputError, KeyError, TypeError or ValueError."""
    texts = {name: text_of(row, name) for name in _TEXTS}
    known(texts["engine"])
    formats.find(texts["weights"])
    formats.find_kv(texts["kv_cache"])
    Mode(texts["mode"])
    counts = {name: bounds.checked(name, positive(row, name)) for name, bounds in _COUNTS.items()}
    found = {name: bounds.checked(name, positive(row, name)) for name, bounds in _MEASURED.items()
             if name in row or name != _MAY_LACK}
    return {**texts, **{name: int(value) for name, value in counts.items()}, **found}


def _figures(row: Mapping[str, Any]) -> dict[str, float]:
    if len(row) > MOST_LOADS:
        raise ValueError("it has too many figures")
    return {clean(name): number(row, name) for name in row}

