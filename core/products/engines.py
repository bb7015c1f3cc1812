"""Serving engines: what they default to, and which formats they load.

Defaults are those of the named version; a deployment overrides them field by field.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final


@dataclass(frozen=True, slots=True)
class Engine:
    """A serving engine as a planner sees it."""

    name: str                          # the name of the command line
    label: str
    version: str                       # the version the defaults were read from
    memory_fraction: float | None      # of the reported memory; None: computed, or all of it
    max_num_batched_tokens: int        # tokens of one scheduler step
    max_num_seqs: int                  # sequences of one scheduler step
    block_tokens: int                  # tokens of one KV cache block
    vendors: tuple[str, ...]
    formats: tuple[str, ...]           # prefixes of names in core.products.formats
    kv_formats: tuple[str, ...]
    source: str


_16BIT: Final = ("fp32", "fp16", "bf16")
_CUDA_ROCM: Final = ("NVIDIA", "AMD")
_QUANTISED: Final = (*_16BIT, "fp8", "mxfp8", "int8", "gptq-int8", "w8a8-int8", "int4", "awq-int4", "gptq-int4",
                     "nvfp4", "mxfp4")
_SERVED: Final = (*_QUANTISED, "bnb-")

_TABLE: Final = (
    Engine("vllm", "vLLM", "0.33", 0.9, 2048, 256, 16,
           ("NVIDIA", "AMD", "Intel", "Google", "AWS", "Huawei"), (*_QUANTISED, "w4a8"),
           ("bf16", "fp16", "fp32", "fp8"),
           "vLLM 0.33 EngineArgs, SchedulerConfig and QuantizationMethods, where bitsandbytes no longer is"),
    Engine("sglang", "SGLang", "0.5", None, 8192, 256, 1, ("NVIDIA", "AMD", "Intel"),
           (*_QUANTISED, "bnb-nf4"), ("bf16", "fp16", "fp32", "fp8"),
           "SGLang 0.5 ServerArgs; of bitsandbytes what it makes itself while loading"),
    Engine("trtllm", "TensorRT-LLM", "1.0", 0.9, 8192, 2048, 32, ("NVIDIA",),
           (*_16BIT, "fp8", "int4", "awq-int4", "w4a8", "nvfp4", "mxfp4"), ("bf16", "fp16", "fp8"),
           "TensorRT-LLM 1.0 quantization in the PyTorch flow, KvCacheConfig; INT8 and GPTQ need its older backend"),
    Engine("llamacpp", "llama.cpp", "b6000", 1.0, 512, 1, 1, ("NVIDIA", "AMD", "Apple", "Intel"),
           (*_16BIT, "gguf-", "mxfp4"), ("fp16", "bf16", "fp32", "int8", "int4"),
           "llama.cpp common_params: n_ubatch 512, cache-type-k f16"),
    Engine("lmdeploy", "LMDeploy", "0.7", 0.8, 8192, 256, 64, ("NVIDIA",),
           (*_16BIT, "awq-int4", "gptq-int4", "int4", "fp8", "mxfp4"), ("bf16", "fp16", "int8", "int4"),
           "LMDeploy 0.7 TurbomindEngineConfig: cache_max_entry_count 0.8 of what is free"),
    Engine("hf-eager", "Transformers", "5.23", 1.0, 8192, 256, 1, (*_CUDA_ROCM, "Apple", "Intel"), _SERVED,
           ("bf16", "fp16", "fp32"), "transformers 5.23 DynamicCache"),
    Engine("torch-compile", "torch.compile", "2.13", 1.0, 8192, 256, 1, _CUDA_ROCM,
           (*_16BIT, "int8", "int4", "fp8", "w8a8-int8", "awq-int4", "gptq-int4"), ("bf16", "fp16", "fp32"),
           "gpt-fast: static cache of the chosen length"),
    Engine("exllama", "ExLlama", "2", 1.0, 2048, 1, 1, _CUDA_ROCM, ("fp16", "gptq-int4", "int4"),
           ("fp16", "fp8", "int8", "int4"), "exllamav2 README"),
    Engine("tinychat", "TinyChat", "1", 1.0, 2048, 1, 1, ("NVIDIA",), ("fp16", "awq-int4", "int4"), ("fp16",),
           "llm-awq TinyChat README"),
    Engine("autoawq", "AutoAWQ", "0.2", 1.0, 2048, 1, 1, ("NVIDIA",), ("fp16", "awq-int4"), ("fp16",),
           "AutoAWQ README"),
    Engine("mlc", "MLC LLM", "0.1", 0.85, 2048, 80, 16, (*_CUDA_ROCM, "Apple", "Intel"),
           ("fp16", "fp32", "int4", "awq-int4"), ("fp16",), "MLC LLM EngineConfig"),
    Engine("qserve", "QServe", "1", 0.9, 8192, 256, 64, ("NVIDIA",), ("fp16", "w4a8", "w8a8-int8"),
           ("fp16", "int8", "int4"), "omniserve README"),
    Engine("generic", "Generic engine", "0.33", 0.9, 2048, 256, 16, (), (), (),
           "the rules of vLLM 0.33"),
)
ENGINES: Final[Mapping[str, Engine]] = {engine.name: engine for engine in _TABLE}


_ALIASES: Final = {"ollama": "llamacpp", "llama.cpp": "llamacpp", "tensorrt-llm": "trtllm", "transformers": "hf-eager",
                   "exllamav2": "exllama", "turbomind": "lmdeploy", "gpt-fast": "torch-compile"}


@lru_cache(maxsize=256)
def find(name: str) -> Engine:
    """The engine of that name or alias; anything unknown behaves as the generic one."""
    key = name.strip().lower()
    return ENGINES.get(_ALIASES.get(key, key), ENGINES["generic"])


@lru_cache(maxsize=2048)
def loads(listed: tuple[str, ...], format_name: str) -> bool:
    """Whether an engine's list names the format; 'int4' also names its group sizes, 'bnb-' a family."""
    return not listed or any(
        format_name == name
        or format_name.startswith(f"{name}-g")
        or (name.endswith("-") and format_name.startswith(name))
        for name in listed
    )


# First stable release of each month, vLLM GitHub releases: for logs that are dated, not versioned.
_VLLM_BY_MONTH: Final = {
    (2024, 6): 5.0, (2024, 12): 6.5, (2025, 3): 8.0, (2025, 6): 9.0, (2025, 7): 10.0, (2025, 9): 11.0,
    (2025, 12): 13.0, (2026, 1): 14.0, (2026, 3): 17.0, (2026, 4): 19.0, (2026, 5): 21.0, (2026, 7): 24.0,
}
NEWEST: Final = 99.0


@lru_cache(maxsize=512)
def release(version: str) -> float:
    """Minor release of a 0.x engine as a number: '0.6.5' -> 6.5, '0.19.0' -> 19, '2025-07' -> 10.

    A year alone stands for its April: logs trail the releases. Anything else is taken for the newest.
    """
    if found := re.search(r"\b0\.(\d{1,2})(?:\.(\d))?", version):
        return int(found[1]) + int(found[2] or 0) / 10
    if found := re.search(r"\b(20\d\d)(?:-(\d\d))?\b", version):
        month = (int(found[1]), int(found[2] or 4))
        past = [minor for since, minor in _VLLM_BY_MONTH.items() if since <= month]
        return past[-1] if past else 0.0
    return NEWEST
