"""Cases whose prefill and decode have workers of their own."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from core.basics.errors import InputError
from core.basics.units import MS_PER_S
from core.delivery.estimate.rows import Row
from core.models import ModelSpec
from core.physics.apart import apart
from core.products.engines import find as find_engine
from core.terms import Deployment

_RELEASE: Final = re.compile(r"\d+\.\d+")
# Half-widths of the 80 % ranges [log]: errors with model and GPU left out, see assets/load_constants.csv.
_TPOT_WIDTH: Final = 0.55
_TTFT_WIDTH: Final = 1.0


def is_apart(case: Row) -> bool:
    """Whether a case names workers of both kinds."""
    return case.setup.prefill is not None and case.setup.decode is not None


def phases_release(deployment: Deployment) -> Deployment:
    """The deployment with its engine's own release: one that knew no workers apart is of a runtime around it."""
    since, said = find_engine(deployment.engine).apart_since, _RELEASE.match(deployment.engine_version)
    foreign = since is not None and said is not None and float(said[0]) < since
    return replace(deployment, engine_version="") if foreign else deployment


def apart_cells(spec: ModelSpec, deployment: Deployment, case: Row) -> Mapping[str, object]:
    """The times and the rate of such a case; the reason where there are none."""
    setup, load = case.setup, case.load
    assert setup.prefill is not None and setup.decode is not None
    if math.isnan(load["concurrency"]) or math.isnan(case.context_tokens):
        return {"error": "Name the concurrency and the lengths: how many workers there are follows from them."}
    try:
        found = apart(
            spec, replace(deployment, tp=1, dp=1, ep=1), setup.prefill, setup.decode,
            load["concurrency"], load["input_tokens"], load["output_tokens"],
        )
    except InputError as error:
        return {"error": str(error)}
    cells: dict[str, object] = {"output_tokens_per_s_per_gpu": found.output_tokens_per_s_per_gpu}
    for name, value, width in (("ttft", found.ttft_s, _TTFT_WIDTH), ("tpot", found.tpot_s, _TPOT_WIDTH)):
        cells |= {f"{name}_ms": value * MS_PER_S, f"{name}_low_ms": value * MS_PER_S * math.exp(-width),
                  f"{name}_high_ms": value * MS_PER_S * math.exp(width)}
    return cells
