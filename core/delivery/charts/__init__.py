"""Pictures of a plan: plain arrays in, Vega-Lite specifications out, legible in light and dark."""

from core.delivery.charts.accuracy import predicted_against_measured
from core.delivery.charts.batch import (
    formats_over_batch,
    leaders,
    throughput_over_batch,
    time_over_batch,
)
from core.delivery.charts.gains import gain_bars, moves
from core.delivery.charts.heat import batch_by_context
from core.delivery.charts.memory import Segment, footprint_segments, memory_bar
from core.delivery.charts.probe import (
    ROOF_STYLES,
    bandwidth_over_size,
    measured_against_estimated,
    measured_roofline,
    tokens_over_batch,
)
from core.delivery.charts.quality import HUES, Strayed, Weighed, divergence, loss_against
from core.delivery.charts.roofline import DECODE, PREFILL, roofline
from core.delivery.charts.steps import PARTS, shares_over_batch, step_bars
from core.delivery.charts.strip import layer_strip, strip_legend
from core.delivery.charts.style import Spec, colour, format_mark
from core.delivery.charts.traffic import cost_over_rate, percentiles_over_rate, replicas_by_hour

__all__ = [
    "DECODE",
    "HUES",
    "PARTS",
    "PREFILL",
    "ROOF_STYLES",
    "Segment",
    "Spec",
    "Strayed",
    "Weighed",
    "bandwidth_over_size",
    "batch_by_context",
    "colour",
    "cost_over_rate",
    "divergence",
    "footprint_segments",
    "format_mark",
    "formats_over_batch",
    "gain_bars",
    "layer_strip",
    "leaders",
    "loss_against",
    "measured_against_estimated",
    "measured_roofline",
    "memory_bar",
    "moves",
    "percentiles_over_rate",
    "predicted_against_measured",
    "replicas_by_hour",
    "roofline",
    "shares_over_batch",
    "step_bars",
    "strip_legend",
    "throughput_over_batch",
    "time_over_batch",
    "tokens_over_batch",
]
