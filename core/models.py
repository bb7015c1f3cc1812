"""What a model is to a planner: layers made of matrices and mixers, and what each of them caches.

A `ModelSpec` is exact to the parameter. A mixer (attention, latent attention, recurrence) knows
the bytes it keeps for a sequence, the bytes it reads to decode a token and the FLOPs it does.
All token counts may be numpy arrays; results broadcast.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.formats import KvFormat

Tokens: TypeAlias = int | float | NDArray[np.float64]


class Shard(StrEnum):
    """How tensor parallelism splits a matrix."""

    COLUMN = "column"          # outputs split over the ranks
    ROW = "row"                # inputs split; an all-reduce follows
    REPLICATED = "replicated"  # every rank holds and computes all of it


class Role(StrEnum):
    """What part of the model a matrix belongs to; quantisers decide by this."""

    ATTENTION = "attention"
    MLP = "mlp"
    EXPERT = "expert"
    SHARED_EXPERT = "shared expert"
    ROUTER = "router"
    STATE = "state"            # projections of a recurrent mixer
    HEAD = "head"


@dataclass(frozen=True, slots=True)
class Linear:
    """One weight matrix [inputs, outputs]; with `experts` > 0, that many of the same shape."""

    name: str                  # as engines name it: qkv_proj, o_proj, gate_up_proj, down_proj, ...
    inputs: int                # K
    outputs: int               # N
    role: Role
    shard: Shard = Shard.COLUMN
    bias: bool = False
    experts: int = 0
    experts_per_token: int = 0

    @property
    def matrices(self) -> int:
        return max(1, self.experts)

    @property
    def matrix_params(self) -> int:
        """Weights that multiply, all experts [elements]."""
        return self.matrices * self.inputs * self.outputs

    @property
    def params(self) -> int:
        """Weights and biases, all experts [elements]."""
        return self.matrix_params + self.matrices * self.outputs * self.bias

    @property
    def active_matrix_params(self) -> int:
        """Weights one token multiplies with [elements]."""
        return self.inputs * self.outputs * (self.experts_per_token if self.experts else 1)


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

    def decode_flops(self, context: Tokens) -> Tokens:
        """Mixing FLOPs of one new token at `context`, all heads, weights excluded [FLOP]."""
        ...

    def prefill_flops(self, tokens: Tokens) -> Tokens:
        """Mixing FLOPs of a prompt of `tokens`, causal, all heads [FLOP]."""
        ...

    def state_bytes(self, model_bytes_per_value: float, tp: int) -> float:
        """Recurrent and convolution state of one sequence on one GPU [B]."""
        ...


@dataclass(frozen=True, slots=True)
class Attention:
    """MHA, GQA or MQA, full or sliding."""

    heads: int
    kv_heads: int
    qk_dim: int
    v_dim: int
    window: int | None = None  # tokens a query sees, itself included
    writes_kv: bool = True     # False: reads the cache of an earlier layer (Gemma 3n, Gemma 4)

    @property
    def kind(self) -> str:
        return "sliding" if self.window else "full"

    def _seen(self, context: Tokens) -> Tokens:
        return context if self.window is None else np.minimum(context, self.window)

    def _row_bytes(self, kv: KvFormat, tp: int) -> float:
        """One token's keys and values on one GPU; heads replicate once ranks outnumber them."""
        kv_heads_per_gpu = max(1.0, self.kv_heads / tp)
        return kv_heads_per_gpu * (self.qk_dim + self.v_dim) * kv.bytes_per_value

    def kv_bytes(self, context: Tokens, kv: KvFormat, tp: int) -> Tokens:
        return self._seen(context) * self._row_bytes(kv, tp) * self.writes_kv

    def kv_bytes_read(self, context: Tokens, kv: KvFormat, tp: int) -> Tokens:
        return self._seen(context) * self._row_bytes(kv, tp)

    def decode_flops(self, context: Tokens) -> Tokens:
        return 2 * self.heads * (self.qk_dim + self.v_dim) * self._seen(context)

    def prefill_flops(self, tokens: Tokens) -> Tokens:
        seen = self._seen(tokens)
        pairs = seen * (seen + 1) / 2 + (tokens - seen) * seen
        return 2 * self.heads * (self.qk_dim + self.v_dim) * pairs

    def state_bytes(self, model_bytes_per_value: float, tp: int) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class Layer:
    """`count` identical layers."""

    count: int
    mixers: tuple[Mixer, ...]
    linears: tuple[Linear, ...]
    other_params: int          # norms, sinks, convolutions, decays: kept in 16 or 32 bits

    @property
    def params(self) -> int:
        """Parameters of one such layer."""
        return sum(linear.params for linear in self.linears) + self.other_params


