"""The `estimate` command: a file of cases in, a file of estimates out, row for row."""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from core.basics.errors import InputError
from core.delivery import export
from core.delivery.estimate.anchors import anchors
from core.delivery.estimate.answer import Estimates, Resolve, columns, estimate
from core.delivery.estimate.rows import COLUMNS, Row, Setup, Table, parse, read, row

__all__ = ["COLUMNS", "OUTPUT", "Estimates", "Row", "Setup", "Table", "answer_file", "estimate", "parse", "read", "row"]

OUTPUT: Final = (
    "case", "error", "fits", "weights_gib_per_gpu", "kv_bytes_per_token_per_gpu", "kv_cache_tokens",
    "max_concurrency", "activations_gib", "overhead_gib", "ttft_ms", "ttft_low_ms", "ttft_high_ms", "tpot_ms",
    "tpot_low_ms", "tpot_high_ms", "output_tokens_per_s_per_gpu", "prefill_bound", "decode_bound", "total_params",
    "active_params", "state_bytes_per_sequence", "refused_by", "kernel",
)


def answer_file(cases: Path, out: Path, resolve: Resolve, *, measurements: Path | None = None) -> tuple[int, int]:
    """Reads cases, writes estimates; the number of rows and of those with an error.

    A case that its engine would refuse has the reason in `error` and its kind in `refused_by` (structure, kernels,
    memory, context); its figures are then those of a deployment that ran all the same, none where the shapes forbid it.

    `measurements` is a table with the same columns and what was measured; estimates nearby follow it.

    The output appears whole or not at all. Raises InputError for a file that is no table of cases or
    cannot be written.
    """
    table = read(cases)
    names = case_names(table)
    known = None
    if measurements is not None:
        measured = read(measurements)
        known = anchors(estimate([checked(cells) for cells in measured.rows], resolve), measured)
    answers = columns(estimate([checked(cells) for cells in table.rows], resolve, known), names)
    write(out, answers)
    return len(names), sum(1 for cells in answers if cells["error"])


def case_names(table: Table) -> list[str]:
    """The names of the cases; their numbers where the file has none."""
    return [cells.get("case") or str(number) for number, cells in enumerate(table.rows, 1)]


def checked(cells: Mapping[str, str]) -> Row | str:
    """A row, or the sentence what is wrong with it."""
    try:
        return row(cells)
    except InputError as error:
        return str(error)


def write(out: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """The estimates as CSV: whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(OUTPUT)
    for cells in rows:
        writer.writerow([_cell(cells.get(name)) for name in OUTPUT])
    export.write(out, text.getvalue())


def _cell(value: object) -> object:
    """Six figures; empty for what is unknown or without bound."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) and value < 1e15 else value
