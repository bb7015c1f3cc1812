"""A plan as it is kept: what was asked, what was answered then, and how to read it back from a stranger's file."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from core.answers.advice import Choice, Plan
from core.basics.errors import InputError
from core.basics.inputs import Input
from core.basics.units import GIB, MS_PER_S
from core.delivery.export.tables import safe
from core.terms import ASKED, Basis, Estimate, Workload

Answers: TypeAlias = Mapping[str, str | int | float | None]

FIGURES: Final = ("tpot_ms", "ttft_ms", "output_tokens_per_s", "usd_per_million_output_tokens")
_UNREADABLE: Final = "This saved plan cannot be read: it may come from another version. Delete it and save it again."


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the plan deploys; a replica's layout is in `hardware`."""

    weights: str
    kv_cache: str
    hardware: str              # "2 × H100 SXM5 80GB, tp 2"
    concurrency: int
    fits: bool
    memory_gib: float          # of one GPU, as reported
    taken_gib: float           # weights and overheads on one GPU


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """A question and its answer of some day; figures in ms, tokens/s and US dollars."""

    inputs: Answers            # the inputs of the app, by key
    sentence: str
    standing: str              # met | fewer | late | impossible
    model: str
    gpu: str
    engine: str
    load: Workload             # what came in; its targets are among the inputs alone
    deployed: Deployed | None  # None: nothing runs
    figures: Mapping[str, Estimate]

    def change_to(self, other: "KeptPlan", figure: str) -> float | None:
        """By what part of its own value a figure differs in another plan: 0.1 is 10 % more; None where one has none."""
        mine, theirs = self.figures.get(figure), other.figures.get(figure)
        if mine is None or theirs is None or mine.value == 0:
            return None
        return theirs.value / mine.value - 1


def keep(plan: Plan, inputs: Answers) -> dict[str, Any]:
    """What is kept of a plan, fit for JSON; `kept` reads it back."""
    shown = plan.shown
    return {
        "inputs": dict(inputs), "sentence": plan.sentence, "standing": plan.standing.name.lower(),
        "model": plan.spec.name, "gpu": plan.gpu.name, "engine": plan.engine,
        **plan.workload.filed(ASKED),
        "deployed": None if shown is None else asdict(_deployed(shown)),
        "figures": {} if shown is None else dict(_figures(shown)),
    }


def _deployed(choice: Choice) -> Deployed:
    d, footprint = choice.deployment, choice.footprint
    split = "".join(f", {name} {n}" for name, n in (("tp", d.tp), ("pp", d.pp), ("dp", d.dp)) if n > 1)
    return Deployed(
        weights=d.weights.label, kv_cache=d.kv_cache.name, hardware=f"{d.gpus} × {d.gpu.name}{split}",
        concurrency=choice.concurrency, fits=choice.fits, memory_gib=footprint.reported_bytes / GIB,
        taken_gib=sum(term.bytes for term in footprint.terms) / GIB,
    )


def _figures(choice: Choice) -> list[tuple[str, dict[str, Any]]]:
    """Figures by name; what has no value, as the TPOT of a single token, is left out."""
    estimates = (
        (choice.tpot, MS_PER_S), (choice.ttft, MS_PER_S), (choice.output_tokens_per_s, 1.0),
        (choice.cost_usd_per_million_output_tokens, 1.0),
    )
    return [
        (name, {"value": e.value * scale, "low": e.low * scale, "high": e.high * scale, "basis": str(e.basis),
                "source": e.source})
        for name, (e, scale) in zip(FIGURES, estimates, strict=True)
        if e is not None and all(map(math.isfinite, (e.value, e.low, e.high)))
    ]


def kept(body: Mapping[str, Any]) -> KeptPlan:
    """Reads what `keep` wrote, or somebody's file that says it did. Raises InputError when it is not that."""
    try:
        deployed, figures = body["deployed"], body["figures"]
        return KeptPlan(
            inputs={_text(key): _answer(value) for key, value in body["inputs"].items()},
            sentence=_text(body["sentence"]), standing=_text(body["standing"]),
            model=_text(body["model"]), gpu=_text(body["gpu"]), engine=_text(body["engine"]),
            load=Workload.of({one.name: load for one in ASKED if (load := _load(one, body)) is not None}),
            deployed=None if deployed is None else _read_deployed(deployed),
            figures={name: _estimate(figures[name]) for name in FIGURES if name in figures},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise InputError(_UNREADABLE) from None


def _load(one: Input, body: Mapping[str, Any]) -> float | None:
    """An input by its column, or as it was typed: older plans name the tokens' columns alone."""
    filed = body.get(one.column)
    if filed is not None:
        return one.worded(_text(filed), one.column) if one.words else one.of_file(_number(filed))
    typed = body["inputs"].get(one.key)
    if one.words:
        return None if typed is None else one.worded(_text(typed), one.column)
    return None if typed is None else one.of_page(_number(typed))


def _read_deployed(body: Mapping[str, Any]) -> Deployed:
    return Deployed(
        weights=_text(body["weights"]), kv_cache=_text(body["kv_cache"]), hardware=_text(body["hardware"]),
        concurrency=int(_number(body["concurrency"])), fits=bool(body["fits"]),
        memory_gib=_number(body["memory_gib"]), taken_gib=_number(body["taken_gib"]),
    )


def _estimate(body: Mapping[str, Any]) -> Estimate:
    value, low, high = (_number(body[end]) for end in ("value", "low", "high"))
    return Estimate(value, low, high, Basis(body["basis"]), _text(body["source"]))


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 2_000:
        raise TypeError
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _answer(value: object) -> str | int | float | None:
    if value is None or isinstance(value, str):
        return None if value is None else _text(value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else _number(value)


def kept_csv(plans: Sequence[tuple[str, float, KeptPlan]]) -> str:
    """Kept plans as CSV, a row each: (name, when it was kept [s since the epoch], plan)."""
    text = io.StringIO()
    rows = [{name: safe(value) for name, value in _row(*plan).items()} for plan in plans]
    columns = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, list(columns) or ["name"], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(name: str, kept_s: float, plan: KeptPlan) -> dict[str, object]:
    row: dict[str, object] = {
        "name": name, "kept_at": datetime.fromtimestamp(kept_s, UTC).isoformat(timespec="seconds"),
        "sentence": plan.sentence, "standing": plan.standing, "model": plan.model, "gpu": plan.gpu,
        "engine": plan.engine, **plan.load.filed(ASKED),
    }
    if plan.deployed is not None:
        row |= asdict(plan.deployed)
    for figure in FIGURES:
        estimate = plan.figures.get(figure)
        if estimate is not None:
            ends = (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high))
            row |= {f"{figure}{end}": float(f"{value:.4g}") for end, value in ends}
            row[f"{figure}_basis"] = str(estimate.basis)
    return row
