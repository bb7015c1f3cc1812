"""Configurations with what others measured on them, and a plain one to change."""

import csv

from core.basics.places import ROOT

DATA = ROOT / "tests" / "data"
LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}


def rows(name: str) -> list[dict[str, str]]:
    """A table of tests/data."""
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


VECTORS = rows("models_vectors.csv")
BY_NAME = {row["model"]: row for row in VECTORS}
