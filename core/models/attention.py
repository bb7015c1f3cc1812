"""Attention in all its forms: what each keeps of the past, reads of it, and multiplies.

All token counts may be numpy arrays; results broadcast. Bytes are per GPU.
"""

from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.products.formats import KvFormat

Tokens: TypeAlias = int | float | NDArray[np.float64]

INDEX_SCALE_BYTES: Final = 4  # vLLM 0.33: an index key is fp8 with one fp32 scale, whatever the main cache is
LATENT_SCALE_GROUP: Final = 128  # vLLM 0.33 fp8_ds_mla: an fp32 scale per 128 latent values
ROPE_BYTES: Final = 2  # vLLM 0.33 fp8_ds_mla: the rotary part stays bf16


class Mixer(Protocol):
    """What mixes tokens in a layer. Shapes broadcast over token counts; bytes are per GPU."""

    @property
    def kind(self) -> str:
        """Label for people: 'full', 'sliding', 'latent', 'linear', 'mamba', ..."""
        ...

    def kv_bytes(self, context: Tokens, kv: KvFormat, tp: int) -> Tokens:
        """Cache one sequence of `context` tokens holds in this layer on one GPU [B]."""
        ...

    def kv_bytes_read(self, context: Tokens, kv: KvFormat, tp: int) -> Tokens:
        """Cache bytes read to decode one token at `context` [B]."""
        ...

    def kv_bytes_per_token(self, kv: KvFormat, tp: int) -> float:
        """Cache one more token costs once every window is full [B/token]."""
        ...

    def decode_flops(self, context: Tokens) -> Tokens:
        """Mixing FLOPs of one new token at `context`, all heads, weights excluded [FLOP]."""
        ...

    def prefill_flops(self, tokens: Tokens) -> Tokens:
        """Mixing FLOPs of a prompt of `tokens`, causal, all heads [FLOP]."""
        ...

    def state_bytes(self, model_bytes_per_value: float, tp: int) -> float:
        """Recurrent and convolution state of one sequence on one GPU [B]."""
        ...


def causal_pairs(tokens: Tokens, seen: int | None) -> Tokens:
    """(query, key) pairs of a causal prompt in which a query sees at most `seen` keys."""
    width = tokens if seen is None else np.minimum(tokens, seen)
    return width * (width + 1) / 2 + (tokens - width) * width


@dataclass(frozen=True, slots=True)
class Attention:
    """MHA, GQA or MQA, full or sliding; MiniMax-M3's adds an index that picks what is read."""

    heads: int
    kv_heads: int
    qk_dim: int
    v_dim: int
    window: int | None = None   # tokens a query sees, itself included
    writes_kv: bool = True      # False: reads the cache of an earlier layer (Gemma 3n, Gemma 4)
    index_heads: int = 0
    index_dim: int = 0          # one index key a token, replicated over the ranks
    index_top_k: int | None = None  # tokens the index lets a query attend to

    @property
    def kind(self) -> str:
        """'sparse' with an index, 'sliding' with a window, else 'full'."""
        if self.index_dim:
            return "sparse"
        return "sliding" if self.window else "full"

    def _kept(self, context: Tokens) -> Tokens:
        return context if self.window is None else np.minimum(context, self.window)

    def _attended(self) -> int | None:
        return self.window if self.index_top_k is None else self.index_top_k

    def _seen(self, context: Tokens) -> Tokens:
        attended = self._attended()
        return context if attended is None else np.minimum(context, attended)

    def _row_bytes(self, kv: KvFormat, tp: int) -> float:
        """One token's keys and values on one GPU; heads replicate once ranks outnumber them."""
        kv_heads_per_gpu = max(1.0, self.kv_heads / tp)
        return kv_heads_per_gpu * (self.qk_dim + self.v_dim) * kv.bytes_per_value

    def _index_bytes(self, kv: KvFormat) -> float:
        return self.index_dim * kv.bytes_per_value

    def kv_bytes(self, context: Tokens, kv: KvFormat, tp: int) -> Tokens:
        """Keys, values and index keys of the tokens in the window; none where an earlier layer's are read [B]."""
        return self._kept(context) * (self._row_bytes(kv, tp) + self._index_bytes(kv)) * self.writes_kv

    def kv_bytes_read(self, context: Tokens, kv: KvFormat, tp: int) -> Tokens:
        """Keys and values attended to, and the index key of every token [B]."""
        return self._seen(context) * self._row_bytes(kv, tp) + context * self._index_bytes(kv)

    def kv_bytes_per_token(self, kv: KvFormat, tp: int) -> float:
        """A row and its index key; none once a window is full or where an earlier layer's are read [B/token]."""
        grows = self.writes_kv and self.window is None
        return (self._row_bytes(kv, tp) + self._index_bytes(kv)) * grows

    def _flops(self, pairs: Tokens, index_pairs: Tokens) -> Tokens:
        return (
            2 * self.heads * (self.qk_dim + self.v_dim) * pairs
            + 2 * self.index_heads * self.index_dim * index_pairs
        )

    def decode_flops(self, context: Tokens) -> Tokens:
        """2·H·(d_qk + d_v) a token attended to, and 2·H_i·d_i a token the index scores [FLOP]."""
        return self._flops(self._seen(context), context)

    def prefill_flops(self, tokens: Tokens) -> Tokens:
        """The same over the causal (query, key) pairs of the prompt; the index scores all of them [FLOP]."""
        return self._flops(causal_pairs(tokens, self._attended()), causal_pairs(tokens, None))

    def state_bytes(self, model_bytes_per_value: float, tp: int) -> float:
        """0: the cache is all that is kept [B]."""
        return 0.0


