"""The one reader of the CSV tables in assets/: a row is a dataclass whose annotations say what each column holds.

    @dataclass(frozen=True, slots=True)
    class Price:
        gpu: str                                             # a text
        note: Note                                           # a text, or nothing
        usd_per_gpu_hour: Annotated[float, Within(0, 1000)]  # a number in that range
        year: int | None                                     # a whole number; an empty cell is None
        kind: Literal["spot", "reserved"]                    # one of these words
        engines: tuple[str, ...]                             # words, spaces between them

    read("prices.csv", Price)

The header names exactly the fields, in any order. Lines that begin with # before it are comments.
"""

import csv
import io
import json
import math
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NewType,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from core.basics import places
from core.basics.errors import TableError

Row = TypeVar("Row")
Cell = Callable[[str], Any]
Json = NewType("Json", Mapping[str, Any])    # a cell that holds a JSON object; an empty one is an empty object
_FLAGS: Final = {"1": True, "0": False}
_SHOWN: Final = 40                           # characters of a wrong cell that an error repeats


@dataclass(frozen=True, slots=True)
class Within:
    """The range a number lies in, ends included: what its unit makes plausible."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Reads:
    """A column of a kind of its own: `cell` raises ValueError, `wanted` says what it may be ("a range as 62..119")."""

    cell: Cell
    wanted: str


Note: TypeAlias = Annotated[str, Reads(str, "a text")]


def read(table: str | Path, kind: Callable[..., Row], unique: tuple[str, ...] = ()) -> tuple[Row, ...]:
    """The rows of assets/<table>, or of a file elsewhere, as `kind`, a dataclass.

    No two rows agree in the columns `unique`. Raises: TableError naming file, line and column in one sentence.
    """
    columns = _columns(kind)
    lines = _lines(table)
    _, header = next(lines, (1, []))
    file = _shown(table)
    _check_header(file, header, list(columns))
    rows, seen = [], dict[tuple[str, ...], int]()
    for line, cells in lines:
        where = f"{file}, line {line}"
        if len(cells) != len(header):
            raise TableError(f"{where}: {_miscounted(len(cells), len(header))}.")
        row = dict(zip(header, cells, strict=True))
        rows.append(kind(**{name: _read(where, name, row[name], column) for name, column in columns.items()}))
        if unique and (before := seen.setdefault(tuple(row[name] for name in unique), line)) != line:
            again = row[unique[0]][:_SHOWN]
            raise TableError(f"{where}, column {unique[0]}: '{again}' stands in line {before} already.")
    return tuple(rows)


def written(table: str, rows: Mapping[str, Mapping[str, object]], key: str = "name") -> str:
    """The text of assets/<table> with `rows`, cells by column, in place of the records of that key; new ones last."""
    header, *records = [cells for _, cells in _lines(table)]
    left = dict(rows)
    text = io.StringIO()
    out = csv.DictWriter(text, header, lineterminator="\n")
    out.writeheader()
    for cells in records:
        record = dict(zip(header, cells, strict=True))
        out.writerow(left.pop(record[key], record))
    out.writerows(left.values())
    return text.getvalue()


class Table(Mapping[str, Row], Generic[Row]):
    """The rows of a table by their name, in the table's order; read when it is first looked into."""

    def __init__(self, table: str, kind: Callable[..., Row], key: str = "name") -> None:
        self._read = (table, kind, key)

    @cached_property
    def _rows(self) -> dict[str, Row]:
        table, kind, key = self._read
        return {getattr(row, key): row for row in read(table, kind, (key,))}

    def __getitem__(self, name: str) -> Row:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _shown(table: str | Path) -> str:
    """The file as errors name it: assets/gpus.csv."""
    return str(Path(places.ASSETS.name) / table)


def _lines(table: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Number of each record's last line and its cells, comments before the header left out."""
    try:
        with (places.ASSETS / table).open(encoding="utf-8", newline="") as file:
            skipped, start = 0, file.tell()
            while file.readline().startswith("#"):
                skipped, start = skipped + 1, file.tell()
            file.seek(start)
            reader = csv.reader(file, strict=True)
            for cells in reader:
                yield skipped + reader.line_num, cells
    except csv.Error as error:
        raise TableError(f"{_shown(table)}, line {skipped + reader.line_num}: {error}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{_shown(table)} cannot be read: {error}.") from None


def _check_header(file: str, header: list[str], wanted: list[str]) -> None:
    where = f"{file}, line 1"
    for name in header:
        if header.count(name) > 1:
            raise TableError(f"{where}: column {name} stands twice.")
        if name not in wanted:
            close = get_close_matches(name, [each for each in wanted if each not in header], n=1)
            hint = f"did you mean {close[0]}?" if close else f"the columns are {', '.join(wanted)}."
            raise TableError(f"{where}: column '{name[:_SHOWN]}' is not known; {hint}")
    for name in wanted:
        if name not in header:
            raise TableError(f"{where}: column {name} is missing.")


def _miscounted(cells: int, columns: int) -> str:
    said = f"{cells} cell{'' if cells == 1 else 's'} where the header has {columns}"
    return f"{said}: a comma is missing" if cells < columns else f"{said}: a text with a comma lacks its quotes"


def _read(where: str, name: str, cell: str, column: Reads) -> Any:
    try:
        return column.cell(cell)
    except (ValueError, RecursionError):
        shown = f"'{cell[:_SHOWN]}'" if cell else "empty"
        raise TableError(f"{where}, column {name}: the cell is {shown}, it must be {column.wanted}.") from None


@cache
def _columns(kind: type) -> dict[str, Reads]:
    """Field -> how its cell is read."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: _reads(hints[field.name]) for field in fields(kind)}


def _reads(hint: Any) -> Reads:
    inner = get_args(hint)
    if get_origin(hint) is Annotated:
        return _annotated(*inner)
    if get_origin(hint) in (Union, types.UnionType) and inner[1:] == (type(None),):
        one = _reads(inner[0])
        return Reads(lambda cell: one.cell(cell) if cell else None, f"{one.wanted} or empty")
    if get_origin(hint) is Literal:
        return Reads(lambda cell: inner[inner.index(cell)], f"one of {', '.join(word or 'empty' for word in inner)}")
    if hint == tuple[str, ...]:
        return Reads(lambda cell: tuple(cell.split()), "words")
    return _PLAIN[hint]


def _annotated(hint: Any, extra: Any) -> Reads:
    if isinstance(extra, Reads):
        return extra
    plain = _PLAIN[hint]

    def within(cell: str) -> float:
        value: float = plain.cell(cell)
        if not extra.low <= value <= extra.high:
            raise ValueError(cell)
        return value

    return Reads(within, f"{plain.wanted} from {extra.low:,g} to {extra.high:,g}")


def _text(cell: str) -> str:
    if not cell.strip():
        raise ValueError(cell)
    return cell


def _number(cell: str) -> float:
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(cell)
    return value


def _flag(cell: str) -> bool:
    if cell not in _FLAGS:
        raise ValueError(cell)
    return _FLAGS[cell]


def _object(cell: str) -> Json:
    found = json.loads(cell or "{}")
    if not isinstance(found, dict):
        raise ValueError(cell)
    return Json(found)


_PLAIN: Final[Mapping[Any, Reads]] = {
    str: Reads(_text, "a text"),
    int: Reads(int, "a whole number"),
    float: Reads(_number, "a number"),
    bool: Reads(_flag, "1 or 0"),
    Json: Reads(_object, "a JSON object"),
}
