"""What arrives: patterns of arrivals, lengths of prompts and answers, recorded traces."""

import csv
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.basics.bounds import Bounds
from core.basics.errors import InputError

MAX_REQUESTS: Final = 200_000       # bounds memory and time of one simulation
MAX_TOKENS: Final = 10_000_000      # of one prompt or answer
MAX_DAYS: Final = 31                # that a trace may span; more are milliseconds, or dates gone wrong
FASTEST_PER_S: Final = 1e5          # requests of the busiest service that is simulated
SECONDS_PER_DAY: Final = 86_400.0
_TRACE_COLUMNS: Final = {
    "arrival": ("arrival_s", "arrived_at", "timestamp", "time", "arrival"),
    "input": ("input_tokens", "num_prefill_tokens", "prompt_tokens", "contexttokens", "input"),
    "output": ("output_tokens", "num_decode_tokens", "completion_tokens", "generatedtokens", "output"),
}


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in order of arrival. All arrays [requests]."""

    arrival_s: NDArray[np.float64]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    was_in_order: bool = True       # False: its lines had to be sorted

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def duration_s(self) -> float:
        """Time between the first and the last arrival [s]."""
        return float(self.arrival_s[-1] - self.arrival_s[0]) if len(self) else 0.0

    @property
    def requests_per_s(self) -> float:
        """Mean arrival rate [1/s]."""
        return (len(self) - 1) / self.duration_s if self.duration_s > 0 else 0.0

    def at_rate(self, factor: float) -> "Trace":
        """The same requests, arriving `factor` times as fast."""
        return Trace(self.arrival_s / factor, self.input_tokens, self.output_tokens)

    def first(self, n: int) -> "Trace":
        """Its first `n` requests."""
        return Trace(self.arrival_s[:n], self.input_tokens[:n], self.output_tokens[:n])

    def busiest(self, n: int) -> "Trace":
        """The `n` consecutive requests that arrive within the shortest time."""
        if len(self) <= n:
            return self
        start = int(np.argmin(self.arrival_s[n - 1:] - self.arrival_s[:len(self) - n + 1]))
        part = slice(start, start + n)
        return Trace(self.arrival_s[part], self.input_tokens[part], self.output_tokens[part])

    def repeated(self, times: int, period_s: float) -> "Trace":
        """The same requests so many times, one period after the other."""
        if times <= 1:
            return self
        shifts = np.repeat(period_s * np.arange(times), len(self))
        return Trace(np.tile(self.arrival_s, times) + shifts, np.tile(self.input_tokens, times),
                     np.tile(self.output_tokens, times))

    def every(self, n: int, offset: int) -> "Trace":
        """What round-robin over `n` replicas sends to replica `offset`."""
        return Trace(self.arrival_s[offset::n], self.input_tokens[offset::n], self.output_tokens[offset::n])


@dataclass(frozen=True, slots=True)
class Lengths:
    """Log-normal lengths of prompts and answers [tokens]; spread 0 means every one alike."""

    name: str
    input_median: float
    input_spread: float        # sigma of log(tokens)
    output_median: float
    output_spread: float
    source: str
    prefix_reuse: float = 0.0  # share of prompts that a prefix cache without bounds finds, by the source


def _spread(median: float, p90: float) -> float:
    """Sigma of a log-normal from its median and 90th percentile: ln(p90/median) / z(0.9)."""
    return float(np.log(p90 / median) / 1.2816)


_AZURE: Final = "Azure LLM inference trace 2023, as processed in microsoft/vidur (MIT)"
_NVIDIA_RAG: Final = "NVIDIA Enterprise RAG sizing guide, use cases (input/output lengths)"
_KIMI: Final = "arXiv 2407.00079, Mooncake"
PRESETS: Final = (
    Lengths("chat", 1020, _spread(1020, 2735), 129, _spread(129, 424), f"{_AZURE}: conversation, 19,366 requests"),
    Lengths("code completion", 1469, _spread(1469, 5194), 13, _spread(13, 55), f"{_AZURE}: code, 8,819 requests"),
    Lengths(
        "retrieval (RAG)", 3181, _spread(3181, 3683), 176, _spread(176, 412),
        "RAGPulse trace, flashserve/RAGPulse@99a6276 (arXiv 2511.12979): 59 consecutive requests of its 7,106",
    ),
    Lengths(
        "agents", 7590, 0.0, 182, 0.0,
        f"{_KIMI}, section 4.2: means of 23,608 requests of Kimi, up to half of them found in a prefix cache", 0.5,
    ),
    Lengths(
        "long conversations", 6909, 0.0, 350, 0.0,
        "Mooncake conversation trace (FAST 2025), 12,031 requests: medians and hits by llmtrafficlens 0.11",
        0.398,
    ),
    Lengths("summarising", 4096, 0.0, 512, 0.0, _NVIDIA_RAG),
    Lengths("analysis", 128, 0.0, 2048, 0.0, _NVIDIA_RAG),
)


def draw_lengths(
    lengths: Lengths, n: int, rng: np.random.Generator, max_context: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Prompt and answer lengths of `n` requests, clipped to what the model can hold [tokens]."""
    longest = max_context // 2 if max_context else MAX_TOKENS

    def draw(median: float, spread: float) -> NDArray[np.int64]:
        tokens = np.rint(median * np.exp(spread * rng.standard_normal(n)))
        return np.clip(tokens, 1, longest).astype(np.int64)

    return draw(lengths.input_median, lengths.input_spread), draw(lengths.output_median, lengths.output_spread)


