"""The command that starts a deployment; every value is quoted, none pasted in.

Option names stand in assets/engine_options.csv, from the engines' own documentation.
"""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Final

import yaml

from core.advice import Choice, Plan
from core.errors import InputError
from core.export.options import options
from core.models import ModelSpec
from core.terms import Deployment, Workload

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
PORT: Final = 8000
_ELSEWHERE: Final = {"sglang": {"port": PORT}, "llamacpp": {"port": PORT}}     # their own are 30000 and 8080
_NO_REPLICAS: Final = ("trtllm", "llamacpp")      # servers that run one copy of the model each


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be launched."""

    spec: ModelSpec
    workload: Workload
    choice: Choice

    @property
    def deployment(self) -> Deployment:
        return self.choice.deployment

    @property
    def engine(self) -> str:
        return self.choice.deployment.engine

    @property
    def copies(self) -> int:
        """Servers to start: replicas where the engine, or the model, does not join them itself."""
        d = self.choice.deployment
        return d.dp if d.engine in _NO_REPLICAS else 1

    def one_of(self, servers: int) -> "Order":
        """One of that many equal servers, each with its share of the requests."""
        d, choice = self.deployment, self.choice
        share = replace(
            choice, deployment=replace(d, dp=d.dp // servers), concurrency=ceil(choice.concurrency / servers),
            slo_concurrency=ceil(choice.slo_concurrency / servers),
        )
        return replace(self, choice=share)


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


def order(plan: Plan) -> Order:
    """What a plan recommends. Raises InputError when nothing is recommended."""
    if plan.best is None:
        raise InputError(f"There is nothing to launch: {plan.sentence}")
    return Order(plan.spec, plan.workload, plan.best)


def launch(plan: Plan, engine: str) -> Launch:
    """The command for the recommended deployment. Raises InputError when nothing is recommended."""
    if engine not in LAUNCHERS:
        raise InputError(f"There is no launch command for '{engine[:40]}': use one of {', '.join(sorted(LAUNCHERS))}.")
    ordered = order(plan)
    if engine != plan.engine:
        raise InputError(f"The plan is made for {plan.engine}: plan with --engine {engine} to launch that.")
    return command(ordered)


def command(ordered: Order, listen: Mapping[str, object] | None = None) -> Launch:
    """The command for a deployment, answering on port 8000 of this machine, or as `listen` says.

    Raises InputError for an engine without one.
    """
    if ordered.engine not in LAUNCHERS:
        raise InputError(f"There is no launch command for '{ordered.engine[:40]}': "
                         f"use one of {', '.join(sorted(LAUNCHERS))}.")
    copies = ordered.copies
    made = LAUNCHERS[ordered.engine](ordered.one_of(copies))
    address = options(ordered.engine, _ELSEWHERE.get(ordered.engine, {}) if listen is None else listen)
    made = replace(made, command=(*made.command, *address))
    if copies == 1:
        return made
    note = f"Start {copies} of these, each on its own GPUs and port, behind a load balancer."
    return replace(made, notes=(*made.notes, note))


def longest_request(ordered: Order) -> int:
    """Longest request a server with a shared cache accepts: the model's own context, or what the cache holds of it.

    The planned lengths are averages: a limit there would turn away the longer half. Cache pages are taken as
    requests grow, so a high limit costs nothing, and it is the one the plan's memory was worked out for.
    """
    footprint = ordered.choice.footprint
    held = min(float(footprint.cache.chosen.max_model_len), footprint.kv_tokens)
    return max(request_length(ordered), int(held // _LENGTH_STEP * _LENGTH_STEP))


def request_length(ordered: Order) -> int:
    """The planned request rounded up, within the model's context: for servers that divide their cache beforehand."""
    length = ceil(ordered.workload.context_tokens / _LENGTH_STEP) * _LENGTH_STEP
    return min(length, ordered.spec.max_context) if ordered.spec.max_context else length


def batch_limit(ordered: Order) -> int:
    """Requests one replica runs at once: as many as keep the targets, at least those planned."""
    choice = ordered.choice
    return ceil(max(choice.concurrency, choice.slo_concurrency) / ordered.deployment.dp)


def _step_tokens(ordered: Order) -> int:
    """Tokens of one scheduler step, as the plan assumes them; never fewer than requests in it."""
    return max(ordered.choice.footprint.cache.chosen.max_num_batched_tokens, batch_limit(ordered))


def _memory_fraction(ordered: Order) -> float:
    return round(ordered.choice.footprint.cache.chosen.memory_fraction, 3)


def is_as_shipped(ordered: Order) -> bool:
    """Whether the repository itself holds these weights."""
    shipped = ordered.spec.shipped
    return shipped is not None and shipped.format == ordered.deployment.weights.name


