"""How an engine lays out the KV cache and the states: pages, blocks, layer groups, pools.

`Layout.sequence_bytes` is what one running sequence takes; `Layout.tokens` is what the engine's log calls
the size of its cache.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Final

import numpy as np

from core.models import Attention, CrossAttention, LatentAttention, Mixer, ModelSpec, Tokens
from core.physics.memory.identity import SpecKey
from core.products.formats import KvFormat
from core.products.latents import LatentRow

_FAR: Final = 2.0**24          # tokens; beyond every window, so that slopes are those of the unbounded part


@dataclass(frozen=True, slots=True)
class LayerCache:
    """What the layers of one kind keep on one GPU."""

    layers: int
    row_bytes: float           # one token in one layer [B]
    window: int | None         # tokens kept; None: all
    state_bytes: float         # of one sequence in one layer, whatever its length [B]


@dataclass(frozen=True, slots=True)
class Group:
    """Layer groups of one kind in a paged cache: each takes its own blocks for the same tokens."""

    groups: int
    block_tokens: int
    window: int | None
    states: int                # > 0: that many blocks a sequence, and nothing per token


@dataclass(frozen=True, slots=True)
class Layout:
    """A paged cache: equal blocks, handed out group by group."""

    block_bytes: float         # one block over all layers of a group [B]
    groups: tuple[Group, ...]

    @property
    def block_tokens(self) -> int:
        """Tokens of the smallest block, as the engine's log counts them; 1 where there are states alone."""
        return min((group.block_tokens for group in self.groups if not group.states), default=1)

    def blocks(self, context: Tokens, in_flight: int) -> Tokens:
        """Blocks of one sequence at `context` tokens while a step carries `in_flight` more."""
        total: Tokens = 0.0
        for group in self.groups:
            total = total + group.groups * _group_blocks(group, context, in_flight)
        return total

    def sequence_bytes(self, context: Tokens, in_flight: int = 1) -> Tokens:
        """Bytes of one sequence at `context` tokens [B]."""
        return self.blocks(context, in_flight) * self.block_bytes


def _group_blocks(group: Group, context: Tokens, in_flight: int) -> Tokens:
    """Blocks that one group takes: vLLM 0.33 kv_cache_interface `max_memory_usage_bytes` by kind."""
    if group.states:
        return group.states + 0.0 * np.asarray(context, dtype=np.float64)
    if group.window is None:
        return np.ceil(np.asarray(context, dtype=np.float64) / group.block_tokens)
    return np.ceil(np.minimum(context, group.window - 1 + in_flight) / group.block_tokens) + 1


def _layer_cache(mixer: Mixer, layers: int, kv: KvFormat, tp: int, value_bytes: float) -> LayerCache:
    """Rows, window and state of a mixer, read off its own formulas."""
    far, farther = (float(mixer.kv_bytes(tokens, kv, tp)) for tokens in (_FAR, 2 * _FAR))
    row = (farther - far) / _FAR
    bounded = far - row * _FAR               # a window's rows, or an encoder's
    state = float(mixer.state_bytes(value_bytes, tp))
    window = getattr(mixer, "window", None)
    if row == 0 and bounded > 0 and window:
        return LayerCache(layers, bounded / window, window, state)
    return LayerCache(layers, row, None, state + max(0.0, bounded))


def _as_kept(mixer: Mixer, latents: LatentRow) -> Mixer:
    """The mixer as the engine caches it: attention of all heads where it does not keep latents as they are."""
    if not isinstance(mixer, LatentAttention) or latents == "latent":
        return mixer
    width = mixer.rope_dim + (mixer.latent if latents == "folded" else mixer.nope_dim)
    return Attention(mixer.heads, mixer.heads, width, width, mixer.window)


def is_paged(spec: ModelSpec, caches: tuple[LayerCache, ...]) -> bool:
    """Whether vLLM's group rules describe the cache: not where a layer keeps rows and a state, or an encoder's rows."""
    crossed = any(isinstance(mixer, CrossAttention) for mixer, _ in spec.mixers())
    return not crossed and not any(cache.row_bytes and cache.state_bytes for cache in caches)


@lru_cache(maxsize=2048)
def layer_caches(key: SpecKey, kv: KvFormat, tp: int, pp: int, latents: LatentRow = "latent"
                 ) -> tuple[LayerCache, ...]:
    """The caches of the pipeline stage with the most layers, equal kinds together."""
    value_bytes = 4.0 if key.spec.dtype == "float32" else 2.0
    merged: dict[tuple[float, int | None, float], int] = {}
    for layer in key.spec.layers:
        for mixer in layer.mixers:
            cache = _layer_cache(_as_kept(mixer, latents), layer.count, kv, tp, value_bytes)
            if cache.row_bytes or cache.state_bytes:
                kind = (cache.row_bytes, cache.window, cache.state_bytes)
                merged[kind] = merged.get(kind, 0) + cache.layers
    return tuple(LayerCache(ceil(n / pp), *kind) for kind, n in merged.items())


def flat_sequence_bytes(caches: tuple[LayerCache, ...], context: Tokens, in_flight: int = 0) -> Tokens:
    """Bytes of one sequence without paging: rows kept, windows bounded, states [B]."""
    total: Tokens = 0.0
    for cache in caches:
        kept = context if cache.window is None else np.minimum(context, cache.window + in_flight)
        total = total + cache.layers * (cache.row_bytes * kept + cache.state_bytes)
    return total


@lru_cache(maxsize=2048)
def paged(caches: tuple[LayerCache, ...], block_tokens: int, states_per_sequence: int) -> Layout | None:
    """vLLM's hybrid KV cache manager; None for a model that caches nothing.

    Layers of one kind form groups of equal size; all groups share one page size, so a layer with short rows
    gets longer blocks and a recurrent state fills one block of attention.
    Source: vLLM 0.33 v1/core/kv_cache_utils.py `_get_kv_cache_groups_uniform_page_size`,
    `unify_kv_cache_spec_page_size`; model_executor/models/config.py `HybridAttentionMambaModelConfig`.
    """
    rows = [cache for cache in caches if cache.row_bytes]
    states = [cache for cache in caches if not cache.row_bytes]
    if not rows and not states:
        return None
    if not states and len({cache.window for cache in rows}) == 1:
        block_bytes = block_tokens * sum(cache.layers * cache.row_bytes for cache in rows)
        return Layout(block_bytes, (Group(1, block_tokens, rows[0].window, 0),))
    if not rows:
        block_bytes = sum(cache.layers * cache.state_bytes for cache in states)
        return Layout(block_bytes, (Group(1, 1, None, 1),))
    widest = max(cache.row_bytes for cache in rows)
    largest_state = max((cache.state_bytes for cache in states), default=0.0)
    block = block_tokens * max(1, ceil(largest_state / (block_tokens * widest)))
    page = block * widest
    size = _group_size([cache.layers for cache in caches])
    groups = tuple(
        Group(
            groups=ceil(cache.layers / size),
            block_tokens=_block_of(cache, page, block_tokens) if cache.row_bytes else block,
            window=cache.window,
            states=0 if cache.row_bytes else states_per_sequence,
        )
        for cache in caches
    )
    return Layout(page * size, groups)


def _block_of(cache: LayerCache, page: float, block_tokens: int) -> int:
    """Tokens of one page; a remainder of the page stays empty."""
    return max(block_tokens, int(page / cache.row_bytes) // block_tokens * block_tokens)


def _group_size(layers: list[int]) -> int:
    """Layers of a group: the smallest kind, or the largest when they are within half of each other."""
    smallest, largest = min(layers), max(layers)
    return largest if largest < 1.5 * smallest else smallest
