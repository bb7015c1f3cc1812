"""The grid: its size, what runs where and why not, and that points agree with their parts."""

import numpy as np
import pytest

from core.answers import cost
from core.answers.sweep import layouts, sweep
from core.basics.units import GIB
from core.models import ModelSpec
from core.physics import memory
from core.products import gpus
from core.products.formats import FORMATS, KV_FORMATS
from core.products.kernels import kv_unsupported, unsupported
from core.reading import catalogue
from core.terms import Bound, Workload

H100 = gpus.find("H100 SXM5 80GB")
WORKLOAD = Workload()


def model(name: str) -> ModelSpec:
    spec = catalogue.load(name)
    assert spec is not None
    return spec


@pytest.fixture(scope="module")
def grid():
    return sweep(model("meta-llama/Llama-3.1-8B"), H100, WORKLOAD)


def test_the_whole_grid_holds_every_format_that_loads(grid):
    """vLLM 0.33 no longer loads bitsandbytes."""
    assert len(grid) >= 8_000
    assert not any(d.weights.name.startswith("bnb-") for d in grid.deployments)
    assert len(grid.contexts) == 8 and max(grid.batches) == 1024
    assert {d.tp for d in grid.deployments} == {1, 2, 4, 8}
    assert len(grid.frame()) == len(grid)


def test_everything_in_the_grid_has_kernels(grid):
    for d in grid.deployments:
        assert unsupported(d.weights, d.gpu, d.engine) is None
        assert kv_unsupported(d.kv_cache, d.gpu, d.engine) is None


@pytest.mark.parametrize("gpu, absent, present", [
    ("A100 SXM4 80GB", {"fp8", "nvfp4"}, {"bf16", "w8a8-int8", "awq-int4"}),   # no FP8 tensor cores before 8.9
    ("H100 SXM5 80GB", {"nvfp4"}, {"fp8", "bf16"}),                            # FP4 from Blackwell on
    ("B300 SXM 288GB", {"w8a8-int8"}, {"fp8", "nvfp4"}),                       # GB300 datasheet: INT8 at 1/32 of FP8
    ("T4", {"bf16", "fp8"}, {"fp16"}),                                         # BF16 from compute capability 8.0
])
def test_formats_by_generation(gpu, absent, present):
    found = layouts(model("meta-llama/Llama-3.1-8B"), gpus.find(gpu))
    names = {d.weights.name for d in found.deployments}
    assert not names & absent and present <= names
    refused = {refusal.choice for refusal in found.refusals}
    assert {FORMATS[name].label for name in absent - {"bf16"}} <= refused


def test_a_repository_that_ships_quantised_is_planned_as_shipped():
    found = layouts(model("openai/gpt-oss-20b"), H100)
    assert {d.weights.name for d in found.deployments} == {"mxfp4"}


def test_a_point_fits_when_its_full_requests_do(grid):
    for row in range(0, len(grid), 97):
        footprint = memory.footprint(grid.spec, grid.deployments[grid.layout[row]])
        held = footprint.max_concurrency(float(grid.context[row]))
        assert grid.fits[row] == (grid.batch[row] <= np.floor(held))
        assert grid.reason[row] == "" or not grid.fits[row]


def test_llama_8b_in_16_bits_leaves_the_kv_cache_that_arithmetic_says(grid):
    """Llama-3.1-8B: 32 layers x 8 KV heads x 128 x 2 x 2 B = 128 KiB a token, 15.0 GiB of BF16 weights."""
    row = next(i for i, d in enumerate(grid.deployments)
               if (d.weights.name, d.kv_cache.name, d.tp) == ("bf16", "bf16", 1))
    footprint = grid.footprints[row]
    assert footprint.kv_bytes_per_token == pytest.approx(128 * 1024, rel=1e-3)
    assert footprint.term("weights").bytes / GIB == pytest.approx(14.96, rel=0.01)


def test_cost_is_the_price_over_the_tokens(grid):
    """USD per GPU hour / 3600 / (tokens/s per GPU) x 10^6."""
    rate = grid.prediction.output_tokens_per_s_per_gpu.value
    assert grid.usd_per_million == pytest.approx(cost.usd_per_million(H100.price_usd_per_hour, rate))


def test_more_requests_never_lower_tpot_and_ranges_hold_the_value(grid):
    tpot = grid.cube(grid.prediction.tpot_s.value)
    assert (np.diff(tpot, axis=2) >= -1e-9).all()
    for span in (grid.prediction.tpot_s, grid.prediction.ttft_s, grid.output_tokens_per_s):
        assert (span.low <= span.value).all() and (span.value <= span.high).all()


def test_decode_of_a_7b_model_at_batch_one_is_memory_bound():
    """The textbook: about 1 FLOP per byte at batch 1 against a ridge above 200 on an H100."""
    grid = sweep(model("meta-llama/Llama-2-7b-hf"), H100, WORKLOAD, formats=["fp16"], kv_formats=["fp16"], tps=[1],
                 batches=[1], contexts=[512])
    assert grid.prediction.decode_bound[0] is Bound.MEMORY
    assert H100.ridge_flops_per_byte("fp16") > 200
    weights = grid.footprints[0].term("weights").bytes
    assert weights == pytest.approx(14e9, rel=0.05)
    assert grid.spec.decode_flops(1) == pytest.approx(14e9, rel=0.08)
    assert grid.spec.decode_flops(1) / weights == pytest.approx(1.0, rel=0.08)


