"""Constants, priors and labels put together: one value per term and deployment."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from core.efficiency.constants import Constants
from core.efficiency.labels import Labels
from core.efficiency.terms import TERMS, Term


@dataclass(frozen=True, slots=True)
class Rates:
    """Every term for every pair, arrays [pairs]; units as in `terms`."""

    weights_bandwidth: NDArray[np.float64]
    matmul_rate: NDArray[np.float64]
    padding_rows: NDArray[np.float64]
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
    request_s: NDArray[np.float64]
    wave: NDArray[np.float64]
    wave_growth: NDArray[np.float64]
    interference: NDArray[np.float64]
    fill: NDArray[np.float64]


def rates(labels: Labels, constants: Constants) -> Rates:
    """Value of every term for every pair of `labels`."""
    codes = {level: np.unique(np.array(names, dtype=str), return_inverse=True) for level, names in labels.items()}
    return Rates(**{term.name: _value(term, codes, constants) for term in TERMS})


def _value(
    term: Term, codes: Mapping[str, tuple[NDArray[np.str_], NDArray[np.intp]]], constants: Constants,
) -> NDArray[np.float64]:
    centre = log(term.prior / (1 - term.prior)) if term.share else log(term.prior)
    pairs = len(next(iter(codes.values()))[1])
    x = np.full(pairs, centre + constants.common.get(term.name, 0.0))
    deviations = constants.deviations.get(term.name, {})
    for level in term.levels:
        known = deviations.get(level)
        if known:
            names, of_pair = codes[level]
            x += np.array([known.get(name, 0.0) for name in names.tolist()])[of_pair]
    return 1 / (1 + np.exp(-x)) if term.share else np.exp(x)
