"""Which layout to take: everything asked at least cost, else as much of it as can be had."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.answers.advice.plan import Choice, Standing
from core.answers.advice.row import choice_at
from core.answers.sweep import Benchmark, Refusal, Sweep, layouts, points
from core.losses import Losses
from core.losses import prior as quality_prior
from core.models import ModelSpec
from core.products.formats import KV_FORMATS, Format, KvFormat
from core.products.gpus import GpuSpec
from core.terms import Basis, Deployment, Estimate, Workload

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

_LARGEST: Final = 1024
_TRUSTED_CACHE_BITS: Final = 8.0
TIE: Final = 0.05       # layouts within 5 % are equally fast: half the median error of TPOT on known ground
_MOST_LOST: Final = 0.99      # of a known loss, so that it ranks before every unknown one
_WORTH_DOUBT: Final = 1.1     # times the requests: what a format of unknown loss must carry more to be taken
_WORTH_LOSS: Final = 0.125   # of the tokens for the same dollars: what a loss of quality must bring beyond the targets
# Whole numbers where a plan is decided, steps of a few percent beyond.
_FINE: Final = (*range(1, 257), *range(264, 1025, 8), *range(1088, 16385, 64))


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, whole."""

    losses: Losses                              # of the model's formats: measured, else as published
    gpu: GpuSpec
    workload: Workload
    engine: str
    tps: tuple[int, ...]
    formats: tuple[str, ...] | None = None      # named by the user: taken without a published figure
    kv_formats: tuple[str, ...] | None = None
    benchmarks: tuple[Benchmark, ...] = ()      # that predictions follow

    @property
    def spec(self) -> ModelSpec:
        """The model that is asked about, as its losses know it."""
        return self.losses.spec


@dataclass(frozen=True, slots=True)
class Selection:
    """The layouts of a question, which of them are allowed, and the pick."""

    question: Question
    grid: Sweep                          # at the workload's context
    losses: tuple[Estimate | None, ...]  # [layouts]
    allowed: Bools                       # [layouts] by quality
    standing: Standing
    layout: int | None                   # index of the pick; with IMPOSSIBLE the nearest: see `select`
    batch: int                           # requests in flight of the pick
    served: NDArray[np.intp]             # [layouts] most requests that fit and meet the targets, on the grid

    @property
    def lost(self) -> Floats:
        """Losses of quality to choose by [layouts]."""
        return ranked(self.question.losses, self.grid.deployments, self.losses)


def batches(concurrency: int) -> tuple[int, ...]:
    """Half octaves from 1 to 1,024 or beyond the concurrency asked, and the concurrency itself."""
    top = max(_LARGEST, concurrency)
    octaves = int(np.ceil(2 * np.log2(top)))
    return tuple(sorted({round(2 ** (n / 2)) for n in range(octaves + 1)} | {concurrency}))


def select(question: Question) -> Selection:
    """The pick for a question.

    1. everything asked: fewest dollars an hour, then most tokens; within an eighth the smaller loss;
    2. else the most requests within the targets; 3. else the layout that misses them least;
    4. else nothing: named is the layout that fits and loses least quality, or the one least over its memory.
    """
    q = question
    found = layouts(q.spec, q.gpu, q.engine, formats=q.formats, kv_formats=q.kv_formats, tps=q.tps,
                    asked=q.workload)
    grid = points(q.spec, q.workload, found.deployments, found.refusals, batches(q.workload.concurrency),
                  (q.workload.context_tokens,), gpu=q.gpu, engine=q.engine, benchmarks=q.benchmarks)
    losses = tuple(q.losses.of(d.weights, d.kv_cache) for d in grid.deployments)
    allowed = np.array([is_allowed(q, d, loss) for d, loss in zip(grid.deployments, losses, strict=True)], bool)
    good = np.logical_and.accumulate(_batch_table(grid, grid.fits & grid.meets_slo), axis=1)
    count = good.sum(axis=1)
    served = np.where(count > 0, np.asarray(grid.batches)[np.maximum(count - 1, 0)], 0)
    standing, layout, batch = _best_known(q, grid, losses, allowed, served, good)
    return Selection(q, grid, losses, allowed, standing, layout, batch, served)


def _best_known(
    question: Question, grid: Sweep, losses: Sequence[Estimate | None], allowed: Bools, served: NDArray[np.intp],
    good: NDArray[np.generic],
) -> tuple[Standing, int | None, int]:
    """The pick among those whose loss is known; the unknown come in, least doubtful first, where they serve more."""
    lost = ranked(question.losses, grid.deployments, losses)
    pairs = zip(grid.deployments, losses, strict=True)
    doubts = np.array([_doubt(question.losses, d, loss) for d, loss in pairs], float)
    best = _pick(grid, lost, allowed & (doubts == 0), served, good)
    for doubt in np.unique(doubts[allowed & (doubts > 0)]):
        if best[0] is Standing.MET:
            break
        wider = _pick(grid, lost, allowed & (doubts <= doubt), served, good)
        more = best[0] is wider[0] is Standing.FEWER and wider[2] >= _WORTH_DOUBT * best[2]
        best = wider if wider[0] > best[0] or more else best
    return best


