"""Checkpoints by what they are stored in, and who made them."""

import pytest

from core.answers.sweep import layouts
from core.delivery.export.ready import ready_made
from core.products import gpus
from core.products.containers import container, unreadable
from core.reading import catalogue


@pytest.mark.parametrize("name, fmt, held", [
    ("bartowski/Qwen_Qwen3-32B-GGUF", "gguf-Q4_K_M", "gguf"), ("lmstudio-community/gpt-oss-20b-GGUF", "mxfp4", "gguf"),
    ("mlx-community/Qwen3-8B-4bit", "mlx-4bit", "mlx"), ("turboderp/Qwen3-8B-exl3", "exl3-4.0bpw", "exl2"),
    ("openai/gpt-oss-20b", "mxfp4", "safetensors"), ("Qwen/Qwen3-8B-AWQ", "awq-int4", "safetensors"),
])
def test_what_a_repository_holds(name, fmt, held):
    assert container(name, fmt) == held


@pytest.mark.parametrize("name, fmt, engine, reads", [
    ("Qwen/Qwen2.5-72B-Instruct-AWQ", "awq-int4", "trtllm", False),    # load_hf_quant_config knows no awq
    ("casperhansen/mixtral-instruct-awq", "awq-int4", "trtllm", False),
    ("nvidia/Llama-3.3-70B-Instruct-FP8", "fp8", "trtllm", True),
    ("nvidia/Some-Model-W4A16_AWQ", "awq-int4", "trtllm", True),
    ("Qwen/Qwen2.5-72B-Instruct-AWQ", "awq-int4", "vllm", True),
    ("./Qwen3-8B-awq-int4", "awq-int4", "trtllm", True),               # a folder says nothing of its maker
    ("mlx-community/Qwen3-8B-8bit", "int8", "vllm", False),
    ("amd/gpt-oss-20b-MXFP4", "mxfp4", "llamacpp", False),
])
def test_what_an_engine_reads(name, fmt, engine, reads):
    assert (unreadable(name, fmt, engine) is None) == reads


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm", "llamacpp"])
def test_ready_ones_are_of_a_kind_the_engine_reads(engine):
    """77 of 77 models were offered MLX repositories for vLLM once, and AutoAWQ for TensorRT-LLM."""
    wrong = [other for card in catalogue.models() for fmt in ("int8", "int4-g64", "awq-int4", "mxfp4")
             for other in ready_made(card.name, fmt, engine) if unreadable(other, fmt, engine)]
    assert not wrong
    if engine == "trtllm":
        assert not ready_made("Qwen/Qwen2.5-72B-Instruct", "awq-int4", engine)
    if engine == "vllm":
        assert "Qwen/Qwen2.5-72B-Instruct-AWQ" in ready_made("Qwen/Qwen2.5-72B-Instruct", "awq-int4", engine)


def test_a_repository_the_engine_does_not_read_is_refused_by_its_maker():
    found = layouts(catalogue.load("Qwen/Qwen2.5-72B-Instruct-AWQ"), gpus.find("H100 SXM5 80GB"), "trtllm", tps=(1,))
    assert not found.deployments
    assert "of NVIDIA ModelOpt alone" in found.refusals[0].reason
