"""Constants: priors, labels, ranges; what the fit does with them is in tests/calibration/test_fit.py."""

import json

import numpy as np
import pytest

from core.calibration.published import assumed_kv_format
from core.physics.efficiency import (
    TERMS,
    Constants,
    constants,
    labels,
    load,
    operators,
    rates,
    spread,
)
from core.physics.efficiency.labels import backend, compute, kernel, link, memory, mixing, release, width
from core.physics.speed.predict import timed
from core.products import formats, gpus
from core.reading import catalogue
from core.terms import Deployment


def deployed(gpu: str, weights: str = "bf16", engine: str = "vllm", version: str = "") -> Deployment:
    return Deployment(
        gpus.find(gpu), formats.find(weights), formats.find_kv("bf16"), engine=engine, engine_version=version,
    )


def known(gpu: str, found: Constants, **how):
    spec = catalogue.load("meta-llama/Llama-3.1-8B")
    assert spec is not None
    return rates(labels(((spec, deployed(gpu, **how)),)), found)


def test_every_constant_has_a_unit_a_source_and_a_spread():
    document = json.loads(constants.PATH.read_text(encoding="utf-8"))
    assert set(document["terms"]) == {term.name for term in TERMS}
    for term in document["terms"].values():
        assert term["unit"] and term["source"] and term["meaning"]
        assert 0 < term["spread"] < 1


def test_no_constant_belongs_to_a_model_or_a_source():
    """Levels are hardware, formats and engines."""
    levels = {level for term in TERMS for level in term.levels}
    assert levels <= {"memory", "architecture", "tensor", "gpu", "kernel", "multiplied", "engine", "engine_kernel",
                      "engine_multiplied", "release", "kv", "link", "sparsity", "parallel", "device", "backend",
                      "mixing"}


@pytest.mark.parametrize("gpu", ["GeForce RTX 5090", "MI300X", "L4", "Apple M4 Max (40-core)", "Gaudi3"])
def test_unpublished_gpus_inherit_and_stay_physical(gpu):
    found = known(gpu, load())
    for name in ("weights_bandwidth", "matmul_rate", "kv_bandwidth", "attention_rate"):
        assert 0.05 < getattr(found, name)[0] < 1.0
    assert 3e-7 < found.kernel_s[0] < 3e-5


def test_priors_are_the_operator_tables():
    """aiconfigurator-core 0.12: weights streamed by a matmul of one row on Hopper reach 0.89 of the peak."""
    assert known("H100 SXM5 80GB", Constants()).weights_bandwidth[0] == pytest.approx(0.89)
    assert known("H100 SXM5 80GB", Constants()).matmul_rate[0] == pytest.approx(operators.MATMUL["9.0 16"])


@pytest.mark.parametrize("engine, version", [("vllm", "0.33.0"), ("vllm", ""), ("sglang", "0.5.23"), ("trtllm", "1.0")])
@pytest.mark.parametrize("weights", ["awq-int4", "gptq-int8", "mxfp4"])
@pytest.mark.parametrize("gpu", ["H100 SXM5 80GB", "A100 SXM4 80GB", "GeForce RTX 4090"])
def test_weights_that_are_unpacked_are_never_multiplied_faster_than_those_of_16_bits(gpu, weights, engine, version):
    """A weight-only kernel unpacks and multiplies at 16 bits: of a long prompt it saves nothing."""
    spec = catalogue.load("meta-llama/Llama-3.1-8B")
    assert spec is not None
    pairs = [(spec, deployed(gpu, name, engine=engine, version=version)) for name in ("bf16", weights)]
    timer = timed(pairs).clock
    plain, unpacked = timer.prefill(np.arange(2), np.ones(2), np.full(2, 4096.0)).seconds
    assert unpacked > 0.99 * plain


