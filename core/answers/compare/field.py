"""The layouts of a comparison, and each at one load: memory, times, tokens and dollars, a column each."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.answers.compare.candidates import SPLITS, Candidates, Split, candidates
from core.answers.sweep import DEFAULT_GPU_COUNTS, NOTHING_MORE
from core.losses import Losses
from core.losses.measured import QualityMeasurement
from core.models import ModelSpec
from core.physics import images
from core.physics.ask import Desk, Load, desk
from core.physics.memory import Footprint
from core.physics.speed import Prediction, Range, kwh_per_million, tokens_per_joule
from core.products.gpus import GpuSpec
from core.terms import Deployment, Estimate, Workload

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
DEFAULT_LOSS: Final = Workload().quality_loss


@dataclass(frozen=True, slots=True)
class Board:
    """Every allowed layout, whatever the load."""

    spec: ModelSpec
    candidates: Candidates
    desk: Desk                          # its pairs are the layouts


@dataclass(frozen=True)
class Field:
    """Every allowed layout under the workload; arrays [layouts]."""

    spec: ModelSpec
    workload: Workload
    deployments: tuple[Deployment, ...]
    losses: tuple[Estimate | None, ...]
    footprints: tuple[Footprint, ...]
    capacity: Floats                    # requests of the workload's length that all replicas hold
    prediction: Prediction
    without: dict[str, str]             # GPU -> why nothing runs on it

    def __len__(self) -> int:
        return len(self.deployments)

    @cached_property
    def gpus(self) -> NDArray[np.intp]:
        """GPUs of each layout."""
        return np.array([d.gpus for d in self.deployments], np.intp)

    @cached_property
    def memory_bytes(self) -> Floats:
        """Memory of all GPUs of each layout [B]."""
        return np.array([d.gpus * d.gpu.memory_bytes for d in self.deployments], float)

    @cached_property
    def usd_per_hour(self) -> Floats:
        """Price of each layout [USD/h]; NaN where no price of its GPU is known."""
        return np.array([
            np.nan if d.gpu.price_usd_per_hour is None else d.gpus * d.gpu.price_usd_per_hour for d in self.deployments
        ])

    @cached_property
    def fits(self) -> Bools:
        """Layouts that hold all requests at full length, within the model's context."""
        too_long = self.workload.context_tokens > (self.spec.max_context or np.inf)
        return np.asarray((self.capacity >= self.workload.concurrency) & (not too_long))

    @cached_property
    def meets_slo(self) -> Bools:
        """Layouts that fit and keep both targets."""
        p, asked = self.prediction, self.workload
        tpot_met = np.isnan(p.tpot_s.value) | (p.tpot_s.value <= asked.tpot_slo_s)
        return np.asarray(self.fits & tpot_met & (p.ttft_s.value <= asked.ttft_slo_s))

    @cached_property
    def tokens_per_s(self) -> Floats:
        """Output tokens/s of the whole layout."""
        return np.asarray(self.prediction.output_tokens_per_s_per_gpu.value * self.gpus)

    @cached_property
    def tokens_per_s_per_user(self) -> Floats:
        """How fast an answer flows to one user: 1 / TPOT [tokens/s]; of a single token, 1 / TTFT."""
        tpot = self.prediction.tpot_s.value
        return np.asarray(1.0 / np.where(np.isnan(tpot), self.prediction.ttft_s.value, tpot))

    @cached_property
    def tokens_per_usd(self) -> Floats:
        """Output tokens/s for each dollar an hour [tokens/s per USD/h]; NaN without a price, inf at price zero."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.tokens_per_s / self.usd_per_hour)

    @cached_property
    def tokens_per_joule(self) -> Floats:
        """Output tokens for each joule of the GPUs; NaN where their power limit is not known."""
        p = self.prediction
        return tokens_per_joule(p.watts_per_gpu, p.output_tokens_per_s_per_gpu).value

    @cached_property
    def kwh_per_million(self) -> Range:
        """Electricity of the GPUs for a million output tokens [kWh]."""
        return kwh_per_million(self.prediction.watts_per_gpu, self.prediction.output_tokens_per_s_per_gpu)

    @cached_property
    def usd_per_million(self) -> Floats:
        """USD per million output tokens: price of an hour over the tokens of an hour."""
        return np.asarray(self.usd_per_hour / (self.tokens_per_s * 3600.0) * 1e6)


def board(
    spec: ModelSpec,
    among: Sequence[GpuSpec],
    engines: Sequence[str],
    quality_loss: float = DEFAULT_LOSS,
    *,
    counts: Sequence[int] = DEFAULT_GPU_COUNTS,
    splits: Sequence[Split] = SPLITS,
    formats: tuple[str, ...] | None = None,
    kv_formats: tuple[str, ...] | None = None,
    measured: Sequence[QualityMeasurement] = (),
    run_as: Workload = NOTHING_MORE,
) -> Board:
    """All layouts of the model within the tolerance for loss of quality, with their memory and step times."""
    found = candidates(Losses(spec, tuple(measured)), among, quality_loss, engines, counts=counts, splits=splits,
                       formats=formats, kv_formats=kv_formats, run_as=run_as)
    return Board(spec, found, desk((spec, deployment) for deployment in found.deployments))


def compare(layouts: Board, workload: Workload) -> Field:
    """The layouts under a load, in one call of the speed model."""
    found, at = layouts.candidates, layouts.desk
    workload = images.resolved(layouts.spec, workload)
    return Field(
        spec=layouts.spec, workload=workload, deployments=found.deployments, losses=found.losses,
        footprints=at.footprints,
        capacity=at.capacity(float(workload.context_tokens), float(workload.shared_tokens))[:, 0],
        prediction=at.predict(Load.of(workload)), without=found.without,
    )
