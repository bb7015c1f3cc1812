"""What a quality check is asked to do: plain data without torch, made by the page and read by the worker."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

DEFAULT_S: Final = 900.0
MIN_S: Final = 30.0
MAX_S: Final = 4 * 3600.0
SEQUENCES: Final = 16               # of calibration text; more helps little, takes as many times longer
SEQUENCE_TOKENS: Final = 256


@dataclass(frozen=True, slots=True)
class Order:
    """One model, somebody's prompts, and the variants to try."""

    model: str                          # Hub id, folder, or GGUF file
    prompts: tuple[str, ...] = field(repr=False)
    variants: tuple[str, ...]           # names in VARIANTS; the noise floor comes by itself
    device: str = "cpu"                 # or "cuda:0"
    seconds: float = DEFAULT_S          # deadline of the whole
    calibration: tuple[str, ...] = field(default=(), repr=False)    # texts; empty: the model's own continuations
    sequences: int = SEQUENCES
    sequence_tokens: int = SEQUENCE_TOKENS
    save: str = ""                      # folder for the checkpoints, one below it a variant; empty: none
    token: str = field(default="", repr=False)      # of the Hub
    endpoint: str = ""                  # a mirror of the Hub
    offline: bool = False
    memory_bytes: float | None = None   # what a processor's worker may take; None: all there is

    def to_dict(self) -> dict[str, Any]:
        """The order in plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Order":
        """The order as the worker hears it."""
        lists = {name: tuple(data[name]) for name in ("prompts", "variants", "calibration")}
        return cls(**{**data, **lists})
