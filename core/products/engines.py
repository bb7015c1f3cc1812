"""Serving engines: one row of assets/engines.csv holds everything that is a fact about one.

Defaults are those of the named version; a deployment overrides them field by field. Where engines behave by different
rules, the row names the rule and the room that knows the physics holds it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Annotated, Final, Literal

from core.basics.errors import InputError
from core.basics.tables import Json, Note, Table, Within

DEFAULT: Final = "vllm"
HOME_CARDS: Final = ("GeForce", "TITAN", "Radeon RX", "Radeon VII", "Radeon 80", "Arc A", "Arc B", "Apple")
USUAL_AT_HOME: Final = "llamacpp"
GENERIC: Final = "generic"       # the engine without a name: what anything unknown behaves as


@dataclass(frozen=True, slots=True)
class Engine:
    """A serving engine as a planner sees it: a row of assets/engines.csv."""

    name: str                          # the name of the command line
    label: str
    version: str                       # the version the defaults were read from
    aliases: tuple[str, ...]
    vendors: tuple[str, ...]           # of the GPUs it runs on; none: any
    joins_machines: bool               # one copy over several machines
    splits: Literal["tensors", "layers", "nothing"]    # what GPUs share; stages of layers wait for each other
    joins_replicas: bool               # one server runs replicas of a dense model
    # What it may fill: a fraction of the reported memory less a profiled peak; of what is free at start; of what
    # is free after a first step; of what is free after loading, before any step; or all, as it needs it.
    memory: Literal["profiled", "static", "free", "loaded", "direct"]
    # How it keeps a cache: blocks of groups of layers; token rows and pools of states; rows; rows of the exact length.
    cache: Literal["blocks", "pools", "rows", "exact"]
    batch: Literal["by GPU", "by memory", "fixed"]     # how the defaults of a scheduler step depend on the card
    memory_fraction: Annotated[float, Within(0.01, 1)] | None     # empty: computed
    max_num_batched_tokens: Annotated[int, Within(1, 1_000_000)]  # tokens of one scheduler step
    max_num_seqs: Annotated[int, Within(1, 100_000)]              # sequences of one scheduler step
    most_seqs: Annotated[int, Within(1, 100_000)] | None          # more are refused; empty: no limit
    block_tokens: Annotated[int, Within(1, 4096)]                 # tokens of one KV cache block
    chunk_tokens: Annotated[int, Within(1, 1_000_000)]            # prompt tokens of one step where nobody says
    loader_tables: bool                # keeps rotary tables and absorbed MLA matrices beside the weights
    host_embeddings: bool              # looks embeddings up in host memory
    eager: bool                        # launches every kernel from Python
    fp16_accumulation: bool            # multiplies with FP16 accumulators, twice as fast on GeForce
    prefills_apart: bool               # prompts have steps of their own, decodes wait
    writes_scores: bool                # prompt attention through memory
    native_fp8_cache: bool             # reads an FP8 cache on Hopper without widening it
    shares_prefixes: bool              # holds the blocks of a prefix that requests have in common once
    numbers_builds: bool               # and not its releases
    windows_since_minor: Annotated[int, Within(0, 100)] | None    # 0.x releases before it read whole contexts
    unpacked_from: Json                # format -> rows from which a matmul unpacks its weights first
    formats: tuple[str, ...]           # of weights: names in core.products.formats, or prefixes; none: any
    kv_formats: tuple[str, ...]
    containers: tuple[str, ...]        # of checkpoints: safetensors gguf exl2 mlc mlx
    own_kernels: tuple[str, ...]       # vendors on whose GPUs it has kernels for everything it loads
    capabilities: Json                 # format -> least and most CUDA compute capability, where its kernels have others
    marlin: bool                       # unpacks FP8 weights in a 16-bit kernel where the GPU has no FP8
    online: Json                       # format it makes of a 16-bit checkpoint while loading -> what it calls it
    tuned_cache: bool                  # its published runs of FP8 and NVFP4 checkpoints cache in FP8
    declared_cache: bool               # applies the cache scales a checkpoint declares
    launcher: Note                     # what starts it: a rule of core.delivery.export.launch; empty: no command
    around: tuple[str, ...]            # what else starts it: ray-serve llm-d modelfile
    quantisers: tuple[str, ...]        # what makes its checkpoints, the first choice first: core.delivery.export.order
    publisher: Note                    # who publishes quantised checkpoints for it
    benchmark: Note                    # its own: a rule of core.delivery.export.verify
    reuses_prompts: bool               # finds what it computed for an earlier request
    hosts_weights: bool                # layers or experts may stay in host memory, multiplied there
    apart_since: Annotated[float, Within(0, 100)] | None    # release from which prefill and decode can be apart
    drafts: tuple[str, ...]            # ways of speculative decoding it is known to have, of core.products.drafters
    adapters: Literal["none", "exact", "stepped"]     # LoRA: slots of the rank asked, or of the next of its steps
    takes_images: bool                 # in prompts, where the model sees
    source: str

    def has_own_kernels(self, vendor: str) -> bool:
        """Whether it runs whatever it loads on a maker's GPUs."""
        return vendor in self.own_kernels

    @property
    def splits_layers(self) -> bool:
        """Whether several GPUs hold different layers, and wait for each other."""
        return self.splits == "layers"


