"""Which layer does what: sliding windows and mixture-of-experts layers, in every way configs say it."""

from collections.abc import Sequence
from itertools import cycle, islice

from core.reading.configs.keys import MAX_COUNT, Keys
from core.reading.configs.stack import max_context

SLIDING = ("sliding_attention", "chunked_attention", "sliding", "local", "local_attention")


def _by_pattern(pattern: object, n: int, keys: Keys) -> list[bool] | None:
    """`sliding_window_pattern`: every p-th layer is full; a string such as LLLG says it letter by letter."""
    if isinstance(pattern, str) and pattern:
        return [pattern[i % len(pattern)] == "L" for i in range(n)]
    if isinstance(pattern, int) and not isinstance(pattern, bool) and pattern > 0:
        return [(i + 1) % pattern != 0 for i in range(n)]
    return None


def sliding_layers(keys: Keys, n: int, *, every: int | None = None) -> list[bool]:
    """Which of `n` layers slide; `every`: by the class's own rule each such layer is full."""
    types = layer_types(keys, n)
    if types is not None:
        return [kind in SLIDING for kind in types]
    if (hybrid := keys.whole_numbers("hybrid_layer_pattern", high=1)) is not None and len(hybrid) >= n:
        return [bool(flag) for flag in hybrid[:n]]
    pattern = keys.values.get("sliding_window_pattern", keys.values.get("_sliding_window_pattern"))
    if (slides := _by_pattern(pattern, n, keys)) is not None:
        return slides
    if every is not None:
        return [(i + 1) % every != 0 for i in range(n)]
    return [True] * n


def layer_types(keys: Keys, n: int) -> list[str] | None:
    """`layer_types`, one a layer, when the file gives it."""
    types = keys.texts("layer_types")
    if types is not None and len(types) < n:
        raise keys.fail("layer_types", len(types), f"a list of {n} entries, one per layer")
    return None if types is None else types[:n]


def local_layers(keys: Keys, n: int) -> list[bool]:
    """GPT-Neo's `attention_types`: kinds and how often they repeat; global and local in turn unless told."""
    periods = keys.values.get("attention_types")
    if periods is None:
        return [i % 2 == 1 for i in range(n)]
    kinds: list[object] = []
    for period in periods if isinstance(periods, list) else [periods]:
        match period:
            case [list(some), int(times)]:
                kinds += islice(cycle(some), min(n + 1, max(0, times) * len(some)))
            case _:
                raise keys.fail("attention_types", period, "pairs of a list of kinds and how often it repeats")
        if len(kinds) > n:
            break
    if len(kinds) != n:
        raise keys.fail("attention_types", len(kinds), f"{n} entries when repeated, one per layer")
    return [kind in SLIDING for kind in kinds]


def windows(keys: Keys, n: int, *, every: int | None = None, gate: bool = False) -> list[int | None]:
    """Window of each layer [tokens] or None where attention is full.

    `gate`: the family slides only if `use_sliding_window`. With `max_window_layers` the layers from there on slide.
    A window no shorter than the longest context never bites and counts as none.
    """
    window = keys.optional("sliding_window", "sliding_window_size")
    longest = max_context(keys)
    if not window or (longest is not None and window >= longest):
        return [None] * n
    if keys.values.get("use_sliding_window") is False or (gate and not keys.flag("use_sliding_window")):
        return [None] * n
    first = keys.optional("max_window_layers")
    if (gate or first is not None) and layer_types(keys, n) is None and "sliding_window_pattern" not in keys.values:
        first = n if first is None else first
        return [window if i >= first else None for i in range(n)]
    return [window if slides else None for slides in sliding_layers(keys, n, every=every)]


def moe_layers(keys: Keys, n: int) -> list[bool]:
    """Which of `n` layers hold routed experts."""
    types = keys.texts("mlp_layer_types")
    if types is not None:
        if len(types) < n:
            raise keys.fail("mlp_layer_types", len(types), f"a list of {n} entries, one per layer")
        return [kind == "sparse" for kind in types[:n]]
    if (interval := keys.optional("moe_layer_interval", low=1, high=MAX_COUNT)) is not None:
        return _between(keys, n, interval)
    first = keys.size_or(0, "first_k_dense_replace", "num_dense_layers", high=2**20)
    if keys.is_list("moe_layer_freq"):
        flags = keys.whole_numbers("moe_layer_freq", high=1) or []
        if len(flags) < n:
            raise keys.fail("moe_layer_freq", len(flags), f"a list of {n} entries, one per layer")
        return [bool(flag) and i >= first for i, flag in enumerate(flags[:n])]
    step = max(1, keys.size_or(1, "moe_layer_freq", "decoder_sparse_step", high=2**20))
    dense = set(keys.whole_numbers("mlp_only_layers") or ())
    if "decoder_sparse_step" in keys:
        return [i not in dense and (i + 1) % step == 0 and i >= first for i in range(n)]
    return [i not in dense and i % step == 0 and i >= first for i in range(n)]


def _between(keys: Keys, n: int, interval: int) -> list[bool]:
    """ERNIE 4.5: every `interval`-th layer from a first to a last one (−1: the end of the stack)."""
    start = keys.size_or(1, "moe_layer_start_index", high=MAX_COUNT)
    last = keys.optional("moe_layer_end_index", low=-1, high=MAX_COUNT)
    last = n - 1 if last is None or last == -1 else last
    return [(i + 1) % interval == 0 and start <= i <= last for i in range(n)]


def pick(values: Sequence[int], i: int) -> int:
    """The value of layer `i` in a list that gives one a layer, or one for all."""
    return values[i] if len(values) > 1 else values[0]
