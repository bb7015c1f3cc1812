"""The bundled models read again from the Hub: which hold, which changed, and what is new there.

A row of `assets/models.csv` keeps of a configuration only what its reader uses. Rows written from memory say
"as recalled" in their source; one that the Hub confirms gets its commit instead.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from core.basics import tables
from core.basics.errors import HubError, HubRateLimited, HubUnreachable, ModelError
from core.models import ModelSpec
from core.reading import catalogue
from core.reading.catalogue import RECALLED, ModelRow
from core.reading.configs import architecture
from core.reading.stored import PLAIN

Declared: TypeAlias = tuple[Mapping[str, object], ModelSpec]     # config.json and the model it describes
Verdict: TypeAlias = Literal["same", "confirmed", "corrected", "new", "not read"]
TABLE: Final = "models.csv"


@dataclass(frozen=True, slots=True)
class Finding:
    """What the Hub says of one model."""

    name: str
    verdict: Verdict
    note: str                   # what differs, or why it was not read
    row: ModelRow | None        # what the table should hold; None where it holds that already


def refreshed(rows: Iterable[ModelRow], read: Callable[[str], Declared]) -> Iterator[Finding]:
    """The rows of the table beside what their repositories hold now.

    Args: `read` gives the configuration and the model of a Hub id, or raises a HubError or a ModelError.
    Raises: HubUnreachable, HubRateLimited: the Hub answers nobody, so the rest is not asked.
    """
    for row in rows:
        try:
            config, spec = read(row.name)
        except (HubUnreachable, HubRateLimited):
            raise
        except (HubError, ModelError) as error:
            yield Finding(row.name, "not read", str(error), None)
            continue
        found = _row(config, spec)
        if changes := _changes(row, found):
            yield Finding(row.name, "corrected", changes, found)
        elif RECALLED in row.source:
            yield Finding(row.name, "confirmed", found.source, replace(row, source=found.source))
        else:
            yield Finding(row.name, "same", "", None)


def added(names: Iterable[str], read: Callable[[str], Declared]) -> Iterator[Finding]:
    """Models of the Hub that no name of the catalogue means yet. `read` and what is raised: as `refreshed`."""
    for name in names:
        if catalogue.load(name) is not None:
            if (root := catalogue.root(name)) != name:
                yield Finding(name, "same", f"by the shapes of {root}: refresh that", None)
            continue
        try:
            found = _row(*read(name))
        except (HubUnreachable, HubRateLimited):
            raise
        except (HubError, ModelError) as error:
            yield Finding(name, "not read", str(error), None)
            continue
        yield Finding(name, "new", f"{found.total_params / 1e9:.2f}B parameters", found)


def _row(config: Mapping[str, object], spec: ModelSpec) -> ModelRow:
    shipped = None if spec.shipped is None or spec.shipped.format in PLAIN else spec.shipped
    return ModelRow(
        name=spec.name,
        family=spec.family,
        total_params=spec.total_params,
        active_params=spec.active_params,
        max_context=spec.max_context,
        shipped=shipped.format if shipped else "",
        kv_format=(shipped.kv_format if shipped else None) or "",
        roles=tables.Json({role.value: fmt for role, fmt in shipped.role_formats} if shipped else {}),
        source=f"config.json of {spec.source}",
        config=tables.Json(pared(config, spec.name)),
    )


def _changes(row: ModelRow, found: ModelRow) -> str:
    """How two rows differ in what they mean, not in how it is written; empty where they do not."""
    facts = {
        "parameters": (row.total_params, found.total_params),
        "active parameters": (row.active_params, found.active_params),
        "context": (row.max_context, found.max_context),
        "stored as": (row.shipped or "16 bits", found.shipped or "16 bits"),
        "shapes": (architecture(row.config, name=row.name), architecture(found.config, name=row.name)),
    }
    return "; ".join(
        what if what == "shapes" else f"{what} {_said(before)} -> {_said(now)}"
        for what, (before, now) in facts.items() if before != now
    )


def _said(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def pared(config: Mapping[str, object], name: str) -> dict[str, object]:
    """A configuration without the keys that change nothing of the model it describes."""
    whole = architecture(config, name=name)
    kept = dict(config)
    for key in config:
        without = {other: value for other, value in kept.items() if other != key}
        if _reads_as(without, name, whole):
            kept = without
    for key, nested in kept.items():
        if isinstance(nested, dict):
            for inner in nested:
                fewer = {**kept, key: {other: value for other, value in _object(kept[key]).items() if other != inner}}
                if _reads_as(fewer, name, whole):
                    kept = fewer
    return kept


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _reads_as(config: Mapping[str, object], name: str, whole: ModelSpec) -> bool:
    try:
        return architecture(config, name=name) == whole
    except ModelError:
        return False


def table(findings: Iterable[Finding]) -> str:
    """`assets/models.csv` with the rows that were found in place of the old, new ones last."""
    return tables.written(TABLE, {found.row.name: _cells(found.row) for found in findings if found.row is not None})


def _cells(row: ModelRow) -> dict[str, object]:
    def compact(value: Mapping[str, object]) -> str:
        return json.dumps(value, separators=(",", ":")) if value else ""

    return {
        "name": row.name, "family": row.family, "total_params": row.total_params,
        "active_params": row.active_params, "max_context": row.max_context or "", "shipped": row.shipped,
        "kv_format": row.kv_format, "roles": compact(row.roles), "source": row.source, "config": compact(row.config),
    }
