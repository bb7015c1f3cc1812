"""Engine runs as they travel: written, read back, refused at the door, and what plans make of them."""

import csv
import io
import json
from dataclasses import replace

import pytest

from core.__main__ import main
from core.answers.advice import recommend
from core.basics.errors import InputError
from core.delivery import estimate
from core.delivery.export.anchored import anchored, speaking_for
from core.delivery.export.order import order
from core.delivery.export.results import read_result
from core.delivery.export.verify import cells
from core.measure.record import EngineRun, from_json, measurements_csv, to_json
from core.probe.measurement import Conditions
from core.products import gpus
from core.reading import catalogue
from core.terms import Workload

MODEL, GPU = "meta-llama/Llama-3.1-8B", "H100 SXM5 80GB"


@pytest.fixture(scope="module")
def ordered():
    return order(recommend(catalogue.load(MODEL), gpus.find(GPU), Workload()))


@pytest.fixture(scope="module")
def run(ordered):
    """Two loads, each half as fast as planned."""
    rows = []
    for users in (16, 4):
        tpot, rate = 2 * ordered.choice.tpot.value * 1000, ordered.choice.output_tokens_per_s.value / 2
        result = {"median_ttft_ms": 2 * ordered.choice.ttft.value * 1000, "median_tpot_ms": tpot,
                  "output_throughput": rate, "max_concurrency": users, "completed": 1, "total_input_tokens": 1024,
                  "total_output_tokens": 256}
        rows.append(cells(ordered, read_result(json.dumps(result), users)))
    return EngineRun(
        model=MODEL, gpu=GPU, device="NVIDIA H100 80GB HBM3", engine="vllm", weights_are="random",
        tool="vllm bench serve", versions={"vllm": "0.33.0"}, date="2026-11-29T03:00:00+00:00", seconds=300.0,
        conditions=Conditions(True), command=("vllm", "serve", "./model"), memory={"kv_tokens": 400_000.0},
        planned_memory={"kv_tokens": 410_000.0}, cells=tuple(rows),
        predicted=2 * ({"ttft_ms": 30.0, "tpot_ms": 7.0, "output_tokens_per_s_per_gpu": 2000.0},),
    )


def test_it_reads_back_as_it_was_written(run):
    assert from_json(to_json(run)) == run


@pytest.mark.parametrize(("change", "why"), [
    ({"cells": []}, "cells needs 1 to 200"), ({"cells": [{}] * 201}, "cells needs 1 to 200"),
    ({"cells": [3]}, "cannot be read"), ({"sweetspot_engine_run": 2}, "of this version"),
    ({"weights_are": "mine"}, "neither random nor real"), ({"engine": "bash"}, "no engine known"),
    ({"seconds": -1}, "negative"), ({"memory": {"x": float("nan")}}, "NaN"), ({"memory": {"x": 10**400}}, "."),
    ({"model": "x" * 400}, "longer than"), ({"predicted": []}, "."), ({"predicted": [{}, {}]}, "is missing"),
    ({"lost": "all"}, "lost needs"),
    ({"command": ["\0"]}, "cannot be written"),
])
def test_a_stranger_s_file_is_refused_in_one_sentence(run, change, why):
    with pytest.raises(InputError, match=why) as refused:
        from_json(json.dumps(json.loads(to_json(run)) | change))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("change", [
    {"weights": "secret"}, {"tp": 0}, {"tp": 1.5}, {"concurrency": 1e12}, {"measured_ttft_ms": 0}, {"mode": "both"},
    {"measured_ttft_ms": "fast"}, {"kv_cache": "tape"}, {"measured_output_tokens_per_s_per_gpu": True},
])
def test_a_load_out_of_range_is_refused(run, change):
    data = json.loads(to_json(run))
    data["cells"][0] |= change
    with pytest.raises(InputError):
        from_json(json.dumps(data))


def test_the_plan_follows_a_kept_run(ordered, run):
    """A deployment measured twice as slow at two loads is expected to be so at the plan's."""
    spoken = speaking_for(ordered, [json.loads(to_json(run))])
    assert len(spoken) == 2
    after = anchored(ordered, spoken)
    assert after.tpot.value == pytest.approx(2 * ordered.choice.tpot.value, rel=0.15)
    assert after.tpot.high / after.tpot.low < ordered.choice.tpot.high / ordered.choice.tpot.low
    assert not speaking_for(ordered, [json.loads(to_json(run)) | {"cells": [{**run.cells[0], "gpu": "L4"}]}])


def test_its_loads_are_rows_of_estimate(run):
    rows = list(csv.DictReader(io.StringIO(measurements_csv(run))))
    assert len(rows) == 2 and set(rows[0]) - set(estimate.COLUMNS) == {
        "measured_ttft_ms", "measured_tpot_ms", "measured_output_tokens_per_s_per_gpu"}
    formula = replace(run, cells=({**run.cells[0], "model": "=1+1"},))
    assert "'=1+1" in measurements_csv(formula)


def test_the_command_reads_a_recorded_run(run, tmp_path, capsys):
    (tmp_path / "run.json").write_text(to_json(run))
    assert main(["measure", "read", str(tmp_path / "run.json"), "--csv", str(tmp_path / "run.csv")]) == 0
    assert "Measured: vLLM with random weights of meta-llama/Llama-3.1-8B" in capsys.readouterr().out
    assert (tmp_path / "run.csv").read_text() == measurements_csv(from_json(to_json(run)))
    assert main(["measure", "read", str(tmp_path / "run.csv")]) == 2
    assert "is no engine run" in capsys.readouterr().err


def test_the_command_says_what_it_would_run(capsys):
    """On a machine without the engine too: nothing is started."""
    asked = ["measure", "engine", "--gpu", "H100", "--offline", "--dry-run", "--loads", "3", "--real"]
    assert main(asked) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("3 loads, ") and len(lines) == 4 and "in flight, prompt" in lines[1]
    assert main([*asked, "--minutes", "0"]) == 2
