"""What the sidebar's widgets take, by the keys they have in links and kept plans."""

from collections.abc import Mapping
from typing import Final

from core.answers.cost import PRICE
from core.basics.bounds import Bounds
from core.products.engines import ENGINES
from core.products.formats import FORMATS, KV_FORMATS
from core.terms import INPUTS

GENERATIONS: Final = {
    "other": "", "Volta": "7.0", "Turing": "7.5", "Ampere A100": "8.0", "Ampere": "8.6", "Ada": "8.9", "Hopper": "9.0",
    "Blackwell B200": "10.0", "Blackwell RTX": "12.0",
}
ANY_COUNT: Final = "any"
BEST: Final = "best"
USUAL: Final = "usual"                       # the engine that most people run on the GPU
GPU_COUNTS: Final = (1, 2, 4, 8)             # what “any” tries
NAMED_COUNTS: Final = (*GPU_COUNTS, 16)

IN_FLIGHT: Final = "in flight"
USERS: Final = "users"
PER_SECOND: Final = "per second"
OPEN: Final = "open"
LOADS: Final = (IN_FLIGHT, USERS, PER_SECOND, OPEN)      # how the number of requests is said
PEOPLE: Final = Bounds(1, 1_000_000, whole=True)
THINKING: Final = Bounds(0.0, 86_400.0)                      # s
ARRIVING: Final = Bounds(0.001, 10_000.0)                  # requests/s

_NAMES: Final = ("model", "gpu")
_LONGEST_NAME: Final = 200
_ANY_FIGURE: Final = Bounds(0, 1e9)          # of a GPU typed in: the core says what is outside its range
_NUMBERS: Final[Mapping[str, Bounds]] = {
    **{one.key: one.on_pages for one in INPUTS if not one.words}, "price": PRICE,
    "people": PEOPLE, "think": THINKING, "per_s": ARRIVING,
    **dict.fromkeys(("gpu_gib", "gpu_gbps", "gpu_fp16", "gpu_fp8", "gpu_link"), _ANY_FIGURE),
}
_OPTIONAL: Final = frozenset({"price", "gpu_fp8", *(one.key for one in INPUTS if one.is_open)})
_CHOICES: Final[Mapping[str, frozenset[str]]] = {
    "gpus": frozenset({ANY_COUNT, *map(str, NAMED_COUNTS)}), "gpu_cc": frozenset(GENERATIONS),
    "load": frozenset(LOADS),
    "engine": frozenset({USUAL, *ENGINES}), "weights": frozenset({BEST, *FORMATS}),
    "kv": frozenset({BEST, *KV_FORMATS}),
    **{one.key: frozenset(one.words) for one in INPUTS if one.words},
}
KEYS: Final = (*_NAMES, *_NUMBERS, *_CHOICES)      # every input that makes a plan


def taken(answers: Mapping[str, object]) -> dict[str, object]:
    """Those of some answers that a widget takes, as it takes them; the others, as of a stranger's file, are left."""
    return {key: _typed(key, value) for key, value in answers.items() if _is_taken(key, value)}


def _is_taken(key: str, value: object) -> bool:
    if key in _NUMBERS and isinstance(value, int | float):
        return _NUMBERS[key].holds(value)
    if key in _CHOICES:
        return value in _CHOICES[key]
    if value is None:
        return key in _OPTIONAL
    return key in _NAMES and isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME


def _typed(key: str, value: object) -> object:
    if isinstance(value, int | float):
        return int(value) if _NUMBERS[key].whole else float(value)
    return value
