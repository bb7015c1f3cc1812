"""The command that starts a deployment; every value is quoted, none pasted in.

Option names stand in assets/engine_options.csv, read from the engines' own sources at the version named there.
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

import yaml

from core.answers.advice import Plan
from core.basics.errors import InputError
from core.basics.units import GIB
from core.delivery.export.drafts import (
    draft_notes,
    llamacpp_draft,
    llamacpp_draft_notes,
    mlx_draft,
    sglang_draft,
    trtllm_draft,
    vllm_draft,
)
from core.delivery.export.nodes import FIRST_MACHINE, HEADLESS, RENDEZVOUS_PORT, each_machine, own_place, under_mpi
from core.delivery.export.order import (
    HOST_CACHE_RATIO,
    Order,
    batch_limit,
    checkpoint_folder,
    gguf_file,
    host_cache_bytes,
    how_to_make,
    is_as_shipped,
    is_gguf,
    longest_request,
    memory_fraction,
    order,
    own_checkpoint,
    request_length,
    step_tokens,
)
from core.delivery.export.ready import ready_made
from core.delivery.export.shown import (
    LLAMACPP_GIVEN,
    MLX_GIVEN,
    SGLANG_GIVEN,
    TRTLLM_GIVEN,
    VLLM_GIVEN,
    adapter_notes,
    llamacpp_shown,
    sglang_shown,
    tower_notes,
    trtllm_shown,
    vllm_shown,
)
from core.physics import memory
from core.products.engines import find as find_engine
from core.products.engines import launched
from core.products.options import options

MIB: Final = 2**20
PORT: Final = 8000
_DTYPES: Final = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
_VLLM_DROPPED: Final = "bnb-"           # bitsandbytes is no quantization method of vLLM 0.33
_TRTLLM_CACHES: Final = {"bf16": "auto", "fp16": "auto", "fp8": "fp8"}
TRTLLM_CONFIG: Final = "llm-api.yaml"
_ALL_LAYERS: Final = 999
_LLAMACPP_BATCH: Final = 2048           # its default logical batch, which the physical one cannot exceed


@dataclass(frozen=True, slots=True)
class Launch:
    """A command, the files it reads, and what to do first."""

    command: tuple[str, ...]
    files: Mapping[str, str]
    notes: tuple[str, ...]
    model: str                     # what it loads, and where nothing else is said the name it answers to

    def text(self) -> str:
        """For a POSIX shell: notes as comments, files as here-documents, the command quoted."""
        lines = [f"# {' '.join(note.split())}" for note in self.notes]
        for name, content in self.files.items():
            lines += [f"cat > {shlex.quote(name)} <<'END'", content.rstrip("\n"), "END"]
        return "\n".join([*lines, shlex.join(self.command)])


def launch(plan: Plan, engine: str) -> Launch:
    """The command for the recommended deployment. Raises InputError when nothing is recommended."""
    if engine not in launched():
        raise _no_command(engine)
    ordered = order(plan)
    if engine != plan.engine:
        raise InputError(f"The plan is made for {plan.engine}: plan with --engine {engine} to launch that.")
    return command(ordered)


def command(ordered: Order, listen: Mapping[str, object] | None = None) -> Launch:
    """The command for a deployment, answering on port 8000 of this machine, or as `listen` says.

    Raises InputError for an engine without one.
    """
    if ordered.engine not in launched():
        raise _no_command(ordered.engine)
    copies = ordered.copies * ordered.times
    launcher = LAUNCHERS[find_engine(ordered.engine).launcher]
    made = launcher.make(ordered.one_of(copies))
    here = {} if launcher.port == PORT else {"port": PORT}
    address = options(ordered.engine, here if listen is None else listen)
    made = replace(made, command=(*made.command, *address))
    if copies == 1:
        return made
    note = f"Start {copies} of these, each on its own GPUs and port, behind a load balancer."
    return replace(made, notes=(*made.notes, note))


def _no_command(engine: str) -> InputError:
    return InputError(f"There is no launch command for '{engine[:40]}': use one of {', '.join(sorted(launched()))}.")


def _checkpoint(ordered: Order) -> tuple[str, tuple[str, ...]]:
    """The checkpoint to load, and where to take it from when the repository has other weights."""
    fmt, name = ordered.deployment.weights, ordered.spec.name
    if not own_checkpoint(ordered):
        return (f"./{name}" if name.startswith("-") else name), ()
    own = checkpoint_folder(ordered)
    known = ready_made(name, fmt.name, ordered.engine)
    advice = f"use an existing one, e.g. {known[0]} (not verified on the Hub)" if known else "use an existing one"
    tool = how_to_make(ordered)
    first = f"make it first with {tool}, or " if tool else ""
    return own, (f"{own} holds the model's {fmt.label} weights: {first}{advice}.",)


def _known_as(ordered: Order, model: str) -> str | None:
    """The model's own name for the server to answer to, where it is loaded from elsewhere."""
    return ordered.spec.name if own_checkpoint(ordered) and model != ordered.spec.name else None


