"""What is taken away: CSV a spreadsheet cannot run, JSON, and commands a shell reads back as written."""

import csv
import io
import json
import shlex
from dataclasses import replace
from itertools import pairwise

import pytest

from core.answers.advice import recommend
from core.basics.errors import InputError
from core.delivery import export
from core.products import gpus
from core.reading import catalogue
from core.terms import Workload

H100 = gpus.find("H100 SXM5 80GB")


def plan_of(name="meta-llama/Llama-3.1-8B", gpu=H100, workload=None, **options):
    return recommend(catalogue.load(name), gpu, workload or Workload(), **options)


@pytest.fixture(scope="module")
def plan():
    return plan_of()


def test_the_recommendation_as_csv(plan):
    rows = list(csv.DictReader(io.StringIO(export.recommendation_csv(plan))))
    assert rows[0]["role"] == "recommended" and rows[1]["role"] == "runner-up"
    assert float(rows[0]["tpot_ms"]) == pytest.approx(plan.best.tpot.value * 1000, rel=1e-3)
    for name in ("tpot_ms", "ttft_ms", "output_tokens_per_s"):
        low, value, high = (float(rows[0][f"{name}{end}"]) for end in ("_low", "", "_high"))
        assert low <= value <= high
        assert rows[0][f"{name}_basis"] == "estimated" and rows[0][f"{name}_source"]
    assert {row["weights"] for row in rows} >= {"bf16", "fp8", "awq-int4"}
    assert all(row["note"] for row in rows if row["role"] == "not allowed")


def test_the_whole_sweep_as_csv(plan):
    rows = list(csv.DictReader(io.StringIO(export.sweep_csv(plan))))
    points = [row for row in rows if row["concurrency"]]
    assert len(points) == len(plan.sweep) >= 8_000
    assert all(row["reason"] for row in rows if row["fits"] == "False")
    assert {row["basis"] for row in points} == {"estimated"}
    assert any(row["weights"] == "NVFP4" and "Blackwell" in row["reason"] for row in rows)


@pytest.mark.parametrize("evil", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_starts_a_formula(plan, evil):
    """OWASP: CSV injection."""
    assert str(export.safe(evil)).startswith("'")
    hostile = replace(plan, spec=replace(plan.spec, name=evil))
    for text in (export.recommendation_csv(hostile), export.sweep_csv(hostile)):
        models = {row["model"] for row in csv.DictReader(io.StringIO(text))}
        assert len(models) == 1 and next(iter(models)).startswith("'")
    assert export.safe(-1.5) == -1.5


def test_json_is_json_and_says_where_figures_come_from(plan):
    document = json.loads(export.plan_json(plan))
    assert document["sentence"] == plan.sentence and document["standing"] == "met"
    assert document["best"]["tpot_ms"]["basis"] == "estimated" and document["best"]["tpot_ms"]["source"]
    assert document["best"]["memory"]["terms"][0]["source"]
    assert len(document["candidates"]) == len(plan.candidates)


def test_a_plan_for_nothing_is_exported_too():
    nothing = plan_of(gpu=gpus.find("Apple M2 Ultra"))
    assert json.loads(export.plan_json(nothing))["best"] is None
    assert "Apple" in export.recommendation_csv(nothing) and "Apple" in export.plan_text(nothing)
    with pytest.raises(InputError, match="nothing to launch"):
        export.launch(nothing, "vllm")


def options(command):
    return {name: value for name, value in pairwise(command) if name.startswith("--")}


def test_vllm_serves_the_plan(plan):
    """vLLM 0.33 `vllm serve --help`: `--quantization fp8` quantises a 16-bit checkpoint while loading."""
    command = export.launch(plan, "vllm").command
    said = options(command)
    assert command[:3] == ("vllm", "serve", "meta-llama/Llama-3.1-8B")
    assert said["--tensor-parallel-size"] == "1"
    assert said["--max-model-len"] == "131072"      # the model's own: the planned 1,280 tokens are an average
    assert int(said["--max-num-seqs"]) == plan.best.slo_concurrency
    assert ("--quantization" in said) == (plan.best.deployment.weights.name == "fp8")


def test_a_checkpoint_that_must_be_made_first_is_said():
    made = export.launch(plan_of(formats=["w8a8-int8"]), "vllm")
    assert "./Llama-3.1-8B-w8a8-int8" in made.command and "llm-compressor" in made.notes[0]
    assert made.text().startswith("# ./Llama-3.1-8B-w8a8-int8 holds")


@pytest.mark.parametrize("engine, must", [
    ("sglang", ("python", "-m", "sglang.launch_server")),
    ("trtllm", ("trtllm-serve",)),
    ("llamacpp", ("llama-server",)),
])
def test_other_engines(engine, must):
    plan = plan_of(engine=engine)
    made = export.launch(plan, engine)
    assert made.command[: len(must)] == must
    assert tuple(shlex.split(made.text().splitlines()[-1])) == made.command


def test_llama_cpp_shares_its_context_among_the_slots():
    """llama-server divides --ctx-size by --parallel."""
    said = options(export.launch(plan_of(engine="llamacpp"), "llamacpp").command)
    assert int(said["--ctx-size"]) == int(said["--parallel"]) * 1280


def test_tensorrt_llm_reads_the_kv_dtype_from_its_file():
    made = export.launch(plan_of(engine="trtllm", kv_formats=["fp8"]), "trtllm")
    assert "dtype: fp8" in made.files["llm-api.yaml"]
    assert options(made.command)["--extra_llm_api_options"] == "llm-api.yaml"


@pytest.mark.parametrize("evil", ["a/$(touch x)", "a/b; rm -rf ~", "-rf", "a/b\nrm x", "a/`id`"])
def test_a_hostile_name_stays_one_argument(plan, evil):
    for formats in (None, ["w8a8-int8"]):
        base = plan if formats is None else plan_of(formats=formats)
        made = export.launch(replace(base, spec=replace(base.spec, name=evil)), "vllm")
        words = shlex.split(made.text(), comments=True)
        assert tuple(words) == made.command and not made.command[2].startswith("-")


def test_only_the_engine_of_the_plan_is_launched(plan):
    with pytest.raises(InputError, match="--engine sglang"):
        export.launch(plan, "sglang")
    with pytest.raises(InputError, match="no launch command"):
        export.launch(plan, "ollama")


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="Cannot write"):
        export.write(tmp_path / "missing" / "plan.csv", "text")
    assert list(tmp_path.iterdir()) == []
