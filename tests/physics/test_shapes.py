"""Which shapes split over how many GPUs: what loaded and what did not, as engines' users reported."""

import pytest

from core.physics.shapes import misfit
from core.products import gpus
from core.products.formats import find, find_kv
from core.reading import catalogue
from core.terms import Deployment

H100 = gpus.find("H100 SXM5 80GB")


def reason(model, weights, **split):
    return misfit(catalogue.load(model), Deployment(H100, find(weights), find_kv("bf16"), **split))


@pytest.mark.parametrize(("model", "weights", "split", "says"), [
    ("meta-llama/Llama-3.1-8B", "bf16", {"tp": 3}, "32 attention heads do not divide by 3."),
    ("Qwen/Qwen2-57B-A14B-Instruct", "bf16", {"tp": 8}, "28 attention heads do not divide by 8."),
    ("meta-llama/Llama-3.1-8B", "bf16", {"pp": 64}, "32 layers cannot be split over 64 pipeline stages."),
    ("meta-llama/Llama-3.1-8B", "gguf-Q4_K_M", {"pp": 64, "engine": "llamacpp"},
     "32 layers cannot be split over 64 GPUs."),
    ("Qwen/Qwen3-30B-A3B-FP8", "fp8", {"tp": 4},      # vLLM issue 25292
     "expert width 768 / 4 = 192 is no multiple of the 128 that an FP8 scale covers; expert parallelism or tp 2"),
    ("Qwen/Qwen3.6-35B-A3B-FP8", "fp8", {"tp": 8}, "tp 4 works."),       # vLLM pull request 52915: the shared expert
    ("Qwen/Qwen3.6-35B-A3B-FP8", "fp8", {"tp": 8, "ep": 8}, "shared expert width 512 / 8 = 64"),
    ("MiniMaxAI/MiniMax-M2.5", "fp8", {"tp": 8}, "expert parallelism or tp 4 works."),
    ("LGAI-EXAONE/EXAONE-4.0-32B-FP8", "fp8", {"tp": 4}, "MLP width 27,392 / 4 = 6848"),
    ("Qwen/Qwen3-235B-A22B-GPTQ-Int4", "gptq-int4", {"tp": 8}, "1,536 inputs over 8 GPUs"),
])
def test_what_does_not_split_says_why_and_what_does(model, weights, split, says):
    assert says in (reason(model, weights, **split) or "")


@pytest.mark.parametrize(("model", "weights", "split"), [
    ("meta-llama/Llama-3.1-8B", "bf16", {"tp": 8}),
    ("Qwen/Qwen2.5-72B-Instruct", "bf16", {"tp": 2}),
    ("Qwen/Qwen2.5-72B-Instruct", "gptq-int4", {"tp": 2}),      # its publisher padded 29,568 inputs to 29,696
    ("openai/gpt-oss-120b", "mxfp4", {"tp": 8}),                # vLLM, SGLang and TensorRT-LLM pad 2,880 inputs
    ("Qwen/Qwen3-30B-A3B-FP8", "fp8", {"tp": 2}),
    ("Qwen/Qwen3-30B-A3B-FP8", "fp8", {"tp": 4, "ep": 4}),
    ("Qwen/Qwen3-30B-A3B", "fp8", {"tp": 4}),           # quantised while loading: scales cover whole matrices
    ("deepseek-ai/DeepSeek-V3", "fp8", {"tp": 16}),     # served on two machines
    ("Qwen/Qwen3-32B-FP8", "fp8", {"tp": 8}),
])
def test_what_was_served_splits(model, weights, split):
    assert reason(model, weights, **split) is None