def _online(ordered: Order) -> str | None:
    return None if is_as_shipped(ordered) else find_engine(ordered.engine).online.get(ordered.deployment.weights.name)


def above_one(degree: int) -> int | None:
    """A degree of parallelism worth naming; None for 1, which engines take by default."""
    return degree if degree > 1 else None


def _vllm(ordered: Order) -> Launch:
    d = ordered.deployment
    if d.weights.name.startswith(_VLLM_DROPPED):
        raise InputError("vLLM 0.33 no longer loads bitsandbytes weights: choose AWQ, GPTQ, FP8 or another format.")
    model, notes = _checkpoint(ordered)
    return Launch(("vllm", "serve", model, *options(ordered.engine, {
        "served_name": _known_as(ordered, model),
        "dtype": _DTYPES.get(d.weights.name),
        "quantization": _online(ordered),
        "kv_cache_dtype": "fp8" if d.kv_cache.name == "fp8" else None,
        "tp": d.tp,
        "pp": above_one(d.pp),
        "dp": above_one(d.dp),
        "ep": True if d.ep > 1 else None,
        "max_model_len": longest_request(ordered),
        "max_num_seqs": batch_limit(ordered),
        "max_num_batched_tokens": step_tokens(ordered),
        "memory_fraction": memory_fraction(ordered),
        "prefix_caching": True if ordered.options.prefix_reuse else None,
        "offload_gib": ceil(host_cache_bytes(ordered) / GIB) if ordered.options.offload else None,
        "speculation": vllm_draft(ordered),
        **vllm_shown(ordered), **own_place(d),
    })), {}, (*notes, *each_machine(d, HEADLESS), *extra_notes(ordered, VLLM_GIVEN)), model)


def extra_notes(ordered: Order, given: str) -> tuple[str, ...]:
    """What the options of the engine ask of the person who starts it; `given`: how it comes by adapters."""
    options_, notes = ordered.options, [*draft_notes(ordered), *adapter_notes(ordered, given)]
    if _online(ordered) and ordered.deployment.gpu.free_share < 1:
        notes.append("While it loads, the 16-bit weights and their copy lie in the memory that the system uses too: "
                     "name a checkpoint stored in the format if the start hangs.")
    if options_.offload:
        notes.append(f"Keeps up to {ceil(host_cache_bytes(ordered) / GIB):,} GiB of cache in the host's memory.")
    return tuple(notes)


def _sglang(ordered: Order) -> Launch:
    d = ordered.deployment
    model, notes = _checkpoint(ordered)
    online = _online(ordered)
    joined = ordered.spreads       # attention per replica, experts over all: tp counts every GPU
    return Launch(("python", "-m", "sglang.launch_server", *options(ordered.engine, {
        "model": model,
        "served_name": _known_as(ordered, model),
        "dtype": _DTYPES.get(d.weights.name),
        "quantization": online,
        "load_format": online if online == "bitsandbytes" else None,
        "kv_cache_dtype": "fp8_e4m3" if d.kv_cache.name == "fp8" else None,
        "tp": d.tp * d.dp if joined else d.tp,
        "pp": above_one(d.pp),
        "dp": None if joined else above_one(d.dp),
        "attention_dp": d.dp if joined else None,
        "ep": above_one(d.ep),
        "max_model_len": longest_request(ordered),
        "max_num_seqs": batch_limit(ordered) * (d.dp if joined else 1),
        "max_num_batched_tokens": step_tokens(ordered) * (d.dp if joined else 1),
        "memory_fraction": memory_fraction(ordered),
        "offload": True if ordered.options.offload else None,
        "offload_ratio": HOST_CACHE_RATIO if ordered.options.offload else None,
        **sglang_draft(ordered), **sglang_shown(ordered),
        **own_place(d, f"{FIRST_MACHINE}:{RENDEZVOUS_PORT}"),
    })), {}, (*notes, *each_machine(d), *extra_notes(ordered, SGLANG_GIVEN)), model)


