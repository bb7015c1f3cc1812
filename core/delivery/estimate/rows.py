"""Reading cases: a CSV of deployments, each cell checked, each row answerable or with its reason."""

import codecs
import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from core.basics.bounds import Bounds
from core.basics.errors import InputError
from core.physics.apart import Pool
from core.products import drafters
from core.products.drafters import Drafter
from core.terms import ASKED, LOAD, LORA, SIGHT, Adapters, Images, Workload

COLUMNS: Final = (
    "case", "model", "gpu", "tp", "pp", "ep", "dp", "weights", "kv_cache", "engine", "engine_version", "mode",
    *(one.column for one in ASKED), "max_model_len", "gpu_memory_utilization",
    "max_num_batched_tokens", "max_num_seqs",
)
LARGEST_FILE_BYTES: Final = 256 * 2**20
LONGEST_LINE: Final = 2**20          # letters
MOST_COLUMNS: Final = 1000
_SEPARATORS: Final = ",;\t"          # as spreadsheets write them, by country
_SEPARATOR: Final = re.compile(r"sep=([,;\t|])")      # a first line by which spreadsheets say it
MODES: Final = ("static", "serving")
# Whole numbers a cell may hold: far beyond any deployment, near enough to catch a slip.
_WHOLE: Final[Mapping[str, Bounds]] = {
    name: Bounds(1, most, whole=True) for name, most in (
        ("nodes", 1024), ("tp", 1024), ("pp", 1024), ("ep", 4096), ("dp", 4096), ("max_model_len", 100_000_000),
        ("max_num_batched_tokens", 100_000_000), ("max_num_seqs", 1_000_000),
        *((f"{kind}_{name}", 1024) for kind in ("prefill", "decode") for name in ("workers", "tp", "dp", "ep")),
    )
}
_FRACTION: Final = Bounds(0.01, 1.0)
_REPORTED: Final = Bounds(0.5, 8192, "GiB")
_ACCEPTED: Final = Bounds(1, drafters.MOST_DRAFTED + 1)      # tokens a step yields, its own one too
_ALSO: Final = {"spec_acceptance": "acceptance_rate"}        # other names of columns
_PRECISIONS: Final = {"fp4": "nvfp4"}                        # as tables of runs write formats
_NOTED: Final = re.compile(r"concurrency=(\d+)")
_NETWORK: Final = next(one for one in ASKED if one.column == "network_gbit_per_s").in_files
_MEMORY_RATE: Final = Bounds(1, 4000, "GB/s")
_AMOUNT: Final = re.compile(r"(\d+(?:\.\d+)?) ?([GT])i?B")
_LENGTHS: Final = ("input_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a row deploys: the part of it that many rows share. Empty text and None: the default."""

    model: str
    gpu: str = ""
    tp: int = 1
    pp: int = 1
    ep: int = 1
    dp: int = 1
    weights: str = ""
    kv_cache: str = ""
    engine: str = ""
    engine_version: str = ""
    max_model_len: int | None = None
    memory_fraction: float | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    reported_gib: float | None = None      # memory the driver of this very card reports, where known
    drafter: Drafter = Drafter.NONE
    placement: str = ""                    # llama.cpp's words: ncmoe=20, ngl=30, auto, cpu
    cpu: str = ""
    cpu_bandwidth_gb_s: float | None = None
    ram_gib: float | None = None
    prefill: Pool | None = None            # workers of their own; None: one server does both
    decode: Pool | None = None
    nodes: int = 1
    network_gbit_per_s: float = 0.0        # of one machine; 0: as is usual
    images: Images | None = None
    adapters: Adapters | None = None
    has_load: bool = False                 # False: a start-up log, say; nothing is served


@dataclass(frozen=True, slots=True)
class Row:
    """One case: a set-up under a load."""

    setup: Setup
    static: bool
    load: Mapping[str, float]              # by column; NaN: open, or of lengths that no load is named, memory only

    @property
    def context_tokens(self) -> float:
        """Tokens of one request when it ends; NaN without a load."""
        return self.load["input_tokens"] + self.load["output_tokens"]


@dataclass(frozen=True, slots=True)
class Table:
    """A file of cases as text, whose rows are read as they are asked for, once.

    The rows raise InputError where the file stops being a table.
    """

    header: tuple[str, ...]
    rows: Iterator[Mapping[str, str]]


@contextmanager
def opened(path: Path) -> Iterator[Table]:
    """A CSV file of cases: UTF-8, or UTF-16 with its mark; commas, semicolons or tabs between the cells.

    Raises InputError, in one sentence, for a file that is missing, too large, not text, not a table, or
    has no column `model`.
    """
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise InputError(f"{path} is larger than {LARGEST_FILE_BYTES // 2**20} MiB: split it.")
        with path.open("rb") as file:
            encoding = "utf-16" if file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
            yield parse(io.TextIOWrapper(file, encoding, newline=""), str(path))
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from error


def parse(text: TextIO, name: str) -> Table:
    """A table of cases from text. Raises InputError naming what is wrong, the rows too."""
    lines = _lines(text, name)
    first = next((line for line in lines if line.strip()), "")
    said = _SEPARATOR.fullmatch(first.strip())
    first = next(lines, "") if said else first
    marks = said[1] if said else _SEPARATORS
    header, mark = max(((_header(first, mark), mark) for mark in marks),
                       key=lambda found: ("model" in found[0], len(found[0])))
    if "model" not in header:
        raise InputError(f"{name} has no column 'model': its first line must name the columns, "
                         f"at least model and gpu, of {', '.join(COLUMNS)}.")
    if len(header) > MOST_COLUMNS:
        raise InputError(f"{name} has {len(header):,} columns: a table of cases has at most {MOST_COLUMNS:,}.")
    repeated = {cell for cell in header if cell and header.count(cell) > 1}
    if repeated:
        raise InputError(f"{name} has the column '{sorted(repeated)[0]}' twice.")
    return Table(header, _rows(header, csv.reader(lines, delimiter=mark), name))


def _header(line: str, mark: str) -> tuple[str, ...]:
    """The names of columns, in small letters; none where the line cannot be cut so."""
    try:
        return tuple(cell.strip().lower() for cell in next(csv.reader([line], delimiter=mark), []))
    except csv.Error:
        return ()


def _lines(text: TextIO, name: str) -> Iterator[str]:
    """The lines of a text file. Raises InputError where it is none."""
    try:
        while line := text.readline(LONGEST_LINE + 1):
            if len(line) > LONGEST_LINE:
                raise InputError(f"{name} has a line of more than {LONGEST_LINE:,} letters: it is no CSV table.")
            if "\0" in line:
                raise InputError(f"{name} is not a text file: save it as CSV.")
            yield line
    except UnicodeError as error:
        raise InputError(f"{name} is not a text file in UTF-8: save it as CSV (UTF-8).") from error


def _rows(header: Sequence[str], lines: Iterator[list[str]], name: str) -> Iterator[Mapping[str, str]]:
    try:
        for line in lines:
            cells = [cell.strip() for cell in line]
            if any(cells):
                yield dict(zip(header, cells, strict=False))
    except csv.Error as error:
        raise InputError(f"{name} is no CSV table: {error}.") from error


def row(cells: Mapping[str, str]) -> Row:
    """A row with every cell checked. Raises InputError naming the first cell that is wrong."""
    if not cells.get("model"):
        raise InputError("No model is named.")
    mode = cells.get("mode", "").lower() or "serving"
    if mode not in MODES:
        raise InputError(f"mode is '{cells['mode'][:40]}': use static or serving.")
    drafter, drafted = drafters.read(cells.get("spec_method", ""))
    load = _load(cells, drafted)
    run = _run(cells)
    setup = Setup(
        model=cells["model"],
        gpu=cells.get("gpu", ""),
        tp=_whole(cells, "tp") or 1,
        pp=_whole(cells, "pp") or 1,
        ep=_whole(cells, "ep") or 1,
        dp=_whole(cells, "dp") or 1,
        weights=_format(cells, "weights") or _PRECISIONS.get(cells.get("precision", ""), cells.get("precision", "")),
        kv_cache=_format(cells, "kv_cache"),
        engine=cells.get("engine", "").lower(),
        engine_version=cells.get("engine_version", ""),
        max_model_len=_whole(cells, "max_model_len"),
        memory_fraction=_number(cells, "gpu_memory_utilization", _FRACTION),
        max_num_batched_tokens=_whole(cells, "max_num_batched_tokens"),
        max_num_seqs=_whole(cells, "max_num_seqs"),
        reported_gib=_number(cells, "gpu_total_gib", _REPORTED),
        drafter=drafter,
        prefill=_pool(cells, "prefill"),
        decode=_pool(cells, "decode"),
        placement=cells.get("placement_word", cells.get("placement", "")).lower(),
        cpu=cells.get("cpu", ""),
        cpu_bandwidth_gb_s=_number(cells, "cpu_bandwidth_gb_per_s", _MEMORY_RATE)
        or _number(cells, "ram_bandwidth_gb_s", _MEMORY_RATE),
        ram_gib=_ram(cells.get("ram", "")),
        nodes=_whole(cells, "nodes") or 1,
        network_gbit_per_s=_number(cells, "network_gbit_per_s", _NETWORK) or 0.0,
        images=run.pictures,
        adapters=run.adapters,
        has_load=not math.isnan(load["input_tokens"]),
    )
    return Row(setup, mode == "static", load)


_RUN: Final = tuple(one for one in ASKED if one.group in (SIGHT, LORA))
_AS_USUAL: Final = Workload()


def _run(cells: Mapping[str, str]) -> Workload:
    """What a row shows and adapts."""
    said = {one.name: one.read(cell) for one in _RUN if (cell := cells.get(one.column))}
    return Workload.of(said) if said else _AS_USUAL


def _pool(cells: Mapping[str, str], kind: str) -> Pool | None:
    """The workers of one kind; None where the row names none."""
    if not cells.get(f"{kind}_tp"):
        return None
    tp, dp = (_whole(cells, f"{kind}_{name}") or 1 for name in ("tp", "dp"))
    return Pool(tp * dp, _whole(cells, f"{kind}_workers"))


def _ram(said: str) -> float | None:
    """Memory of the host where the cell is an amount, as "31.9 GB"."""
    amount = _AMOUNT.fullmatch(said)
    return float(amount[1]) * (1024 if amount[2] == "T" else 1) if amount else None


def _format(cells: Mapping[str, str], name: str) -> str:
    """A format's name; 'auto' is what an empty cell is."""
    said = cells.get(name, "")
    return "" if said.lower() == "auto" else said


def _load(cells: Mapping[str, str], drafted: int | None) -> Mapping[str, float]:
    """Every input of the load: an empty cell is open where it may be, else the default, or what else says it.

    The name of a drafter may end in the tokens it drafts, and a log says how many tokens a step yields.
    Of the two lengths one alone makes a load, with one token of the other; none of them names no load at all.
    """
    said = {one.name: cells.get(one.column, "") or cells.get(_ALSO.get(one.column, ""), "") for one in LOAD}
    load = {one.name: one.read(cell) if (cell := said[one.name]) else
            math.nan if one.default is None or one.may_be_open else one.default for one in LOAD}
    if cells.get("prefill_tp") and not said["concurrency"] and (noted := _NOTED.search(cells.get("note", ""))):
        load["concurrency"] = float(noted[1])
    if drafted and not cells.get("spec_tokens"):
        load["spec_tokens"] = drafted
    length = _number(cells, "accept_length", _ACCEPTED)
    if length is not None and math.isnan(load["spec_acceptance"]):
        load["spec_acceptance"] = min(1.0, (length - 1) / load["spec_tokens"])
    named = any(cells.get(name) for name in _LENGTHS)
    return load | {name: 1.0 if named else math.nan for name in _LENGTHS if not cells.get(name)}


def _number(cells: Mapping[str, str], name: str, bounds: Bounds) -> float | None:
    """A number within its range; None for an empty cell."""
    return bounds.read(name, cells[name]) if cells.get(name) else None


def _whole(cells: Mapping[str, str], name: str) -> int | None:
    value = _number(cells, name, _WHOLE[name])
    return None if value is None else int(value)
