"""The command that starts the recommended deployment; every value is quoted, none pasted in.

Options are those the engines document: vLLM 0.33 `vllm serve --help`, SGLang 0.5 `server_arguments`,
TensorRT-LLM 1.0 `trtllm-serve`, llama.cpp b6000 `llama-server --help`.
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final

from core.advice import Choice, Plan
from core.errors import InputError
from core.models import ModelSpec

_LENGTH_STEP: Final = 256        # tokens that a request may be longer than planned
_DTYPES: Final = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
# What an engine makes of a 16-bit checkpoint while loading it; all else needs a checkpoint made before.
_VLLM_ONLINE: Final = {"fp8": "fp8", "bnb-nf4": "bitsandbytes"}
_SGLANG_ONLINE: Final = {"fp8": "fp8"}
_TOOLS: Final = {
    "gguf": "llama.cpp's convert_hf_to_gguf.py and llama-quantize",
    "nvfp4": "NVIDIA ModelOpt or llm-compressor",
    "w4a8": "QServe's or ModelOpt's quantiser",
}


@dataclass(frozen=True, slots=True)
class Launch:
    """A command, the files it reads, and what to do first."""

    command: tuple[str, ...]
    files: Mapping[str, str]
    notes: tuple[str, ...]

    def text(self) -> str:
        """For a POSIX shell: notes as comments, files as here-documents, the command quoted."""
        lines = [f"# {' '.join(note.split())}" for note in self.notes]
        for name, content in self.files.items():
            lines += [f"cat > {shlex.quote(name)} <<'END'", content.rstrip("\n"), "END"]
        return "\n".join([*lines, shlex.join(self.command)])


def launch(plan: Plan, engine: str) -> Launch:
    """The command for the recommended deployment. Raises InputError when nothing is recommended."""
    if engine not in LAUNCHERS:
        raise InputError(f"There is no launch command for '{engine[:40]}': use one of {', '.join(sorted(LAUNCHERS))}.")
    if plan.best is None:
        raise InputError(f"There is nothing to launch: {plan.sentence}")
    if engine != plan.engine:
        raise InputError(f"The plan is made for {plan.engine}: plan with --engine {engine} to launch that.")
    return LAUNCHERS[engine](plan, plan.best)


def request_length(plan: Plan) -> int:
    """Longest request the server accepts: the planned one rounded up, within the model's context."""
    length = ceil(plan.workload.context_tokens / _LENGTH_STEP) * _LENGTH_STEP
    return min(length, plan.spec.max_context) if plan.spec.max_context else length


def batch_limit(choice: Choice) -> int:
    """Requests the server runs at once: as many as keep the targets, at least those planned."""
    return max(choice.concurrency, choice.slo_concurrency)


