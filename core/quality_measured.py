"""What a quality check leaves behind: how far each variant of a model strays on somebody's own prompts.

A `QualityMeasurement` travels as JSON and is kept like a probe's; the prompts stay out of both unless asked for.
"""

from dataclasses import dataclass


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
    weights: str                    # the name in core.formats that it stands for; empty where the weights stay 16-bit
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
