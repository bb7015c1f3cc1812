"""The SentencePiece tokenizer that a GGUF file carries, rebuilt from its tokens and their scores.

transformers 5.17 takes Gemma's scores, which are the ranks of merges, for a unigram model's log-probabilities,
and then splits words that are one token; Llama's merges it finds by searching lists, over a minute for 32,000.
sentencepiece 0.2 itself gives the same tokens: two vocabularies of 6,000 pieces, 3,991 paragraphs of text and code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

SPACE: Final = "▁"
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4     # llama.cpp's token types (llama.h, llama_token_attr)
_KEYS: Final = "tokenizer.ggml."
_SPECIAL: Final = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def sentencepiece(file: Path) -> PreTrainedTokenizerBase | None:
    """The file's tokenizer; None where it is of another kind. Raises ValueError or KeyError where it is damaged."""
    from transformers import PreTrainedTokenizerFast
    from transformers.integrations.gguf import read_gguf_metadata

    metadata, _ = read_gguf_metadata(str(file), (f"{_KEYS}tokens",))
    told = {key.removeprefix(_KEYS): value for key, value in metadata.items()}
    if told.get("model") != "llama":
        return None
    special = {name: told["tokens"][told[f"{key}_token_id"]]
               for name, key in _SPECIAL.items() if f"{key}_token_id" in told}
    return PreTrainedTokenizerFast(
        tokenizer_object=_built(told, special), chat_template=metadata.get("tokenizer.chat_template"), **special
    )


def merges(scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """Every way to make a piece of two, the best score first: SentencePiece merges in that order (bpe_model.cc)."""
    ranked = sorted(scores, key=lambda piece: -scores[piece])
    return [(piece[:at], piece[at:]) for piece in ranked for at in range(1, len(piece))
            if piece[:at] in scores and piece[at:] in scores]


def _built(told: Mapping[str, Any], special: Mapping[str, str]) -> Tokenizer:
    """Unset keys mean what llama.cpp takes them for: a space before the text, and the first token of every text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    tokens: Sequence[str] = told["tokens"]
    kinds = list(zip(tokens, told["scores"], told["token_type"], strict=True))
    built = Tokenizer(models.BPE(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges({token: score for token, score, kind in kinds if kind == NORMAL}),
        unk_token=special.get("unk_token"), fuse_unk=True, byte_fallback=True,
    ))
    spaces = normalizers.Replace(" ", SPACE)
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if told.get("add_space_prefix", True):
        built.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), spaces])
        built.decoder = decoders.Sequence([*steps, decoders.Strip(" ", left=1, right=0)])
    else:
        built.normalizer, built.decoder = spaces, decoders.Sequence(steps)
    # Found in the text as they stand, before anything is merged.
    built.add_special_tokens([AddedToken(token, normalized=False) for token, _, kind in kinds if kind == CONTROL])
    built.add_tokens([AddedToken(token, normalized=False) for token, _, kind in kinds if kind == USER_DEFINED])
    if told.get("add_bos_token", True) and "bos_token" in special:
        _begin_with(built, special["bos_token"], told["bos_token_id"])
    return built


def _begin_with(built: Tokenizer, token: str, number: int) -> None:
    from tokenizers.processors import TemplateProcessing

    built.post_processor = TemplateProcessing(
        single=f"{token} $A", pair=f"{token} $A {token} $B", special_tokens=[(token, number)]
    )
