"""One step of each phase as the load asks for it, and what it is spent on in one sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from core.answers.regime.answers import FormatRace
from core.answers.regime.roofline import PARTS_OF, shares
from core.basics.words import counted, number
from core.models import ModelSpec
from core.physics import speed
from core.physics.ask import Load, desk
from core.physics.speed import OperatorCost
from core.products.formats import Format
from core.terms import Deployment, Workload

WORTH_IT: Final = 0.1           # gain in decode speed below which a format's loss is not worth it
NAMED: Final = 0.2              # a smaller share of a step is not what limits it


@dataclass(frozen=True, slots=True)
class Steps:
    """Operators of one decode step and of one prompt's prefill, with what the load's cache, drafts and host do."""

    decode: tuple[OperatorCost, ...]
    prefill: tuple[OperatorCost, ...]
    requests: float
    context: float                  # tokens that each request holds at a mean decode step
    found: float                    # tokens of a prompt in the prefix cache
    drafted: float                  # tokens drafted per step and sequence


def steps(spec: ModelSpec, deployment: Deployment, workload: Workload, requests: float) -> Steps:
    """The mean decode step of `requests` over the whole deployment, and the prefill of one prompt."""
    cases = desk([(spec, deployment)]).cases(Load.of(workload, np.array([float(requests)])))
    found, drafted = float(cases.found_tokens[0]), float(cases.drafted[0])
    context = workload.prompt_tokens + workload.output_tokens / 2
    return Steps(
        speed.breakdown(spec, deployment, "decode", requests, context, drafted=drafted),
        speed.breakdown(spec, deployment, "prefill", 1, workload.prompt_tokens, found=found),
        requests, context, found, drafted,
    )


def spent(step: Sequence[OperatorCost]) -> dict[str, float]:
    """Share of a step's time by what limits it, largest first: memory traffic, arithmetic, launch overhead, ..."""
    total, by = sum(cost.seconds for cost in step), dict.fromkeys(PARTS_OF.values(), 0.0)
    for part in shares(step):
        by[PARTS_OF[part.name]] += part.seconds / total
    return dict(sorted(by.items(), key=lambda item: -item[1]))


def headline(now: Steps) -> str:
    """What each phase spends its time on: "A decode step of 16 requests is 51 % memory traffic and 45 % ..."."""
    return (f"A decode step of {counted(now.requests, 'request')} is {_largest(spent(now.decode))}; "
            f"prefill is {_largest(spent(now.prefill))}")


def will_int4_help(race: FormatRace, own: Format, requests: float, loss: str) -> str:
    """The question asked most, in one sentence; `loss`: what INT4 costs in quality, in words.

    INT4 is held against the format that is planned, or against the eight bits where that is INT4 itself.
    """
    if race.format is None or not race.rivals:
        return "INT4 does not run here."
    rival = next((one for one in race.rivals if one.format == own), race.rivals[0])
    gain, name = rival.at_plan - 1, race.format.label
    decode = (f"{100 * abs(gain):.0f} % {'faster' if gain > 0 else 'slower'} than {rival.format.label} at "
              f"{counted(requests, 'request')}") if abs(gain) >= 0.01 else f"no faster than {rival.format.label}"
    until = f", slower from batch {rival.stops:,.0f} on" if gain > 0 and rival.stops else ""
    start = "Yes, for decode" if gain >= WORTH_IT else "No"
    if own == race.format:
        start = "It is in use, and helps decode" if gain >= WORTH_IT else "It is in use, and does not help"
    prefill = f"takes {number(1 / rival.prefill)} times as long" if rival.prefill < 1 else (
        f"is {number(rival.prefill)} times as fast")
    return f"{start}: {name} decodes {decode}{until}; its prefill {prefill}, at {loss}."


def _largest(parts: dict[str, float]) -> str:
    first, *others = parts.items()
    named = [first, *(item for item in others if item[1] >= NAMED)]
    said = [f"{100 * share:.0f} % {name}" for name, share in named]
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