def _trtllm(ordered: Order) -> Launch:
    d = ordered.deployment
    if ordered.spreads and d.tp > 1:
        raise InputError("TensorRT-LLM shares experts among replicas of one GPU each: choose tp 1, or no replicas.")
    model, notes = _checkpoint(ordered)
    return Launch((*under_mpi(d), "trtllm-serve", model, *options(ordered.engine, {
        "backend": "pytorch",
        "tp": d.tp * d.dp if ordered.spreads else d.tp,
        "pp": above_one(d.pp),
        "ep": above_one(d.ep),
        "max_model_len": longest_request(ordered),
        "max_num_seqs": batch_limit(ordered),
        "max_num_batched_tokens": step_tokens(ordered),
        "more": TRTLLM_CONFIG,
    })), {TRTLLM_CONFIG: yaml.safe_dump(_trtllm_settings(ordered), sort_keys=False)},
        (*notes, *extra_notes(ordered, TRTLLM_GIVEN)), model)


def _trtllm_settings(ordered: Order) -> dict[str, object]:
    """What only the file can say, and the cache's share of memory, which the file's own section would reset.

    Prompts longer than a step need chunks; graphs cover the whole batch, padded up to the next recorded size.
    """
    host = {"host_cache_size": host_cache_bytes(ordered) // ordered.deployment.gpus} if ordered.options.offload else {}
    return {
        "kv_cache_config": {
            "dtype": _TRTLLM_CACHES[ordered.deployment.kv_cache.name],
            "free_gpu_memory_fraction": memory_fraction(ordered), **host,
        },
        "enable_chunked_prefill": True,
        "cuda_graph_config": {"enable_padding": True, "max_batch_size": batch_limit(ordered)},
        **({"enable_attention_dp": True} if ordered.spreads else {}),
        **trtllm_draft(ordered),
        **trtllm_shown(ordered),
    }


def _llamacpp(ordered: Order) -> Launch:
    d, slots = ordered.deployment, batch_limit(ordered)
    file, chunk = gguf_file(ordered), step_tokens(ordered)
    cache = CACHE_TYPES.get(d.kv_cache.name)
    return Launch(("llama-server", *options(ordered.engine, {
        "model": file,
        "served_name": ordered.spec.name if ordered.spec.name != file else None,
        **_layers(ordered),
        "pp": "layer" if d.pp > 1 else None,
        "max_num_seqs": slots,
        "max_model_len": slots * request_length(ordered),
        "max_num_batched_tokens": chunk,
        "batch": chunk if chunk > _LLAMACPP_BATCH else None,
        "flash_attention": "on",
        "kv_cache_dtype": cache,
        "value_cache_dtype": cache,
        "offload_mib": ceil(host_cache_bytes(ordered) / MIB) if ordered.options.offload else None,
        **llamacpp_draft(ordered),
        **llamacpp_shown(ordered),
    })), {}, (*gguf_notes(ordered), *llamacpp_draft_notes(ordered), *tower_notes(ordered),
           *adapter_notes(ordered, LLAMACPP_GIVEN)), file)


def _layers(ordered: Order) -> dict[str, object]:
    """What lies on the GPU: all layers, or as many as leave room for the cache."""
    held = memory.hosted(ordered.spec, ordered.deployment)
    if held is None:
        return {"gpu_layers": _ALL_LAYERS}
    placement, layers = held.placement, ordered.spec.n_layers
    on_gpu = _ALL_LAYERS if placement.gpu_layers > layers else placement.gpu_layers
    return {"gpu_layers": on_gpu, "cpu_experts": placement.cpu_experts or None}


def _mlx(ordered: Order) -> Launch:
    model, notes = _checkpoint(ordered)
    return Launch(("mlx_lm.server", *options(ordered.engine, {
        "model": model,
        "max_num_seqs": batch_limit(ordered),
        "max_num_batched_tokens": step_tokens(ordered),
        **mlx_draft(ordered),
    })), {}, (*notes, *extra_notes(ordered, MLX_GIVEN)), model)


def gguf_notes(ordered: Order) -> tuple[str, ...]:
    """How to come by the GGUF file where it does not exist yet."""
    if is_gguf(ordered):
        return ()
    tool = how_to_make(ordered)
    first = f"make it first with {tool}, or " if tool else ""
    return (f"{gguf_file(ordered)} holds the model's {ordered.deployment.weights.label} weights: {first}download it.",)


# Named as llama.cpp does; its default, f16, takes the room of any 16-bit cache and has kernels everywhere.
CACHE_TYPES: Final = {"int8": "q8_0", "int4": "q4_0"}


@dataclass(frozen=True, slots=True)
class Launcher:
    """How a server is started, and the port it answers on by itself."""

    make: Callable[[Order], Launch]
    port: int


# By the launcher that an engine's row names.
LAUNCHERS: Final[Mapping[str, Launcher]] = {
    "vllm serve": Launcher(_vllm, 8000), "sglang.launch_server": Launcher(_sglang, 30000),
    "trtllm-serve": Launcher(_trtllm, 8000), "llama-server": Launcher(_llamacpp, 8080),
    "mlx_lm.server": Launcher(_mlx, 8080),
}
