"""Bundled tables of the GPUs: CSV files with a source on each row."""

import csv

from core.basics.places import ASSETS


def rows(table: str) -> list[dict[str, str]]:
    """The rows of assets/<table>.csv as they stand."""
    with (ASSETS / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
