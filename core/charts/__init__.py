"""Pictures of a plan: plain arrays in, Vega-Lite specifications out, legible in light and dark."""

from core.charts.batch import formats_over_batch, leaders, pays_less_from, throughput_over_batch, tpot_over_batch
from core.charts.heat import batch_by_context
from core.charts.memory import Segment, footprint_segments, memory_bar
from core.charts.style import Spec, colour

__all__ = [
    "Segment",
    "Spec",
    "batch_by_context",
    "colour",
    "footprint_segments",
    "formats_over_batch",
    "leaders",
    "memory_bar",
    "pays_less_from",
    "throughput_over_batch",
    "tpot_over_batch",
]