def _checkpoint(spec: ModelSpec, choice: Choice, online: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """The checkpoint to load, and how to make it where it does not exist yet."""
    fmt = choice.deployment.weights
    as_shipped = spec.shipped is not None and spec.shipped.format == fmt.name
    if as_shipped or fmt.bits_per_weight >= 16 or fmt.name in online:
        return (f"./{spec.name}" if spec.name.startswith("-") else spec.name), ()
    own = f"./{Path(spec.name).name}-{fmt.name}"
    tool = _TOOLS.get(fmt.name.split("-")[0], "llm-compressor")
    return own, (f"First make a {fmt.label} checkpoint of the model in {own} with {tool}, or name an existing one.",)


def _options(pairs: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(text for name, value in pairs.items() if value is not None for text in (name, str(value)))


def _vllm(plan: Plan, choice: Choice) -> Launch:
    d = choice.deployment
    model, notes = _checkpoint(plan.spec, choice, _VLLM_ONLINE)
    shipped = plan.spec.shipped is not None and plan.spec.shipped.format == d.weights.name
    options = _options({
        "--dtype": _DTYPES.get(d.weights.name),
        "--quantization": None if shipped else _VLLM_ONLINE.get(d.weights.name),
        "--kv-cache-dtype": "fp8" if d.kv_cache.name == "fp8" else None,
        "--tensor-parallel-size": d.tp,
        "--pipeline-parallel-size": d.pp if d.pp > 1 else None,
        "--data-parallel-size": d.dp if d.dp > 1 else None,
        "--max-model-len": request_length(plan),
        "--max-num-seqs": batch_limit(choice),
        "--max-num-batched-tokens": d.max_num_batched_tokens,
        "--gpu-memory-utilization": d.memory_fraction,
    })
    return Launch(("vllm", "serve", model, *options, *(("--enable-expert-parallel",) if d.ep > 1 else ())), {}, notes)


def _sglang(plan: Plan, choice: Choice) -> Launch:
    d = choice.deployment
    model, notes = _checkpoint(plan.spec, choice, _SGLANG_ONLINE)
    shipped = plan.spec.shipped is not None and plan.spec.shipped.format == d.weights.name
    return Launch(("python", "-m", "sglang.launch_server", *_options({
        "--model-path": model,
        "--dtype": _DTYPES.get(d.weights.name),
        "--quantization": None if shipped else _SGLANG_ONLINE.get(d.weights.name),
        "--kv-cache-dtype": "fp8_e4m3" if d.kv_cache.name == "fp8" else None,
        "--tp-size": d.tp,
        "--pp-size": d.pp if d.pp > 1 else None,
        "--dp-size": d.dp if d.dp > 1 else None,
        "--ep-size": d.ep if d.ep > 1 else None,
        "--context-length": request_length(plan),
        "--max-running-requests": batch_limit(choice),
        "--chunked-prefill-size": d.max_num_batched_tokens,
        "--mem-fraction-static": d.memory_fraction,
    })), {}, notes)


def _trtllm(plan: Plan, choice: Choice) -> Launch:
    d = choice.deployment
    model, notes = _checkpoint(plan.spec, choice, {})
    files = {}
    if d.kv_cache.name in ("fp8", "int8"):
        files["llm-api.yaml"] = f"kv_cache_config:\n  dtype: {d.kv_cache.name}\n"
    return Launch(("trtllm-serve", model, *_options({
        "--backend": "pytorch",
        "--tp_size": d.tp,
        "--pp_size": d.pp if d.pp > 1 else None,
        "--ep_size": d.ep if d.ep > 1 else None,
        "--max_seq_len": request_length(plan),
        "--max_batch_size": batch_limit(choice),
        "--max_num_tokens": d.max_num_batched_tokens,
        "--kv_cache_free_gpu_memory_fraction": d.memory_fraction,
        "--extra_llm_api_options": next(iter(files), None),
    })), files, notes)


def _llamacpp(plan: Plan, choice: Choice) -> Launch:
    d, slots = choice.deployment, batch_limit(choice)
    local = plan.spec.name.lower().endswith(".gguf")
    name = plan.spec.name if local else f"{Path(plan.spec.name).name}-{d.weights.name.removeprefix('gguf-')}.gguf"
    notes = () if local else (
        f"First make {name} of the model with convert_hf_to_gguf.py and llama-quantize, or download it.",
    )
    cache = {"int8": "q8_0", "int4": "q4_0", "bf16": "bf16"}.get(d.kv_cache.name)
    return Launch(("llama-server", *_options({
        "--model": name,
        "--n-gpu-layers": 999,
        "--split-mode": "layer" if d.pp > 1 else None,
        "--parallel": slots,
        "--ctx-size": slots * request_length(plan),
        "--flash-attn": "on",
        "--cache-type-k": cache,
        "--cache-type-v": cache,
    })), {}, notes)


LAUNCHERS: Final[Mapping[str, Callable[[Plan, Choice], Launch]]] = {
    "vllm": _vllm, "sglang": _sglang, "trtllm": _trtllm, "llamacpp": _llamacpp,
}
