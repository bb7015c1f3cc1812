"""Measurements nearby pull estimates towards them: the errors that remain are of level, not of shape.

The log error of a measurement of the same model, GPU, engine and format carries over to a case with the
weight exp(-d^2 / 2) of its distance d; a prior of no error holds against it. This is the posterior mean
of a Gaussian process with unit length scales in the logs of the load and the layout.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from core.estimate.answer import Estimates, Floats
from core.estimate.rows import Row, Setup, Table
from core.speed import Prediction, Range

# Octaves of each load over which an error forgets itself; GPUs of the layout likewise.
_LENGTH: Final = np.array([4.0, 4.0, 4.0, 3.0])
_NOISE: Final = 0.10          # variance of a measurement against that of the errors: 3-4 % noise, 12 % errors
_COLUMNS: Final = {"ttft_s": "measured_ttft_ms", "tpot_s": "measured_tpot_ms",
                   "output_tokens_per_s_per_gpu": "measured_output_tokens_per_s_per_gpu"}
_TO_UNIT: Final = {"ttft_s": 1e-3, "tpot_s": 1e-3, "output_tokens_per_s_per_gpu": 1.0}


def measured(table: Table) -> list[dict[str, float]]:
    """The measured figures of each row, in seconds and tokens/s; cells that are no positive number are left out."""
    return [
        {name: value * _TO_UNIT[name]
         for name, column in _COLUMNS.items() if (value := _positive(cells.get(column, "")))}
        for cells in table.rows
    ]


def _positive(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def anchored(estimates: Estimates, references: Estimates, figures: Sequence[Mapping[str, float]]) -> Estimates:
    """Estimates shifted by what was measured on the references, ranges narrowed where that is near."""
    if estimates.prediction is None or references.prediction is None:
        return estimates
    groups: dict[tuple[object, ...], list[int]] = {}
    for n, index in enumerate(references.loaded.tolist()):
        groups.setdefault(_group(references.cases[index]), []).append(n)
    ttft, tpot, rate = (_shifted(estimates, references, figures, groups, name) for name in _COLUMNS)
    prediction = replace(estimates.prediction, ttft_s=ttft, tpot_s=tpot, output_tokens_per_s_per_gpu=rate)
    return replace(estimates, prediction=prediction)


def _group(case: Row | None) -> tuple[object, ...]:
    """What a measurement must share with a case to speak for it."""
    assert case is not None
    s: Setup = case.setup
    return (s.model.lower(), s.gpu.lower(), s.engine, s.weights, s.kv_cache, case.static)


def _place(case: Row | None) -> Floats:
    """A case's load and layout in octaves over the length scales."""
    assert case is not None
    batch = 256.0 if np.isnan(case.concurrency) else case.concurrency
    gpus = case.setup.tp * case.setup.pp * case.setup.dp
    return np.asarray(np.log2([batch, case.input_tokens, case.output_tokens, gpus]) / _LENGTH)


def _shifted(
    estimates: Estimates, references: Estimates, figures: Sequence[Mapping[str, float]],
    groups: Mapping[tuple[object, ...], Sequence[int]], name: str,
) -> Range:
    """One figure of all cases after the measurements have spoken."""
    assert estimates.prediction is not None and references.prediction is not None
    column, known = _column(estimates.prediction, name), _column(references.prediction, name)
    shift, spread = np.zeros(len(column.value)), np.ones(len(column.value))
    for n, index in enumerate(estimates.loaded.tolist()):
        near = [m for m in groups.get(_group(estimates.cases[index]), ())
                if name in figures[references.loaded[m]] and np.isfinite(known.value[m])]
        if not near:
            continue
        places = np.array([_place(references.cases[references.loaded[m]]) for m in near])
        errors = np.log([figures[references.loaded[m]][name] / known.value[m] for m in near])
        pull = np.exp(-0.5 * ((places - _place(estimates.cases[index])) ** 2).sum(axis=1))
        among = np.exp(-0.5 * ((places[:, None] - places[None]) ** 2).sum(axis=2)) + _NOISE * np.eye(len(near))
        weights = np.linalg.solve(among, pull)
        shift[n] = weights @ errors
        spread[n] = max(1 - float(weights @ pull), _NOISE) ** 0.5
    value = column.value * np.exp(shift)
    return Range(value, value * (column.low / column.value) ** spread, value * (column.high / column.value) ** spread)


def _column(prediction: Prediction, name: str) -> Range:
    column: Range = getattr(prediction, name)
    return column
