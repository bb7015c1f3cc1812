"""`sweetspot probe --cluster`: the same probe on many GPUs, one table."""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.basics.errors import InputError
from core.delivery.export import table
from core.machinery import cluster
from core.models import ModelSpec
from core.probe.many import Row, figures, measured, probe_many, targets
from core.probe.measurement import to_json

Write = Callable[[Path, str], object]


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `probe --cluster` can be told beside."""
    parser.add_argument("--cluster", action="store_true",
                        help="measure on a Ray cluster: the one SWEETSPOT_RAY names, else one of this machine alone")
    parser.add_argument("--host", nargs="+", default=[], metavar="HOST", help="with --cluster: only these hosts")
    parser.add_argument("--gpu-type", nargs="+", default=[], metavar="TYPE",
                        help="with --cluster: only these GPU types, as Ray names accelerators")


def run(
    spec: ModelSpec, asked: argparse.Namespace, write: Write, progress: Callable[[float, str], None]
) -> str:
    """Measures every GPU asked for and returns the table, or its JSON.

    Raises InputError for an unknown host or type, ProbeError when nothing was measured, ClusterError.
    """
    if asked.device:
        raise InputError("--device names a device of this machine: with --cluster, use --host and --gpu-type.")
    chosen = targets(cluster.nodes(), asked.host, asked.gpu_type)

    def report(share: float, rows: Sequence[Row]) -> None:
        progress(share, f"{sum(row.ended for row in rows)} of {len(rows)} GPUs done")

    rows = probe_many(spec, chosen, asked.seconds, report)
    found = measured(rows)
    if asked.out:
        for number, measurement in enumerate(found, 1):
            write(asked.out.with_stem(f"{asked.out.stem}-{number}"), to_json(measurement))
    return _json(rows) if asked.json else _text(rows)


def _json(rows: Sequence[Row]) -> str:
    said: list[dict[str, Any]] = [
        {
            **asdict(row.target), "lost": row.lost,
            "measurement": row.measurement and json.loads(to_json(row.measurement)),
        }
        for row in rows
    ]
    return json.dumps({"rows": said}, indent=1, allow_nan=False)


def _text(rows: Sequence[Row]) -> str:
    """The table, and a line for each row that was lost."""
    told = {row.target: figures(row.measurement) for row in rows if row.measurement is not None}
    columns = list(next(iter(told.values())))
    cells = [["host", "GPU type", *columns]]
    for target, found in told.items():
        cells.append([target.host or "any", target.gpu_type or "none", *(_cell(found[name]) for name in columns)])
    return "\n".join([table(cells), *(f"- {row.target.label}: {row.lost}" for row in rows if row.lost)])


def _cell(value: float | str | None) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else f"{value:,.4g}"