@dataclass(frozen=True, slots=True)
class Part:
    """Something beside the text decoder: a vision tower, an MTP head, an encoder."""

    name: str
    params: int
    resident: bool             # False: in the checkpoint, dropped by the loader


@dataclass(frozen=True, slots=True)
class Shipped:
    """How the repository stores its weights."""

    format: str                        # a name of core.formats
    kv_format: str | None = None       # the KV cache it was calibrated for
    weight_bytes: int | None = None    # sum of data offsets of what stays resident, when read
    stored_bytes: int | None = None    # sum of data offsets of the whole checkpoint
    unquantised: tuple[str, ...] = ()  # modules kept in 16 bits, as declared
    source: str = ""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Architecture facts, exact to the parameter."""

    name: str                          # Hub id or path
    family: str                        # model_type
    hidden_size: int
    vocab_size: int
    max_context: int | None            # tokens; None when the config does not say
    dtype: str                         # "bfloat16", "float16"; what servers load, not fp32
    layers: tuple[Layer, ...]
    layer_order: tuple[int, ...]       # index into `layers` for each layer of the stack
    embedding_params: int
    tied_embeddings: bool
    head: Linear                       # lm_head, also when tied
    other_params: int                  # final norm, position tables, ...
    parts: tuple[Part, ...] = ()
    shipped: Shipped | None = None
    source: str = ""
    best_effort: bool = False          # unknown family read through ordinary keys
    notes: tuple[str, ...] = field(default=())

    @property
    def n_layers(self) -> int:
        return sum(layer.count for layer in self.layers)

    def linears(self) -> Iterator[tuple[Linear, int]]:
        """Every matrix of the decoder stack with the number of layers that own one."""
        for layer in self.layers:
            for linear in layer.linears:
                yield linear, layer.count

    @property
    def text_params(self) -> int:
        """Parameters of the text model, tied weights once."""
        head = 0 if self.tied_embeddings else self.head.params
        stack = sum(layer.count * layer.params for layer in self.layers)
        return self.embedding_params + stack + head + self.other_params

    @property
    def total_params(self) -> int:
        """Text model and resident parts, tied weights once."""
        return self.text_params + sum(part.params for part in self.parts if part.resident)

    @property
    def routed_params(self) -> int:
        """Parameters of all routed experts."""
        return sum(n * linear.params for linear, n in self.linears() if linear.experts)

    @property
    def active_params(self) -> int:
        """Parameters one token touches, input embedding included."""
        idle = sum(
            n * linear.params * (linear.experts - linear.experts_per_token) // linear.experts
            for linear, n in self.linears()
            if linear.experts
        )
        return self.text_params - idle

    @property
    def is_moe(self) -> bool:
        return any(linear.experts for linear, _ in self.linears())

    def kv_bytes(self, context: Tokens, kv: KvFormat, tp: int = 1) -> Tokens:
        """KV cache of one sequence of `context` tokens on one GPU of `tp`, all layers [B]."""
        return sum(
            layer.count * mixer.kv_bytes(context, kv, tp)
            for layer in self.layers
            for mixer in layer.mixers
        )

    def state_bytes(self, model_bytes_per_value: float = 2.0, tp: int = 1) -> float:
        """Recurrent and convolution state of one sequence on one GPU [B]."""
        return sum(
            layer.count * mixer.state_bytes(model_bytes_per_value, tp)
            for layer in self.layers
            for mixer in layer.mixers
        )
