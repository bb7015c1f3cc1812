"""What a model card says of each kind of layer: how many there are, what they cache, what state they carry."""

from dataclasses import dataclass

from core.models.linear import Role
from core.models.spec import Layer, ModelSpec
from core.products.formats import KvFormat


@dataclass(frozen=True, slots=True)
class KindOfLayer:
    """All layers that mix tokens in the same way; bytes are of one sequence on one GPU without parallelism."""

    kind: str                       # "full", "sliding", "latent", "linear", ...; "none": an MLP alone
    layers: int
    window: int | None              # recent tokens it keeps whole; None: all of them, or no cache at all
    kv_bytes_per_token: float       # of all these layers, once windows are full [B/token]
    kv_bytes: float                 # of all these layers at the context asked for [B]
    state_bytes: float              # recurrent and convolution state of all these layers [B]


def kinds_of_layers(spec: ModelSpec, kv: KvFormat, context_tokens: int) -> tuple[KindOfLayer, ...]:
    """The kinds of layers of the stack, most frequent first."""
    by_kind: dict[tuple[str, int | None], list[Layer]] = {}
    for layer in spec.layers:
        by_kind.setdefault((layer.kind, _window(layer)), []).append(layer)
    kinds = (_summed(kind, window, layers, kv, context_tokens) for (kind, window), layers in by_kind.items())
    return tuple(sorted(kinds, key=lambda kind: -kind.layers))


def _window(layer: Layer) -> int | None:
    return next((window for mixer in layer.mixers if (window := getattr(mixer, "window", None))), None)


def _summed(
    kind: str, window: int | None, layers: list[Layer], kv: KvFormat, context_tokens: int
) -> KindOfLayer:
    mixers = [(mixer, layer.count) for layer in layers for mixer in layer.mixers]
    return KindOfLayer(
        kind=kind,
        layers=sum(layer.count for layer in layers),
        window=window,
        kv_bytes_per_token=sum(count * mixer.kv_bytes_per_token(kv, 1) for mixer, count in mixers),
        kv_bytes=float(sum(count * mixer.kv_bytes(context_tokens, kv, 1) for mixer, count in mixers)),
        state_bytes=sum(count * mixer.state_bytes(2.0, 1) for mixer, count in mixers),
    )


def layer_by_layer(spec: ModelSpec) -> tuple[tuple[str, str], ...]:
    """(what mixes tokens, what follows it: "experts", "dense" or "none") of each layer, first to last."""
    parts = [(layer.kind, _feed_forward(layer)) for layer in spec.layers]
    return tuple(parts[index] for index in spec.layer_order)


def _feed_forward(layer: Layer) -> str:
    roles = {linear.role for linear in layer.linears}
    if Role.EXPERT in roles:
        return "experts"
    return "dense" if Role.MLP in roles else "none"
