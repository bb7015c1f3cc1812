"""BERT and its kin as writers: encoders with a head over the vocabulary, causal only where the file says so.

Source: each family's code in transformers 5.24.0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from core.models import Attention, Layer, ModelSpec, Part
from core.reading.configs import blocks
from core.reading.configs.keys import Keys
from core.reading.configs.seq2seq import cross
from core.reading.configs.stack import assemble
from core.reading.configs.vision import linear

Parts = tuple[Part, ...]
NO_CACHE: Final = "This configuration reads both ways (is_decoder is not set), so no cache is kept while it writes."


def _none(keys: Keys, hidden: int) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class BertTraits:
    """What differs from BERT in a family's code."""

    embedding: str = ""             # key of the embedding's width, where it may differ from the stream's
    project: Literal["", "differs", "always"] = ""  # the matrix from the embedding to the stream
    positions: Literal["table", "rotary"] = "table"
    token_types: bool = True
    embedding_norm: bool = True
    final_norm: bool = False        # norms before the blocks instead of after them
    transform: str | None = ""      # key of the width of the head's dense layer and norm; None: no such layer
    pooler: bool = False
    crosses: bool = False           # attends to an image in every layer
    more: Callable[[Keys, int], int] = _none            # besides the embeddings
    more_in_layer: Callable[[Keys, int], int] = _none


def _roc(keys: Keys, hidden: int) -> int:
    """RoCBERT: how a character sounds and looks, mapped to the stream with the word."""
    sound = keys.size("pronunciation_embed_dim") * keys.flag("enable_pronunciation", default=True)
    look = keys.size("shape_embed_dim") * keys.flag("enable_shape", default=True)
    tables = keys.size("pronunciation_vocab_size") * sound + keys.size("shape_vocab_size") * look
    mapped = linear(hidden + sound + look, hidden) if keys.flag("concat_input", default=True) else 0
    return tables + mapped


def _adapters(keys: Keys, hidden: int) -> int:
    """X-MOD: a bottleneck a language in every layer."""
    narrow = hidden // keys.size_or(2, "adapter_reduction_factor", low=1)
    own_norm = 2 * hidden * keys.flag("adapter_layer_norm")
    return own_norm + len(keys.texts("languages") or ["en_XX"]) * (linear(hidden, narrow) + linear(narrow, hidden))


def _tasks(keys: Keys, hidden: int) -> int:
    """ERNIE: a table of tasks, on demand."""
    return keys.size_or(3, "task_type_vocab_size") * hidden * keys.flag("use_task_id")


_BERT: Final = BertTraits()
_BEFORE: Final = BertTraits(embedding_norm=False, final_norm=True)
FAMILIES: Final[Mapping[str, BertTraits]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "camembert": _BERT,
    "xlm-roberta": _BERT,
    "data2vec-text": _BERT,
    "ernie": BertTraits(more=_tasks),
    "big_bird": BertTraits(pooler=True),
    "bert-generation": BertTraits(token_types=False, transform=None),
    "electra": BertTraits("embedding_size", "differs", transform="embedding_size"),
    "roformer": BertTraits("embedding_size", "differs", positions="rotary", transform="embedding_size"),
    "rembert": BertTraits("input_embedding_size", "always", transform="output_embedding_size"),
    "roc_bert": BertTraits(more=_roc),
    "xmod": BertTraits(more_in_layer=_adapters),
    "blip_text_model": BertTraits(token_types=False, crosses=True),
    "megatron-bert": _BEFORE,
    "xlm-roberta-xl": _BEFORE,
    "roberta-prelayernorm": replace(_BEFORE, embedding_norm=True),
}


def read(name: str, keys: Keys, traits: BertTraits, top: Keys | None = None, parts: Parts = ()) -> ModelSpec:
    """A stack of attention and a plain MLP, biases throughout; the head's bias counts beside a tied embedding."""
    h, vocab = keys.size("hidden_size"), keys.size("vocab_size")
    heads = keys.size("num_attention_heads", high=2**16)
    if heads > h:
        raise keys.fail("num_attention_heads", heads, f"no more than hidden_size ({h})")
    dim, decodes = h // heads, keys.flag("is_decoder")
    wide = keys.size_or(h, traits.embedding) if traits.embedding else h
    out = keys.size_or(h, traits.transform) if traits.transform else h
    tied = keys.flag("tie_word_embeddings", default=True)
    positions = keys.size("max_position_embeddings", high=2**31) * (dim if traits.positions == "rotary" else wide)
    other = positions + traits.more(keys, h) + keys.size_or(2, "type_vocab_size") * wide * traits.token_types
    other += 2 * wide * traits.embedding_norm + 2 * h * traits.final_norm + linear(h, h) * traits.pooler
    other += linear(wide, h) * (traits.project == "always" or (traits.project == "differs" and wide != h))
    other += 0 if traits.transform is None else linear(h, out) + 2 * out
    linears = (
        *blocks.qkv_o(h, heads, heads, dim, dim, bias=True, o_bias=True),
        *blocks.mlp(h, keys.size("intermediate_size"), bias=True),
    )
    mixer = Attention(heads, heads, dim, dim, writes_kv=decodes)
    layer = Layer(1, (mixer,), linears, 4 * h + traits.more_in_layer(keys, h))
    if traits.crosses or (decodes and keys.flag("add_cross_attention")):
        width = keys.size_or(h, "encoder_hidden_size", "cross_attention_hidden_size")
        seen, cross_linears, small = cross(
            h, heads, heads, dim, source=512, bias=True, k_bias=True, source_width=width
        )
        layer = Layer(1, (mixer, seen), linears + cross_linears, layer.other_params + small + 2 * h)
    return assemble(
        name, keys, [layer] * keys.layers(), hidden=h, top=top, parts=parts, tied=tied, embedding=vocab * wide,
        head_bias=not tied, head_inputs=out, other=other + vocab * tied, notes=() if decodes else (NO_CACHE,),
    )


def encoder(keys: Keys) -> int:
    """Parameters of BERT as an encoder alone, with its pooler."""
    spec = read("", keys, FAMILIES["bert"])
    h, head = spec.hidden_size, linear(spec.hidden_size, spec.hidden_size)
    return spec.text_params - spec.vocab_size - head - 2 * h + head
