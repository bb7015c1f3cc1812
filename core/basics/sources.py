"""Where a source can be read: the public address behind the way our tables name it."""

import re
from collections.abc import Callable
from typing import Final

_REPOSITORY: Final = r"([A-Za-z0-9][\w-]*/[\w.-]*\w)"
# How a table names a source -> its address; the first that matches counts.
_PATTERNS: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]] = (
    (re.compile(rf"config\.json of {_REPOSITORY}"), lambda found: f"https://huggingface.co/{found[1]}"),
    (re.compile(rf"{_REPOSITORY} config\.json"), lambda found: f"https://huggingface.co/{found[1]}"),
    (re.compile(rf"{_REPOSITORY} tensor headers"), lambda found: f"https://huggingface.co/{found[1]}"),
    (re.compile(r"([A-Za-z][\w-]*) [\d.]+ \(PyPI"), lambda found: f"https://pypi.org/project/{found[1]}/"),
    (re.compile(rf"{_REPOSITORY}[^@;]*@([0-9a-f]{{7,40}})"),
     lambda found: f"https://github.com/{found[1].split('/blob')[0]}/tree/{found[2]}"),
    (re.compile(r"arXiv[: ](\d{4}\.\d{5})"), lambda found: f"https://arxiv.org/abs/{found[1]}"),
    (re.compile(r"\b((?:[a-z-]+\.)+(?:com|io|ai|org|cloud|net))\b"), lambda found: f"https://{found[1]}"),
    (re.compile(r"llama\.cpp"), lambda _: "https://github.com/ggml-org/llama.cpp"),
    (re.compile(r"\bvLLM\b"), lambda _: "https://github.com/vllm-project/vllm"),
    (re.compile(r"TensorRT-LLM"), lambda _: "https://github.com/NVIDIA/TensorRT-LLM"),
    (re.compile(r"compressed-tensors"), lambda _: "https://github.com/vllm-project/compressed-tensors"),
    (re.compile(r"bitsandbytes|LLM\.int8\(\)|NF4"), lambda _: "https://github.com/bitsandbytes-foundation/bitsandbytes"),
    (re.compile(r"ModelOpt"), lambda _: "https://github.com/NVIDIA/TensorRT-Model-Optimizer"),
    (re.compile(r"DeepSeek-V3 "), lambda _: "https://huggingface.co/deepseek-ai/DeepSeek-V3"),
    (re.compile(r"AutoAWQ"), lambda _: "https://github.com/casper-hansen/AutoAWQ"),
    (re.compile(r"\bGPTQ\b"), lambda _: "https://arxiv.org/abs/2210.17323"),
    (re.compile(r"OCP Microscaling"), lambda _: "https://www.opencompute.org/documents"),
    (re.compile(r"IEEE 754"), lambda _: "https://standards.ieee.org/ieee/754/6210/"),
    (re.compile(r"EC2 Capacity Blocks"), lambda _: "https://aws.amazon.com/ec2/capacityblocks/pricing/"),
    (re.compile(r"huggingface\.js"), lambda _: "https://github.com/huggingface/huggingface.js"),
)


def address(source: str) -> str | None:
    """The public address of a source as our tables name it; None for what has none, as "typed in"."""
    for pattern, write in _PATTERNS:
        if found := pattern.search(source):
            return write(found)
    return None
