"""What a recommendation is: the choice, its figures, what limits it, and what would help."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from math import ceil
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.answers.cost import HOURS_PER_MONTH
from core.answers.sweep import BATCHES, CONTEXTS, Benchmark, Refusal, Sweep, points, sweep
from core.basics.words import counted
from core.losses import Losses
from core.models import ModelSpec
from core.physics.memory import Footprint
from core.physics.speed import Range
from core.products.drafters import Drafter
from core.products.engines import find as find_engine
from core.products.gpus import GpuSpec
from core.terms import Bound, Deployment, Estimate, Workload

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]


class Standing(IntEnum):
    """How far a plan meets what was asked; higher is better."""

    IMPOSSIBLE = 0      # nothing runs, or nothing fits
    LATE = 1            # it fits, but misses a target at any batch
    FEWER = 2           # it fits and meets the targets for fewer requests than asked
    MET = 3             # everything asked is met


@dataclass(frozen=True, slots=True)
class Choice:
    """One deployment at one concurrency, with its figures."""

    deployment: Deployment
    concurrency: int                    # requests in flight over the deployment
    footprint: Footprint
    ttft: Estimate                      # s
    tpot: Estimate                      # s
    output_tokens_per_s: Estimate       # of the whole deployment
    cost_usd_per_million_output_tokens: Estimate | None
    usd_per_hour: float | None          # of the whole deployment
    watts_per_gpu: Estimate | None      # None: the GPU's power limit is not known
    kwh_per_million_output_tokens: Estimate | None      # of the GPUs alone
    output_tokens_per_joule: Estimate | None
    prefill_bound: Bound
    decode_bound: Bound
    quality: Estimate | None            # relative increase of perplexity; None: no published figure
    quality_note: str                   # says so, or names the sources
    fits: bool
    meets_slo: bool
    memory_concurrency: int             # full-length requests the KV cache holds
    slo_concurrency: int                # most requests that fit and meet both targets; 0 when none do
    occupancy: float                    # share of the KV cache in use, 0..1, inf when over

    @property
    def usd_per_month(self) -> float | None:
        """Of the whole deployment, all hours of a month; None without a price."""
        return None if self.usd_per_hour is None else self.usd_per_hour * HOURS_PER_MONTH


def batch_limit(choice: Choice) -> int:
    """Requests one replica runs at once: as set, else as many as keep the targets, at least those planned."""
    d = choice.deployment
    if d.max_num_seqs is not None:
        return d.max_num_seqs
    planned = ceil(max(choice.concurrency, choice.slo_concurrency) / d.dp)
    return min(planned, find_engine(d.engine).most_seqs or planned)


@dataclass(frozen=True, slots=True)
class Candidate:
    """The best layout of one weight format, allowed or not."""

    choice: Choice
    allowed: bool
    note: str                           # why it is not recommended; empty for the recommended one


@dataclass(frozen=True, slots=True)
class Remedy:
    """The smallest change of one kind that helps; fields that are None stay as they are."""

    label: str                          # what to change: "Cache keys and values in FP8"
    effect: str                         # what that gives, computed
    workload: Workload | None = None
    gpu: str | None = None
    gpus: int | None = None             # GPUs per replica
    replicas: int | None = None
    kv_formats: tuple[str, ...] | None = None
    engine: str | None = None


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What the answer becomes when one input moves."""

    what: str                           # "Twice the requests"
    effect: str
    changes_answer: bool                # another format, layout or standing


@dataclass(frozen=True, slots=True)
class BatchCurve:
    """One layout over the batch, at the workload's context; arrays [batches]."""

    batch: tuple[int, ...]
    output_tokens_per_s: Range          # of the whole deployment
    tpot_s: Range
    ttft_s: Range
    fits: Bools
    meets_slo: Bools
    knee: float | None                  # batch at which decode turns compute-bound; None: never
    memory_limit: float                 # full-length requests the KV cache holds
    slo_limit: int                      # most requests within both targets and the memory