def _doubt(known: Losses, deployment: Deployment, loss: Estimate | None) -> float:
    """How little is known of a loss: 0 a figure; from 1 on none of the cache; from 2 on none of the weights.

    Of as little known, more bits are less doubtful: the error of rounding halves with each.
    """
    if is_known(deployment, loss):
        return 0.0
    cache = _rounding(deployment.kv_cache.bits_per_value)
    if loss is not None or known.of(deployment.weights, KV_FORMATS["bf16"]) is not None:
        return 1 + cache
    return 2 + cache + _rounding(deployment.weights.bits_per_weight)


def _rounding(bits: float) -> float:
    """How far rounding to that many bits is off, of the range that they span."""
    return float(2.0 ** -bits)


def ranked(known: Losses, deployments: Sequence[Deployment], losses: Sequence[Estimate | None]) -> Floats:
    """Losses of quality to choose by [layouts]: the figure, and above all figures what has none, by its doubt."""
    def one(deployment: Deployment, loss: Estimate | None) -> float:
        doubt = _doubt(known, deployment, loss)
        own = known.of(deployment.weights, KV_FORMATS["bf16"]) if doubt else loss
        return doubt + (min(own.value, _MOST_LOST) if own else 0.0)

    return np.array([one(d, loss) for d, loss in zip(deployments, losses, strict=True)], float)


def _batch_table(grid: Sweep, column: NDArray[np.generic]) -> NDArray[np.generic]:
    """A column as [layouts, batches]; the grid has one context."""
    return grid.cube(column)[:, 0, :]


def is_allowed(question: Question, deployment: Deployment, loss: Estimate | None) -> bool:
    """Within the tolerance by a measured or published figure; where there is none, named or accepted by the user.

    A cache under 8 bits for which only other models' figures speak has to be named or measured too: what is
    published of such caches is of other layouts than most engines' (ExLlamaV2's and QoQ's).
    """
    cache_named = _named(question.kv_formats, deployment.kv_cache, question.spec)
    accepts = bool(question.workload.unknown_loss)
    if not is_known(deployment, loss) and not (cache_named or accepts):
        return False
    if loss is not None:
        return loss.value <= question.workload.quality_loss
    if _named(question.formats, deployment.weights, question.spec):
        return True
    own = question.losses.of(deployment.weights, KV_FORMATS["bf16"])
    return accepts if own is None else own.value <= question.workload.quality_loss


def is_known(deployment: Deployment, loss: Estimate | None) -> bool:
    """Whether a figure for the loss of quality speaks for this very pair of weights and cache."""
    if loss is None:
        return False
    return loss.basis is not Basis.ESTIMATED or deployment.kv_cache.bits_per_value >= _TRUSTED_CACHE_BITS


def _named(names: tuple[str, ...] | None, fmt: Format | KvFormat, spec: ModelSpec) -> bool:
    if isinstance(fmt, Format) and quality_prior.is_reference(spec, fmt):
        return True
    if isinstance(fmt, KvFormat) and fmt.bits_per_value >= quality_prior.REFERENCE_BITS:
        return True
    return names is not None and fmt.name in names


def _pick(
    grid: Sweep, lost: Floats, allowed: Bools, served: NDArray[np.intp], good: NDArray[np.generic]
) -> tuple[Standing, int | None, int]:
    asked = grid.workload.concurrency
    at = grid.batches.index(asked)
    if not len(grid.deployments):
        return Standing.IMPOSSIBLE, None, asked
    met = allowed & good[:, at].astype(bool)
    if met.any():
        return Standing.MET, cheapest(grid, lost, met, at), asked
    if (allowed & (served > 0)).any():
        most = int(served[allowed].max())
        among = allowed & (served == most)
        return Standing.FEWER, cheapest(grid, lost, among, grid.batches.index(most)), most
    fits = _batch_table(grid, grid.fits).astype(bool)
    if (allowed & fits.any(axis=1)).any():
        return _least_late(grid, lost, allowed, fits, at)
    if fits.any():
        return _least_lossy(grid, lost, fits, good.astype(bool), at)
    over = np.array([f.overflow_bytes for f in grid.footprints])
    room = -np.array([f.kv_cache_bytes for f in grid.footprints])
    order = np.lexsort((room, over))
    return Standing.IMPOSSIBLE, int(order[0]), asked


