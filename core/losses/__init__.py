"""What a format costs in quality: as measured on somebody's own prompts, else as published figures say.

Everything that weighs formats asks `Losses`: plans, comparisons, the ranking of GPUs, what would help.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from core.basics.words import counted
from core.losses import prior as quality_prior
from core.losses.measured import QualityMeasurement, Score
from core.models import ModelSpec
from core.products.formats import FORMATS, KV_FORMATS, Format, KvFormat
from core.terms import Basis, Estimate

SIXTEEN_BITS: Final = "bf16"
_TO_80_PERCENT: Final = 1.28    # standard errors that an 80 % range reaches


@dataclass(frozen=True, slots=True)
class Losses:
    """The losses of one model's formats, each looked up once."""

    spec: ModelSpec
    measured: tuple[QualityMeasurement, ...] = ()       # in use, newest first; those of other models are ignored
    _known: dict[tuple[str, str], Estimate | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def of(self, weights: Format, kv: KvFormat) -> Estimate | None:
        """Relative increase of perplexity against the checkpoint; None where nobody knows."""
        key = (weights.name, kv.name)
        if key not in self._known:
            self._known[key] = loss_of(self.spec, weights, kv, self.measured)
        return self._known[key]


def loss_of(
    spec: ModelSpec, weights: Format, kv: KvFormat, measured: Iterable[QualityMeasurement]
) -> Estimate | None:
    """The measured loss of weights and KV cache together, of each, of one with the other's prior, else the prior."""
    at_reference, cache_known = quality_prior.is_reference(spec, weights), quality_prior.cache_is_reference(spec, kv)
    own = [measurement for measurement in measured if speaks_of(measurement, spec)]
    if not own or (at_reference and cache_known):
        return quality_prior.expected_loss(spec, weights, kv)
    together = _measured(own, "" if at_reference else weights.name, "" if cache_known else kv.name)
    if together or at_reference or cache_known:
        return together or quality_prior.expected_loss(spec, weights, kv)
    of_weights, of_cache = _measured(own, weights.name, ""), _measured(own, "", kv.name)
    if not of_weights and not of_cache:
        return quality_prior.expected_loss(spec, weights, kv)
    return quality_prior.added(
        of_weights or quality_prior.expected_loss(spec, weights, KV_FORMATS[SIXTEEN_BITS]),
        of_cache or quality_prior.expected_loss(spec, FORMATS[SIXTEEN_BITS], kv),
    )


def speaks_of(measurement: QualityMeasurement, spec: ModelSpec) -> bool:
    """Whether a quality check was made with this model."""
    return measurement.model.lower() == spec.name.lower()


def _measured(own: Iterable[QualityMeasurement], weights: str, kv: str) -> Estimate | None:
    """The largest loss over sets of prompts, each as measured last: who deploys serves them all.

    Of several ways to make a format in one check the one that loses least counts: it is the one to deploy.
    """
    latest: dict[str, Estimate] = {}
    for measurement in own:
        found = [estimate(measurement, score) for score in measurement.scores if _stands_for(score, weights, kv)]
        if found:
            latest.setdefault(measurement.prompts_digest, min(found, key=lambda loss: loss.value))
    return max(latest.values(), key=lambda loss: loss.value, default=None)


def _stands_for(score: Score, weights: str, kv: str) -> bool:
    """Whether a variant was made of these formats; 16 bits have no name."""
    return tuple("" if name == SIXTEEN_BITS else name for name in (score.weights, score.kv_cache)) == (weights, kv)


def estimate(measurement: QualityMeasurement, score: Score) -> Estimate:
    """A variant's loss as a figure with its range and where it comes from."""
    value, reach = score.loss.value, _TO_80_PERCENT * score.loss.standard_error
    return Estimate(
        value, value - reach, value + reach, Basis.MEASURED,
        f"{score.method or score.label} on {counted(measurement.prompts, 'prompt')} of one's own "
        f"({measurement.tokens:,} tokens), {measurement.date[:10]}",
    )