@dataclass(frozen=True, slots=True)
class FormatCurves:
    """Decode speed of each weight format over the batch, relative to 16 bits (above 1: faster)."""

    batch: tuple[int, ...]
    baseline: str                       # label
    chosen: str                         # label
    relative: dict[str, Floats]         # label -> [batches]
    tpot_s: dict[str, Floats]           # label -> [batches]


@dataclass(frozen=True, slots=True)
class SpeedUp:
    """TPOT without drafts over TPOT with them."""

    batch: tuple[int, ...]
    gain: Floats                        # [batches] above 1: drafting pays
    concurrency: int                    # of the plan

    @property
    def here(self) -> float:
        """At the plan's own requests in flight."""
        return float(self.gain[self.batch.index(self.concurrency)])

    @property
    def stops_at(self) -> int | None:
        """The batch from which drafting no longer pays; None where it does up to the largest."""
        last = int(np.max(np.flatnonzero(self.gain > 1), initial=-1))
        return None if last == len(self.batch) - 1 else self.batch[last + 1]

    @property
    def sentence(self) -> str:
        """What it is worth, and until when."""
        end = f"from {self.stops_at:,} on it no longer pays" if self.stops_at else \
            f"it pays up to {self.batch[-1]:,}"
        return f"Drafting makes answers {self.here:.2g} × as fast at {counted(self.concurrency, 'request')}; {end}."


@dataclass(frozen=True, slots=True)
class Heat:
    """Batch x context of one layout; arrays [contexts, batches]."""

    batches: tuple[int, ...]
    contexts: tuple[int, ...]
    output_tokens_per_s: Floats
    tpot_s: Floats
    fits: Bools
    meets_slo: Bools


