"""Formats: bits per weight against published layouts, and which kernels exist where."""

from typing import get_args

import pytest
from gguf.constants import GGML_QUANT_SIZES

from core.basics.errors import InputError
from core.delivery.export.order import QUANTISERS
from core.products import formats, ggml, gpus, kernels
from core.products.engines import ENGINES, release
from core.products.engines import find as find_engine
from core.products.families import Kernels

NAMES = [
    "fp32", "fp16", "bf16", "fp8", "int8", "w8a8-int8", "int4", "awq-int4", "gptq-int4", "nvfp4", "mxfp4", "w4a8",
    "bnb-int8", "bnb-nf4", "gguf-Q2_K", "gguf-Q3_K_M", "gguf-IQ4_XS", "gguf-Q4_0", "gguf-Q4_K_S", "gguf-Q4_K_M",
    "gguf-Q5_K_M", "gguf-Q6_K", "gguf-Q8_0",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_command_line_is_known(name):
    assert formats.find(name.upper()).name == name


@pytest.mark.parametrize("name, bits, source", [
    ("bf16", 16, "bfloat16"),
    ("fp8", 8 + 32 / 128**2, "deepseek-ai/DeepSeek-V3.2 headers: FP32 scale per 128x128 block, 8.001953"),
    ("awq-int4", 4.15625, "Qwen/Qwen3-32B-AWQ headers: 4-bit zero and 16-bit scale per 128"),
    ("int4-g32", 4.5, "moonshotai/Kimi-K2.5 headers: 16-bit scale per 32"),
    ("mxfp4", 4.25, "openai/gpt-oss-20b headers: 8-bit scale per 32"),
    ("mxfp6", 6 + 8 / 32, "OCP Microscaling v1.0: FP6 elements, E8M0 scale per 32"),
    ("nvfp4", 4.5, "NVIDIA ModelOpt: FP8 scale per 16"),
    ("bnb-nf4", 4.5, "arXiv 2305.14314: FP32 absmax per 64"),
    ("bnb-nf4-dq", 4 + 8 / 64 + 32 / (64 * 256), "arXiv 2305.14314: double quantisation, 4.127"),
    ("gguf-Q6_K", 6.5625, "ggml-common.h block_q6_K: 210 bytes per 256"),
    ("gguf-Q8_0", 8.5, "ggml-common.h block_q8_0: 34 bytes per 32"),
    ("gguf-IQ4_XS", 4.25, "ggml-common.h block_iq4_xs: 136 bytes per 256"),
])
def test_bits_per_weight(name, bits, source):
    assert formats.find(name).bits_per_weight == pytest.approx(bits, abs=1e-3), source


@pytest.mark.parametrize("said, name, bits", [
    ("mlx-4bit", "mlx-4bit", 4.5), ("MLX-5bit", "mlx-5bit", 5.5), ("mlx-4bit-g32", "mlx-4bit-g32", 5.0),
    ("exl3-3.0bpw", "exl3-3bpw", 3.0), ("exl3-4.0", "exl3-4bpw", 4.0), ("exl2-4.65bpw", "exl2-4.65bpw", 4.65),
    ("hqq-int4", "hqq-int4", 4.5), ("HQQ_3bit", "hqq-int3", 3.7), ("quip#", "quip-2bit", 2.0),
    ("gptq-int3", "gptq-int3", 3 + 19 / 128), ("awq-int8", "awq-int8", 8.1875), ("W3A16", "int3", 3.325),
    ("auto-round-int2-g32", "autoround-int2-g32", 2 + 18 / 32), ("fp8_e4m3", "fp8", 8.001953125),
    ("bitnet-b1.58", "bitnet", 2.0), ("w4a16", "int4", 4.15625), ("gptq-int4-g128", "gptq-int4", 4.15625),
    ("Q4_K_M", "gguf-Q4_K_M", 4.5), ("gguf-Q4_K", "gguf-Q4_K_M", 4.5), ("i1-IQ2_M", "gguf-IQ2_M", 2.5625),
    ("UD-Q4_K_XL", "gguf-UD-Q4_K_XL", 4.5), ("gguf-IQ4_KSS", "gguf-IQ4_KSS", 4.0), ("iq3_kt", "gguf-IQ3_KT", 3.125),
    ("gguf-IQ2_K_R4", "gguf-IQ2_K_R4", 2.375), ("MXFP4_MOE", "gguf-MXFP4_MOE", 4.25),
    ("gguf-TQ1_0", "gguf-TQ1_0", 1.6875), ("Q6_K_L", "gguf-Q6_K_L", 6.5625), ("gguf-mxfp4", "gguf-MXFP4", 4.25),
])
def test_families_by_every_spelling(said, name, bits):
    """Layouts of the tool named in assets/format_families.csv; GGML blocks as gguf 0.19 and ik_llama.cpp list them."""
    assert formats.find(said).name == name
    assert formats.FORMATS[name].bits_per_weight == pytest.approx(bits, abs=1e-4)


@pytest.mark.parametrize("said", ["gptq-int9", "int4-g0", "int4-g99999", "gguf-Q9_K", "exl2-bpw", "mlx-", "x" * 500])
def test_no_member_of_a_family(said):
    with pytest.raises(InputError, match="no weight format"):
        formats.find(said)


def test_ggml_blocks_are_those_of_the_gguf_package():
    """gguf 0.19 GGML_QUANT_SIZES; its Q8_1 has four bytes more than the block of ggml-common.h."""
    for kind, (weights, size) in GGML_QUANT_SIZES.items():
        mine = ggml.TYPES[kind.name]
        assert (mine.code, mine.block_weights) == (kind.value, weights)
        assert mine.block_bytes == size or kind.name == "Q8_1"


@pytest.mark.parametrize("said, bits", [
    ("q8_0", 8.5), ("Q5_1", 6), ("q5_0", 5.5), ("q4_1", 5), ("q4_0", 4.5), ("iq4_nl", 4.5), ("fp8_e4m3", 8),
    ("fp8_e5m2", 8), ("fp8_ds_mla", 8 * 656 / 576), ("nvfp4", 4.5), ("turboquant_k8v4", 6), ("f16", 16),
])
def test_kv_formats_by_the_engines_names(said, bits):
    """Block sizes of ggml-common.h; CacheDType of vLLM."""
    assert formats.find_kv(said).bits_per_value == pytest.approx(bits, abs=1e-3)


def test_group_scales_cost_int4_a_few_percent():
    """The field's rule of thumb: 16-bit matrices shrink 3.85 times, not 4."""
    assert 16 / formats.find("int4").bits_per_weight == pytest.approx(3.85, abs=0.005)


def test_every_format_has_a_source_and_known_compute():
    for fmt in formats.FORMATS.values():
        assert fmt.source and fmt.label
        assert fmt.compute in {"fp32", "fp16", "bf16", "fp8", "int8", "fp4"}
        assert fmt.scope in {"all", "linears", "experts", "file"}


def test_unknown_names_get_one_sentence_with_the_closest():
    with pytest.raises(InputError, match=r"^'awq4' is no weight format\..*Use one of: fp32, "):
        formats.find("awq4")
    with pytest.raises(InputError, match=r"KV cache format.*bf16, fp16, fp8"):
        formats.find_kv("q9")


def test_every_row_names_kernels_and_recipes_that_exist():
    """A rule nobody names would be one too many."""
    rows = [*formats.FORMATS.values(), *(formats.find(name) for name in ("awq-int8", "w4afp8", "mlx-4bit"))]
    assert {row.kernels for row in rows} == set(get_args(Kernels)) == set(kernels._RULES)
    tools = {said.partition("=")[0] for row in rows for said in row.recipes}
    assert tools == {tool for engine in ENGINES.values() for tool in engine.quantisers} == set(QUANTISERS)


def refusal(fmt, gpu, engine="vllm"):
    return kernels.unsupported(formats.find(fmt), gpus.find(gpu), engine)


@pytest.mark.parametrize("fmt, gpu, engine, words", [
    ("bf16", "T4", "vllm", "no BF16"),
    ("bf16", "V100 SXM2 32GB", "lmdeploy", "no BF16"), ("fp16", "V100 SXM2 32GB", "vllm", "7.5 and later"),
    ("fp8", "A100 SXM4 80GB", "vllm", "no FP8 tensor cores"),
    ("fp8", "GeForce RTX 3090", "sglang", "Marlin"),
    ("fp8", "A100 SXM4 80GB", "trtllm", "no FP8 tensor cores"),
    ("fp8", "T4", "vllm", "no FP8 tensor cores"),
    ("w8a8-int8", "B300 SXM 288GB", "vllm", "almost no INT8"),
    ("w8a8-int8", "GB300 (per GPU) 288GB", "sglang", "almost no INT8"),
    ("w8a8-int8", "B200 SXM 180GB", "vllm", "SM 100"),
    ("w8a8-int8", "GeForce RTX 5090", "vllm", "SM 100"),
    ("w8a8-int8", "V100 SXM2 32GB", "hf-eager", "no INT8 tensor cores"),
    ("nvfp4", "H100 SXM5 80GB", "vllm", "Blackwell"),
    ("mxfp8", "H200 SXM 141GB", "vllm", "Blackwell"),
    ("mxfp4", "T4", "vllm", "Ampere"),
    ("mxfp4", "A100 SXM4 80GB", "trtllm", "Hopper"),
    ("w4a8", "A100 SXM4 80GB", "vllm", "no W4A8"),
    ("gguf-Q4_K_M", "H100 SXM5 80GB", "vllm", "does not load"),
    ("awq-int4", "MI300X", "vllm", "with Triton"), ("mxfp6", "MI355X", "vllm", "CUDA only"),
    ("mxfp6", "H100 SXM5 80GB", "sglang", "does not load"), ("awq-int4", "V100 SXM2 32GB", "hf-eager", "no kernels"),
    ("awq-int4", "Apple M2 Ultra", "vllm", "does not run on Apple"),
    ("bf16", "MI300X", "trtllm", "does not run on AMD"),
    ("awq-int4", "H100 SXM5 80GB", "llamacpp", "does not load"),
    ("gguf-Q4_K_M", "TPU v5p", "llamacpp", "does not run on Google"),
])
def test_what_nobody_would_choose_says_why(fmt, gpu, engine, words):
    reason = kernels.pointless(formats.find(fmt), gpus.find(gpu), engine)
    assert reason and words in reason and reason.endswith(".")


@pytest.mark.parametrize("fmt, gpu, engine", [
    ("bf16", "A100 SXM4 80GB", "vllm"), ("fp8", "L40S", "vllm"), ("fp8", "H100 SXM5 80GB", "trtllm"),
    ("w8a8-int8", "A100 SXM4 80GB", "vllm"), ("w8a8-int8", "T4", "vllm"), ("w8a8-int8", "H100 SXM5 80GB", "vllm"),
    ("awq-int4", "T4", "vllm"), ("gptq-int4", "MI300X", "vllm"), ("fp8", "MI300X", "vllm"),
    ("mxfp4", "A100 SXM4 80GB", "vllm"), ("mxfp4", "H100 SXM5 80GB", "trtllm"), ("nvfp4", "GeForce RTX 5090", "vllm"),
    ("nvfp4", "B200 SXM 180GB", "trtllm"), ("w4a8", "L40S", "qserve"), ("w4a8", "H200 SXM 141GB", "trtllm"),
    ("gguf-Q4_K_M", "Apple M2 Ultra", "llamacpp"), ("gguf-Q4_K_M", "Tesla P40", "llamacpp"),
    ("bnb-nf4", "T4", "hf-eager"), ("fp16", "V100 SXM2 32GB", "lmdeploy"), ("int4-g32", "L40S", "vllm"),
    ("awq-int4", "V100 SXM2 32GB", "lmdeploy"),
    ("mxfp6", "H100 SXM5 80GB", "vllm"), ("mxfp6", "GeForce RTX 5090", "vllm"),
])
def test_what_runs_is_not_refused(fmt, gpu, engine):
    assert refusal(fmt, gpu, engine) is None


@pytest.mark.parametrize(("fmt", "gpu", "engine", "kernel"), [
    ("fp8", "A100 SXM4 80GB", "vllm", "weight-only"), ("fp8", "GeForce RTX 3090", "sglang", "weight-only"),
    ("fp8", "T4", "vllm", "weight-only"), ("nvfp4", "H100 SXM5 80GB", "vllm", "weight-only"),
    ("awq-int4", "MI300X", "vllm", "weight-only"), ("fp8", "H100 SXM5 80GB", "vllm", "native"),
    ("nvfp4", "B200 SXM 180GB", "vllm", "native"), ("bf16", "A100 SXM4 80GB", "vllm", "16-bit"),
])
def test_what_is_only_slower_runs(fmt, gpu, engine, kernel):
    """vLLM 0.33 get_min_capability: FP8 and NVFP4 7.5, through Marlin below the tensor cores that multiply them."""
    assert refusal(fmt, gpu, engine) is None
    assert kernels.kernel(formats.find(fmt), gpus.find(gpu), engine) == kernel
    assert bool(kernels.slower(formats.find(fmt), gpus.find(gpu), engine)) is (kernel == "weight-only")


def test_an_older_release_ran_on_volta():
    """CUDA 13, which vLLM 0.33's wheel is built with, ended with Volta."""
    assert kernels.unsupported(formats.find("fp16"), gpus.find("V100 SXM2 32GB"), "vllm", "0.6.5") is None


@pytest.mark.parametrize("kv, gpu, engine, runs", [
    ("fp8", "H100 SXM5 80GB", "vllm", True), ("fp8", "GeForce RTX 3090", "vllm", True),
    ("fp8", "A100 SXM4 80GB", "trtllm", False), ("fp8", "T4", "vllm", False), ("bf16", "T4", "vllm", False),
    ("int4", "L40S", "qserve", True), ("int4", "L40S", "vllm", False), ("int8", "Apple M2 Ultra", "llamacpp", True),
])
def test_kv_formats(kv, gpu, engine, runs):
    """RTX 3090 with an FP8 cache: club-3090 start-up log of vLLM 0.26."""
    assert (kernels.kv_unsupported(formats.find_kv(kv), gpus.find(gpu), engine) is None) == runs


def test_some_format_runs_on_every_gpu_with_some_engine():
    for gpu in gpus.catalogue():
        reasons = [kernels.unsupported(f, gpu, e) for f in formats.FORMATS.values() for e in ENGINES]
        assert None in reasons, gpu.name
        assert all(reason is None or reason.endswith(".") for reason in reasons)


@pytest.mark.parametrize("text, minor", [
    ("0.19.0", 19), ("0.6.5", 6.05), ("PR of 2024-12 (v0.6.5 era, V0)", 6.05), ("0.5.16", 5.16),
    ("nightly 2025-09-29 (0.11.0)", 11),
    ("2025-07", 10), ("2026-07", 24), ("", 99), ("RHAII 3.5.1", 99), ("2026 (ROCm)", 19), ("2025", 8), ("2023-01", 0),
])
def test_release_of_a_log(text, minor):
    assert release(text) == minor


def test_engines_by_alias_and_the_rest_is_generic():
    assert find_engine("Ollama").name == find_engine("llama.cpp").name == "llamacpp"
    assert find_engine("").name == find_engine("somebody's own").name == "generic"
