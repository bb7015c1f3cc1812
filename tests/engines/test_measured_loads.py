"""The real engine, measured as `sweetspot measure engine` does: eight chosen loads anchor, twelve are predicted.

vLLM on the processor with random weights of three models, llama.cpp with the real SmolLM2 in Q4_1. The card is typed
in, so that the unmeasured estimate, printed beside, is a guess; on a quiet machine the measured one is held to 6 %.
"""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.answers.advice import recommend
from core.basics.places import ROOT
from core.delivery.export.anchored import anchored, speaking_for
from core.delivery.export.order import order
from core.measure.loads import chosen
from core.measure.record import from_json, to_json
from core.measure.session import Asked, measure
from core.products import gpus
from core.reading import hub
from core.reading.configs import read_config
from core.terms import Mode, Workload
from tests.small_model import smollm2

CONFIGS = json.loads((ROOT / "tests" / "data" / "engine_configs.json").read_text(encoding="utf-8"))
MEASURED, FURTHER = 8, 12
LIMIT_S = 3600.0
TOLERATED = 0.06                    # median error of TPOT of loads that were not measured
CARD = gpus.custom("this processor", 4, 20, 0.3)
LOAD = Workload(128, 16, 4, ttft_slo_s=600.0, tpot_slo_s=30.0)


def errors(ordered, run):
    """Median errors of TPOT over the loads that were not measured: before, and with the others as anchors."""
    known = json.loads(to_json(replace(run, cells=run.cells[:MEASURED])))
    cells, before, after = speaking_for(ordered, [known]), [], []
    for row, expected in zip(run.cells[MEASURED:], run.predicted[MEASURED:], strict=True):
        load = replace(ordered.workload, concurrency=row["concurrency"], input_tokens=row["input_tokens"],
                       output_tokens=row["output_tokens"], mode=Mode(row["mode"]))
        asked = replace(ordered, workload=load, choice=replace(ordered.choice, concurrency=load.concurrency))
        before.append(abs(expected["tpot_ms"] / row["measured_tpot_ms"] - 1))
        after.append(abs(1000 * anchored(asked, cells).tpot.value / row["measured_tpot_ms"] - 1))
    return float(np.median(before)), float(np.median(after))


def judged(ordered, asked):
    run = measure(asked, lambda share, note: None)
    assert from_json(to_json(run)) == run
    assert len(run.cells) > MEASURED + FURTHER // 2, run.lost
    before, after = errors(ordered, run)
    print(f"{run.model}, {run.engine}: {len(run.cells)} loads in {run.seconds:,.0f} s; TPOT of unmeasured ones off by "
          f"{before:.0%} before, {after:.1%} after; {' '.join(run.conditions.remarks) or 'quiet'}; {run.memory}")
    assert after < before
    if run.conditions.quiet:
        assert after <= TOLERATED
    return run


@pytest.mark.parametrize("name", ["HuggingFaceTB/SmolLM2-135M", "Qwen/Qwen3-0.6B", "allenai/OLMoE-1B-7B-0924"])
def test_vllm_is_measured_and_predicted(name, python, monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "2")
    spec = read_config(CONFIGS[name], name=name)
    ordered = order(recommend(spec, CARD, LOAD, formats=["bf16"], tps=[1]))
    trials = chosen(ordered, MEASURED + FURTHER, LIMIT_S, Mode.SERVING)
    run = judged(ordered, Asked(ordered, trials, CONFIGS[name], limit_s=LIMIT_S, programs=str(python.parent),
                                more=("--max-model-len", "2048", "--enforce-eager")))
    assert run.memory["kv_tokens"] > 0 and run.weights_are == "random"


def test_llamacpp_is_measured_and_predicted(python):
    programs = os.environ.get("SWEETSPOT_LLAMACPP", str(python.parent))
    if shutil.which("llama-batched-bench", path=programs) is None:
        pytest.skip("llama.cpp's programs are not here: SWEETSPOT_LLAMACPP names their folder")
    spec = hub.resolve(str(smollm2()), offline=True)
    ordered = order(recommend(spec, CARD, LOAD, engine="llamacpp", tps=[1]))
    trials = chosen(ordered, MEASURED + FURTHER, LIMIT_S, Mode.STATIC)
    run = judged(ordered, Asked(ordered, trials, None, limit_s=LIMIT_S, programs=programs,
                                more=("--threads", str(os.cpu_count() or 1))))
    assert run.weights_are == "real" and Path(run.model).suffix == ".gguf"
