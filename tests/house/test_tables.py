"""Every table of assets broken in every way: one sentence with file, line and column, whatever was typed wrong."""

import csv
import io
import re
import shutil
import subprocess
import sys

import pytest

from core.answers.advice import UseCase
from core.basics import places, tables
from core.basics.errors import TableError
from core.basics.places import ASSETS, ROOT
from core.calibration.published import Figure, Source
from core.calibration.track_record import Point
from core.losses.prior.published import Published
from core.physics.efficiency.loads import Constant
from core.products.architectures import Known
from core.products.containers import Makers
from core.products.cpus import CpuRow
from core.products.drafters import Published as Drafted
from core.products.engines import Engine
from core.products.families import Family, OtherName
from core.products.formats import Format, KvFormat
from core.products.ggml import GgmlType
from core.products.gpus import Quote
from core.products.gpus.machines import Machine
from core.products.gpus.tables import CoresRow, GpuRow, NameRow
from core.products.halves import NoHalf
from core.products.latents import Kept
from core.products.options import Accelerator, Image, Option
from core.products.versions import Version
from core.reading.catalogue import AliasRow, BlockRow, ModelRow
from core.reading.checkpoints.gguf_config import Architecture
from core.reading.configs.keys import ClassFacts
from core.reading.logs import FactRow, ProblemRow
from tests.conftest import PATIENCE_S

KINDS = {
    "accuracy.csv": Point, "engine_images.csv": Image, "engine_models.csv": Known,
    "engine_options.csv": Option, "engines.csv": Engine,
    "format_families.csv": Family, "format_names.csv": OtherName, "formats.csv": Format, "fp8_blocks.csv": BlockRow,
    "ggml_types.csv": GgmlType, "gguf_architectures.csv": Architecture, "kv_formats.csv": KvFormat,
    "gpu_cores.csv": CoresRow, "gpu_names.csv": NameRow, "gpus.csv": GpuRow,
    "machines.csv": Machine, "models.csv": ModelRow, "models_aliases.csv": AliasRow,
    "models_defaults.csv": ClassFacts, "prices.csv": Quote, "published.csv": Figure, "published_sources.csv": Source,
    "quality_facts.csv": Published,
    "cpus.csv": CpuRow, "drafters.csv": Drafted, "load_constants.csv": Constant,
    "latent_caches.csv": Kept, "no_fp16.csv": NoHalf, "checkpoint_makers.csv": Makers,
    "ray_accelerators.csv": Accelerator, "versions.csv": Version,
    "use_cases.csv": UseCase, "log_facts.csv": FactRow, "log_problems.csv": ProblemRow,
}
EVERY = pytest.mark.parametrize(("file", "kind"), KINDS.items(), ids=list(KINDS))
NUMBER = re.compile(r"-?\d+(\.\d+)?")


def table(file):
    """Comments, header and rows."""
    lines = (ASSETS / file).read_text(encoding="utf-8").splitlines(keepends=True)
    comments = [line for line in lines[:1] if line.startswith("#")]
    header, *rows = csv.reader(io.StringIO("".join(lines[len(comments):])))
    return comments, header, rows


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """What is said of a table with this header and these rows; '' where it is read."""
    def said(file, kind, header, rows, unique=()):
        folder = tmp_path / "assets"
        folder.mkdir(exist_ok=True)
        comments = table(file)[0]
        with (folder / file).open("w", encoding="utf-8", newline="") as out:
            out.writelines(comments)
            csv.writer(out, lineterminator="\n").writerows([header, *rows])
        monkeypatch.setattr(places, "ASSETS", folder)
        try:
            tables.read(file, kind, unique)
        except TableError as error:
            return str(error)
        return ""
    return said


def test_every_table_of_assets_is_known_here():
    assert sorted(path.name for path in ASSETS.rglob("*.csv")) == sorted(KINDS)


def test_tables_of_assets_have_one_reader():
    """Others read what people bring: cases, traces, prompts, and a header of a probe's output."""
    bring = {"core/delivery/estimate/rows.py", "core/answers/traffic/requests.py", "core/quality/prompts.py"}
    readers = {
        str(path.relative_to(ROOT)) for folder in ("core", "pages") for path in (ROOT / folder).rglob("*.py")
        if re.search(r"csv\.(Dict)?[rR]eader\(|read_csv\(", path.read_text(encoding="utf-8"))
    }
    assert readers == bring | {"core/basics/tables.py"}


@EVERY
def test_a_table_as_it_stands_is_read(file, kind, broken):
    _, header, rows = table(file)
    assert broken(file, kind, header, rows) == ""
    assert len(tables.read(file, kind)) == len(rows)


@EVERY
def test_a_missing_comma(file, kind, broken):
    _, header, rows = table(file)
    joined = [rows[1][0] + rows[1][1], *rows[1][2:]]
    line = 3 + len(table(file)[0])
    assert broken(file, kind, header, [rows[0], joined, *rows[2:]]) == (
        f"assets/{file}, line {line}: {len(header) - 1} cell{'s' * (len(header) > 2)} where the header has "
        f"{len(header)}: a comma is missing."
    )