def test_labels_know_what_runs_where():
    h100, a100, m3 = gpus.find("H100 SXM5 80GB"), gpus.find("A100 SXM4 80GB"), gpus.find("Apple M3 Max (40-core)")
    assert (memory(h100), memory(gpus.find("GeForce RTX 4090")), memory(m3)) == ("hbm", "gddr", "unified")
    assert [memory(gpus.find(name)) for name in ("MI210", "TPU v5e", "Gaudi3")] == ["hbm"] * 3    # not by bandwidth
    assert (compute(formats.find("fp8"), h100), compute(formats.find("fp8"), a100)) == ("fp8", "bf16")
    assert (width(formats.find("fp8"), h100), width(formats.find("fp8"), a100)) == (8, 16)
    assert kernel(formats.find("fp8"), a100) == "fp8 dequantised"
    assert kernel(formats.find("awq-int4"), h100) == "int4 dequantised"
    assert (link(h100, 1), link(h100, 8), link(gpus.find("L40S"), 2)) == ("none", "nvlink 8", "pcie 2")
    assert link(gpus.find("A100 PCIe 80GB"), 4) == "pcie 4"      # the bridge joins two
    assert release(deployed("L4", version="0.14", engine="trtllm")) == "trtllm 0.10"
    assert release(deployed("L4", version="1.0.0rc3", engine="trtllm")) == "trtllm 1"


def test_builds_have_a_year_and_a_backend():
    """llama.cpp numbers its builds: b2800 is of May 2024, b6000 of July 2025, b9187 of May 2026."""
    said = {"b2800": "llamacpp 2024", "b6000 cuda": "llamacpp 2025", "b9187 vulkan": "llamacpp 2026",
            "ollama 2025-09": "llamacpp 2025", "ddd4ec142 rocm": "llamacpp undated", "": "llamacpp"}
    for version, expected in said.items():
        assert release(deployed("L4", engine="llamacpp", version=version)) == expected
    assert backend(deployed("GeForce RTX 4090", engine="llamacpp", version="b9187 vulkan")) == "vulkan"
    assert [backend(deployed(gpu)) for gpu in ("L4", "MI300X", "Apple M3 Max (40-core)")] == ["cuda", "rocm", "metal"]


def test_mxfp4_is_multiplied_where_there_are_units_for_it():
    """CDNA4 in FP4, datacentre Blackwell beside FP8; elsewhere it is widened to 16 bits."""
    mxfp4 = formats.find("mxfp4")
    found = [compute(mxfp4, gpus.find(gpu)) for gpu in ("MI355X", "B200 SXM 180GB", "H100 SXM5 80GB", "MI300X")]
    assert found == ["fp4", "fp8", "bf16", "bf16"]
    assert kernel(mxfp4, gpus.find("H100 SXM5 80GB")) == "fp4 dequantised"


@pytest.mark.parametrize("model, kind", [
    ("meta-llama/Llama-3.1-8B", "full"), ("google/gemma-3-27b-it", "sliding"), ("deepseek-ai/DeepSeek-R1", "latent"),
    ("deepseek-ai/DeepSeek-V3.2", "sparse"), ("Qwen/Qwen3-Next-80B-A3B-Instruct", "recurrent"),
])
def test_how_a_model_looks_back(model, kind):
    spec = catalogue.load(model)
    assert spec is not None and mixing(spec) == kind


def test_assumed_caches():
    assert assumed_kv_format("nvfp4", "vllm") == "fp8"
    assert assumed_kv_format("bf16", "vllm") == "bf16"
    assert assumed_kv_format("fp8", "llamacpp") == "bf16"


def test_spreads_shrink_to_one_and_widen_for_the_unseen():
    """Half the cases err twice as much: their factor moves there, a kind of one fold hardly."""
    rng = np.random.default_rng(0)
    noisy = np.repeat([1.0, 2.0], 400)
    error, fold = np.abs(rng.normal(0, 0.1 * noisy)), np.arange(800) % 40
    rows = {level: np.full(800, "same") for level in spread.LEVELS}
    rows["engine"] = np.where(noisy > 1, "noisy", "calm")
    learnt = spread.fitted(error, rows, fold)
    assert 1.5 < learnt.factor("engine", "noisy") / learnt.factor("engine", "calm") < 2.2
    wider = spread.Spread(learnt.base, learnt.factors, {"engine": 1.7})
    assert wider.factor("engine", "never seen") == 1.7