@dataclass(frozen=True)
class Plan:
    """The answer for one model, GPU and workload."""

    spec: ModelSpec
    gpu: GpuSpec
    workload: Workload
    engine: str
    standing: Standing
    best: Choice | None                 # None when nothing runs or fits
    nearest: Choice | None              # when best is None: the least over its memory, None when nothing runs
    runner_up: Choice | None
    trade: str                          # what the runner-up trades; empty without one
    headline: str                       # the verdict: what to deploy, or what stands in the way; plain text
    details: str                        # its figures, plain text; what follows the headline's colon
    reason: str                         # why this choice, plain text
    binding_limit: str                  # what stops a larger batch, plain text
    knee: float | None                  # batch at which decode turns compute-bound
    candidates: tuple[Candidate, ...]   # one per runnable weight format, best first
    refused: tuple[Refusal, ...]        # what does not run here, and why
    at_context: Sweep = field(repr=False)   # every layout over the batch, at the workload's context
    tps: tuple[int, ...]
    refused_by: str | None              # structure kernels memory context quality targets: the first that is not met
    losses: Losses = field(repr=False)      # what each format costs: measured, else as published
    seek_remedies: Callable[[], tuple[Remedy, ...]] = field(repr=False)
    seek_sensitivity: Callable[["Plan"], tuple[Sensitivity, ...]] = field(repr=False)
    seek_alternatives: Callable[[], Mapping[str, Choice | None]] = field(repr=False)
    best_value_batch: int | None        # where a user's speed is still worth the batch; None: nothing meets the targets

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        joint = ". " if ": " in self.headline else ": "
        return f"{self.headline}{joint}{self.details}"

    @property
    def benchmarks(self) -> tuple[Benchmark, ...]:
        """What was measured of layouts that were chosen from: their figures follow it."""
        return self.at_context.benchmarks

    @property
    def recommended_batch(self) -> int | None:
        """Most requests at once within the targets, as the launch file says; None where nothing meets them."""
        if self.best is None or not self.best.slo_concurrency:
            return None
        return batch_limit(self.best)

    @cached_property
    def alternatives(self) -> Mapping[str, Choice | None]:
        """Best quality, fastest, cheapest and fewest GPUs within the targets; sought when first read."""
        return self.seek_alternatives()

    @cached_property
    def remedies(self) -> tuple[Remedy, ...]:
        """Changes that bring the plan nearer to what was asked, smallest first; sought when first read."""
        return self.seek_remedies()

    @cached_property
    def sensitivity(self) -> tuple[Sensitivity, ...]:
        """What the answer becomes when one input moves; sought when first read, empty when nothing fits."""
        return () if self.best is None else self.seek_sensitivity(self)

    @property
    def shown(self) -> Choice | None:
        """What pictures are drawn of: the best choice, or the nearest one when none fits."""
        return self.best or self.nearest

    @cached_property
    def sweep(self) -> Sweep:
        """The whole grid: every layout x eight contexts x eleven batches."""
        return sweep(self.spec, self.gpu, self.workload, engine=self.engine, tps=self.tps,
                     benchmarks=self.benchmarks)

    def batch_curve(self) -> BatchCurve | None:
        """The shown layout over the batch; None when nothing runs."""
        return None if self.shown is None else batch_curve(self, self.shown)

    def format_curves(self) -> FormatCurves | None:
        """Every candidate's weight format over the batch, on the shown number of GPUs; None when nothing runs."""
        shown = self.shown
        if shown is None:
            return None
        chosen = {c.choice.deployment.weights.label: c.choice.deployment for c in self.candidates}
        grid = self.at_context
        rows = grid.cube(grid.prediction.tpot_s.value)[:, 0, :]
        tpot = {
            label: np.asarray(rows[grid.deployments.index(deployment)], np.float64)
            for label, deployment in chosen.items()
        }
        widest = max(chosen, key=lambda label: chosen[label].weights.bits_per_weight)
        return FormatCurves(
            batch=grid.batches, baseline=widest, chosen=shown.deployment.weights.label,
            relative={label: tpot[widest] / line for label, line in tpot.items()}, tpot_s=tpot,
        )

    @cached_property
    def speculation(self) -> SpeedUp | None:
        """What drafting is worth over the batch, against the shown layout without it; None where nothing drafts."""
        shown = self.shown
        if shown is None or not shown.deployment.drafter:
            return None
        plain = replace(shown.deployment, drafter=Drafter.NONE)
        batches = tuple(sorted({*BATCHES, shown.concurrency}))
        grid = points(self.spec, self.workload, (shown.deployment, plain), (), batches,
                      (self.workload.context_tokens,), gpu=self.gpu, engine=self.engine,
                      benchmarks=self.benchmarks)
        drafted, alone = grid.cube(grid.prediction.tpot_s.value)[:, 0, :].astype(float)
        return SpeedUp(batches, alone / drafted, shown.concurrency)

    def batch_by_context(self) -> Heat | None:
        """The shown layout over batch and context; None when nothing runs."""
        shown = self.shown
        if shown is None:
            return None
        longest = self.spec.max_context or CONTEXTS[-1]
        contexts = tuple(sorted({c for c in CONTEXTS if c <= longest} | {self.workload.context_tokens}))
        grid = points(self.spec, self.workload, (shown.deployment,), (), BATCHES, contexts,
                      gpu=self.gpu, engine=self.engine,
                      benchmarks=self.benchmarks)
        return Heat(
            batches=BATCHES, contexts=contexts,
            output_tokens_per_s=grid.cube(grid.output_tokens_per_s.value)[0],
            tpot_s=grid.cube(grid.prediction.tpot_s.value)[0],
            fits=grid.cube(grid.fits)[0],
            meets_slo=grid.cube(grid.meets_slo)[0],
        )


def batch_curve(plan: Plan, choice: Choice) -> BatchCurve:
    """One choice's layout over the batch, at the workload's context."""
    grid = plan.at_context
    chosen = grid.layout == grid.deployments.index(choice.deployment)

    def span(column: Range) -> Range:
        return Range(column.value[chosen], column.low[chosen], column.high[chosen])

    return BatchCurve(
        batch=grid.batches,
        output_tokens_per_s=span(grid.output_tokens_per_s),
        tpot_s=span(grid.prediction.tpot_s),
        ttft_s=span(grid.prediction.ttft_s),
        fits=grid.fits[chosen],
        meets_slo=grid.meets_slo[chosen],
        knee=plan.knee,
        memory_limit=float(choice.memory_concurrency),
        slo_limit=choice.slo_concurrency,
    )
