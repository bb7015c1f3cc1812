"""What the fit has to explain: observations, the parameters they depend on, and how.

Every group of figures is weighted by a root of its size; parameters are terms' common shifts, their deviations by
label, and how each source lies beside the others, which no estimate uses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from core.calibration.published import METRICS, Published
from core.physics.efficiency.labels import labels
from core.physics.efficiency.rates import centre, coded
from core.physics.efficiency.terms import TERMS
from core.physics.speed.cases import Floats, Rows

NOISE: Final[Mapping[str, float]] = {"ttft": 0.22, "tpot": 0.085, "throughput": 0.10}   # log errors worth fitting
GROUP_POWER: Final = 0.5         # a group of n figures weighs n^0.5
WEIGHT: Final = 0.5             # of a figure against the priors: figures of one group are not independent
SOURCE: Final[Mapping[str, float]] = {"ttft": 0.05, "tpot": 0.01, "throughput": 0.01}   # spread of sources [log]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A term's common shift (level empty), its deviation for one label, or how a source's figures lie beside others'.

    The last (`term` past the end of TERMS by the number of the metric) is no part of an estimate: it keeps one large
    source from speaking for the world.
    """

    term: int
    level: str
    label: str
    spread: float


@dataclass(frozen=True, slots=True)
class Slot:
    """The parameters of one term at one level: where they start and which of them each pair has."""

    term: int
    start: int
    size: int
    of_pair: Rows                # [pairs]


@dataclass(frozen=True, slots=True)
class Problem:
    """Observations [n] and parameters [m]: the slots of the terms in order, then one a metric and source."""

    data: Published
    parameters: tuple[Parameter, ...]
    slots: tuple[Slot, ...]
    centres: tuple[Floats, ...]      # prior of each term for every pair
    row: Rows                        # [n] row of the table
    metric: Rows                     # [n] index into METRICS
    source: Rows                     # [n] parameter of the metric and source
    target: Floats                   # [n] log of the measurement
    weight: Floats                   # [n]

    @property
    def spreads(self) -> Floats:
        """Prior deviation of every parameter [m]."""
        return np.array([p.spread for p in self.parameters])

    @property
    def pair(self) -> Rows:
        """Pair of every observation [n]."""
        return self.data.cases.which[self.row]


def problem(data: Published) -> Problem:
    """Observations and parameters of the table."""
    codes = coded(labels(data.cases.pairs))
    parameters: list[Parameter] = []
    slots: list[Slot] = []
    for i, term in enumerate(TERMS):
        slots.append(Slot(i, len(parameters), 1, np.zeros(len(data.cases.pairs), np.intp)))
        parameters.append(Parameter(i, "", "", term.spread))
        for level, deviation in term.levels.items():
            names, of_pair = codes[level]
            slots.append(Slot(i, len(parameters), len(names), of_pair))
            parameters += [Parameter(i, level, name, deviation) for name in names.tolist()]
    row = [np.flatnonzero(np.isfinite(data.measured(metric))) for metric in METRICS]
    metric = np.repeat(np.arange(len(METRICS)), [len(rows) for rows in row])
    target = np.concatenate([np.log(data.measured(m)[rows]) for m, rows in zip(METRICS, row, strict=True)])
    rows = np.concatenate(row)
    names, of_row = np.unique(data.source, return_inverse=True)
    source = len(parameters) + metric * len(names) + of_row[rows]
    parameters += [Parameter(len(TERMS) + i, "source", name, SOURCE[m])
                   for i, m in enumerate(METRICS) for name in names.tolist()]
    return Problem(
        data, tuple(parameters), tuple(slots), tuple(centre(term, codes) for term in TERMS),
        rows, metric, source, target, _weights(data.group[rows], metric) * data.trust[rows],
    )


def _weights(group: Rows, metric: Rows) -> Floats:
    """Weights of the observations: n^-GROUP_POWER in a group of n, in units of the metric's noise."""
    _, of_row, size = np.unique(group * len(METRICS) + metric, return_inverse=True, return_counts=True)
    share = size[of_row] ** -GROUP_POWER
    noise = np.array([NOISE[m] for m in METRICS])[metric]
    return np.asarray(WEIGHT * share / share.mean() / noise**2)


@dataclass(frozen=True, slots=True)
class Slopes:
    """Derivatives of the observations by the parameters: nearly all are zero, so they are kept by term."""

    problem: Problem
    by_term: Floats              # [terms, n]

    def dense(self, chosen: Rows) -> Floats:
        """The derivatives of some observations [chosen, m]."""
        out = np.zeros((len(chosen), len(self.problem.parameters)))
        at, pair = np.arange(len(chosen)), self.problem.pair[chosen]
        for slot in self.problem.slots:
            out[at, slot.start + slot.of_pair[pair]] = self.by_term[slot.term, chosen]
        out[at, self.problem.source[chosen]] = 1.0
        return out

    def dot(self, values: Floats) -> Floats:
        """Sum over the observations of derivative times value [m]."""
        p = self.problem
        out, pairs = _sums(p.source, values, len(p.parameters)), len(p.data.cases.pairs)
        summed = [_sums(p.pair, slope * values, pairs) for slope in self.by_term]
        for slot in p.slots:
            out[slot.start:slot.start + slot.size] = _sums(slot.of_pair, summed[slot.term], slot.size)
        return out

    def gram(self, weight: Floats) -> Floats:
        """Weighted sum over the observations of the products of derivatives [m, m]."""
        p, pairs = self.problem, len(self.problem.data.cases.pairs)
        out = np.diag(_sums(p.source, weight, len(p.parameters)))
        first = p.slots[-1].start + p.slots[-1].size
        sources = len(p.parameters) - first
        for i, left in enumerate(p.slots):
            rows = slice(left.start, left.start + left.size)
            both = _sums(left.of_pair[p.pair] * sources + p.source - first,
                         weight * self.by_term[left.term], left.size * sources)
            out[rows, first:] = both.reshape(left.size, sources)
            products: dict[int, Floats] = {}
            for right in p.slots[i:]:
                if right.term not in products:
                    product = weight * self.by_term[left.term] * self.by_term[right.term]
                    products[right.term] = _sums(p.pair, product, pairs)
                both = _sums(left.of_pair * right.size + right.of_pair, products[right.term],
                             left.size * right.size)
                out[rows, right.start:right.start + right.size] = both.reshape(left.size, right.size)
        return np.asarray(np.triu(out) + np.triu(out, 1).T)


def _sums(label: Rows, values: Floats, labels: int) -> Floats:
    """Sum of the values of every label [labels]."""
    return np.asarray(np.bincount(label, values, labels), np.float64)