@dataclass(frozen=True, slots=True)
class Indexer:
    """DeepSeek sparse attention: a small key a token, scored to pick the tokens attended to.

    Source: DeepSeek-V3.2 report; cache layout vLLM 0.33 (fp8 key, fp32 scale).
    """

    heads: int
    dim: int
    top_k: int
    writes_keys: bool = True    # False: the layer takes the choice of an earlier layer (GLM-5.2)

    @property
    def key_bytes(self) -> int:
        """One token's index key [B]."""
        return (self.dim + INDEX_SCALE_BYTES) * self.writes_keys

    def flops(self, pairs: Tokens) -> Tokens:
        """2·H·d for each (query, key) pair scored; none where an earlier layer's choice is taken [FLOP]."""
        return 2 * self.heads * self.dim * self.writes_keys * pairs


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """MLA: one latent and one rotary key a token for all heads, held whole by every rank.

    Source: DeepSeek-V2, arXiv 2405.04434; vLLM 0.33 `MLAAttentionSpec`.
    """

    heads: int
    latent: int                 # kv_lora_rank
    rope_dim: int
    nope_dim: int
    v_dim: int
    indexer: Indexer | None = None
    window: int | None = None

    @property
    def kind(self) -> str:
        """'latent', 'latent sliding' with a window or 'latent sparse' with an indexer."""
        if self.window:
            return "latent sliding"
        return "latent" if self.indexer is None else "latent sparse"

    def _row_bytes(self, kv: KvFormat) -> float:
        """One token's latent and rotary key; sparse layers quantise by group (fp8_ds_mla)."""
        if self.indexer is not None and kv.bits_per_value == 8:
            return self.latent * (1 + 4 / LATENT_SCALE_GROUP) + self.rope_dim * ROPE_BYTES
        return (self.latent + self.rope_dim) * kv.bytes_per_value

    def _index_bytes(self) -> int:
        return 0 if self.indexer is None else self.indexer.key_bytes

    def _kept(self, context: Tokens) -> Tokens:
        return context if self.window is None else np.minimum(context, self.window)

    def _attended(self) -> int | None:
        return self.window if self.indexer is None else self.indexer.top_k

    def _seen(self, context: Tokens) -> Tokens:
        attended = self._attended()
        return context if attended is None else np.minimum(context, attended)

    def kv_bytes(self, context: Tokens, kv: KvFormat, tp: int) -> Tokens:
        """Latents, rotary keys and index keys of the tokens in the window, whole on every rank [B]."""
        return self._kept(context) * (self._row_bytes(kv) + self._index_bytes())

    def kv_bytes_read(self, context: Tokens, kv: KvFormat, tp: int) -> Tokens:
        """The rows attended to, and the index key of every token [B]."""
        return self._seen(context) * self._row_bytes(kv) + context * self._index_bytes()

    def kv_bytes_per_token(self, kv: KvFormat, tp: int) -> float:
        """A row and its index key; none once a window is full [B/token]."""
        return (self._row_bytes(kv) + self._index_bytes()) * (self.window is None)

    def _index_flops(self, pairs: Tokens) -> Tokens:
        return 0.0 if self.indexer is None else self.indexer.flops(pairs)

    def decode_flops(self, context: Tokens) -> Tokens:
        """Decode runs absorbed: every head multiplies with the latent itself, twice."""
        per_pair = 2 * self.heads * (self.latent + self.rope_dim + self.latent)
        return per_pair * self._seen(context) + self._index_flops(context)

    def prefill_flops(self, tokens: Tokens) -> Tokens:
        """Prefill expands the latent into keys and values of every head."""
        per_pair = 2 * self.heads * (self.nope_dim + self.rope_dim + self.v_dim)
        pairs = causal_pairs(tokens, self._attended())
        return per_pair * pairs + self._index_flops(causal_pairs(tokens, None))

    def state_bytes(self, model_bytes_per_value: float, tp: int) -> float:
        """0: the cache is all that is kept [B]."""
        return 0.0


