"""What a quality check leaves behind: how far each variant of a model strays on somebody's own prompts.

A `QualityMeasurement` travels as JSON and is kept like a probe's; the prompts stay out of both unless asked for.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from core.basics.fields import clean, document, finite, number, positive, text_of

VERSION: Final = 1
MAX_SCORES: Final = 100
MAX_WORST: Final = 20               # prompts, and tokens of each


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over blocks of tokens with its standard error."""

    value: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class WorstPrompt:
    """A prompt on which a variant strays most. `text` and `tokens` are the user's own words."""

    index: int                      # which prompt, from 0
    kl: float                       # mean over its tokens [nats/token]
    text: str                       # its beginning; empty once the words were dropped
    tokens: tuple[str, ...]         # where the variant's first choice parts from the reference's: "reference|variant"


@dataclass(frozen=True, slots=True)
class Score:
    """One variant against the full-precision logits of the same model, token by token."""

    variant: str                    # "int4-rtn-g128"
    label: str                      # for people: "INT4 round to nearest, groups of 128"
    weights: str                    # the format that it stands for; empty where the weights stay 16-bit
    kv_cache: str                   # the KV format's name; empty: 16 bits
    method: str                     # what made it, with its version: "llmcompressor 0.14.0 AWQ"
    perplexity: float
    loss: Spread                    # relative increase of perplexity against the reference
    kl: Spread                      # Kullback-Leibler divergence from the reference [nats/token]
    agreement: Spread               # share of tokens with the same first choice, 0..1
    seconds: float
    worst: tuple[WorstPrompt, ...] = ()


@dataclass(frozen=True, slots=True)
class QualityMeasurement:
    """One check of one model on one set of prompts."""

    model: str
    revision: str                   # commit on the Hub; empty for a folder or a file
    device: str                     # "CPU: ..." or as the driver names it
    versions: tuple[tuple[str, str], ...]       # of torch, transformers and every package that made a variant
    date: str                       # ISO 8601, UTC
    seconds: float
    prompts: int
    tokens: int                     # scored
    prompts_digest: str             # SHA-256 of the prompts: tells two sets apart without keeping either
    calibration: str                # "16 own continuations of held-out prompts"; empty where no variant needed it
    reference: str                  # "float32"
    perplexity: float               # of the reference
    scores: tuple[Score, ...]       # the noise floor ("bf16") first
    lost: tuple[str, ...] = ()      # variants that failed, one sentence each


def without_text(measurement: QualityMeasurement) -> QualityMeasurement:
    """The same figures without a word of anybody's prompts."""
    scores = tuple(
        replace(score, worst=tuple(replace(prompt, text="", tokens=()) for prompt in score.worst))
        for score in measurement.scores
    )
    return replace(measurement, scores=scores)


def to_json(measurement: QualityMeasurement) -> str:
    """JSON text that `from_json` reads, words of the prompts included: see `without_text`."""
    return json.dumps({"sweetspot_quality": VERSION, **asdict(measurement)}, indent=1, allow_nan=False)


def from_json(text: str) -> QualityMeasurement:
    """A measurement from its JSON. Raises InputError naming what is wrong; nothing in it is executed."""
    return document(text, "sweetspot_quality", VERSION, "quality check", "Quality", _measurement)


def _measurement(data: Mapping[str, Any]) -> QualityMeasurement:
    scores, lost = data["scores"], data["lost"]
    if not isinstance(scores, list) or not 0 < len(scores) <= MAX_SCORES or not isinstance(lost, list):
        raise ValueError(f"it needs 1 to {MAX_SCORES} scores")
    return QualityMeasurement(
        model=text_of(data, "model"), revision=text_of(data, "revision"), device=text_of(data, "device"),
        versions=tuple((clean(name), clean(version)) for name, version in data["versions"]),
        date=text_of(data, "date"), seconds=number(data, "seconds"),
        prompts=int(positive(data, "prompts")), tokens=int(positive(data, "tokens")),
        prompts_digest=text_of(data, "prompts_digest"), calibration=text_of(data, "calibration"),
        reference=text_of(data, "reference"), perplexity=positive(data, "perplexity"),
        scores=tuple(score_of(score) for score in scores), lost=tuple(clean(sentence) for sentence in lost),
    )


def score_of(data: Mapping[str, Any]) -> Score:
    """A score from its JSON. Raises KeyError, TypeError or ValueError where it is none."""
    worst = data["worst"]
    if not isinstance(worst, list) or len(worst) > MAX_WORST:
        raise ValueError(f"more than {MAX_WORST} worst prompts")
    agreement = _spread(data, "agreement")
    if not 0 <= agreement.value <= 1:
        raise ValueError("agreement is no share")
    return Score(
        variant=text_of(data, "variant"), label=text_of(data, "label"), weights=text_of(data, "weights"),
        kv_cache=text_of(data, "kv_cache"), method=text_of(data, "method"), perplexity=positive(data, "perplexity"),
        loss=_spread(data, "loss"), kl=_spread(data, "kl"), agreement=agreement, seconds=number(data, "seconds"),
        worst=tuple(_worst(prompt) for prompt in worst),
    )


def _spread(data: Mapping[str, Any], key: str) -> Spread:
    return Spread(finite(data[key]["value"], key), number(data[key], "standard_error"))


def _worst(data: Mapping[str, Any]) -> WorstPrompt:
    if len(data["tokens"]) > MAX_WORST:
        raise ValueError(f"more than {MAX_WORST} tokens of a prompt")
    return WorstPrompt(
        index=int(number(data, "index")), kl=finite(data["kl"], "kl"), text=text_of(data, "text"),
        tokens=tuple(clean(token) for token in data["tokens"]),
    )
