"""Weights in host memory: bytes to the layer, and published rates of llama.cpp."""

import io
from dataclasses import replace

import numpy as np
import pytest

from core.answers.advice import recommend
from core.basics.errors import InputError
from core.delivery import estimate
from core.physics import memory
from core.physics.ask import Load, desk
from core.products import cpus, formats, gpus
from core.reading import catalogue
from core.terms import Deployment, Placement, Workload

OSS, QWEN, LLAMA = "openai/gpt-oss-20b", "Qwen/Qwen3-30B-A3B", "meta-llama/Llama-3.1-8B"


def deployment(gpu, weights, host, placement=None):
    return Deployment(gpus.find(gpu), formats.find(weights), formats.find_kv("fp16"), engine="llamacpp", host=host,
                      placement=placement)


def tpot_ms(name, d, tokens=(40, 300)):
    return desk([(catalogue.load(name), d)]).predict(Load(False, 1.0, *tokens)).tpot_s.value[0] * 1e3


@pytest.mark.parametrize(("layers", "measured_ms"), [(4, 16.7), (8, 26.3), (16, 38.5), (24, 50.0)])
def test_experts_on_the_host_of_gpt_oss(layers, measured_ms):
    """llama.cpp discussion 15396: gpt-oss-20b on RX 7900 XT and Ryzen 9 5900X, 2 x DDR4-3200, --n-cpu-moe."""
    host = cpus.find("Ryzen 9 5900X", 51.2)
    assert tpot_ms(OSS, deployment("Radeon RX 7900 XT", "mxfp4", host, Placement(layers, 25))) == pytest.approx(
        measured_ms, rel=0.2)


def test_the_first_layers_experts_leave_the_gpu_to_the_byte():
    """Qwen3-30B-A3B: 128 experts of 3 x 2,048 x 768 weights in each of 48 layers."""
    d = deployment("GeForce RTX 4090", "fp8", cpus.typed(89.6))
    held = memory.hosted(catalogue.load(QWEN), replace(d, placement=Placement(10, 49)))
    assert held.host_bytes == held.expert_bytes == pytest.approx(10 * 128 * 3 * 2048 * 768, rel=1e-3)   # and scales
    assert held.layers_share == held.head_share == 1 and held.crossings == 20


def test_more_on_the_gpu_is_faster_and_the_choice_fills_it():
    spec, host = catalogue.load(QWEN), cpus.typed(89.6)
    plain = deployment("GeForce RTX 3060 12GB", "gguf-Q4_K_M", host)
    times = [tpot_ms(QWEN, replace(plain, placement=Placement(n, 49))) for n in (0, 12, 24, 36, 48)]
    assert (np.diff(times) > 0).all()
    chosen = memory.hosted(spec, plain).placement
    assert memory.footprint(spec, plain).fits and 0 < chosen.cpu_experts < 48
    tighter = replace(plain, placement=Placement(chosen.cpu_experts - 4, 49))
    assert memory.footprint(spec, plain).kv_tokens >= 4096 > memory.footprint(spec, tighter).kv_tokens


def test_a_dense_model_moves_whole_layers():
    held = memory.hosted(catalogue.load(LLAMA), deployment("GeForce RTX 2080", "bf16", cpus.typed(51.2)))
    assert 0 < held.placement.gpu_layers < 32 and not held.expert_bytes


@pytest.mark.parametrize(("cpu", "measured_ms"), [
    ("AMD Ryzen 9 5950X 16-Core Processor (znver3)", 19.5), ("AMD Ryzen 9 7950X3D 16-Core Processor (znver4)", 17.2),
    ("Intel Core i9-14900K (alderlake)", 15.5), ("Intel Xeon CPU E5-2697A v4 @ 2.60GHz (broadwell)", 19.0),
    ("Raspberry Pi 5 Model B Rev 1.1", 89.3), ("Apple M4 Max 12P+4E", 6.4),
])
def test_processors_alone(cpu, measured_ms):
    """localscore.ai: Llama-3.2-1B-Instruct in Q4_K_M, 1,332 + 1,011 tokens."""
    text = ("model,gpu,engine,weights,cpu,placement,concurrency,input_tokens,output_tokens\n"
            f"meta-llama/Llama-3.2-1B-Instruct,none,llamacpp,gguf-Q4_K_M,{cpu},cpu,1,1332,1011\n")
    rows = [estimate.checked(cells) for cells in estimate.parse(io.StringIO(text), "text").rows]
    found = estimate.estimate(rows, estimate.Bench(catalogue.load))
    assert not found.errors[0]
    assert found.prediction.tpot_s.value[0] * 1e3 == pytest.approx(measured_ms, rel=0.65)


def test_a_plan_keeps_in_host_memory_what_does_not_fit():
    spec, gpu = catalogue.load(QWEN), gpus.find("GeForce RTX 3060 12GB")
    load = Workload(1024, 256, 1, tpot_slo_s=0.1, ttft_slo_s=10.0, quality_loss=0.1)
    asked = {"engine": "llamacpp", "formats": ["gguf-Q4_K_M"], "tps": [1]}
    assert recommend(spec, gpu, load, **asked).best is None
    hosted = recommend(spec, gpu, replace(load, cpu_bandwidth_gb_per_s=89.6), **asked)
    assert hosted.best is not None and hosted.best.tpot.value < 0.1


def test_a_processor_nobody_knows_is_told_what_to_give():
    with pytest.raises(InputError, match="give cpu_bandwidth_gb_per_s"):
        cpus.find("Elbrus-8C")


def test_the_plan_says_what_stays_with_the_host_and_how_wide_that_is():
    """gpt-oss-120b on one RTX 4090: 65 GB of weights, 24 GB of memory."""
    plan = recommend(catalogue.load("openai/gpt-oss-120b"), gpus.find("GeForce RTX 4090"),
                     Workload(concurrency=1, cpu_bandwidth_gb_per_s=90), engine="llamacpp", tps=(1,))
    held = memory.hosted(plan.spec, plan.shown.deployment)
    assert f"{held.host_bytes / 2**30:.1f} GiB of the weights stay in host memory" in plan.reason
    assert "read at 90.0 GB/s at most" in plan.reason
    tpot = plan.shown.tpot
    assert np.log(tpot.high / tpot.value) > 0.25        # the doubt of assets/load_constants.csv alone


def test_drafts_beside_a_host_are_refused_since_nothing_estimates_them():
    plan = recommend(catalogue.load(LLAMA), gpus.find("GeForce RTX 4090"),
                     Workload(cpu_bandwidth_gb_per_s=90, spec_method=3), engine="llamacpp")
    assert plan.refused_by == "structure" and "leave one of the two out" in plan.refused[0].reason
