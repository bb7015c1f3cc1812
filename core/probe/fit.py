"""From timed operators to ceilings: bandwidth, matmul rates and launch times of this very device."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from core.probe.measurement import Measurement, Point, Quantity

BASE: Final = "bf16"
MIN_POINTS: Final = 3
MULTIPLIED_AS_STORED: Final = frozenset({"bf16", "fp8"})
COMPUTE_BOUND_ROWS: Final = 1024    # M from which a matmul is bound by arithmetic on every GPU listed


@dataclass(frozen=True, slots=True)
class Line:
    """t = start + amount / rate."""

    start_s: float
    rate_per_s: float
    spread: float                   # relative, root mean square of the residuals


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What the device reached."""

    copy_bytes_per_s: float | None
    read_bytes_per_s: float | None
    weights_bytes_per_s: Mapping[str, float]    # streaming a format's weights at M = 1
    matmul_flops_per_s: Mapping[str, float]     # sustained rate of a format at large M
    matmul_doubt: Mapping[str, float]           # how far the farthest large M lay from it [log]
    kv_bytes_per_s: Mapping[str, float]         # reading a KV format in decode attention
    launch_s: float | None                      # what an empty operator costs
    link: Line | None = None                    # an all-reduce over the bytes each GPU sends
    ranks: int = 1                              # GPUs that summed


def line(amounts: Sequence[float], seconds: Sequence[float]) -> Line | None:
    """Weighted least squares of t = t0 + amount/rate, errors relative to t; None where it is no line.

    Weights 1/t make small and large sizes count alike.
    """
    x, t = np.asarray(amounts, dtype=np.float64), np.asarray(seconds, dtype=np.float64)
    if len(x) < MIN_POINTS or np.ptp(x) == 0:
        return None
    design = np.stack([1 / t, x / t], axis=1)
    (start, slope), *_ = np.linalg.lstsq(design, np.ones(len(t)), rcond=None)
    if slope <= 0:
        return None
    residual = design @ np.array([start, slope]) - 1
    return Line(max(0.0, float(start)), float(1 / slope), float(np.sqrt(np.mean(residual**2))))


def ceilings(measurement: Measurement) -> Ceilings:
    """Ceilings of a measurement; None or absent where it has too few points."""
    by_quantity: defaultdict[Quantity, list[Point]] = defaultdict(list)
    for point in measurement.points:
        by_quantity[point.quantity].append(point)
    copy = _bytes_line(by_quantity[Quantity.COPY])
    read = _bytes_line(by_quantity[Quantity.READ])
    linears, sums = by_quantity[Quantity.LINEAR], by_quantity[Quantity.ALL_REDUCE]
    # a linear of integers may multiply in 16 bits, so that only these two say what a type's units do
    products = by_quantity[Quantity.MATMUL] + [p for p in linears if p.format in MULTIPLIED_AS_STORED]
    matmuls = _sustained([p for p in products if p.shape["M"] >= COMPUTE_BOUND_ROWS])
    starts = [found.start_s for found in (copy, read) if found and found.start_s > 0]
    return Ceilings(
        copy_bytes_per_s=copy.rate_per_s if copy else None,
        read_bytes_per_s=read.rate_per_s if read else None,
        weights_bytes_per_s=_best([p for p in linears if p.shape["M"] == 1]),
        matmul_flops_per_s={fmt: rate for fmt, (rate, _) in matmuls.items()},
        matmul_doubt={fmt: doubt for fmt, (_, doubt) in matmuls.items()},
        kv_bytes_per_s=_best(by_quantity[Quantity.ATTENTION]),
        launch_s=min(starts) if starts else None,
        link=_bytes_line(sums),
        ranks=max((p.shape["gpus"] for p in sums), default=1),
    )


def _bytes_line(points: Sequence[Point]) -> Line | None:
    return line([p.bytes for p in points], [p.timing.median_s for p in points])


def _best(points: Sequence[Point]) -> dict[str, float]:
    """Highest bandwidth of each format."""
    best: dict[str, float] = {}
    for point in points:
        best[point.format] = max(best.get(point.format, 0.0), point.bytes_per_s)
    return best


def _sustained(points: Sequence[Point]) -> dict[str, tuple[float, float]]:
    """Median rate of each format [FLOP/s], and how far the farthest point lies from it [log].

    A card at its power limit slows within a tenth of a second, so that the best rate is that of the first matmul
    on a cool card: 778 TFLOPS in bf16 where four others gave 672 to 705 (H100 SXM, 2026-11-26).
    """
    rates: defaultdict[str, list[float]] = defaultdict(list)
    for point in points:
        rates[point.format].append(point.flops_per_s)
    out = {}
    for fmt, row in rates.items():
        middle = float(np.median(row))
        out[fmt] = (middle, float(np.max(np.abs(np.log(np.array(row) / middle)))))
    return out


