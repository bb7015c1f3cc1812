"""A comparison as CSV and JSON: a row a layout, with ranges, prices and where they come from."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from core.compare import Field
from core.export.tables import known, safe
from core.units import GIB, MS_PER_S


def comparison_rows(field: Field, rows: Sequence[int], on_front: Sequence[bool]) -> Iterator[dict[str, Any]]:
    """The layouts of some rows of a field; None for what nobody knows."""
    p, load = field.prediction, field.workload
    for row in rows:
        d = field.deployments[row]
        cells: dict[str, Any] = {
            "model": field.spec.name, "gpu": d.gpu.name, "vendor": d.gpu.vendor, "gpus": d.gpus, "tp": d.tp, "pp": d.pp,
            "ep": d.ep, "dp": d.dp, "engine": d.engine, "weights": d.weights.name, "kv_cache": d.kv_cache.name,
            "concurrency": load.concurrency, "input_tokens": load.input_tokens, "output_tokens": load.output_tokens,
            "fits": bool(field.fits[row]), "meets_slo": bool(field.meets_slo[row]), "on_front": bool(on_front[row]),
            "memory_gib_per_gpu": d.gpu.memory_bytes / GIB,
            "usd_per_hour": field.usd_per_hour[row], "price_source": d.gpu.price_source,
            "tokens_per_s_per_user": field.tokens_per_s_per_user[row],
            "output_tokens_per_s": field.tokens_per_s[row],
            "tokens_per_s_per_usd_per_hour": field.tokens_per_usd[row],
            "usd_per_million_output_tokens": field.usd_per_million[row],
        }
        for name, span in (("ttft_ms", p.ttft_s), ("tpot_ms", p.tpot_s)):
            for end, column in (("", span.value), ("_low", span.low), ("_high", span.high)):
                cells[f"{name}{end}"] = column[row] * MS_PER_S
        loss = field.losses[row]
        cells |= {"quality_loss": loss and loss.value, "quality_loss_low": loss and loss.low,
                  "quality_loss_high": loss and loss.high, "quality_loss_basis": str(loss.basis) if loss else "",
                  "quality_source": loss.source if loss else "", "basis": "estimated"}
        yield {name: known(value) for name, value in cells.items()}


def comparison_csv(field: Field, rows: Sequence[int], on_front: Sequence[bool]) -> str:
    """As CSV that no spreadsheet takes for formulas."""
    text = io.StringIO()
    listed = list(comparison_rows(field, rows, on_front))
    writer = csv.DictWriter(text, list(listed[0]) if listed else ["model"], lineterminator="\n")
    writer.writeheader()
    for cells in listed:
        writer.writerow({name: safe(value) for name, value in cells.items()})
    return text.getvalue()


def comparison_json(field: Field, rows: Sequence[int], on_front: Sequence[bool]) -> str:
    """As JSON, with the accelerators that were left out and why."""
    return json.dumps({"deployments": list(comparison_rows(field, rows, on_front)), "left_out": field.without},
                      indent=1, ensure_ascii=False)
