"""What a probe of this very GPU found, in the place of what the tables say about its generation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.physics.efficiency.constants import Constants
from core.physics.efficiency.labels import Labels, Pair, labels
from core.physics.efficiency.labels import width as bits
from core.physics.efficiency.rates import Rates, link, rates, unlink
from core.physics.efficiency.terms import TERMS, Term

MEASURED_TERMS: Final = (
    "weights_bandwidth", "matmul_rate", "kv_bandwidth", "kernel_s", "link_rate", "link_latency_s",
)
DOUBT: Final = "doubt"          # in `GpuSpec.measured`: half-width of what was measured [log]; before a name: of that
INFERRED: Final = "inferred "   # before a name there: concluded from another kernel's measurement
# How much narrower a range is where the GPU's own rates are known: error in sample over error on architectures never
# seen, mean of the ratios at the median and at p90 (core.calibration.accuracy).
KNOWN_RATES: Final[Mapping[str, float]] = {"ttft": 0.82, "tpot": 0.67, "throughput": 0.74}
# A probe measures kernels alone, as the operator tables do: what an engine adds stays as it was learnt.
ENGINE_LEVELS: Final = ("engine", "engine_kernel", "engine_multiplied", "release", "sparsity")
SHARE_RANGE: Final = (0.02, 0.99)


def rates_of(
    pairs: Sequence[Pair], constants: Constants, shifts: NDArray[np.float64] | None = None,
) -> Rates:
    """Every term for every pair; where the GPU carries measured values, they replace those of its generation.

    `shifts` [pairs, terms] move what was not measured, in log or logit.
    """
    named = labels(pairs)
    known = rates(named, constants, shifts)
    if not any(deployment.gpu.measured for _, deployment in pairs):
        return known
    terms = [term for term in TERMS if term.name in MEASURED_TERMS]
    return replace(known, **{
        term.name: _with_measured(term, getattr(known, term.name), pairs, named, constants) for term in terms
    })


def neighbours(
    pairs: Sequence[Pair], constants: Constants, term_name: str, reference: str, share: float,
) -> dict[str, float]:
    """Values for the kernels of `pairs` that were not measured themselves, by how far `reference` was off.

    A card that is slower than expected with one kernel is so with the next: the difference in logit
    carries over, or formats that were not measured would win by not having been.
    """
    term = next(term for term in TERMS if term.name == term_name)
    named = labels(pairs)
    known = getattr(rates(named, constants), term_name)
    keys = [measured_key(term_name, p, named, i) for i, p in enumerate(pairs)]
    alone = {key: link(term, float(known[i])) - _engine(term, named, i, constants) for i, key in enumerate(keys)}
    off = link(term, float(np.clip(share, *SHARE_RANGE))) - alone[reference]
    return {INFERRED + key: float(unlink(term, np.asarray(x + off))) for key, x in alone.items()}


def measured_key(term: str, pair: Pair, named: Labels, row: int) -> str:
    """The name in `GpuSpec.measured` of what a term is for the deployment whose labels are at `row`."""
    _, deployment = pair
    kind = {
        "weights_bandwidth": named["kernel"][row], "kv_bandwidth": named["kv"][row],
        "matmul_rate": str(bits(deployment.weights, deployment.gpu)),
        "link_rate": named["link"][row], "link_latency_s": named["link"][row],
    }.get(term, "")
    return f"{term} {kind}".strip()


def known_parts(pairs: Sequence[Pair], named: Labels, term: str) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether a probe found the rate that a term is, and the half-width of what it found [log]; arrays [pairs]."""
    keys = [measured_key(term, pair, named, i) for i, pair in enumerate(pairs)]
    found = [deployment.gpu.measured for _, deployment in pairs]
    known = np.array([key in one for key, one in zip(keys, found, strict=True)], dtype=np.bool_)
    doubt = [one.get(f"{DOUBT} {key}", one.get(DOUBT, 0.0)) for key, one in zip(keys, found, strict=True)]
    return known, np.array(doubt)


def narrowed(
    metric: str, width: NDArray[np.float64], known: NDArray[np.float64], doubt: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Half-widths [log] where the share `known` of the time rests on what a probe measured, the whole to `doubt`."""
    return np.asarray(np.hypot(width * (1 - (1 - KNOWN_RATES[metric]) * known), doubt))


def _with_measured(
    term: Term, known: NDArray[np.float64], pairs: Sequence[Pair], named: Labels, constants: Constants,
) -> NDArray[np.float64]:
    out = known.copy()
    for i, pair in enumerate(pairs):
        key = measured_key(term.name, pair, named, i)
        value = pair[1].gpu.measured.get(key, pair[1].gpu.measured.get(INFERRED + key))
        if value is not None:
            bounded = float(np.clip(value, *SHARE_RANGE)) if term.share else value
            out[i] = unlink(term, np.asarray(link(term, bounded) + _engine(term, named, i, constants)))
    return out


def _engine(term: Term, named: Labels, pair: int, constants: Constants) -> float:
    """From a kernel alone to the same kernel in an engine [log or logit]."""
    deviations = constants.deviations.get(term.name, {})
    of_engine = sum(deviations.get(level, {}).get(named[level][pair], 0.0) for level in ENGINE_LEVELS)
    return constants.common.get(term.name, 0.0) + of_engine