@EVERY
def test_a_comma_too_many(file, kind, broken):
    _, header, rows = table(file)
    line = 2 + len(table(file)[0])
    assert broken(file, kind, header, [[*rows[0], "more"], *rows[1:]]) == (
        f"assets/{file}, line {line}: {len(header) + 1} cells where the header has {len(header)}: a text with a comma "
        "lacks its quotes."
    )


@EVERY
def test_an_unknown_and_a_missing_column(file, kind, broken):
    _, header, rows = table(file)
    said = broken(file, kind, [*header[:-1], "colour"], rows)
    assert said.startswith(f"assets/{file}, line 1: column 'colour' is not known; the columns are {header[0]}, ") or (
        set(said.split()) >= {"'colour'", "known;"}
    )
    assert broken(file, kind, header[1:], [row[1:] for row in rows]) == (
        f"assets/{file}, line 1: column {header[0]} is missing."
    )
    assert broken(file, kind, [*header, header[0]], [[*row, row[0]] for row in rows]) == (
        f"assets/{file}, line 1: column {header[0]} stands twice."
    )
    mistyped = header[1][:-1] + "_" if len(header[1]) > 3 else header[1] + "s"
    assert f"column '{mistyped}' is not known; did you mean {header[1]}?" in broken(
        file, kind, [header[0], mistyped, *header[2:]], rows
    )


@EVERY
def test_a_wrong_number_or_unit_in_every_column_of_numbers(file, kind, broken):
    """A unit typed behind a number, and a number a million times too large, as one in bytes for GiB would be."""
    _, header, rows = table(file)
    first = 2 + len(table(file)[0])
    for at, column in enumerate(header):
        filled = [row[at] for row in rows if row[at]]
        if not filled or not all(NUMBER.fullmatch(cell.partition("..")[0]) for cell in filled) or column in TEXTS:
            continue
        for wrong in (f"{filled[0]} GB", f"{filled[0]},5", "1e30"):
            changed = [[*rows[0][:at], wrong, *rows[0][at + 1:]], *rows[1:2]]
            said = broken(file, kind, header, changed)
            if wrong == "1e30" and file == "accuracy.csv":
                continue                 # figures of any size, written by make accuracy
            where = f"assets/{file}, line {first}, column {column}"
            assert said.startswith(f"{where}: the cell is '{wrong}', it must be "), said
            assert said.endswith(".") and said.count("\n") == 0


TEXTS = {"capability", "version", "engine_version", "group"}     # texts that look like numbers


@EVERY
def test_a_text_that_must_stand_is_empty(file, kind, broken):
    _, header, rows = table(file)
    last = 1 + len(table(file)[0]) + len(rows[:3])
    empty = [cell if name != header[0] else "" for name, cell in zip(header, rows[2], strict=True)]
    assert broken(file, kind, header, [*rows[:2], empty]).startswith(
        f"assets/{file}, line {last}, column {header[0]}: the cell is empty, it must be "
    )


def test_a_word_that_is_none_of_those_known(broken):
    _, header, rows = table("prices.csv")
    changed = [[*rows[0][:4], "rented", *rows[0][5:]]]
    assert broken("prices.csv", Quote, header, changed) == (
        "assets/prices.csv, line 2, column kind: the cell is 'rented', it must be one of on-demand, spot, serverless, "
        "reserved, indicative."
    )


def test_json_that_is_none(broken):
    _, header, rows = table("models_defaults.csv")
    changed = [[rows[0][0], '{"a": 1', *rows[0][2:]]]
    assert broken("models_defaults.csv", ClassFacts, header, changed) == (
        "assets/models_defaults.csv, line 2, column defaults: the cell is '{\"a\": 1', it must be a JSON object."
    )


def test_a_row_that_stands_twice(broken):
    _, header, rows = table("formats.csv")
    assert broken("formats.csv", Format, header, [*rows, rows[0]], ("name",)) == (
        f"assets/formats.csv, line {len(rows) + 2}, column name: '{rows[0][0]}' stands in line 2 already."
    )


def test_the_line_is_the_one_an_editor_shows_after_a_cell_of_two_lines(broken):
    _, header, rows = table("gpu_names.csv")
    two = [*rows[0][:-1], "first\nsecond"]
    assert "line 5" in broken("gpu_names.csv", NameRow, header, [two, rows[1], rows[2][:-1]])


def test_the_command_line_says_it_in_one_sentence(tmp_path):
    """The command itself with a table whose format has lost a comma."""
    shutil.copytree(ROOT / "core", tmp_path / "core", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ASSETS, tmp_path / "assets")
    columns, formats = len(table("formats.csv")[1]), tmp_path / "assets" / "formats.csv"
    formats.write_text(formats.read_text(encoding="utf-8").replace("fp32,FP32,32", "fp32,FP32 32", 1), encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "core", "plan", "--offline"], cwd=tmp_path, capture_output=True,
                          text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (
        2, f"assets/formats.csv, line 2: {columns - 1} cells where the header has {columns}: a comma is missing.\n"
    )