@dataclass(frozen=True, slots=True)
class FullModel:
    """Decode step of the whole model, from blocks at a few depths and the head alone."""

    seconds: float
    low_s: float
    high_s: float


def extrapolate(
    depths: Sequence[int], block_s: Sequence[float], head_s: float, layers: int, relative_ci: float
) -> FullModel:
    """Slope over depth times the layers, plus what does not grow, plus the head [s].

    The slope comes from the shallowest and deepest stack; a third depth between them tells how far
    the line is off, and that error is carried to the full depth beside the statistical one.
    Raises ValueError with fewer than two depths.
    """
    order = np.argsort(depths)
    x, t = np.asarray(depths, dtype=np.float64)[order], np.asarray(block_s, dtype=np.float64)[order]
    if len(x) < 2 or x[0] == x[-1]:
        raise ValueError("two depths are needed")
    slope = (t[-1] - t[0]) / (x[-1] - x[0])
    fixed = t[0] - slope * x[0]
    off_line = np.max(np.abs(t - (fixed + slope * x)) / t)
    seconds = float(fixed + slope * layers + head_s)
    spread = seconds * float(np.hypot(off_line, relative_ci))
    return FullModel(seconds, seconds - spread, seconds + spread)


@dataclass(frozen=True, slots=True)
class DecodeStep:
    """One decode step of the whole model in a weight format, from a probe's blocks and head."""

    format: str
    batch: int
    full: FullModel

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second of all sequences in the batch [tokens/s]."""
        return self.batch / self.full.seconds


def decode_steps(measurement: Measurement, layers: int) -> tuple[DecodeStep, ...]:
    """Steps for every format, 16 bit first, and batch that was measured at two depths or more.

    The head's next larger batch counts.
    """
    blocks: defaultdict[tuple[str, int], list[Point]] = defaultdict(list)
    heads = sorted((p.shape["batch"], p.timing.median_s) for p in measurement.points if p.quantity is Quantity.HEAD)
    for point in measurement.points:
        if point.quantity is Quantity.BLOCK:
            blocks[point.format, point.shape["batch"]].append(point)
    out = []
    for (fmt, batch), points in blocks.items():
        depths = [p.shape["layers"] for p in points]
        head_s = next((seconds for size, seconds in heads if size >= batch), None)
        if len(set(depths)) < 2 or head_s is None:
            continue
        spread = max(p.timing.relative_ci for p in points)
        full = extrapolate(depths, [p.timing.median_s for p in points], head_s, layers, spread)
        if full.seconds > 0:
            out.append(DecodeStep(fmt, batch, full))
    return tuple(sorted(out, key=lambda step: (step.format != BASE, step.format, step.batch)))


def crossings(steps: Sequence[DecodeStep]) -> dict[str, tuple[float, float]]:
    """Where each format that wins at small batches falls to the 16-bit one's speed: (batch, tokens/s).

    Between measured batches in logs; absent where it does not cross what was measured.
    """
    rates: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for step in steps:
        rates[step.format][step.batch] = step.tokens_per_s
    base, out = rates.pop(BASE, {}), {}
    for fmt, by_batch in rates.items():
        batches = sorted(base.keys() & by_batch.keys())
        gain = np.log([by_batch[batch] / base[batch] for batch in batches])
        left = next((i for i in range(len(gain) - 1) if gain[i] > 0 >= gain[i + 1]), None)
        if left is None:
            continue
        part = gain[left] / (gain[left] - gain[left + 1])
        ends = batches[left : left + 2]
        at, rate = (
            float(np.exp(np.interp(part, (0, 1), np.log(values)))) for values in (ends, [base[batch] for batch in ends])
        )
        out[fmt] = (at, rate)
    return out


def speed_over_16_bit(points: Sequence[Point]) -> dict[str, dict[int, float]]:
    """How much faster each format's largest linear is than the 16-bit one, by M."""
    times: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for p in _largest_linears(points):
        times[p.format][p.shape["M"]] = p.timing.median_s
    base = times.get(BASE, {})
    return {fmt: {M: base[M] / s for M, s in sorted(row.items()) if M in base} for fmt, row in times.items()}


def linears_on_the_roofline(points: Sequence[Point]) -> dict[str, list[tuple[float, float]]]:
    """Each format's largest linear over M: intensity [FLOP/B] and rate [FLOP/s], by intensity."""
    out: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for p in _largest_linears(points):
        out[p.format].append((p.flops / p.bytes, p.flops_per_s))
    return {fmt: sorted(reached) for fmt, reached in out.items()}


def _largest_linears(points: Sequence[Point]) -> list[Point]:
    linears = [p for p in points if p.quantity is Quantity.LINEAR]
    largest = max((p.shape["N"] * p.shape["K"] for p in linears), default=0)
    return [p for p in linears if p.shape["N"] * p.shape["K"] == largest]
