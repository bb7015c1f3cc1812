"""How much of its peaks a GPU reaches, and what an engine adds: the only home of fitted constants.

A constant is a physical quantity (a share of bandwidth, a launch time, a latency) with a prior
from physics or operator tables. Deviations by engine, architecture and format are shrunk towards
it: where the published figures say little, the prior speaks. `python -m core.calibration.fit`
rebuilds `assets/efficiency.json` from `assets/published.csv`.
"""

from core.physics.efficiency.constants import Constants, load
from core.physics.efficiency.labels import Labels, labels
from core.physics.efficiency.measured import rates_of
from core.physics.efficiency.rates import Rates, rates
from core.physics.efficiency.terms import TERMS, Term

__all__ = ["TERMS", "Constants", "Labels", "Rates", "Term", "labels", "load", "rates", "rates_of"]