def test_int4_quarters_the_weights_and_stops_paying_with_the_batch():
    """3.85x fewer bytes a weight with group scales (16 / 4.156); less and less gain as the batch grows."""
    assert 16 / FORMATS["awq-int4"].bits_per_weight == pytest.approx(3.85, rel=0.01)
    grid = sweep(model("meta-llama/Llama-2-7b-hf"), H100, WORKLOAD, formats=["fp16", "awq-int4"],
                 kv_formats=["fp16"], tps=[1], contexts=[512])
    half, int4 = grid.cube(grid.prediction.tpot_s.value)[:, 0, :]
    gain = half / int4
    assert 1.4 < gain[0] < 3.5
    assert gain[0] > gain[6] > gain[10] - 1e-9


def test_beyond_the_models_context_nothing_fits():
    grid = sweep(model("meta-llama/Meta-Llama-3-8B"), H100, WORKLOAD, tps=[1], contexts=[8192, 16384], batches=[1])
    assert grid.fits[grid.context == 8192].any() and not grid.fits[grid.context == 16384].any()
    assert set(grid.reason[grid.context == 16384]) == {"the model ends at 8,192 tokens"}


def test_a_gpu_that_runs_nothing_gives_an_empty_grid_with_reasons():
    grid = sweep(model("meta-llama/Llama-3.1-8B"), gpus.find("Apple M2 Ultra"), WORKLOAD)
    assert len(grid) == 0 and len(grid.frame()) == 0
    assert any("does not run on Apple GPUs" in refusal.reason for refusal in grid.refusals)


def test_kv_formats_are_known_by_name():
    assert {"bf16", "fp8"} <= set(KV_FORMATS)


def test_more_gpus_than_a_link_joins_are_refused_where_there_is_no_pcie():
    """ConnectX joins two DGX Sparks; llama.cpp joins no machines; an H100 beyond its NVLink domain still has PCIe."""
    spec = catalogue.load("meta-llama/Llama-3.1-8B")
    spark, server = gpus.find("DGX Spark GB10"), gpus.find("H100 SXM5 80GB")
    found = layouts(spec, spark, "vllm", tps=(1, 2, 4))
    assert {deployment.gpus for deployment in found.deployments} == {1, 2}
    assert "ConnectX" in next(refusal.reason for refusal in found.refusals if refusal.choice == "4 GPUs")
    macs = layouts(spec, gpus.find("Apple M3 Max (40-core)"), "llamacpp", tps=(1, 4))
    assert {deployment.gpus for deployment in macs.deployments} == {1}
    assert [refusal.reason for refusal in macs.refusals if refusal.choice == "4 GPUs"] == [
        "llama.cpp does not join machines, and each has one Apple M3 Max (40-core)."
    ]
    assert {deployment.gpus for deployment in layouts(spec, server, tps=(8, 16)).deployments} == {8, 16}


def test_experts_stay_whole_where_their_scales_cannot_be_split():
    """vLLM issue 25292: Qwen3-30B-A3B-FP8 does not load at tp 4 unless experts are handed out whole."""
    grid = sweep(model("Qwen/Qwen3-30B-A3B-FP8"), H100, WORKLOAD, tps=[2, 4], contexts=[1024], batches=[1])
    assert {(d.tp, d.ep) for d in grid.deployments} == {(2, 1), (4, 4)}


@pytest.mark.parametrize("model, gpu, engine, formats", [
    ("google/gemma-3-4b-it", "T4", "vllm", {("fp32", "fp32")}),        # vLLM 0.33 _FLOAT16_NOT_SUPPORTED_MODELS
    ("zai-org/GLM-4-9B-0414", "T4", "vllm", {("fp32", "fp32")}),
    ("google/gemma-3-4b-it", "T4", "sglang", {("fp16", "fp16")}),      # casts to FP16
    ("google/gemma-3-4b-it", "L4", "vllm", {("bf16", "bf16")}),
])
def test_what_fp16_cannot_hold_runs_in_fp32_where_there_is_no_bf16(model, gpu, engine, formats):
    found = layouts(catalogue.load(model), gpus.find(gpu), engine, tps=(1,)).deployments
    wide = {(d.weights.name, d.kv_cache.name) for d in found if d.weights.bits_per_weight >= 16}
    assert {(weights, kv) for weights, kv in wide if kv in ("fp32", "fp16", "bf16")} == formats
    if formats == {("fp32", "fp32")}:
        named = layouts(catalogue.load(model), gpus.find(gpu), engine, formats=["awq-int4"], tps=(1,))
        assert not named.deployments and "has no BF16: FP32 is left" in named.refusals[0].reason
