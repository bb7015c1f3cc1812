"""The footprint of a deployment, term by term, each with the rule it follows."""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, inf

import numpy as np

from core.models import ModelSpec, Tokens
from core.physics import drafter, images, lora
from core.physics.memory.cache import (
    LayerCache,
    Layout,
    flat_sequence_bytes,
    is_paged,
    layer_caches,
    paged,
)
from core.physics.memory.hosted import Hosted, placed
from core.physics.memory.identity import SpecKey
from core.physics.memory.reserve import Term, reserved_terms
from core.physics.memory.settings import Settings, settings
from core.physics.memory.weights import as_shipped, weight_bytes_per_gpu
from core.products.cpus import CPU
from core.products.drafters import Drafter
from core.products.latents import latent_row
from core.terms import Basis, Deployment

DRAFT_ROW = 0.5                        # of a draft model's cache row over the model's: half as many heads or narrower
_STATES_CHECKED_SINCE = 21             # of vLLM, minor release
_SGLANG_STATE_SHARE = 0.9 / 1.9        # SGLang 0.5 mamba_full_memory_ratio 0.9
_SGLANG_WINDOW_RATIO = 0.8             # SGLang 0.5 swa_full_tokens_ratio


@dataclass(frozen=True, slots=True)
class Cache:
    """How one replica's KV cache is shared out on the fullest GPU."""

    layers: tuple[LayerCache, ...]
    layout: Layout | None              # of a paged engine
    chosen: Settings

    @property
    def is_empty(self) -> bool:
        """A model without any cache: an encoder."""
        return not self.layers

    def sequence_bytes(self, context: Tokens) -> Tokens:
        """Bytes one running sequence of `context` tokens takes [B]."""
        if self.layout is not None:
            return self.layout.sequence_bytes(context)
        step = 0 if self.chosen.engine.cache == "exact" else 1
        return flat_sequence_bytes(self.layers, context, step)

    def sequences(self, pool: float, context: Tokens, shared: Tokens = 0.0) -> Tokens:
        """Sequences of `context` tokens that a pool of that many bytes holds; inf without a cache.

        The `shared` tokens at their start are held once for all of them where the engine shares blocks.
        """
        apart = self._apart(pool, context)
        if not np.any(shared) or not self.chosen.engine.shares_prefixes:
            return apart
        rest = np.maximum(0.0, pool - np.asarray(self.sequence_bytes(shared)))
        together = np.asarray(self._apart(rest, np.asarray(context) - shared))
        held = np.where(np.asarray(shared) > 0, np.maximum(apart, together), apart)
        return float(held) if held.ndim == 0 else held

    def too_few_states(self, pool: float) -> str | None:
        """Why vLLM does not start: its sequences outnumber the blocks, one of which holds a sequence's state.

        Source: vLLM 0.21 to 0.33 config/compilation.py, "exceeds available Mamba cache blocks".
        """
        if self.layout is None or self.chosen.release < _STATES_CHECKED_SINCE:
            return None
        blocks = int(pool // self.layout.block_bytes)
        if self.chosen.max_num_seqs <= blocks or not any(group.states for group in self.layout.groups):
            return None
        return (f"max_num_seqs is {self.chosen.max_num_seqs:,}: the cache has {blocks:,} blocks, and the state of "
                "every sequence takes one.")

    def load_bytes(self, requests: float, context: float, shared: float = 0.0) -> float:
        """Bytes that a load of full-length requests takes, what they share at their start once [B]."""
        apart = requests * float(self.sequence_bytes(context))
        if not shared or not self.chosen.engine.shares_prefixes:
            return apart
        return min(apart, float(self.sequence_bytes(shared)) + requests * float(self.sequence_bytes(context - shared)))

    def _apart(self, pool: Tokens, context: Tokens) -> Tokens:
        """Sequences that share nothing."""
        if self.chosen.engine.cache == "pools" and any(cache.row_bytes for cache in self.layers):
            return self._sglang_sequences(pool, context)
        need = np.asarray(self.sequence_bytes(context), dtype=np.float64)
        with np.errstate(divide="ignore"):
            held = np.where(need > 0, pool / need, inf)
        return float(held) if held.ndim == 0 else held

    def tokens(self, pool: float) -> float:
        """Tokens of a pool of that many bytes, as the engine's log counts them; inf without a cache."""
        if self.is_empty or all(not cache.row_bytes for cache in self.layers):
            return inf
        length = self.chosen.max_model_len
        if self.layout is not None:
            return self._paged_tokens(self.layout, pool, length)
        if self.chosen.engine.cache == "pools":
            return float(self._sglang_tokens(pool))
        return pool / float(flat_sequence_bytes(self.layers, float(length))) * length

    def _paged_tokens(self, layout: Layout, pool: float, length: int) -> float:
        """vLLM: blocks over groups before 0.21, concurrency times length since."""
        blocks = pool // layout.block_bytes
        if self.chosen.release < 21:
            groups = sum(group.groups for group in layout.groups)
            return float(blocks // groups * layout.block_tokens)
        in_flight = self.chosen.max_num_batched_tokens
        return float(int(blocks / float(layout.blocks(float(length), in_flight)) * length))

    def _sglang_tokens(self, pool: Tokens) -> Tokens:
        """SGLang: full rows, sliding rows for a fixed share of the tokens, a pool apart for states."""
        if any(cache.state_bytes for cache in self.layers):
            pool = pool * (1 - _SGLANG_STATE_SHARE)
        hybrid = len({cache.window is None for cache in self.layers if cache.row_bytes}) > 1
        ratio = _SGLANG_WINDOW_RATIO if hybrid else 1.0
        row = sum(
            cache.layers * cache.row_bytes * (1.0 if cache.window is None else ratio) for cache in self.layers
        )
        return pool // row

    def _sglang_sequences(self, pool: Tokens, context: Tokens) -> Tokens:
        """SGLang: the pool that is full first decides: full rows, sliding ones beside full ones, states."""
        tokens = self._sglang_tokens(pool)
        held: Tokens = tokens / context
        windows = {cache.window for cache in self.layers if cache.row_bytes}
        if None in windows and len(windows) > 1:
            sliding = np.minimum(context, max(window for window in windows if window is not None))
            held = np.minimum(held, _SGLANG_WINDOW_RATIO * tokens / sliding)
        states = sum(cache.layers * cache.state_bytes for cache in self.layers)
        return np.minimum(held, _SGLANG_STATE_SHARE * pool / states) if states else held


@dataclass(frozen=True, slots=True)
class Footprint:
    """GPU memory of a deployment: what it takes, and the KV cache that is left."""

    terms: tuple[Term, ...]        # everything but the KV cache
    reported_bytes: float          # what the driver reports
    usable_bytes: float            # what the engine may use
    kv_cache_bytes: float          # the pool, >= 0
    kv_tokens: float               # tokens the engine reports for it; inf without any cache
    kv_bytes_per_token: float      # pool bytes of one such token; 0 without any cache
    overflow_bytes: float          # > 0 when it does not fit
    cache: Cache

    @property
    def fits(self) -> bool:
        """Weights and overheads leave room for a cache."""
        return self.overflow_bytes <= 0

    @property
    def used_bytes(self) -> float:
        """Everything on the GPU once the engine is up, the KV pool included."""
        return sum(term.bytes for term in self.terms) + self.kv_cache_bytes

    def taken_bytes(self, requests: float, context_tokens: int, shared_tokens: int = 0) -> float:
        """What a load needs of one GPU [B]: every term, and the cache of that many full-length requests a replica."""
        return sum(term.bytes for term in self.terms) + self.cache.load_bytes(requests, context_tokens, shared_tokens)

    def term(self, name: str) -> Term:
        """The term of that name; KeyError if there is none."""
        return {term.name: term for term in self.terms}[name]

    def max_concurrency(self, context: Tokens, shared: Tokens = 0.0) -> Tokens:
        """Sequences of `context` tokens, `shared` of them in common, that the KV pool of one replica holds."""
        return self.cache.sequences(self.kv_cache_bytes, context, shared)


def cache_of(spec: ModelSpec, deployment: Deployment, chosen: Settings | None = None) -> Cache:
    """The cache of a deployment on its fullest GPU."""
    chosen = chosen or settings(spec, deployment)
    latents = latent_row(chosen.engine.name, spec.family, chosen.release)
    layers = layer_caches(SpecKey(spec), deployment.kv_cache, deployment.tp, deployment.pp, latents)
    layers = _with_drafter(layers, spec, deployment)
    if chosen.engine.cache != "blocks" or not is_paged(spec, layers):
        return Cache(layers, None, chosen)
    if chosen.release < 10:            # no hybrid manager: sliding layers keep every token
        layers = tuple(LayerCache(c.layers, c.row_bytes, None, c.state_bytes) for c in layers)
    states = 2 if chosen.release >= 18 else 1       # prefix caching of states ('align') keeps one behind
    return Cache(layers, paged(layers, chosen.engine.block_tokens, states), chosen)


def _with_drafter(layers: tuple[LayerCache, ...], spec: ModelSpec, d: Deployment) -> tuple[LayerCache, ...]:
    """The caches with that of the drafter: one layer more, or a draft model's, as wide as the model's are deep."""
    own = drafter.of(spec, d.drafter)
    if own is None or not own.layers:
        return layers
    whole = next((i for i, cache in enumerate(layers) if cache.row_bytes and cache.window is None), None)
    if whole is None:
        return layers
    more = own.layers if d.drafter is not Drafter.DRAFT else ceil(own.layers * DRAFT_ROW)
    return tuple(replace(cache, layers=cache.layers + more) if i == whole else cache for i, cache in enumerate(layers))


def kv_bytes_per_token_per_gpu(spec: ModelSpec, deployment: Deployment) -> float:
    """Bytes of KV cache a token of a full-length context takes on one GPU [B/token]."""
    cache = cache_of(spec, deployment)
    return float(cache.sequence_bytes(float(cache.chosen.max_model_len))) / cache.chosen.max_model_len


def sequence_bytes(spec: ModelSpec, deployment: Deployment, context: Tokens) -> Tokens:
    """KV cache and state of one sequence of `context` tokens on one GPU, pages included [B]."""
    return cache_of(spec, deployment).sequence_bytes(context)


def hosted(spec: ModelSpec, deployment: Deployment) -> Hosted | None:
    """What stays in the host's memory; None where the GPUs hold all."""
    return _hosted(SpecKey(spec), deployment) if deployment.host else None


@lru_cache(maxsize=2048)
def _hosted(key: SpecKey, d: Deployment) -> Hosted:
    chosen = settings(key.spec, d)
    reserved = sum(term.bytes for term in reserved_terms(key, d, chosen) if term.inside_budget)
    _, room = _budget(float(d.gpu.memory_bytes), reserved, chosen)
    length = float(chosen.max_model_len)
    per_token = float(cache_of(key.spec, d, chosen).sequence_bytes(length)) / length
    return placed(key, d, room, per_token)


def _weights_term(spec: ModelSpec, deployment: Deployment, host_bytes: float) -> Term:
    size = max(0.0, weight_bytes_per_gpu(spec, deployment) - host_bytes)
    shipped = as_shipped(spec, deployment.weights)
    exact = bool(shipped and shipped.weight_bytes)
    rule = "tensor headers of the checkpoint" if exact else f"{deployment.weights.label}; the rest 16-bit"
    source = shipped.source if shipped and exact else deployment.weights.source
    basis = Basis.PUBLISHED if exact else Basis.ESTIMATED
    low, high = (0.99, 1.02) if exact else (deployment.weights.lightest, deployment.weights.heaviest)
    return Term("weights", size, rule, source, basis, size * low, size * high)


def _drafter_terms(spec: ModelSpec, d: Deployment) -> tuple[Term, ...]:
    """Weights of what drafts, where anything does: an MTP head in the model's own format, others in 16 bits."""
    own = drafter.of(spec, d.drafter)
    if own is None or not own.params:
        return ()
    is_head = d.drafter is Drafter.MTP
    size = own.params * (d.weights.bits_per_weight / 8 if is_head else drafter.BYTES) / d.tp / d.pp
    what = "multi-token prediction head of the checkpoint" if is_head else own.name or "a drafter of the usual size"
    return (Term("drafter", size, what, "drafters of assets/drafters.csv", Basis.ESTIMATED, 0.9 * size, 1.2 * size),)


def _sight_terms(spec: ModelSpec, d: Deployment, chosen: Settings, reserved: tuple[Term, ...]) -> tuple[Term, ...]:
    """What the vision tower takes while images go through it, where prompts have some."""
    if d.images is None:
        return ()
    activations = sum(term.bytes for term in reserved if term.name.startswith("activations"))
    size = images.encoder_bytes(spec, d.images, chosen.max_num_batched_tokens, activations)
    what = f"images of {d.images.width:,} x {d.images.height:,} pixels through the vision tower, and what it gives"
    return (Term("images", size, what, "vLLM's encoder budget: the tokens of a step", Basis.ESTIMATED,
                 0.5 * size, 2.0 * size),)


def _adapter_terms(spec: ModelSpec, d: Deployment) -> tuple[Term, ...]:
    """The slots of LoRA adapters; some engines keep further ones for embedding and output, rank x both their sides."""
    taken = lora.slots(spec, d)
    if taken is None or d.adapters is None:
        return ()
    rank = lora.kept_rank(d.adapters, d.engine)
    ends = 2 * d.adapters.count * rank * (spec.vocab_size + spec.hidden_size) * lora.BYTES
    what = f"{d.adapters.count:,} slots of rank {rank}, 16 bits"
    return (Term("LoRA adapters", taken.bytes, what, "rank x (inputs + outputs) of every adapted matrix",
                 Basis.ESTIMATED, taken.bytes, taken.bytes + ends),)


def footprint(spec: ModelSpec, deployment: Deployment) -> Footprint:
    """What a deployment holds on its fullest GPU, and what is left for the KV cache."""
    return _footprint(SpecKey(spec), deployment)


@lru_cache(maxsize=2048)
def _footprint(key: SpecKey, deployment: Deployment) -> Footprint:
    spec = key.spec
    chosen = settings(spec, deployment)
    reported = float(deployment.gpu.memory_bytes)
    held = None if deployment.gpu.vendor == CPU else hosted(spec, deployment)
    on_host = held.host_bytes / deployment.pp if held else 0.0
    reserved = reserved_terms(key, deployment, chosen)
    terms = (_weights_term(spec, deployment, on_host), *_drafter_terms(spec, deployment),
             *_sight_terms(spec, deployment, chosen, reserved), *_adapter_terms(spec, deployment), *reserved)
    inside = sum(term.bytes for term in terms if term.inside_budget)
    usable, left = _budget(reported, inside, chosen)
    pool = max(0.0, left)
    cache = cache_of(spec, deployment, chosen)
    tokens = cache.tokens(pool)
    per_token = pool / tokens if 0 < tokens < inf else _long_context_bytes(cache)
    return Footprint(terms, reported, usable, pool, tokens, per_token, max(0.0, -left), cache)


def _budget(reported: float, inside: float, chosen: Settings) -> tuple[float, float]:
    """What the engine may use and what it leaves for the cache [B], [B]."""
    if chosen.engine.memory == "static":
        return reported, reported - inside
    if chosen.engine.memory in ("free", "loaded"):
        left = reported - inside
        return reported, left * (chosen.memory_fraction if left > 0 else 1.0)
    usable = reported * chosen.memory_fraction
    return usable, usable - inside


def _long_context_bytes(cache: Cache) -> float:
    length = float(cache.chosen.max_model_len)
    return float(cache.sequence_bytes(length)) / length if not cache.is_empty else 0.0
