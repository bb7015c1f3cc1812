"""What would help prefill and what would help decode, each change run through the speed model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np

from core.answers.regime.changes import BATCH_LABEL, CHUNK_LABEL, Asked, Change, for_decode, for_prefill
from core.answers.sweep import Refusal, overflow_text
from core.basics.units import MS_PER_S
from core.losses import Losses
from core.physics.ask import Load, desk
from core.physics.efficiency import labels, rates
from core.physics.efficiency import load as constants
from core.physics.speed.steps import clock
from core.physics.speed.work import work
from core.terms import Deployment, Workload

Phase: TypeAlias = Literal["prefill", "decode"]

WORTH: Final = 1.02              # a smaller gain is none: no estimate can tell it


@dataclass(frozen=True, slots=True)
class Gain:
    """A change and what it is predicted to give; `factor` above 1 is better."""

    label: str
    figure: str                      # TTFT, TPOT or tokens/s
    before: float                    # s, or output tokens/s of the whole deployment
    after: float
    low: float                       # 80 % range of `after`
    high: float
    factor: float
    note: str                        # what it costs or needs


@dataclass(frozen=True, slots=True)
class PhaseAdvice:
    """What helps one phase, largest gain first; what is in use already; what is left out, and why."""

    phase: Phase
    helps: tuple[Gain, ...]
    in_use: tuple[Gain, ...]         # `before`: without it
    left_out: tuple[Refusal, ...]


def advice(
    losses: Losses, deployment: Deployment, workload: Workload, concurrency: float
) -> tuple[PhaseAdvice, PhaseAdvice]:
    """Prefill and decode of the losses' model: every change predicted at the workload, sorted by gain."""
    asked = Asked(losses, deployment, workload, float(concurrency))
    left: tuple[list[Refusal], list[Refusal]] = ([], [])
    tried = (list(for_prefill(asked, left[0])), list(for_decode(asked, left[1])))
    base = Change("as planned", asked.spec, deployment, asked.concurrency, "")
    unlimited = replace(base, undoes=True)
    first, free, *others = _predicted(asked, [base, unlimited, *tried[0], *tried[1]])
    rest = iter(others)
    prefill, decode = (
        _sorted(asked, phase, (first, free), [(change, next(rest)) for change in changes], refusals)
        for phase, changes, refusals in zip(_PHASES, tried, left, strict=True)
    )
    return _with_flash(prefill, _flash_attention(asked, first)), decode


def _with_flash(prefill: PhaseAdvice, flash: tuple[Gain, bool] | None) -> PhaseAdvice:
    """The advice on prefill with FlashAttention in its place."""
    if flash is None:
        return prefill
    gain, in_use = flash
    if in_use:
        return replace(prefill, in_use=(*prefill.in_use, gain))
    if gain.factor < WORTH:
        return replace(prefill, left_out=(*prefill.left_out, Refusal(gain.label, _no_gain(gain))))
    return replace(prefill, helps=tuple(sorted((*prefill.helps, gain), key=lambda known: -known.factor)))


_PHASES: Final[tuple[Phase, Phase]] = ("prefill", "decode")


@dataclass(frozen=True, slots=True)
class _Seen:
    """A change predicted: (value, low, high) by figure, and why it cannot be, if so."""

    figures: dict[str, tuple[float, float, float]]
    reason: str


def _predicted(asked: Asked, changes: Sequence[Change]) -> list[_Seen]:
    """All changes in one call of the speed model."""
    at = desk((change.spec, change.deployment) for change in changes)
    load = Load.of(asked.workload, np.array([change.concurrency for change in changes]))
    out = at.predict(
        replace(load, output_tokens=max(2.0, float(asked.workload.output_tokens))),     # a single token has no TPOT
        endless=np.array([change.undoes for change in changes]),
    )
    n, count = len(changes), np.array([change.deployment.gpus for change in changes], float)
    columns = {"TTFT": (out.ttft_s, np.ones(n)), "TPOT": (out.tpot_s, np.ones(n)),
               "tokens/s": (out.output_tokens_per_s_per_gpu, count)}
    return [
        _Seen(
            {name: (float(r.value[i] * by[i]), float(r.low[i] * by[i]), float(r.high[i] * by[i]))
             for name, (r, by) in columns.items()},
            f"It is {overflow_text(footprint)}." if not footprint.fits else "",
        )
        for i, footprint in enumerate(at.footprints)
    ]


