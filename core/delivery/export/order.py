"""What is to be launched, and what its settings come to, whichever engine runs it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Final

from core.answers.advice import Choice, Plan
from core.answers.advice import batch_limit as planned_limit
from core.answers.traffic import Options, speculation
from core.basics.errors import InputError
from core.models import ModelSpec
from core.products.engines import find as find_engine
from core.terms import Deployment, Workload

_LENGTH_STEP: Final = 256        # tokens that a request may be longer than planned
HOST_CACHE_RATIO: Final = 2        # over the cache of the GPUs: SGLang's own default (server_args.py, hicache_ratio)
NOTHING_MORE: Final = Options()


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be launched."""

    spec: ModelSpec
    workload: Workload
    choice: Choice
    options: Options = NOTHING_MORE     # how the engine runs beyond the plan
    times: int = 1                      # whole deployments, behind one balancer

    @property
    def deployment(self) -> Deployment:
        """What is deployed: GPUs, layout and formats of the choice."""
        return self.choice.deployment

    @property
    def engine(self) -> str:
        """Name of the engine that is launched, a key of ENGINES."""
        return self.choice.deployment.engine

    @property
    def copies(self) -> int:
        """Servers to start for one deployment: replicas where the engine, or the model, does not join them itself."""
        d = self.choice.deployment
        return 1 if find_engine(d.engine).joins_replicas or self.spreads else d.dp

    @property
    def spreads(self) -> bool:
        """Whether replicas share the experts of a mixture: attention on each, experts over all of them."""
        d = self.choice.deployment
        return d.dp > 1 and self.spec.is_moe and not find_engine(d.engine).splits_layers

    @property
    def servers(self) -> int:
        """Servers behind one balancer: replicas that share nothing, of every deployment."""
        return self.times * (1 if self.spreads else self.deployment.dp)

    def one_of(self, servers: int) -> "Order":
        """One of that many equal servers, each with its share of the requests."""
        d, choice = self.deployment, self.choice
        parts = servers // self.times
        share = replace(
            choice, deployment=replace(d, dp=d.dp // parts), concurrency=ceil(choice.concurrency / parts),
            slo_concurrency=ceil(choice.slo_concurrency / parts),
        )
        return replace(self, choice=share, times=1)


def order(plan: Plan) -> Order:
    """What a plan recommends. Raises InputError when nothing is recommended."""
    if plan.best is None:
        raise InputError(f"There is nothing to launch: {plan.sentence}")
    return Order(plan.spec, plan.workload, plan.best, Options(
        prefix_reuse=plan.workload.prefix_hit_rate, speculation=speculation(plan.spec, plan.workload)))


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
    """Requests one replica runs at once: as set, else as many as keep the targets, at least those planned."""
    return planned_limit(ordered.choice)


def step_tokens(ordered: Order) -> int:
    """Tokens of one scheduler step, as asked for or as the plan assumes them; never fewer than requests in it."""
    planned = ordered.choice.footprint.cache.chosen.max_num_batched_tokens
    return max(ordered.options.chunk_tokens or planned, batch_limit(ordered))


def memory_fraction(ordered: Order) -> float:
    """Share of the GPU's memory that the plan gives the engine."""
    return round(ordered.choice.footprint.cache.chosen.memory_fraction, 3)


def is_as_shipped(ordered: Order) -> bool:
    """Whether the repository itself holds these weights."""
    shipped = ordered.spec.shipped
    return shipped is not None and shipped.format == ordered.deployment.weights.name


def as_launched(ordered: Order) -> Order:
    """The order with the limits of the scheduler spelt out, so that what is simulated is what the command starts.

    A server under traffic seats as many as its engine does by default, or as many as the plan found within the
    targets where that is more: llama.cpp's default is a single one.
    """
    d = ordered.deployment
    seats = max(batch_limit(ordered), find_engine(d.engine).max_num_seqs)
    set_out = replace(d, max_num_seqs=seats, max_num_batched_tokens=step_tokens(ordered))
    return replace(ordered, choice=replace(ordered.choice, deployment=set_out))


def host_cache_bytes(ordered: Order) -> int:
    """Host memory of one server for caches that leave its GPUs, beside what the GPUs themselves keep [B]."""
    return HOST_CACHE_RATIO * int(ordered.choice.footprint.kv_cache_bytes) * ordered.deployment.gpus


def own_checkpoint(ordered: Order) -> bool:
    """Whether the weights have to be made before: the repository has others, and the engine cannot make them."""
    fmt = ordered.deployment.weights
    online = find_engine(ordered.engine).online
    return not (is_as_shipped(ordered) or fmt.bits_per_weight >= 16 or fmt.name in online)


@dataclass(frozen=True, slots=True)
class Quantiser:
    """What makes weights, and the script that says so."""

    label: str
    script: str


QUANTISERS: Final[Mapping[str, Quantiser]] = {
    "llm-compressor": Quantiser("llm-compressor", "quantize.py"),
    "modelopt": Quantiser("ModelOpt", "quantize.sh"),
    "quark": Quantiser("AMD Quark", "quantize.sh"),
    "llama-quantize": Quantiser("llama.cpp's own tools", "quantize.sh"),
}


def quantiser(ordered: Order) -> str | None:
    """What makes the weights: the engine's first quantiser that the format has a recipe for, or None."""
    recipes = ordered.deployment.weights.recipe
    return next((tool for tool in find_engine(ordered.engine).quantisers if recipes(tool)), None)


def how_to_make(ordered: Order) -> str | None:
    """The quantiser and its script, as a note names them."""
    made_with = QUANTISERS.get(quantiser(ordered) or "")
    return f"{made_with.label} ({made_with.script})" if made_with else None


def checkpoint_folder(ordered: Order) -> str:
    """Where a checkpoint of one's own is looked for."""
    return f"./{Path(ordered.spec.name).name}-{ordered.deployment.weights.name}"


def gguf_file(ordered: Order) -> str:
    """The GGUF file to load."""
    name = ordered.spec.name
    if is_gguf(ordered):
        return f"./{name}" if name.startswith("-") else name
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(name).name).strip("-.") or "model"
    return f"{stem}-{ordered.deployment.weights.name.removeprefix('gguf-')}.gguf"


def is_gguf(ordered: Order) -> bool:
    """Whether the model was named by a GGUF file of its own."""
    return ordered.spec.name.lower().endswith(".gguf")
