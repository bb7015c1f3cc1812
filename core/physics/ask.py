"""A load on deployments as the speed model takes it: the only maker of `Cases`, the only rule of what a cache holds.

    asked = desk([(spec, deployment)])
    asked.capacity(1280.0)                               # whole requests of that length
    asked.predict(Load.of(workload))                     # their times
    asked.predict(Load(False, batches, 1024, 256), rows) # columns of load, each on the pair of its row
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.models import ModelSpec
from core.physics import images, memory, speed
from core.physics.efficiency.labels import Pair
from core.physics.memory import Footprint
from core.physics.speed import Anchors, Cases, Prediction
from core.physics.speed.cases import Floats, Rows
from core.products.drafters import kept_share
from core.products.engines import find as find_engine
from core.terms import LOAD, Deployment, Mode, Workload

Column: TypeAlias = Floats | float
# Deployments that were measured run even where the estimate of their memory is a little over. So that their speed can
# be told at all, what is over is timed with room for this share of the card; it still does not fit.
SPARE_POOL: Final = 0.05


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked, a column each; a number holds for every row."""

    static: NDArray[np.bool_] | bool    # True: the batch starts together; False: continuous batching
    concurrency: Column                 # requests in flight over the whole deployment; NaN: maximum load
    input_tokens: Column                # of text: a deployment's images add theirs
    output_tokens: Column               # 1: prefill only
    prefix_hit_rate: Column = 0.0       # share of a prompt found in the prefix cache
    spec_tokens: Column = 0.0           # drafted a step, where the deployment has a drafter
    spec_acceptance: Column = np.nan    # share of them that is kept; NaN: as published

    @classmethod
    def of(cls, workload: Workload, concurrency: Column | None = None) -> "Load":
        """A workload, at other numbers of requests in flight where they are named."""
        asked = workload.concurrency if concurrency is None else concurrency
        return cls(workload.mode is Mode.STATIC, asked, **{
            one.name: np.nan if (value := getattr(workload, one.name)) is None else value
            for one in LOAD if one.name != "concurrency"
        })