def _gamma_arrivals(rate: float, duration_s: float, burstiness: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Arrivals with gamma gaps: coefficient of variation squared = 1/burstiness; 1 is Poisson.

    The convention of `vllm bench serve --burstiness`: below 1 is burstier, above 1 more even.
    """
    expected = int(rate * duration_s * 1.2 + 10 * np.sqrt(rate * duration_s / min(1.0, burstiness)) + 10)
    gaps = rng.gamma(shape=burstiness, scale=1 / (rate * burstiness), size=expected)
    arrivals = np.cumsum(gaps)
    return arrivals[arrivals < duration_s]


def generate(
    rate: float,
    duration_s: float,
    lengths: Lengths,
    *,
    burstiness: float = 1.0,
    day_swing: float = 0.0,
    seed: int = 0,
    max_context: int | None = None,
) -> Trace:
    """A trace of exactly `rate` requests/s on average, over about `duration_s`.

    `day_swing` in 0..1 bends the rate along one sine over the duration, as a day does, from
    (1 - swing) at the start to (1 + swing) in the middle. Raises InputError outside the ranges.
    """
    Bounds(1e-6, FASTEST_PER_S, "requests per second").checked("The rate", rate)
    Bounds(1, 7 * SECONDS_PER_DAY, "s").checked("The duration", duration_s)
    Bounds(0.01, 100).checked("The burstiness", burstiness)
    Bounds(0, 1).checked("The day swing", day_swing)
    if rate * duration_s > MAX_REQUESTS:
        raise InputError(
            f"{rate * duration_s:,.0f} requests are more than the {MAX_REQUESTS:,} one simulation takes: "
            "lower the rate or the duration."
        )
    rng = np.random.default_rng(seed)
    arrivals = _gamma_arrivals(rate, duration_s, burstiness, rng)
    if day_swing:
        arrivals = _bend(arrivals, duration_s, day_swing)
    inputs, outputs = draw_lengths(lengths, len(arrivals), rng, max_context)
    drawn = Trace(arrivals, inputs, outputs)
    return drawn.at_rate(rate / drawn.requests_per_s) if drawn.requests_per_s else drawn


def _bend(arrivals: NDArray[np.float64], duration_s: float, swing: float) -> NDArray[np.float64]:
    """Moves arrivals so that their rate follows 1 - swing*cos(2 pi t/duration): inverse of its integral."""
    t = np.linspace(0, duration_s, 2_000)
    cumulative = t - swing * duration_s / (2 * np.pi) * np.sin(2 * np.pi * t / duration_s)
    return np.asarray(np.interp(arrivals, cumulative, t), dtype=np.float64)


def read_trace(text: str) -> Trace:
    """A trace from CSV text: arrival time [s] or date, input tokens, output tokens; sorted, starting at 0.

    Columns are found by their usual names in any order. Raises InputError naming the line.
    """
    try:
        rows = _trace_rows(csv.DictReader(io.StringIO(text)))
    except csv.Error as error:
        raise InputError(f"The trace is not CSV that can be read ({error}): save it again as plain CSV.") from None
    if not rows:
        raise InputError("The trace holds no request: it needs a header line and at least one row.")
    read = np.array(rows)
    table = read[np.argsort(read[:, 0], kind="stable")]
    _check_span(len(rows), float(table[0, 0]), float(table[-1, 0]))
    return Trace(
        table[:, 0] - table[0, 0], table[:, 1].astype(np.int64), table[:, 2].astype(np.int64),
        was_in_order=bool(np.all(np.diff(read[:, 0]) >= 0)),
    )


def _check_span(requests: int, first_s: float, last_s: float) -> None:
    """Raises InputError where arrivals span no time, or one that shows they are no seconds."""
    days = last_s / SECONDS_PER_DAY - first_s / SECONDS_PER_DAY
    if last_s == first_s:
        raise InputError("Every request of the trace arrives at the same moment: it needs arrivals over some time.")
    if days > MAX_DAYS:
        raise InputError(f"The trace spans {days:,.4g} days, more than {MAX_DAYS}: its times must be seconds or dates.")
    if requests - 1 > FASTEST_PER_S * (last_s - first_s):
        raise InputError(f"The trace holds more than {FASTEST_PER_S:,.0f} requests per second: its times must be "
                         "seconds or dates.")


def _trace_rows(reader: "csv.DictReader[str]") -> list[tuple[float, float, float]]:
    """Its requests in the order of the lines."""
    names = {(field or "").strip().lower(): field for field in reader.fieldnames or ()}
    columns = {what: next((names[n] for n in known if n in names), None) for what, known in _TRACE_COLUMNS.items()}
    missing = [what for what, column in columns.items() if column is None]
    if missing:
        raise InputError(
            f"The trace has no column for {', '.join(missing)}: name the columns arrival_s, input_tokens and "
            "output_tokens."
        )
    rows = []
    for line, row in enumerate(reader, start=2):
        if line > MAX_REQUESTS + 1:
            raise InputError(f"The trace has more than {MAX_REQUESTS:,} requests: cut it into parts.")
        rows.append(_trace_row(line, [row[column] for column in columns.values() if column]))
    return rows


def _time_s(cell: str) -> float:
    """Seconds, as a number or as a date and time."""
    try:
        return float(cell)
    except ValueError:
        moment = datetime.fromisoformat(cell.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _trace_row(line: int, cells: list[str | None]) -> tuple[float, float, float]:
    """One request; raises InputError naming the line."""
    try:
        arrival = _time_s(cells[0] or "")
        prompt, answer = (float(cell or "") for cell in cells[1:])
    except ValueError:
        raise InputError(f"Line {line} of the trace holds something that is neither a number nor a time.") from None
    if not (np.isfinite(arrival) and 1 <= prompt <= MAX_TOKENS and 1 <= answer <= MAX_TOKENS):
        raise InputError(f"Line {line} of the trace is out of range: an arrival is a time, tokens lie between 1 and "
                         f"{MAX_TOKENS:,}.")
    return arrival, prompt, answer
