"""From layers in order to a ModelSpec."""

from collections.abc import Sequence

from core.models import Layer, Linear, ModelSpec, Part, Role, Shard
from core.reading.configs.keys import MAX_CONTEXT, Keys

_CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
    "context_length",
    "n_ctx",
    "max_target_positions",
    "max_seq_length",
    "model_max_length",
)


def dtype_of(*configs: Keys) -> str:
    """What servers load: bfloat16 unless the file says float16; float32 checkpoints are cast."""
    for keys in configs:
        said = keys.values.get("dtype") or keys.values.get("torch_dtype")
        if said == "float16":
            return "float16"
        if isinstance(said, str):
            break
    return "bfloat16"


def max_context(keys: Keys) -> int | None:
    """Tokens the model was made for, when the file says."""
    for name in _CONTEXT_KEYS:
        value = keys.values.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_CONTEXT:
            return value
    return None


def is_tied(text: Keys, top: Keys | None = None) -> bool:
    """Whether lm_head is the embedding: the top level wins, then the text config, then the class."""
    if top is not None and "tie_word_embeddings" in top:
        return top.flag("tie_word_embeddings")
    if "tie_word_embeddings" in text or top is None:
        return text.flag("tie_word_embeddings")
    return top.flag("tie_word_embeddings", default=text.flag("tie_word_embeddings"))


def grouped(order: Sequence[Layer]) -> tuple[tuple[Layer, ...], tuple[int, ...]]:
    """Equal layers counted together, and the kind of each layer of the stack."""
    index: dict[Layer, int] = {}
    places = tuple(index.setdefault(layer, len(index)) for layer in order)
    counts = [0] * len(index)
    for place in places:
        counts[place] += 1
    kinds = tuple(
        Layer(count, layer.mixers, layer.linears, layer.other_params)
        for layer, count in zip(index, counts, strict=True)
    )
    return kinds, places


def assemble(
    name: str,
    keys: Keys,
    order: Sequence[Layer],
    *,
    hidden: int,
    top: Keys | None = None,
    tied: bool | None = None,
    vocab: int | None = None,
    embedding: int | None = None,
    head_bias: bool = False,
    head_inputs: int | None = None,
    other: int = 0,
    lookup: int = 0,
    parts: tuple[Part, ...] = (),
    notes: tuple[str, ...] = (),
) -> ModelSpec:
    """The spec of a decoder of those layers; embedding V·h and the head of the same shape unless given."""
    vocab = keys.size("vocab_size", "padded_vocab_size") if vocab is None else vocab
    layers, places = grouped(order)
    head = Linear("lm_head", head_inputs or hidden, vocab, Role.HEAD, Shard.COLUMN, bias=head_bias)
    return ModelSpec(
        name=name,
        family=keys.family if top is None else top.family,
        hidden_size=hidden,
        vocab_size=vocab,
        max_context=max_context(keys),
        dtype=dtype_of(*((top, keys) if top else (keys,))),
        layers=layers,
        layer_order=places,
        embedding_params=vocab * hidden if embedding is None else embedding,
        tied_embeddings=is_tied(keys, top) if tied is None else tied,
        head=head,
        other_params=other,
        parts=parts,
        notes=notes,
        lookup_params=lookup,
    )