@dataclass(frozen=True, slots=True)
class CompressedAttention:
    """DeepSeek-V4: a short window of shared key-values, and one compressed entry every `ratio` tokens.

    `ratio` 0 keeps the window alone. Source: DeepSeek-V4 configuration; cache layout vLLM 0.33
    (one vector serves as key and value; the compressor's running state is fp32).
    """

    heads: int
    dim: int
    rope_dim: int
    window: int
    ratio: int
    indexer: Indexer | None = None

    @property
    def kind(self) -> str:
        """'compressed 4x' by its ratio; 'sliding' where the window is all there is."""
        return f"compressed {self.ratio}x" if self.ratio else "sliding"

    def _row_bytes(self, kv: KvFormat) -> float:
        """fp8: 448 fp8 values, 64 rotary bf16 values and 8 bytes of scales make 584 B at dim 512."""
        if kv.bits_per_value == 8:
            return (self.dim - self.rope_dim) + self.rope_dim * ROPE_BYTES + self.dim / 64
        return self.dim * kv.bytes_per_value

    def _entry_bytes(self, kv: KvFormat) -> float:
        return self._row_bytes(kv) + (0 if self.indexer is None else self.indexer.key_bytes)

    def _entries(self, context: Tokens) -> Tokens:
        return np.floor_divide(context, self.ratio) if self.ratio else 0 * context

    def _seen(self, context: Tokens) -> Tokens:
        entries = self._entries(context)
        if self.indexer is not None:
            entries = np.minimum(entries, self.indexer.top_k)
        return np.minimum(context, self.window) + entries

    def kv_bytes(self, context: Tokens, kv: KvFormat, tp: int) -> Tokens:
        """The window's rows, and one compressed entry for every `ratio` whole tokens [B]."""
        recent = np.minimum(context, self.window) * self._row_bytes(kv)
        return recent + self._entries(context) * self._entry_bytes(kv)

    def kv_bytes_read(self, context: Tokens, kv: KvFormat, tp: int) -> Tokens:
        """Rows of the window and of the entries attended to, and the index key of every entry [B]."""
        index = 0 if self.indexer is None else self.indexer.key_bytes
        return self._seen(context) * self._row_bytes(kv) + self._entries(context) * index

    def kv_bytes_per_token(self, kv: KvFormat, tp: int) -> float:
        """An entry shared out over its `ratio` tokens; 0 for the window alone [B/token]."""
        return self._entry_bytes(kv) / self.ratio if self.ratio else 0.0

    def _index_flops(self, pairs: Tokens) -> Tokens:
        return 0.0 if self.indexer is None else self.indexer.flops(pairs)

    def decode_flops(self, context: Tokens) -> Tokens:
        """4·H·d a row seen, one vector being key and value, and the index's scores of all entries [FLOP]."""
        return 4 * self.heads * self.dim * self._seen(context) + self._index_flops(self._entries(context))

    def prefill_flops(self, tokens: Tokens) -> Tokens:
        """The same over the prompt's causal pairs in the window and, a `ratio`-th of them, with the entries [FLOP]."""
        pairs = causal_pairs(tokens, self.window)
        if self.ratio:
            top_k = None if self.indexer is None else self.indexer.top_k * self.ratio
            pairs = pairs + causal_pairs(tokens, top_k) / self.ratio
        index = self._index_flops(causal_pairs(tokens, None) / self.ratio) if self.ratio else 0.0
        return 4 * self.heads * self.dim * pairs + index

    def state_bytes(self, model_bytes_per_value: float, tp: int) -> float:
        """fp32 state of the compressor: `ratio` rows of value and score, twice where blocks overlap.

        Ratio 4: 8 rows of 8,192 B and the indexer's 8 of 2,048 B; ratio 128: 128 rows of 4,096 B.
        """
        if not self.ratio:
            return 0.0
        overlap = 1 if self.indexer is None else 2
        dims = self.dim + (0 if self.indexer is None else self.indexer.dim)
        return overlap * self.ratio * 4 * 2 * overlap * dims


@dataclass(frozen=True, slots=True)
class CrossAttention:
    """Attention over an encoder's output or an image: written once, read at every step."""

    heads: int
    kv_heads: int
    head_dim: int
    source_tokens: int          # 0: a text-only request

    @property
    def kind(self) -> str:
        """Always 'cross'."""
        return "cross"

    def _source_bytes(self, kv: KvFormat, tp: int) -> float:
        kv_heads_per_gpu = max(1.0, self.kv_heads / tp)
        return self.source_tokens * 2 * kv_heads_per_gpu * self.head_dim * kv.bytes_per_value

    def kv_bytes(self, context: Tokens, kv: KvFormat, tp: int) -> Tokens:
        """Keys and values of the source, whatever the context [B]."""
        return self._source_bytes(kv, tp) + 0 * context

    def kv_bytes_read(self, context: Tokens, kv: KvFormat, tp: int) -> Tokens:
        """All of the source's keys and values at every step [B]."""
        return self._source_bytes(kv, tp) + 0 * context

    def kv_bytes_per_token(self, kv: KvFormat, tp: int) -> float:
        """0: the source does not grow [B/token]."""
        return 0.0

    def decode_flops(self, context: Tokens) -> Tokens:
        """4·H·d for each token of the source [FLOP]."""
        return 4 * self.heads * self.head_dim * self.source_tokens + 0 * context

    def prefill_flops(self, tokens: Tokens) -> Tokens:
        """Every token of the prompt attends to the whole source: 4·H·d a pair [FLOP]."""
        return 4 * self.heads * self.head_dim * self.source_tokens * tokens

    def state_bytes(self, model_bytes_per_value: float, tp: int) -> float:
        """0: the source's keys and values are in the cache [B]."""
        return 0.0