ENGINES: Final[Mapping[str, Engine]] = Table("engines.csv", Engine)


@cache
def _by_name() -> Mapping[str, Engine]:
    """Engines by name and alias."""
    return {name: engine for engine in ENGINES.values() for name in (engine.name, *engine.aliases)}


@lru_cache(maxsize=256)
def find(name: str) -> Engine:
    """The engine of that name or alias; anything unknown behaves as the generic one."""
    return _by_name().get(name.strip().lower(), ENGINES[GENERIC])


def known(name: str) -> str:
    """The engine's own name, whatever it was called. Raises InputError for one that nobody here knows."""
    found = _by_name().get(name.strip().lower())
    if found is None:
        raise InputError(f"'{name[:40]}' is no engine known here: use one of {', '.join(ENGINES)}.")
    return found.name


@cache
def launched() -> tuple[str, ...]:
    """Engines that a command is known for."""
    return tuple(name for name, engine in ENGINES.items() if engine.launcher)


def usual(gpu_name: str) -> str:
    """The engine that people run on such a card: llama.cpp, alone or in Ollama and LM Studio, on what is sold for home.

    Its README names Apple silicon first, then CPUs and single cards of every maker; vLLM's names servers.
    """
    return USUAL_AT_HOME if gpu_name.startswith(HOME_CARDS) else DEFAULT


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
    (2024, 6): 5.0, (2024, 12): 6.05, (2025, 3): 8.0, (2025, 6): 9.0, (2025, 7): 10.0, (2025, 9): 11.0,
    (2025, 12): 13.0, (2026, 1): 14.0, (2026, 3): 17.0, (2026, 4): 19.0, (2026, 5): 21.0, (2026, 7): 24.0,
}
_SGLANG_BY_MONTH: Final = {(2024, 1): 0.0, (2025, 4): 4.05, (2025, 6): 4.08, (2025, 9): 5.02}   # the same of SGLang
NEWEST: Final = 99.0


@lru_cache(maxsize=512)
def release(version: str, engine: str = DEFAULT) -> float:
    """Minor release of a 0.x engine as a number: '0.6.5' -> 6.05, '0.5.16' -> 5.16, '0.19.0' -> 19, '2025-07' -> 10.

    A year alone stands for its April: logs trail the releases. Anything else is taken for the newest.
    """
    if found := re.search(r"\b0\.(\d{1,2})(?:\.(\d{1,2}))?", version):
        return int(found[1]) + int(found[2] or 0) / 100
    if found := re.search(r"\b(20\d\d)(?:-(\d\d))?\b", version):
        month = (int(found[1]), int(found[2] or 4))
        by_month = _SGLANG_BY_MONTH if engine == "sglang" else _VLLM_BY_MONTH
        past = [minor for since, minor in by_month.items() if since <= month]
        return past[-1] if past else 0.0
    return NEWEST
