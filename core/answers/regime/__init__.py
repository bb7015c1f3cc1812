"""What limits each phase and why: the roofline, where the regime flips, and what would help."""

from core.answers.regime.answers import (
    CacheWeight,
    FormatRace,
    MemoryBound,
    Rival,
    cache_outweighs,
    format_race,
    memory_bound,
)
from core.answers.regime.gains import Gain, PhaseAdvice, advice
from core.answers.regime.roofline import ATTENTION, Ceiling, Path, Roof, Share, decode_path, prefill_path, roof, shares
from core.answers.regime.steps import Steps, headline, spent, steps, will_int4_help

__all__ = [
    "ATTENTION",
    "CacheWeight",
    "Ceiling",
    "FormatRace",
    "Gain",
    "MemoryBound",
    "Path",
    "PhaseAdvice",
    "Rival",
    "Roof",
    "Share",
    "Steps",
    "advice",
    "cache_outweighs",
    "decode_path",
    "format_race",
    "headline",
    "memory_bound",
    "prefill_path",
    "roof",
    "shares",
    "spent",
    "steps",
    "will_int4_help",
]
