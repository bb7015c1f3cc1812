"""Constants, priors and labels put together: one value per term and deployment."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from core.physics.efficiency.constants import Constants
from core.physics.efficiency.labels import Labels
from core.physics.efficiency.terms import TERMS, Term


@dataclass(frozen=True, slots=True)
class Rates:
    """Every term for every pair, arrays [pairs]; units as in `terms`."""

    weights_bandwidth: NDArray[np.float64]
    matmul_rate: NDArray[np.float64]
    dequantised_rate: NDArray[np.float64]
    expert_rate: NDArray[np.float64]
    expert_bandwidth: NDArray[np.float64]
    kv_bandwidth: NDArray[np.float64]
    attention_rate: NDArray[np.float64]
    elementwise_passes: NDArray[np.float64]
    kernel_s: NDArray[np.float64]
    step_s: NDArray[np.float64]
    sequence_s: NDArray[np.float64]
    host_kernel_s: NDArray[np.float64]
    link_rate: NDArray[np.float64]
    link_latency_s: NDArray[np.float64]
    expert_imbalance: NDArray[np.float64]
    pipeline_share: NDArray[np.float64]
    request_s: NDArray[np.float64]
    wait_steps: NDArray[np.float64]
    synchronised_share: NDArray[np.float64]
    wave: NDArray[np.float64]
    interference: NDArray[np.float64]
    fill: NDArray[np.float64]


def rates(labels: Labels, constants: Constants, shifts: NDArray[np.float64] | None = None) -> Rates:
    """Value of every term for every pair of `labels`, moved by `shifts` [pairs, terms] in log or logit."""
    codes = coded(labels)
    moved = np.zeros(len(TERMS)) if shifts is None else shifts.T
    return Rates(**{term.name: _value(term, codes, constants, by) for term, by in zip(TERMS, moved, strict=True)})


def _value(
    term: Term, codes: Mapping[str, tuple[NDArray[np.str_], NDArray[np.intp]]], constants: Constants,
    moved: NDArray[np.float64],
) -> NDArray[np.float64]:
    x = centre(term, codes) + constants.common.get(term.name, 0.0) + moved
    deviations = constants.deviations.get(term.name, {})
    for level in term.levels:
        known = deviations.get(level)
        if known:
            names, of_pair = codes[level]
            x = x + np.array([known.get(name, 0.0) for name in names.tolist()])[of_pair]
    return unlink(term, x)


def centre(term: Term, codes: Mapping[str, tuple[NDArray[np.str_], NDArray[np.intp]]]) -> NDArray[np.float64]:
    """Prior of a term for every pair, in log or logit."""
    if not term.by:
        pairs = len(next(iter(codes.values()))[1])
        return np.full(pairs, link(term, term.prior))
    names, of_pair = codes[term.by]
    return np.array([link(term, term.priors.get(name, term.prior)) for name in names.tolist()])[of_pair]


def link(term: Term, value: float) -> float:
    """Log of a positive term, logit of a share."""
    return log(value / (1 - value)) if term.share else log(value)


def unlink(term: Term, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of `link`."""
    return np.asarray(1 / (1 + np.exp(-x)) if term.share else np.exp(x))


def coded(labels: Labels) -> Mapping[str, tuple[NDArray[np.str_], NDArray[np.intp]]]:
    """Distinct labels of every level and which of them each pair has."""
    return {level: np.unique(np.array(names, dtype=str), return_inverse=True) for level, names in labels.items()}