@dataclass(frozen=True)
class Desk:
    """Deployments that loads are asked about, their memory and step times worked out once."""

    parts: tuple[Pair, ...]             # what has to be computed
    part: Rows                          # [pairs] the part that each pair is made of
    copies: Floats                      # [pairs] independent copies of that part
    by_part: tuple[Footprint, ...]      # [parts]

    @cached_property
    def timed(self) -> speed.Timed:
        """Step times of the parts; there must be one."""
        return speed.timed(self.parts)

    @cached_property
    def _shown(self) -> Floats:
        """Tokens that images add to each prompt [parts]."""
        return np.array([images.prompt_tokens(spec, deployment.images) for spec, deployment in self.parts], float)

    @property
    def footprints(self) -> tuple[Footprint, ...]:
        """Memory of one GPU of every pair."""
        return tuple(self.by_part[i] for i in self.part.tolist())

    def capacity(self, contexts: Column, shared: Column = 0.0) -> Floats:
        """Whole requests of each length that all replicas of a pair hold, [pairs, contexts]; 0 when over its memory.

        `shared` tokens of them are in common.
        """
        lengths = np.atleast_1d(np.asarray(contexts, float))
        held = np.zeros((len(self.parts), len(lengths)))
        for i, ((_, deployment), footprint) in enumerate(zip(self.parts, self.by_part, strict=True)):
            held[i] = np.floor(footprint.max_concurrency(lengths, shared)) * deployment.dp
        return np.asarray(held[self.part] * self.copies[:, None])

    def cases(self, load: Load, pairs: Rows | None = None, *, endless: NDArray[np.bool_] | bool = False) -> Cases:
        """The load on the pair of each row, on each pair once where none is named.

        `endless`: rows that are to be timed as if the memory had no end.
        """
        pairs = np.arange(len(self.part)) if pairs is None else pairs
        which = np.asarray(self.part[pairs], np.intp)

        def column(values: Column) -> Floats:
            return np.array(np.broadcast_to(np.asarray(values, float), which.shape))

        static = np.array(np.broadcast_to(load.static, which.shape), bool)
        inputs, outputs = column(load.input_tokens) + self._shown[which], column(load.output_tokens)
        found = np.minimum(np.floor(inputs * column(load.prefix_hit_rate)), inputs - 1)
        if found.any():
            found = found * np.array([find_engine(d.engine).reuses_prompts for _, d in self.parts], float)[which]
        length = inputs + np.where(static, outputs, outputs / 2)
        drafted, gained = self._drafting(which, column(load.spec_tokens), column(load.spec_acceptance))
        return Cases(
            pairs=self.parts, which=which, static=static, concurrency=column(load.concurrency) / self.copies[pairs],
            input_tokens=inputs, output_tokens=outputs, found_tokens=found,
            held=np.where(endless, np.inf, self._held(which, length + drafted, found)),
            drafted=drafted, gained=gained,
        )

    def _drafting(self, which: Rows, tokens: Floats, kept: Floats) -> tuple[Floats, Floats]:
        """Tokens drafted a step and tokens a step yields, its own one too [rows]; 0 and 1 without a drafter."""
        ways = [deployment.drafter for _, deployment in self.parts]
        if not any(ways):
            return np.zeros(len(which)), np.ones(len(which))
        drafted = np.where(np.array(ways, bool)[which], tokens, 0.0)
        shares = {
            (part, count): kept_share(ways[part], self.parts[part][0].name, int(count))
            for part, count in set(zip(which.tolist(), drafted.tolist(), strict=True)) if count
        }
        usual = np.array([shares.get(key, 0.0) for key in zip(which.tolist(), drafted.tolist(), strict=True)])
        return drafted, 1 + drafted * np.where(np.isnan(kept), usual, kept)

    def _held(self, which: Rows, length: Floats, shared: Floats) -> Floats:
        """Requests of each row's length that one replica holds [rows]."""
        held = np.empty(len(which))
        order = np.argsort(which, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(which[order])) + 1):
            if len(rows):
                held[rows] = requests_held(self.by_part[which[rows[0]]], length[rows], shared[rows])
        return held

    def predict(
        self, load: Load, pairs: Rows | None = None, *, endless: NDArray[np.bool_] | bool = False,
        anchors: Anchors | None = None,
    ) -> Prediction:
        """Times and rates of the load, in one call of the speed model; see `cases`."""
        return self.answer(self.cases(load, pairs, endless=endless), anchors)

    def answer(self, cases: Cases, anchors: Anchors | None = None) -> Prediction:
        """The same for `cases` of this desk."""
        return speed.predict(cases, anchors=anchors, known=self.timed if self.parts else None)


def desk(pairs: Iterable[Pair]) -> Desk:
    """A desk for these deployments. Raises HardwareError where a GPU has no memory figure.

    Replicas of a dense model are independent: each is the single one with its share of the requests; so are all
    of an engine that splits by layers. Those of a mixture spread their experts over all GPUs together (vLLM 0.33,
    data parallel deployment). Neighbours that are made of the same part share it.
    """
    parts: list[Pair] = []
    part, copies = [], []
    for spec, deployment in pairs:
        single = _independent(spec, deployment)
        if not parts or parts[-1][0] is not spec or parts[-1][1] != single:
            parts.append((spec, single))
        part.append(len(parts) - 1)
        copies.append(deployment.dp / single.dp)
    return Desk(tuple(parts), np.array(part, np.intp), np.array(copies, float),
                tuple(memory.footprint(*pair) for pair in parts))


def _independent(spec: ModelSpec, deployment: Deployment) -> Deployment:
    """One of the replicas where they share nothing, else all of them together."""
    joined = spec.is_moe and not find_engine(deployment.engine).splits_layers
    return deployment if deployment.dp == 1 or joined else replace(deployment, dp=1)


def requests_held(footprint: Footprint, context: Floats, shared: Floats | float = 0.0) -> Floats:
    """Requests of `context` tokens that one replica's cache holds, parts of one too; inf without any cache.

    They have `shared` tokens in common. What is over its memory is given `SPARE_POOL`.
    """
    if footprint.fits:
        return np.asarray(footprint.max_concurrency(context, shared))
    return np.asarray(footprint.cache.sequences(SPARE_POOL * footprint.reported_bytes, context, shared))
