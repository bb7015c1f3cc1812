"""A table of measurements as the anchors of `core.physics.speed`."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from core.delivery.estimate.answer import Estimates, Floats
from core.physics.speed import Anchors

_MS: Final = 1e-3


def anchors(references: Estimates, table: Sequence[Mapping[str, str]]) -> Anchors | None:
    """What was measured on the answered rows of a table; None when no row has a load."""
    if references.cases is None:
        return None

    def column(name: str, unit: float) -> Floats:
        cells = [table[index].get(name, "") for index in references.loaded.tolist()]
        return np.array([_positive(cell) for cell in cells]) * unit

    return Anchors(
        references.cases,
        ttft_s=column("measured_ttft_ms", _MS),
        tpot_s=column("measured_tpot_ms", _MS),
        output_tokens_per_s_per_gpu=column("measured_output_tokens_per_s_per_gpu", 1.0),
    )


def _positive(cell: str) -> float:
    """The figure in a cell; NaN for anything but a positive number."""
    try:
        value = float(cell)
    except ValueError:
        return np.nan
    return value if 0 < value < np.inf else np.nan
