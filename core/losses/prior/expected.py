"""The expected loss of a model in a format, with what it rests on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from core.losses.prior.published import UNQUANTISED, Published, published
from core.losses.prior.regression import Case, of_rows
from core.models import ModelSpec
from core.products.formats import FORMATS, KV_FORMATS, Format, KvFormat
from core.terms import Basis, Estimate

REFERENCE_BITS: Final = 16.0
NO_FIGURE: Final = "no published figure"
_OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Row:
    """What is published about one format made by one method, for one model."""

    weights: str                # a name of core.products.formats; "bf16" where the row is about the KV cache
    kv_cache: str               # empty: 16 bits
    method: str                 # empty where nothing is published
    loss: Estimate | None
    models: int                 # with published figures of it


def expected_loss(spec: ModelSpec, weights: Format, kv: KvFormat) -> Estimate | None:
    """Relative increase of perplexity against the checkpoint as its makers ship it; None without a figure.

    A format the repository ships is the reference and costs nothing more, and so is a KV cache format
    it was calibrated for. Where nobody published weights and cache together, their losses add.
    """
    at_reference, cache_known = is_reference(spec, weights), cache_is_reference(spec, kv)
    if at_reference and cache_known:
        return Estimate(0.0, 0.0, 0.0, Basis.PUBLISHED, "the format of the checkpoint")
    of_cache = _of_rows(spec, UNQUANTISED, kv.name)
    if at_reference:
        return of_cache
    if cache_known:
        return _of_rows(spec, weights.name, "") or _largest_cache(spec, weights)
    together = _of_rows(spec, weights.name, kv.name)
    return together or added(_of_rows(spec, weights.name, ""), of_cache)


def is_reference(spec: ModelSpec, weights: Format) -> bool:
    """Whether these weights are the checkpoint's own, or 16 bits and more."""
    as_shipped = spec.shipped is not None and spec.shipped.format == weights.name
    return as_shipped or (weights.bits_per_weight >= REFERENCE_BITS)


def cache_is_reference(spec: ModelSpec, kv: KvFormat) -> bool:
    """Whether this KV cache is the checkpoint's own, or 16 bits and more."""
    as_shipped = spec.shipped is not None and spec.shipped.kv_format == kv.name
    return as_shipped or kv.bits_per_value >= REFERENCE_BITS


def added(one: Estimate | None, other: Estimate | None) -> Estimate | None:
    """Two losses together: perplexities multiply, as rounding errors that know nothing of each other."""
    if one is None or other is None:
        return None
    value, low, high = ((1 + a) * (1 + b) - 1 for a, b in
                        ((one.value, other.value), (one.low, other.low), (one.high, other.high)))
    return Estimate(value, low, high, Basis.ESTIMATED, f"weights: {one.source}; KV cache: {other.source}")


def table(spec: ModelSpec) -> tuple[Row, ...]:
    """Every format there is, a row a method; those without a published figure last."""
    methods = dict.fromkeys((row.weights, row.kv_cache, row.method) for row in published())
    rows = [
        Row(weights, kv, method, _loss(spec, found), len({row.model for row in found}))
        for weights, kv, method in methods
        if (found := [row for row in published() if (row.weights, row.kv_cache, row.method) == (weights, kv, method)])
    ]
    known = {(row.weights, row.kv_cache) for row in rows}
    silent = [Row(name, "", "", None, 0) for name, fmt in FORMATS.items()
              if fmt.bits_per_weight < REFERENCE_BITS and not any(weights == name for weights, _ in known)]
    silent += [Row(UNQUANTISED, name, "", None, 0) for name, kv in KV_FORMATS.items()
               if kv.bits_per_value < REFERENCE_BITS and (UNQUANTISED, name) not in known]
    order = [*FORMATS, UNQUANTISED]
    return (*sorted(rows, key=lambda row: (row.weights == UNQUANTISED, order.index(row.weights))), *silent)


def _largest_cache(spec: ModelSpec, weights: Format) -> Estimate | None:
    """Figures of these weights with a smaller cache, which cost no less than with 16 bits."""
    names = dict.fromkeys(row.kv_cache for row in published() if row.weights == weights.name)
    found = [loss for name in names if (loss := _of_rows(spec, weights.name, name))]
    return min(found, key=lambda loss: loss.value, default=None)


def _of_rows(spec: ModelSpec, weights: str, kv: str) -> Estimate | None:
    """What is published of weights and cache together."""
    return _loss(spec, [row for row in published() if (row.weights, row.kv_cache) == (weights, kv)])


def _loss(spec: ModelSpec, rows: Sequence[Published]) -> Estimate | None:
    if not rows:
        return None
    own = [row for row in rows if row.model.lower() == spec.name.lower()]
    return _span(own) if own else _interpolated(spec, rows)


def _span(rows: Sequence[Published]) -> Estimate:
    """Published figures of this very model: their mean and their span."""
    losses = [row.loss for row in rows]
    return Estimate(sum(losses) / len(losses), min(losses), max(losses), Basis.PUBLISHED, _sources(rows))


def _interpolated(spec: ModelSpec, rows: Sequence[Published]) -> Estimate:
    """Between figures of other models; all formats together say how sensitive a family is."""
    one, taken = rows[0], set(rows)
    kept = tuple(row for row in published()
                 if (row.weights, row.kv_cache) != (one.weights, one.kv_cache) or row in taken)
    regression = of_rows(kept)
    case = Case(spec.name, _family(spec), spec.total_params / 1e9, one.weights, one.kv_cache)
    value, low, high = regression.loss(case)
    return Estimate(value, low, high, Basis.ESTIMATED, f"interpolated between {_sources(rows)}")


def _family(spec: ModelSpec) -> str:
    """The published family that the model's name holds."""
    families = dict.fromkeys(row.family for row in published())
    return next((family for family in families if family in spec.name.lower()), _OTHER)


def _sources(rows: Sequence[Published]) -> str:
    return "; ".join(dict.fromkeys(row.label for row in rows))