def _least_lossy(grid: Sweep, lost: Floats, fits: Bools, good: Bools, at: int) -> tuple[Standing, int, int]:
    """Of the layouts that fit and lose too much: the one that loses least, those that keep the targets first."""
    held = fits[:, at] if fits[:, at].any() else fits.any(axis=1)
    column = at if fits[:, at].any() else int(np.flatnonzero(fits.any(axis=0))[-1])
    held = held & fits[:, column]
    rate = _batch_table(grid, grid.output_tokens_per_s.value)[:, column].astype(float)
    gpus = np.array([d.gpus for d in grid.deployments])
    expected = lost % 1        # of what is unknown, the doubt alone
    order = np.lexsort((-rate, gpus, expected, ~good[:, column], ~held))
    return Standing.IMPOSSIBLE, int(order[0]), grid.batches[column]


def _least_late(grid: Sweep, lost: Floats, allowed: Bools, fits: Bools, at: int) -> tuple[Standing, int, int]:
    """The layout that misses the targets least, at the concurrency asked or the most that fit.

    Of those that miss them by as much, the one that loses least quality, then that of the fewest GPUs.
    """
    workload = grid.workload
    tpot = np.nan_to_num(_batch_table(grid, grid.prediction.tpot_s.value).astype(float))
    ttft = _batch_table(grid, grid.prediction.ttft_s.value).astype(float)
    miss = np.maximum(tpot / workload.tpot_slo_s, ttft / workload.ttft_slo_s)
    column = at if (allowed & fits[:, at]).any() else int(np.flatnonzero((allowed[:, None] & fits).any(axis=0))[-1])
    miss_there = np.where(allowed & fits[:, column], miss[:, column], np.inf)
    equal = miss_there <= (1 + TIE) * miss_there.min()
    gpus = np.array([d.gpus for d in grid.deployments])
    rate = _batch_table(grid, grid.output_tokens_per_s.value).astype(float)
    others = (-rate[:, column], ttft[:, column], tpot[:, column], miss_there)
    order = np.lexsort((*others, gpus, lost, ~equal))
    return Standing.LATE, int(order[0]), grid.batches[column]


def cheapest(grid: Sweep, lost: Floats, among: Bools, at: int) -> int:
    """Of the layouts `among`, which keep the targets: the one that is worth most at batch number `at`."""
    rate = _batch_table(grid, grid.output_tokens_per_s.value)[:, at].astype(float)
    return worth_most(grid.deployments, rate, lost, among)


def worth_most(deployments: Sequence[Deployment], rate: Floats, lost: Floats, among: Bools) -> int:
    """Of those `among`, which keep the targets: fewest GPUs, then least loss of quality unless speed is worth it.

    The GPUs set the dollars of an hour, the tokens those of a million. Speed beyond the targets is worth a loss only
    where it makes tokens that much cheaper: within an eighth of the most tokens the layout of the least loss is taken.
    `rate` in tokens/s of a whole deployment, or per GPU: those compared have as many.
    """
    gpus = np.array([d.gpus for d in deployments])
    among = among & (gpus == gpus[among].min())
    equal = among & (rate >= (1 - _WORTH_LOSS) * rate[among].max())
    return int(np.lexsort((-rate, lost, ~equal))[0])


def fine_grid(grid: Sweep, deployment: Deployment) -> Sweep:
    """One layout over every batch that a plan could name, the most that its memory holds among them."""
    held = float(grid.capacity[grid.deployments.index(deployment) * len(grid.batches)])
    named = {*_FINE, *grid.batches, max(1, int(min(held, _FINE[-1])))}
    return points(grid.spec, grid.workload, (deployment,), (), tuple(sorted(named)),
                  grid.contexts, gpu=grid.gpu, engine=grid.engine, benchmarks=grid.benchmarks)


def largest_batch(fine: Sweep) -> int:
    """Most requests that fit and meet the targets, every smaller batch doing so too; 0 when none does."""
    count = int(np.logical_and.accumulate(fine.fits & fine.meets_slo).sum())
    return fine.batches[count - 1] if count else 0


def choice(selection: Selection, layout: int, batch: int, slo_concurrency: int | None = None) -> Choice:
    """The figures of a layout of the grid at one of its batches."""
    grid = selection.grid
    row = layout * len(grid.batches) + grid.batches.index(batch)
    return choice_on(grid, row, selection.losses[layout],
                     int(selection.served[layout]) if slo_concurrency is None else slo_concurrency)


def choice_on(grid: Sweep, row: int, loss: Estimate | None, served: int) -> Choice:
    """The figures of one point of a grid; `served` is the most requests that meet the targets there."""
    index = int(grid.layout[row])
    return choice_at(
        grid.prediction, row, grid.deployments[index], int(grid.batch[row]), grid.footprints[index], loss,
        fits=bool(grid.fits[row]), met=bool(grid.meets_slo[row]), held=float(grid.capacity[row]), served=served,
    )


def refusals(selection: Selection) -> tuple[Refusal, ...]:
    """Everything that is not offered, once each."""
    return tuple(dict.fromkeys(selection.grid.refusals))