def _checkpoint(ordered: Order, online: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """The checkpoint to load, and how to make it where it does not exist yet."""
    fmt, name = ordered.deployment.weights, ordered.spec.name
    if is_as_shipped(ordered) or fmt.bits_per_weight >= 16 or fmt.name in online:
        return (f"./{name}" if name.startswith("-") else name), ()
    own = f"./{Path(name).name}-{fmt.name}"
    tool = _TOOLS.get(fmt.name.split("-")[0], "llm-compressor")
    return own, (f"First make a {fmt.label} checkpoint of the model in {own} with {tool}, or name an existing one.",)


def above_one(degree: int) -> int | None:
    return degree if degree > 1 else None


def _vllm(ordered: Order) -> Launch:
    d = ordered.deployment
    model, notes = _checkpoint(ordered, _VLLM_ONLINE)
    return Launch(("vllm", "serve", model, *options("vllm", {
        "dtype": _DTYPES.get(d.weights.name),
        "quantization": None if is_as_shipped(ordered) else _VLLM_ONLINE.get(d.weights.name),
        "kv_cache_dtype": "fp8" if d.kv_cache.name == "fp8" else None,
        "tp": d.tp,
        "pp": above_one(d.pp),
        "dp": above_one(d.dp),
        "ep": True if d.ep > 1 else None,
        "max_model_len": longest_request(ordered),
        "max_num_seqs": batch_limit(ordered),
        "max_num_batched_tokens": _step_tokens(ordered),
        "memory_fraction": _memory_fraction(ordered),
    })), {}, notes)


def _sglang(ordered: Order) -> Launch:
    d = ordered.deployment
    model, notes = _checkpoint(ordered, _SGLANG_ONLINE)
    return Launch(("python", "-m", "sglang.launch_server", *options("sglang", {
        "model": model,
        "dtype": _DTYPES.get(d.weights.name),
        "quantization": None if is_as_shipped(ordered) else _SGLANG_ONLINE.get(d.weights.name),
        "kv_cache_dtype": "fp8_e4m3" if d.kv_cache.name == "fp8" else None,
        "tp": d.tp,
        "pp": above_one(d.pp),
        "dp": above_one(d.dp),
        "ep": above_one(d.ep),
        "max_model_len": longest_request(ordered),
        "max_num_seqs": batch_limit(ordered),
        "max_num_batched_tokens": _step_tokens(ordered),
        "memory_fraction": _memory_fraction(ordered),
    })), {}, notes)


def _trtllm(ordered: Order) -> Launch:
    d = ordered.deployment
    model, notes = _checkpoint(ordered, {})
    files = {}
    if d.kv_cache.name in ("fp8", "int8"):
        files["llm-api.yaml"] = yaml.safe_dump({"kv_cache_config": {"dtype": d.kv_cache.name}})
    return Launch(("trtllm-serve", model, *options("trtllm", {
        "backend": "pytorch",
        "tp": d.tp,
        "pp": above_one(d.pp),
        "ep": above_one(d.ep),
        "max_model_len": longest_request(ordered),
        "max_num_seqs": batch_limit(ordered),
        "max_num_batched_tokens": _step_tokens(ordered),
        "memory_fraction": _memory_fraction(ordered),
        "more": next(iter(files), None),
    })), files, notes)


def gguf_file(ordered: Order) -> tuple[str, tuple[str, ...]]:
    """The GGUF file to load, and how to make it where it does not exist yet."""
    name = ordered.spec.name
    if name.lower().endswith(".gguf"):
        return (f"./{name}" if name.startswith("-") else name), ()
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(name).name).strip("-.") or "model"
    file = f"{stem}-{ordered.deployment.weights.name.removeprefix('gguf-')}.gguf"
    return file, (f"First make {file} of the model with convert_hf_to_gguf.py and llama-quantize, or download it.",)


def _llamacpp(ordered: Order) -> Launch:
    d, slots = ordered.deployment, batch_limit(ordered)
    file, notes = gguf_file(ordered)
    cache = CACHE_TYPES.get(d.kv_cache.name)
    return Launch(("llama-server", *options("llamacpp", {
        "model": file,
        "gpu_layers": 999,
        "pp": "layer" if d.pp > 1 else None,
        "max_num_seqs": slots,
        "max_model_len": slots * request_length(ordered),
        "flash_attention": "on",
        "kv_cache_dtype": cache,
        "value_cache_dtype": cache,
    })), {}, notes)


CACHE_TYPES: Final = {"int8": "q8_0", "int4": "q4_0", "bf16": "bf16"}
LAUNCHERS: Final[Mapping[str, Callable[[Order], Launch]]] = {
    "vllm": _vllm, "sglang": _sglang, "trtllm": _trtllm, "llamacpp": _llamacpp,
}
