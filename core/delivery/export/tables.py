"""A plan as CSV: the recommendation with its rivals, and the whole grid; safe to open in a spreadsheet."""

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TextIO

from core.answers.advice import Candidate, Choice, Plan, Rung, ladder
from core.answers.cost import HOURS_PER_MONTH
from core.basics.errors import InputError
from core.basics.units import GIB, MS_PER_S
from core.terms import ASKED, Estimate

# OWASP "CSV Injection": a cell that begins with one of these is run as a formula by spreadsheets.
_FORMULA_STARTS: Final = ("=", "+", "-", "@")


def safe(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: text that begins like one gets an apostrophe.

    Tabs and line ends, which also start one, become spaces."""
    if not isinstance(value, str):
        return value
    line = value if value.isprintable() else "".join(letter if letter.isprintable() else " " for letter in value)
    return f"'{line}" if line.lstrip().startswith(_FORMULA_STARTS) else line


def known(value: Any) -> Any:
    """Six figures of a number; None for NaN and infinity, which neither CSV nor JSON knows."""
    if isinstance(value, bool | str | int) or value is None:
        return value
    return float(f"{float(value):.6g}") if math.isfinite(value) else None


def finite(document: Any) -> Any:
    """A document fit for JSON, which knows no infinity and no NaN: null."""
    if isinstance(document, dict):
        return {key: finite(part) for key, part in document.items()}
    if isinstance(document, list | tuple):
        return [finite(part) for part in document]
    return None if isinstance(document, float) and not math.isfinite(document) else document


def recommendation_csv(plan: Plan) -> str:
    """The recommendation, the runner-up and every other weight format; a row per figure's owner.

    Each estimated figure comes with its range, and each row with what the figures rest on.
    """
    rows = list(_rows(plan))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["model", "verdict"], lineterminator="\n")
    writer.writeheader()
    for row in rows or [{"model": plan.spec.name, "verdict": plan.sentence}]:
        writer.writerow({name: safe(value) for name, value in row.items()})
    return text.getvalue()


def ladder_csv(plan: Plan) -> str:
    """Every weight format with every KV cache on the plan's GPUs; an unknown loss is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(_LADDER), lineterminator="\n")
    writer.writeheader()
    for rung in ladder(plan):
        writer.writerow({name: safe(known(of(rung))) for name, of in _LADDER.items()})
    return text.getvalue()


_LADDER: Final[Mapping[str, Callable[[Rung], object]]] = {
    "weights": lambda rung: rung.deployment.weights.name, "kv_cache": lambda rung: rung.deployment.kv_cache.name,
    "fits": lambda rung: str(rung.room), "gpus": lambda rung: rung.deployment.gpus,
    "weights_gib_per_gpu": lambda rung: rung.weights_bytes / GIB,
    "longest_context_tokens": lambda rung: rung.longest_context,
    "most_requests": lambda rung: rung.most_requests, "requests_within_targets": lambda rung: rung.within_targets,
    "tpot_ms": lambda rung: rung.tpot_s * MS_PER_S,
    "quality_loss": lambda rung: None if rung.quality is None else rung.quality.value,
    "loss_accepted": lambda rung: rung.accepted,
}


def sweep_csv(plan: Plan) -> str:
    """Every point of the grid, and the GPU counts and formats that do not run with their reasons."""
    import pandas as pd  # a second that the verdict does not wait for

    frame = plan.sweep.frame()
    refused = pd.DataFrame(
        [{"model": plan.spec.name, "gpu": plan.gpu.name, "engine": plan.engine, "weights": refusal.choice,
          "fits": False, "reason": refusal.reason} for refusal in plan.sweep.refusals],
    )
    whole = pd.concat([frame, refused], ignore_index=True) if len(refused) else frame
    for name in whole.select_dtypes(include=["object", "string"]):
        known = {value: safe(value) for value in whole[name].unique()}
        whole[name] = whole[name].map(known)
    return str(whole.to_csv(index=False, float_format="%.4g", lineterminator="\n"))


def _rows(plan: Plan) -> Iterator[dict[str, object]]:
    if plan.best is not None:
        yield _row(plan, "recommended", plan.best, plan.sentence)
    if plan.runner_up is not None:
        yield _row(plan, "runner-up", plan.runner_up, plan.trade)
    for candidate in plan.candidates:
        if plan.best is None or candidate.choice.deployment != plan.best.deployment:
            yield _row(plan, _role(candidate), candidate.choice, candidate.note)


def _role(candidate: Candidate) -> str:
    return "alternative" if candidate.allowed else "not allowed"


def _row(plan: Plan, role: str, choice: Choice, note: str) -> dict[str, object]:
    d = choice.deployment
    cells: dict[str, object] = {
        "role": role, "model": plan.spec.name, "gpu": d.gpu.name, "gpus": d.gpus, "tp": d.tp, "pp": d.pp,
        "engine": d.engine, "weights": d.weights.name, "kv_cache": d.kv_cache.name,
        **plan.workload.filed(ASKED), "concurrency": choice.concurrency, "fits": choice.fits,
        "meets_slo": choice.meets_slo,
        "largest_concurrency_within_slo": choice.slo_concurrency,
        "largest_concurrency_in_memory": choice.memory_concurrency,
        "usd_per_hour": _four(choice.usd_per_hour),
        "usd_per_month": _four(choice.usd_per_hour and choice.usd_per_hour * HOURS_PER_MONTH),
        "weights_gib_per_gpu": round(choice.footprint.term("weights").bytes / GIB, 3),
        "kv_cache_gib_per_gpu": round(choice.footprint.kv_cache_bytes / GIB, 3),
    }
    for name, estimate, scale in (
        ("ttft_ms", choice.ttft, MS_PER_S), ("tpot_ms", choice.tpot, MS_PER_S),
        ("output_tokens_per_s", choice.output_tokens_per_s, 1.0),
        ("usd_per_million_output_tokens", choice.cost_usd_per_million_output_tokens, 1.0),
        ("watts_per_gpu", choice.watts_per_gpu, 1.0),
        ("kwh_per_million_output_tokens", choice.kwh_per_million_output_tokens, 1.0),
        ("output_tokens_per_joule", choice.output_tokens_per_joule, 1.0),
        ("quality_loss", choice.quality, 1.0),
    ):
        cells.update(_spread(name, estimate, scale))
    return cells | {
        "prefill_bound": str(choice.prefill_bound), "decode_bound": str(choice.decode_bound),
        "quality_source": choice.quality_note, "gpu_source": d.gpu.source, "price_source": d.gpu.price_source,
        "note": note,
    }


def _four(value: float | None) -> float | str:
    """Four figures, more than any estimate has; empty where there is none."""
    return "" if value is None else float(f"{value:.4g}")


def _spread(name: str, estimate: Estimate | None, scale: float) -> Mapping[str, object]:
    """A figure with its range, basis and source; empty where there is none."""
    ends = ("", "_low", "_high")
    if estimate is None:
        return dict.fromkeys((*(f"{name}{end}" for end in ends), f"{name}_basis", f"{name}_source"), "")
    values = (estimate.value, estimate.low, estimate.high)
    figures: dict[str, object] = {
        f"{name}{end}": _four(value * scale) for end, value in zip(ends, values, strict=True)
    }
    return figures | {f"{name}_basis": str(estimate.basis), f"{name}_source": estimate.source}


def write(path: Path, text: str) -> None:
    """Text into a file, whole or not at all. Raises InputError where it cannot be written."""
    with writing(path) as file:
        file.write(text)


@contextmanager
def writing(path: Path) -> Iterator[TextIO]:
    """A file to write text to, which appears when all is written. Raises InputError where it cannot be."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns for a terminal."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
