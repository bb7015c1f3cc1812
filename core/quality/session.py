"""One quality check from the outside: starts the worker, hears its scores, ends it at once when asked."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from tempfile import TemporaryDirectory
from typing import Any, Final

from core.basics.bounds import Bounds
from core.basics.errors import InputError, QualityError
from core.losses.measured import QualityMeasurement, Score, score_of
from core.machinery.worker import running
from core.quality.checkpoint import check_folder, discarded
from core.quality.order import MAX_S, MIN_S, Order
from core.quality.prompts import digest
from core.quality.variants import FLOOR, chosen, missing

WORKER: Final = "core.quality.worker"
LONGEST_SENTENCE: Final = 300
Report = Callable[[float, str, Score | None], None]     # share done, what now, the variant just scored


@dataclass(slots=True)
class _Heard:
    """What the worker has said so far."""

    device: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    scores: list[Score] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    refused: str = ""
    share: float = 0.0
    note: str = "starting"
    done: bool = False

    @property
    def is_worth_keeping(self) -> bool:
        """Whether more than the noise floor is known."""
        return any(score.variant != FLOOR.name for score in self.scores)


def check(order: Order, report: Report) -> QualityMeasurement:
    """Runs the order in a process of its own and returns what it found.

    `report` is called at least ten times a second; what it raises (a cancellation) kills the worker at
    once. Where the worker ends early or out of time, the variants scored so far are kept and the rest
    named in `lost`. Raises InputError for a bad order, QualityError in one sentence where nothing came of it.
    """
    _checked(order)
    try:
        return _checked_in_a_worker(order, report)
    finally:
        discarded(order.save)


def _checked_in_a_worker(order: Order, report: Report) -> QualityMeasurement:
    started, heard = time.monotonic(), _Heard()
    with TemporaryDirectory(prefix="sweetspot-quality-") as folder, \
            running(WORKER, order.to_dict() | {"folder": folder}) as worker:
        while not heard.done:
            line = worker.next()
            if line is None and worker.has_ended:
                _give_up(heard, order, worker.why_it_ended(f"after {len(heard.scores)} variants"))
            if line is not None:
                _hear(heard, line)
            if time.monotonic() - started > order.seconds:
                _give_up(heard, order, f"The check did not end in {order.seconds:.0f} s: allow it more time, or use "
                                       f"fewer prompts or variants.")
            report(heard.share, heard.note, heard.scores[-1] if line is not None and "score" in line else None)
    if heard.refused:
        raise QualityError(heard.refused)
    if not heard.scores:
        raise QualityError(f"Nothing could be scored: {' '.join(heard.lost[:2]) or 'the worker said nothing.'}")
    return _measurement(order, heard, time.monotonic() - started)


def _checked(order: Order) -> None:
    if not order.prompts:
        raise InputError("There are no prompts to score. Paste some, or upload a file.")
    Bounds(MIN_S, MAX_S, "s").checked("The time of a check", order.seconds)
    variants = chosen(order.variants)
    check_folder(order.save, variants)
    lacking = missing(variants, save=bool(order.save))
    if lacking:
        raise QualityError(f"The quality check needs {', '.join(lacking)}, not installed here: run `make quality`.")


def _give_up(heard: _Heard, order: Order, why: str) -> None:
    """Ends the hearing with what there is. Raises QualityError where that is nothing."""
    if not heard.is_worth_keeping:
        raise QualityError(why)
    known = {score.variant for score in heard.scores}
    told = " ".join(heard.lost)
    missed = [one.label for one in chosen(order.variants) if one.name not in known and f"{one.label}:" not in told]
    heard.lost.append(why)
    if missed:
        heard.lost.append(f"Not reached: {', '.join(missed)}.")
    heard.done = True


def _hear(heard: _Heard, line: Mapping[str, Any]) -> None:
    if "share" in line:
        heard.share, heard.note = line["share"], line["note"]
    elif "score" in line:
        heard.scores.append(score_of(line["score"]))
    elif "lost" in line:
        heard.lost.append(line["lost"])
    elif "facts" in line:
        heard.facts = line["facts"]
        heard.lost.extend(line["facts"]["remarks"])
    elif "device" in line:
        heard.device = line
    elif "refused" in line:
        heard.refused = line["refused"]
    else:
        heard.done = True


def _measurement(order: Order, heard: _Heard, seconds: float) -> QualityMeasurement:
    facts = heard.facts
    return QualityMeasurement(
        model=order.model, revision=facts["revision"], device=heard.device["device"],
        versions=tuple(heard.device["versions"].items()), date=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=seconds, prompts=facts["prompts"], tokens=facts["tokens"], prompts_digest=digest(order.prompts),
        calibration=facts["calibration"], reference="float32", perplexity=facts["perplexity"],
        scores=tuple(heard.scores), lost=tuple(sentence[:LONGEST_SENTENCE] for sentence in heard.lost),
    )
