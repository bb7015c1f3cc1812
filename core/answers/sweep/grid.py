"""The whole grid of one model on one GPU type: every point's memory, times, rates, cost and limits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.answers import cost
from core.answers.sweep.benchmarks import Benchmark, anchors
from core.answers.sweep.layouts import DEFAULT_ENGINE, DEFAULT_GPU_COUNTS, Refusal, layouts
from core.basics.units import GIB, MS_PER_S
from core.models import ModelSpec
from core.physics import images, speed
from core.physics.ask import Load, desk
from core.physics.memory import Footprint
from core.physics.speed import Prediction
from core.products.gpus import GpuSpec
from core.terms import Basis, Deployment, Workload

if TYPE_CHECKING:
    import pandas as pd

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

BATCHES: Final = tuple(2**n for n in range(11))                 # 1 to 1,024 requests in flight
CONTEXTS: Final = tuple(1024 * 2**n for n in range(-1, 7))      # 512 to 65,536 tokens
SOURCE: Final = "operator model, see the accuracy table for its errors"


@dataclass(frozen=True, slots=True)
class Sweep:
    """Layouts x contexts x batches, flattened in that order; every column is an array [points]."""

    spec: ModelSpec
    gpu: GpuSpec
    workload: Workload
    engine: str
    deployments: tuple[Deployment, ...]
    footprints: tuple[Footprint, ...]       # [layouts]
    refusals: tuple[Refusal, ...]
    contexts: tuple[int, ...]               # tokens of a request when it ends
    batches: tuple[int, ...]                # requests in flight over the deployment
    layout: NDArray[np.intp]                # [points] index into `deployments`
    context: Floats                         # [points]
    batch: Floats                           # [points]
    input_tokens: Floats                    # [points]
    output_tokens: Floats                   # [points]
    capacity: Floats                        # [points] requests of that context the KV cache holds, 0 when over
    prediction: Prediction                  # [points]
    usd_per_million: Floats                 # [points] output tokens; NaN without a price
    benchmarks: tuple[Benchmark, ...] = ()  # that predictions follow

    def __len__(self) -> int:
        return len(self.layout)

    @property
    def too_long(self) -> Bools:
        """Points beyond the model's own context."""
        return self.context > (self.spec.max_context or np.inf)

    @property
    def fits(self) -> Bools:
        """Points whose weights and full-length requests fit in memory, within the model's context."""
        return np.asarray((self.batch <= self.capacity) & ~self.too_long)

    @property
    def occupancy(self) -> Floats:
        """Share of the KV cache that the batch takes when every request is at its end; inf without room."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.capacity > 0, self.batch / self.capacity, np.inf)

    @property
    def gpus(self) -> NDArray[np.intp]:
        """GPUs of each point."""
        return np.array([d.gpus for d in self.deployments], np.intp)[self.layout]

    @property
    def output_tokens_per_s(self) -> speed.Range:
        """Output tokens/s of the whole deployment."""
        rate = self.prediction.output_tokens_per_s_per_gpu
        return speed.Range(rate.value * self.gpus, rate.low * self.gpus, rate.high * self.gpus)

    @property
    def meets_slo(self) -> Bools:
        """Points within both targets of the workload."""
        p = self.prediction
        tpot_met = np.isnan(p.tpot_s.value) | (p.tpot_s.value <= self.workload.tpot_slo_s)
        return np.asarray(tpot_met & (p.ttft_s.value <= self.workload.ttft_slo_s))

    @property
    def reason(self) -> NDArray[np.object_]:
        """Why a point does not fit; empty where it does."""
        over = np.array([overflow_text(f) for f in self.footprints], object)[self.layout]
        held = np.array([f"the KV cache holds {int(n):,}" for n in np.minimum(self.capacity, 1e9)], object)
        why = np.where(self.fits, "", held)
        why = np.where(over != "", over, why)
        return np.where(self.too_long, f"the model ends at {self.spec.max_context or 0:,} tokens", why)

    def cube(self, column: NDArray[np.generic]) -> NDArray[np.generic]:
        """A column as [layouts, contexts, batches]."""
        return column.reshape(len(self.deployments), len(self.contexts), len(self.batches))

    def frame(self) -> "pd.DataFrame":
        """Every point as a row, with ranges, limits and where the figures come from."""
        import pandas as pd  # a second that the verdict does not wait for

        p, of = self.prediction, self.layout
        rate = self.output_tokens_per_s
        columns: dict[str, object] = {
            "model": self.spec.name,
            "gpu": self.gpu.name,
            "engine": self.engine,
            "weights": np.array([d.weights.name for d in self.deployments], object)[of],
            "kv_cache": np.array([d.kv_cache.name for d in self.deployments], object)[of],
            "tp": np.array([d.tp for d in self.deployments])[of],
            "pp": np.array([d.pp for d in self.deployments])[of],
            "concurrency": self.batch.astype(int),
            "context_tokens": self.context.astype(int),
            "input_tokens": self.input_tokens.astype(int),
            "output_tokens": self.output_tokens.astype(int),
            "fits": self.fits,
            "reason": self.reason,
            "meets_slo": self.meets_slo & self.fits,
            "weights_gib_per_gpu": np.array([f.term("weights").bytes for f in self.footprints])[of] / GIB,
            "kv_cache_gib_per_gpu": np.array([f.kv_cache_bytes for f in self.footprints])[of] / GIB,
            "kv_occupancy": self.occupancy,
        }
        for name, span, scale in (
            ("ttft_ms", p.ttft_s, MS_PER_S), ("tpot_ms", p.tpot_s, MS_PER_S), ("output_tokens_per_s", rate, 1.0)
        ):
            columns |= {name: span.value * scale, f"{name}_low": span.low * scale, f"{name}_high": span.high * scale}
        energy = speed.kwh_per_million(p.watts_per_gpu, p.output_tokens_per_s_per_gpu)
        columns |= {
            "watts_per_gpu": p.watts_per_gpu.value,
            "kwh_per_million_output_tokens": energy.value, "kwh_per_million_output_tokens_low": energy.low,
            "kwh_per_million_output_tokens_high": energy.high,
            "usd_per_million_output_tokens": self.usd_per_million,
            "prefill_bound": p.prefill_bound.astype(str),
            "decode_bound": p.decode_bound.astype(str),
            "basis": str(Basis.ESTIMATED),
            "source": SOURCE,
            "price_source": self.gpu.price_source,
        }
        return pd.DataFrame(columns)


def overflow_text(footprint: Footprint) -> str:
    """By how much a deployment is over its memory; empty when it fits."""
    return "" if footprint.fits else f"over the memory by {footprint.overflow_bytes / GIB:,.1f} GiB per GPU"


def sweep(
    spec: ModelSpec,
    gpu: GpuSpec,
    workload: Workload,
    *,
    engine: str = DEFAULT_ENGINE,
    formats: Sequence[str] | None = None,
    kv_formats: Sequence[str] | None = None,
    tps: Sequence[int] = DEFAULT_GPU_COUNTS,
    batches: Sequence[int] = BATCHES,
    contexts: Sequence[int] = CONTEXTS,
    benchmarks: Sequence[Benchmark] = (),
) -> Sweep:
    """Every runnable layout at every context and batch, in one call of the speed model.

    A context of n tokens is split between prompt and answer as the workload's. Raises HardwareError
    where the GPU has no memory figure, InputError for unknown formats.
    """
    found = layouts(spec, gpu, engine, formats=formats, kv_formats=kv_formats, tps=tps,
                    asked=workload)
    return points(spec, workload, found.deployments, found.refusals, batches, contexts, gpu=gpu, engine=engine,
                  benchmarks=benchmarks)


def points(
    spec: ModelSpec,
    workload: Workload,
    deployments: Sequence[Deployment],
    refusals: Sequence[Refusal],
    batches: Sequence[int],
    contexts: Sequence[int],
    *,
    gpu: GpuSpec,
    engine: str,
    benchmarks: Sequence[Benchmark] = (),
) -> Sweep:
    """The given layouts at every context and batch; what was measured of their kind pulls them its way."""
    workload = images.resolved(spec, workload)
    asked = desk((spec, deployment) for deployment in deployments)
    shape = (len(deployments), len(contexts), len(batches))
    layout, context, batch = (
        axis.ravel() for axis in np.meshgrid(
            np.arange(shape[0], dtype=np.intp), np.asarray(contexts, float), np.asarray(batches, float), indexing="ij"
        )
    )
    inputs, outputs = _split(workload, context)
    lengths = np.asarray(contexts, float)
    held = asked.capacity(lengths, np.floor(_split(workload, lengths)[0] * workload.prefix_hit_rate))
    text = np.maximum(1.0, inputs - workload.images * workload.image_tokens)
    load = replace(Load.of(workload, batch), input_tokens=text, output_tokens=outputs)
    prediction = asked.predict(load, layout)
    if (known := anchors(spec, deployments, benchmarks)) is not None:
        kinds = [any(one.speaks_for(spec, d) for one in benchmarks) for d in deployments]
        rows = np.flatnonzero(np.array(kinds)[layout])
        there = replace(load, concurrency=batch[rows], input_tokens=text[rows], output_tokens=outputs[rows])
        prediction = _pulled(prediction, rows, asked.predict(there, layout[rows], anchors=known))
    price = gpu.price_usd_per_hour
    rate = prediction.output_tokens_per_s_per_gpu.value
    return Sweep(
        spec=spec, gpu=gpu, workload=workload, engine=engine, deployments=tuple(deployments),
        footprints=asked.footprints, refusals=tuple(refusals), contexts=tuple(contexts), batches=tuple(batches),
        layout=layout, context=context, batch=batch, input_tokens=inputs, output_tokens=outputs,
        capacity=np.repeat(held.ravel(), len(batches)), prediction=prediction,
        usd_per_million=np.full(len(layout), np.nan) if price is None else cost.usd_per_million(price, rate),
        benchmarks=tuple(benchmarks),
    )


def _pulled(plain: Prediction, rows: NDArray[np.intp], known: Prediction) -> Prediction:
    """A prediction with the figures of some rows in the place of its own."""
    def column(name: str) -> speed.Range:
        own, new = getattr(plain, name), getattr(known, name)
        ends = {end: np.array(getattr(own, end), float) for end in ("value", "low", "high")}
        for end, values in ends.items():
            values[rows] = getattr(new, end)
        return speed.Range(**ends)

    return replace(plain, ttft_s=column("ttft_s"), tpot_s=column("tpot_s"),
                   output_tokens_per_s_per_gpu=column("output_tokens_per_s_per_gpu"))


def _split(workload: Workload, context: Floats) -> tuple[Floats, Floats]:
    """Prompt and answer of requests of `context` tokens, in the workload's proportion."""
    outputs = np.maximum(1.0, np.round(context * workload.output_tokens / workload.context_tokens))
    return np.maximum(1.0, context - outputs), outputs
