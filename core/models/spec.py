"""A model as a planner sees it, exact to the parameter."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from core.models.attention import Mixer, Tokens
from core.models.images import Eyes
from core.models.linear import Linear, Role
from core.products.formats import KvFormat


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

    @property
    def kind(self) -> str:
        """Label of what mixes tokens here; 'none' in a layer that is only an MLP."""
        return " + ".join(mixer.kind for mixer in self.mixers) or "none"


@dataclass(frozen=True, slots=True)
class Part:
    """Something besides the text decoder: a vision tower, an MTP head, an encoder."""

    name: str
    params: int
    resident: bool             # False: in the checkpoint, dropped by the loader
    text: bool = False         # True: every request runs through it, so it counts as the text model's


@dataclass(frozen=True, slots=True)
class Shipped:
    """How the repository stores its weights."""

    format: str                        # a name of core.products.formats
    kv_format: str | None = None       # the KV cache it was calibrated for
    weight_bytes: int | None = None    # sum of data offsets of what stays resident, when read
    stored_bytes: int | None = None    # sum of data offsets of the whole checkpoint
    unquantised: tuple[str, ...] = ()  # modules kept in 16 bits, as declared
    role_formats: tuple[tuple[Role, str], ...] = ()  # matrices in another format than `format`
    role_bits: tuple[tuple[Role, float], ...] = ()   # mean bits of a role's weights, where declared layer by layer
    embedding_bits: float = 16.0                     # of the embedding; formats of whole files have their own
    bits_per_weight: float | None = None             # of the quantised matrices as stored, when read
    block: int | None = None           # rows and columns under one FP8 scale; None: whole rows, or not known
    source: str = ""
    note: str = ""                                   # what the declaration leaves open, for people


@dataclass(frozen=True)
class ModelSpec:
    """Architecture facts, exact to the parameter. Without slots, so that what every deployment asks is counted once."""

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
    lookup_params: int = 0             # per-layer embedding tables: looked up, never multiplied
    eyes: Eyes | None = None           # how images become tokens; None: it sees none, or its rule is not known

    @property
    def sees(self) -> bool:
        """Whether a vision tower is loaded with it."""
        return any(part.name == "vision tower" and part.resident for part in self.parts)

    @cached_property
    def n_layers(self) -> int:
        """Layers of the stack, of all kinds."""
        return sum(layer.count for layer in self.layers)

    def linears(self) -> Iterator[tuple[Linear, int]]:
        """Every matrix of the decoder stack with the number of layers that own one."""
        for layer in self.layers:
            for linear in layer.linears:
                yield linear, layer.count

    def mixers(self) -> Iterator[tuple[Mixer, int]]:
        """Every mixer of the decoder stack with the number of layers that own one."""
        for layer in self.layers:
            for mixer in layer.mixers:
                yield mixer, layer.count

    @property
    def layer_kinds(self) -> tuple[str, ...]:
        """What mixes tokens in each layer, first to last."""
        return tuple(self.layers[index].kind for index in self.layer_order)

    @property
    def text_params(self) -> int:
        """Parameters of the text model, tied weights once."""
        head = 0 if self.tied_embeddings else self.head.params
        stack = sum(layer.count * layer.params for layer in self.layers)
        parts = sum(part.params for part in self.parts if part.resident and part.text)
        return self.embedding_params + self.lookup_params + stack + head + self.other_params + parts

    @property
    def total_params(self) -> int:
        """Text model and resident parts, tied weights once."""
        towers = sum(part.params for part in self.parts if part.resident and not part.text)
        return self.text_params + towers

    @property
    def routed_params(self) -> int:
        """Parameters of all routed experts."""
        return sum(n * linear.params for linear, n in self.linears() if linear.experts)

    @property
    def active_routed_params(self) -> int:
        """Parameters of the routed experts one token is sent to."""
        return sum(
            n * linear.params * linear.experts_per_token // linear.experts
            for linear, n in self.linears()
            if linear.experts
        )

    @property
    def active_params(self) -> int:
        """Parameters of the text model one token touches, all embeddings included."""
        return self.text_params - self.routed_params + self.active_routed_params

    @property
    def active_params_without_input_embedding(self) -> int:
        """What publishers call active: no table that is only looked up."""
        lookup = 0 if self.tied_embeddings else self.embedding_params
        return self.active_params - lookup - self.lookup_params

    @cached_property
    def is_moe(self) -> bool:
        """Whether any layer routes tokens to experts."""
        return any(linear.experts for linear, _ in self.linears())

    @property
    def linear_flops_per_token(self) -> int:
        """Matrix FLOPs of one token through the stack, head and embedding lookup excluded [FLOP]."""
        dense = sum(n * linear.active_matrix_params for linear, n in self.linears() if not linear.experts)
        return 2 * (dense + self.active_routed_params)

    @property
    def head_flops_per_token(self) -> int:
        """FLOPs of the logits of one sampled position [FLOP]."""
        return 2 * self.head.matrix_params

    def decode_flops(self, context: Tokens) -> Tokens:
        """FLOPs of generating one token at `context` [FLOP]."""
        mixing = sum(n * mixer.decode_flops(context) for mixer, n in self.mixers())
        return self.linear_flops_per_token + self.head_flops_per_token + mixing

    def prefill_flops(self, tokens: Tokens) -> Tokens:
        """FLOPs of a prompt of `tokens` whose last position is sampled [FLOP]."""
        mixing = sum(n * mixer.prefill_flops(tokens) for mixer, n in self.mixers())
        return self.linear_flops_per_token * tokens + self.head_flops_per_token + mixing

    def kv_bytes(self, context: Tokens, kv: KvFormat, tp: int = 1) -> Tokens:
        """KV cache of one sequence of `context` tokens on one GPU of `tp`, all layers [B]."""
        return sum(n * mixer.kv_bytes(context, kv, tp) for mixer, n in self.mixers())

    def kv_bytes_per_token(self, kv: KvFormat, tp: int = 1) -> float:
        """KV cache one more token costs on one GPU of `tp` once every window is full [B/token]."""
        return sum(n * mixer.kv_bytes_per_token(kv, tp) for mixer, n in self.mixers())

    def state_bytes(self, model_bytes_per_value: float = 2.0, tp: int = 1) -> float:
        """Recurrent and convolution state of one sequence on one GPU [B]."""
        return sum(n * mixer.state_bytes(model_bytes_per_value, tp) for mixer, n in self.mixers())


def distinct_experts(experts: int, experts_per_token: int, tokens: Tokens) -> Tokens:
    """Experts a batch of `tokens` touches when routing is uniform: E(1 − (1 − k/E)^B)."""
    return experts * (1 - (1 - experts_per_token / experts) ** tokens)