def _sorted(
    asked: Asked, phase: Phase, bases: tuple[_Seen, _Seen], tried: Sequence[tuple[Change, _Seen]],
    left_out: Sequence[Refusal],
) -> PhaseAdvice:
    """Changes that help by size; the rest with its reason. Of batches and chunks only the best is named.

    `bases`: the plan as it is, and without limit of memory, which is what undone changes are held against.
    """
    helps, in_use, left = [], [], list(left_out)
    chunks: list[Gain] = []
    batches: list[Gain] = []
    for change, seen in tried:
        made = _gain(change, bases[change.undoes], seen)
        if change.undoes:
            in_use.append(made)
        elif reason := seen.reason or _late(asked, change, seen):
            left.append(Refusal(change.label, reason))
        elif change.label.startswith(CHUNK_LABEL):
            chunks.append(made)
        elif change.label.startswith(BATCH_LABEL):
            batches.append(made)
        elif made.factor >= WORTH:
            helps.append(made)
        else:
            left.append(Refusal(change.label, _no_gain(made)))
    if chunks:
        best = max(chunks, key=lambda gain: gain.factor)
        if best.factor >= WORTH:
            helps.append(best)
        else:
            left.append(Refusal("Other chunk sizes", _no_gain(best)))
    helps += sorted(batches, key=lambda gain: -gain.factor)[:1]
    helps.sort(key=lambda gain: -gain.factor)
    return PhaseAdvice(phase, tuple(helps), tuple(in_use), tuple(left))


def _late(asked: Asked, change: Change, seen: _Seen) -> str:
    """Why a larger batch is too large: the target it would miss."""
    if not change.label.startswith(BATCH_LABEL):
        return ""
    targets = (("TTFT", asked.workload.ttft_slo_s), ("TPOT", asked.workload.tpot_slo_s))
    for figure, slo_s in targets:
        value = seen.figures[figure][0]
        if value > slo_s:
            return f"{figure} would be {MS_PER_S * value:,.0f} ms, the target is {MS_PER_S * slo_s:,.0f} ms."
    return ""


def _no_gain(gain: Gain) -> str:
    worse = 1 / gain.factor - 1
    if worse > WORTH - 1:
        return f"{gain.figure} would be {100 * worse:.0f} % worse."
    return f"It gains less than {100 * (WORTH - 1):.0f} % of {gain.figure} here."


def _gain(change: Change, base: _Seen, seen: _Seen) -> Gain:
    before, after = (base, seen) if not change.undoes else (seen, base)
    old, (new, low, high) = before.figures[change.figure][0], after.figures[change.figure]
    factor = new / old if change.figure == "tokens/s" else old / new
    note = change.note
    if change.undoes and seen.reason:
        note += ", which would be " + seen.reason.removeprefix("It is ").rstrip(".")
    if change.figure == "tokens/s":
        slower = after.figures["TPOT"][0] / before.figures["TPOT"][0] - 1
        note = f"TPOT +{100 * slower:.0f} %"
    return Gain(change.label, change.figure, old, new, low, high, factor, note)


def _scores_s(asked: Asked) -> tuple[float, bool]:
    """What writing out the attention scores adds to the prefill of one prompt, and whether the engine does [s]."""
    pair = ((asked.spec, asked.deployment),)
    made, rate = work(pair), rates(labels(pair), constants())
    one, prompt, tokens = np.zeros(1, np.intp), np.ones(1), np.array([float(asked.workload.prompt_tokens)])
    with_scores, without = (
        float(clock(replace(made, writes_scores=np.array([writes])), rate).prefill(one, prompt, tokens).seconds[0])
        for writes in (True, False)
    )
    return with_scores - without, bool(made.writes_scores[0])


def _flash_attention(asked: Asked, base: _Seen) -> tuple[Gain, bool] | None:
    """What keeping the scores out of memory saves of TTFT, and whether it is in use; None where it saves nothing.

    Dao et al., "FlashAttention", arXiv 2205.14135.
    """
    scores_s, writes = _scores_s(asked)
    value, low, high = base.figures["TTFT"]
    after = value - scores_s if writes else value
    if scores_s <= 0 or after <= 0:
        return None
    note = "the engine's option: scores stay out of memory" if writes else "scores stay out of memory"
    scale = after / value
    before, factor = after + scores_s, 1 + scores_s / after
    return Gain("FlashAttention", "TTFT", before, after, low * scale, high * scale, factor, note), not writes
