"""The words every room shares: a workload, a deployment, and figures that say what they are."""

from dataclasses import dataclass
from enum import StrEnum

from core.products.formats import Format, KvFormat
from core.products.gpus import GpuSpec


class Basis(StrEnum):
    """Where a figure comes from."""

    MEASURED = "measured"
    PUBLISHED = "published"
    ESTIMATED = "estimated"


class Mode(StrEnum):
    """`static`: the batch starts together. `serving`: continuous batching in steady state."""

    STATIC = "static"
    SERVING = "serving"


class Bound(StrEnum):
    """What limits a phase."""

    MEMORY = "memory bandwidth"
    COMPUTE = "compute"
    OVERHEAD = "overhead"
    COMMUNICATION = "communication"
    CAPACITY = "capacity"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 80 % range, what it rests on and where it comes from."""

    value: float
    low: float
    high: float
    basis: Basis
    source: str


@dataclass(frozen=True, slots=True)
class Workload:
    """What the users ask for. Lengths in tokens, SLOs in seconds."""

    input_tokens: int = 1024
    output_tokens: int = 256
    concurrency: int = 16          # requests in flight over the whole deployment
    ttft_slo_s: float = 1.0        # time to first token the users accept
    tpot_slo_s: float = 0.050      # time per output token the users accept
    quality_loss: float = 0.02     # relative increase of perplexity the users accept
    mode: Mode = Mode.SERVING

    @property
    def context_tokens(self) -> int:
        """Tokens of one request when it ends: prompt and answer."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Deployment:
    """One way to serve a model: hardware layout, number formats and engine settings.

    GPUs = tp * pp * dp. `ep` is the expert-parallel degree over those GPUs. `None` means the
    engine's default.
    """

    gpu: GpuSpec
    weights: Format
    kv_cache: KvFormat
    tp: int = 1
    pp: int = 1
    ep: int = 1
    dp: int = 1
    engine: str = "vllm"
    engine_version: str = ""
    memory_fraction: float | None = None   # of the memory the driver reports
    max_model_len: int | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None

    @property
    def gpus(self) -> int:
        """GPUs of the whole deployment, replicas included."""
        return self.tp * self.pp * self.dp
