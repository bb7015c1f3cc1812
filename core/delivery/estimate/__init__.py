"""The `estimate` command: a file of cases in, a file of estimates out, row for row."""

import csv
import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Final

from core.basics.errors import InputError
from core.delivery import export
from core.delivery.estimate.anchors import anchors
from core.delivery.estimate.answer import Bench, Estimates, Resolve, answers, estimate
from core.delivery.estimate.rows import COLUMNS, Row, Setup, Table, opened, parse, row

__all__ = ["COLUMNS", "OUTPUT", "Bench", "Estimates", "Row", "Setup", "Table", "answer_file", "checked", "estimate",
           "opened", "parse", "row"]

ROWS_AT_ONCE: Final = 8192     # of a file, whatever its length: what is held in memory

OUTPUT: Final = (
    "case", "error", "fits", "weights_gib_per_gpu", "kv_bytes_per_token_per_gpu", "kv_cache_tokens",
    "max_concurrency", "activations_gib", "overhead_gib", "ttft_ms", "ttft_low_ms", "ttft_high_ms", "tpot_ms",
    "tpot_low_ms", "tpot_high_ms", "output_tokens_per_s_per_gpu", "prefill_bound", "decode_bound", "total_params",
    "active_params", "state_bytes_per_sequence", "refused_by", "kernel",
    "watts_per_gpu", "kwh_per_million_output_tokens", "kwh_low_per_million_output_tokens",
    "kwh_high_per_million_output_tokens", "output_tokens_per_joule",
)


def answer_file(cases: Path, out: Path, resolve: Resolve, *, measurements: Path | None = None) -> tuple[int, int]:
    """Reads cases, writes estimates; the number of rows and of those with an error.

    A case that its engine would refuse has the reason in `error` and its kind in `refused_by` (structure, kernels,
    memory, context); its figures are then those of a deployment that ran all the same, none where the shapes forbid it.

    `measurements` is a table with the same columns and what was measured; estimates nearby follow it.

    The output appears whole or not at all. Raises InputError for a file that is no table of cases or
    cannot be written.
    """
    at = Bench(resolve)
    known = None
    if measurements is not None:
        with opened(measurements) as table:
            measured = list(table.rows)
        known = anchors(estimate([checked(cells) for cells in measured], at), measured)
    rows = failed = 0
    with opened(cases) as table, export.writing(out) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(OUTPUT)
        while part := list(islice(table.rows, ROWS_AT_ONCE)):
            names = [cells.get("case") or str(number) for number, cells in enumerate(part, rows + 1)]
            said = answers([checked(cells) for cells in part], names, at, known)
            writer.writerows([_cell(cells.get(name)) for name in OUTPUT] for cells in said)
            rows += len(part)
            failed += sum(1 for cells in said if cells["error"])
    return rows, failed


def checked(cells: Mapping[str, str]) -> Row | str:
    """A row, or the sentence what is wrong with it."""
    try:
        return row(cells)
    except InputError as error:
        return str(error)


def _cell(value: object) -> object:
    """Six figures; empty for what is unknown or without bound; no text that a spreadsheet takes for a formula."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) and value < 1e15 else export.safe(value)
