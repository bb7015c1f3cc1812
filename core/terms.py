"""The words every room shares: a workload with its inputs, a deployment, and figures that say what they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum, StrEnum
from typing import Any, Final, TypeVar

from core.basics.bounds import Bounds
from core.basics.inputs import COUNT, GB_PER_S, GBIT_PER_S, MS, PERCENT, PIXELS, REQUESTS, TOKENS, Input
from core.products import cpus, drafters
from core.products.cpus import Host
from core.products.drafters import Drafter
from core.products.engines import DEFAULT
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


SPECULATION: Final = "Speculative decoding"
HOST: Final = "Weights in host memory"
MACHINES: Final = "Several machines"
SIGHT: Final = "Images in a prompt"
LORA: Final = "LoRA adapters"
MOST_IMAGES: Final = 1000
MOST_ADAPTERS: Final = 1000

Value = TypeVar("Value", int, float, float | None)


def _asks(default: Value, asked: Input) -> Value:
    """A field of the workload with its input."""
    return field(default=default, metadata={"input": asked})


@dataclass(frozen=True, slots=True)
class Workload:
    """What the users ask for: the only home of every input of a load. Lengths in tokens, targets in seconds."""

    input_tokens: int = _asks(1024, Input(
        "in", TOKENS, Bounds(1, 100_000_000, "tokens", whole=True), 256, "Prompt tokens",
        "Tokens of an average request before the model answers.",
    ))
    output_tokens: int = _asks(256, Input(
        "out", TOKENS, Bounds(1, 100_000_000, "tokens", whole=True), 64, "Answer tokens",
        "Tokens the model writes for an average request.",
    ))
    concurrency: int = _asks(16, Input(
        "users", REQUESTS, Bounds(1, 1_000_000, "requests", whole=True), 8, "Requests in flight",
        "Requests served at the same time over the whole deployment. The batch follows from it.", may_be_open=True,
    ))
    prefix_hit_rate: float = _asks(0.0, Input(
        "prefix", PERCENT, Bounds(0, 1), 5, "Prefix hits",
        "Share of each prompt whose keys and values are still in the cache from an earlier request, as of a system "
        "prompt, a document or earlier turns are: not computed again, and held once for all requests that share "
        "them. Engines without a prefix cache compute the whole prompt.",
    ))
    spec_method: int = _asks(0, Input(
        "drafter", COUNT, Bounds(0, len(drafters.WORDS) - 1, whole=True), 1, "Speculative decoding",
        "What drafts tokens that the model then checks in one step: its own MTP head, an EAGLE-3 head, a small draft "
        "model, or the words before (n-gram).", of_deployment=True, words=drafters.WORDS, group=SPECULATION,
    ))
    spec_tokens: int = _asks(drafters.USUAL_DRAFTED, Input(
        "drafted", TOKENS, Bounds(1, drafters.MOST_DRAFTED, "tokens", whole=True), 1, "Tokens drafted",
        "Drafted per step; more pay off only where most are kept.", group=SPECULATION,
    ))
    spec_acceptance: float | None = _asks(None, Input(
        "accepted", PERCENT, Bounds(0, 1), 5, "Drafts kept",
        "Share of the drafted tokens that the model keeps, as engines log it; left empty, what is published of this "
        "model and drafter, else of others.", may_be_open=True, group=SPECULATION,
    ))
    cpu_bandwidth_gb_per_s: float = _asks(0.0, Input(
        "cpu_gbps", GB_PER_S, Bounds(0, 4000, "GB/s"), 10, "Host memory",
        "Bandwidth of the processor's memory, channels x rate x 8 bytes: 2 of DDR5-5600 are 89.6, 12 of DDR5-4800 are "
        "461. With it llama.cpp keeps what does not fit on the GPU in host memory; 0: everything lies on the GPU.",
        of_deployment=True, group=HOST,
    ))
    nodes: int = _asks(1, Input(
        "machines", COUNT, Bounds(1, 1024, whole=True), 1, "Machines",
        "Machines that the GPUs of one server are spread over evenly, as 8 GPUs on two machines of four. Layers are "
        "then split between machines and matrices inside one, or matrices over all: whichever is better.",
        of_deployment=True, group=MACHINES,
    ))
    network_gbit_per_s: float = _asks(0.0, Input(
        "network", GBIT_PER_S, Bounds(0, 100_000, "Gbit/s"), 100, "Network of a machine",
        "Between machines, all links of one machine together: eight of 400 Gbit/s InfiniBand are 3,200, an Ethernet "
        "port has 10 to 100; 0: as machines with these GPUs usually have it.", of_deployment=True, group=MACHINES,
    ))
    images: int = _asks(0, Input(
        "images", COUNT, Bounds(0, MOST_IMAGES, whole=True), 1, "Images",
        "Images of each prompt, beside its text: the model's own rule turns each into tokens, and its vision tower "
        "goes over them first. 0 plans text alone.", of_deployment=True, group=SIGHT,
    ))
    image_width: int = _asks(1024, Input(
        "image_w", PIXELS, Bounds(16, 16_384, "pixels", whole=True), 64, "Width of an image", "As it is sent.",
        of_deployment=True, group=SIGHT,
    ))
    image_height: int = _asks(1024, Input(
        "image_h", PIXELS, Bounds(16, 16_384, "pixels", whole=True), 64, "Height of an image", "As it is sent.",
        of_deployment=True, group=SIGHT,
    ))
    loras: int = _asks(0, Input(
        "loras", COUNT, Bounds(0, MOST_ADAPTERS, whole=True), 1, "Adapters at once",
        "LoRA adapters that requests of one batch use: the engine keeps a slot on the GPU for each.",
        of_deployment=True, group=LORA,
    ))
    lora_rank: int = _asks(16, Input(
        "lora_rank", COUNT, Bounds(1, 512, whole=True), 8, "Rank", "The largest rank among them.",
        of_deployment=True, group=LORA,
    ))
    lora_targets: int = _asks(0, Input(
        "lora_on", COUNT, Bounds(0, 2, whole=True), 1, "Matrices adapted",
        "all: every matrix of the layers, routed experts too; dense: without routed experts; attention: its "
        "projections alone.", of_deployment=True, words=("all", "dense", "attention"), group=LORA,
    ))
    ttft_slo_s: float = _asks(1.0, Input(
        "ttft", MS, Bounds(1e-6, 1e5, "ms"), 100, "TTFT target",
        "Time to first token: how long a user waits before the answer starts.", is_target=True,
    ))
    tpot_slo_s: float = _asks(0.050, Input(
        "tpot", MS, Bounds(1e-6, 1e5, "ms"), 5, "TPOT target",
        "Time per output token: how fast the answer flows. 50 ms is 20 tokens per second per user.", is_target=True,
    ))
    quality_loss: float = _asks(0.02, Input(
        "loss", PERCENT, Bounds(0, 1), 0.5, "Quality loss accepted",
        "Relative increase of perplexity over the 16-bit model that you accept.", is_target=True, slides_to=0.2,
    ))
    unknown_loss: int = _asks(0, Input(
        "unknown", COUNT, Bounds(0, 1, whole=True), 1, "Unknown loss",
        "Whether formats may be recommended whose loss of quality nobody has published for the model: many GGUF types, "
        "and most caches under 16 bits. Check what they cost on your own prompts.", is_target=True,
        words=("leave out", "accept"),
    ))
    mode: Mode = Mode.SERVING
    image_tokens: int = 0          # of one image, once a model is known: see core.physics.images

    @classmethod
    def of(cls, values: Mapping[str, float | None], mode: Mode = Mode.SERVING) -> "Workload":
        """The workload of inputs by name; those that are not named have their defaults."""
        named: dict[str, Any] = dict(values)
        return cls(**named, mode=mode)

    @property
    def run_as(self) -> "Workload":
        """How the model is run, under no load: what layouts depend on."""
        return Workload.of({one.name: getattr(self, one.name) for one in ASKED if one.of_deployment})

    @property
    def host(self) -> Host | None:
        """What may hold weights that the GPU does not."""
        return cpus.typed(self.cpu_bandwidth_gb_per_s) if self.cpu_bandwidth_gb_per_s else None

    @property
    def drafter(self) -> Drafter:
        """What drafts tokens."""
        return Drafter(self.spec_method)

    @property
    def pictures(self) -> "Images | None":
        """The images of a prompt; None where there are none."""
        return Images(self.images, self.image_width, self.image_height) if self.images else None

    @property
    def adapters(self) -> "Adapters | None":
        """The adapters at once; None where there are none."""
        return Adapters(self.loras, self.lora_rank, Adapted(self.lora_targets)) if self.loras else None

    @property
    def prompt_tokens(self) -> int:
        """Tokens of one prompt: its text and its images."""
        return self.input_tokens + self.images * self.image_tokens

    @property
    def context_tokens(self) -> int:
        """Tokens of one request when it ends: prompt and answer."""
        return self.prompt_tokens + self.output_tokens

    @property
    def shared_tokens(self) -> int:
        """Tokens of a prompt that are found in the prefix cache; at least one is always computed."""
        return min(int(self.prompt_tokens * self.prefix_hit_rate), self.prompt_tokens - 1)

    def check(self) -> None:
        """Raises InputError naming the first input outside its range."""
        for one in INPUTS:
            if (value := getattr(self, one.name)) is not None:
                one.in_files.checked(one.column, one.unit.in_files * value)

    def filed(self, inputs: Sequence[Input] | None = None) -> dict[str, float | str | None]:
        """Inputs, all of them where none are named, as files count them, by column."""
        return {one.column: one.filed(getattr(self, one.name)) for one in inputs or INPUTS}


INPUTS: Final[tuple[Input, ...]] = tuple(
    replace(one.metadata["input"], name=one.name, default=one.default)
    for one in fields(Workload) if "input" in one.metadata
)
ASKED: Final = tuple(one for one in INPUTS if not one.is_target)     # what comes in and how: the columns of a case
LOAD: Final = tuple(one for one in ASKED if not one.of_deployment)   # what comes in


@dataclass(frozen=True, slots=True)
class Images:
    """What each prompt shows."""

    count: int
    width: int                 # pixels of each
    height: int


class Adapted(IntEnum):
    """Which matrices adapters change; the words of `lora_targets`."""

    ALL = 0
    DENSE = 1                  # without routed experts
    ATTENTION = 2


@dataclass(frozen=True, slots=True)
class Adapters:
    """LoRA adapters that lie on the GPU at once."""

    count: int
    rank: int
    targets: Adapted = Adapted.ALL


@dataclass(frozen=True, slots=True)
class Placement:
    """What lies where, in llama.cpp's words: --n-cpu-moe and --n-gpu-layers."""

    cpu_experts: int           # layers, the first ones, whose routed experts stay on the host
    gpu_layers: int            # layers on the GPU, the last ones; one more than the model has: the output too


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
    engine: str = DEFAULT
    engine_version: str = ""
    memory_fraction: float | None = None   # of the memory the driver reports
    max_model_len: int | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    drafter: Drafter = Drafter.NONE
    host: Host | None = None               # what holds weights that the GPUs do not; None: they hold all
    placement: Placement | None = None     # which; None: as few as the memory needs
    nodes: int = 1                         # machines its GPUs are spread over, at least
    network_gbit_per_s: float = 0.0        # between them, all links of one together; 0: as is usual
    images: Images | None = None           # that each prompt may show
    adapters: Adapters | None = None       # that a batch may use

    @property
    def gpus(self) -> int:
        """GPUs of the whole deployment, replicas included."""
        return self.tp * self.pp * self.dp
