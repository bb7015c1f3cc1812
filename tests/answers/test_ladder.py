"""The ladder: sizes and room of every format with every cache on one card, worked by hand where they can be."""

import csv
import io

import pytest

from core.answers.advice import Room, ladder, recommend
from core.basics.units import GIB
from core.delivery import export
from core.products import gpus
from core.reading import catalogue
from core.terms import Workload


@pytest.fixture(scope="module")
def plan():
    spec = catalogue.load("Qwen/Qwen3-32B")
    return recommend(spec, gpus.find("GeForce RTX 4090"), Workload(concurrency=1, input_tokens=8192), engine="llamacpp",
                     tps=(1,))


def test_every_pair_is_a_rung_and_says_whether_it_fits(plan):
    """32.8 B parameters: 16 bits are 61 GiB, over a card of 24; Q4_K_M is some 18."""
    rungs = {(r.deployment.weights.name, r.deployment.kv_cache.name): r for r in ladder(plan)}
    wide, q4 = rungs["bf16", "bf16"], rungs["gguf-Q4_K_M", "bf16"]
    assert (wide.room, wide.longest_context, wide.most_requests) == (Room.OVER, 0, 0) and wide.tpot_s != wide.tpot_s
    assert q4.room is not Room.OVER and q4.weights_bytes / GIB == pytest.approx(18, rel=0.03) and q4.accepted
    assert {rung.room for rung in rungs.values()} >= {Room.FITS, Room.OVER}


def test_half_the_bytes_of_a_cache_hold_twice_the_context(plan):
    """64 layers x 8 heads x 128 x 2 x 2 B = 256 KiB a token in 16 bits (Qwen3-32B's config.json)."""
    rungs = {(r.deployment.weights.name, r.deployment.kv_cache.name): r for r in ladder(plan)}
    sixteen, eight = rungs["gguf-Q4_K_M", "bf16"], rungs["gguf-Q4_K_M", "int8"]
    assert eight.longest_context == pytest.approx(16 / 8.5 * sixteen.longest_context, rel=0.15)
    assert sixteen.longest_context == pytest.approx(4.8 * GIB / (256 * 1024), rel=0.15)
    assert eight.quality is None and not eight.accepted          # nobody has published it: unknown, not refused as bad


def test_the_file_has_the_rungs_of_the_page(plan):
    rows = list(csv.DictReader(io.StringIO(export.ladder_csv(plan))))
    assert len(rows) == len(ladder(plan)) and {row["fits"] for row in rows} <= {"fits", "tight", "over"}
    assert all(row["tpot_ms"] == "" for row in rows if row["fits"] == "over")
    unknown = next(row for row in rows if (row["weights"], row["kv_cache"]) == ("gguf-Q4_K_M", "int8"))
    assert unknown["quality_loss"] == ""
