"""One replica of a deployment under traffic: its step times, what it admits, and the options it runs with."""

from dataclasses import dataclass, replace
from typing import Final

from core.answers.traffic.scheduler import Limits, StepTimes
from core.answers.traffic.speculation import Speculation
from core.answers.traffic.steps import step_table
from core.basics.bounds import Bounds
from core.basics.errors import InputError
from core.models import ModelSpec
from core.physics import memory
from core.terms import Deployment

CHUNK: Final = Bounds(16, 131_072, whole=True)      # of one scheduler step
HOST_LINK: Final = 16e9      # B/s where a GPU names no PCIe link: PCIe 3.0 x16


@dataclass(frozen=True, slots=True)
class Options:
    """How the engine is run beyond the plan. Raises InputError outside of the ranges."""

    chunk_tokens: int | None = None         # tokens of one scheduler step; None: the engine's default
    prefix_reuse: float = 0.0               # share of a prompt found in the GPU's prefix cache
    offload: bool = False                   # evicted and preempted caches are kept in the host's memory
    host_reuse: float = 0.0                 # further share of a prompt found there
    speculation: Speculation | None = None

    def __post_init__(self) -> None:
        if self.chunk_tokens is not None:
            CHUNK.checked("The number of tokens of one step", self.chunk_tokens)
        found = self.prefix_reuse + (self.host_reuse if self.offload else 0.0)
        if min(self.prefix_reuse, self.host_reuse) < 0 or found > 1:
            raise InputError(f"The shares of a prompt found in caches must add up to 0 to 1; they make {found:g}.")


@dataclass(frozen=True, slots=True)
class Replica:
    """What the scheduler needs to know of one replica."""

    spec: ModelSpec
    deployment: Deployment
    options: Options
    steps: StepTimes
    limits: Limits
    transfer_s_per_token: float     # to send the cache of a token to another replica

    @property
    def gpus(self) -> int:
        """GPUs of the replica's deployment."""
        return self.deployment.gpus


def replica(spec: ModelSpec, deployment: Deployment, options: Options) -> Replica:
    """A replica of a deployment that fits. Raises InputError where it does not.

    Caches go to the host over PCIe, every GPU its own share (vLLM blog, "KV offloading connector",
    2026-01-08), and to another replica over the link between GPUs.
    """
    if options.chunk_tokens is not None:
        deployment = replace(deployment, max_num_batched_tokens=options.chunk_tokens)
    footprint = memory.footprint(spec, deployment)
    if not footprint.fits:
        raise InputError(
            f"{spec.name} does not fit on {deployment.gpus} x {deployment.gpu.name} with these settings: take fewer "
            "tokens per step, smaller weights or more GPUs."
        )
    drafts = options.speculation if deployment.drafter else None
    table = step_table(spec, deployment, *((drafts.draft_tokens, drafts.tokens_per_step) if drafts else ()))
    gpu = deployment.gpu
    host_s = footprint.kv_bytes_per_token / (gpu.pcie_bytes_per_s or HOST_LINK)
    limits = Limits(
        holds=footprint.max_concurrency,
        max_num_seqs=table.max_num_seqs,
        max_num_batched_tokens=table.max_num_batched_tokens,
        prefix_reuse=options.prefix_reuse,
        host_reuse=options.host_reuse if options.offload else 0.0,
        host_s_per_token=host_s if options.offload else None,
        request_s=table.request_s,
        extra_steps=table.extra_steps,
    )
    return Replica(
        spec, deployment, options, table, limits,
        transfer_s_per_token=footprint.kv_bytes_per_token / gpu.link_bytes_per_s_among(2 * deployment.gpus),
    )
