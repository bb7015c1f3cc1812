"""Text to calibrate on: the model's own continuations of prompts that are held out, or texts that were given.

Foreign text is worse: GPTQ of a 135M model calibrated on its own continuations strayed .34 nats from the
reference, calibrated on foreign text .48.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from core.basics.errors import InputError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from core.quality.load import Loaded

HELD_OUT: Final = 4                 # every fourth prompt; of fewer prompts the first fourth of each
SEED_TOKENS: Final = 32             # of a held-out prompt, which the model then continues
Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Texts:
    """Somebody's prompts as tokens."""

    scored: tuple[Ids, ...]
    origin: tuple[int, ...]         # which of the prompts each of `scored` is
    held_out: tuple[Ids, ...]
    remarks: tuple[str, ...]        # what was left out, one sentence each


def tokenised(loaded: Loaded, prompts: Sequence[str], *, hold_out: bool) -> Texts:
    """The prompts as tokens, some of them held out where the model is to continue them.

    Raises InputError where one is longer than the model reads, or none has a second token.
    """
    ids = [tuple(loaded.tokenizer(prompt)["input_ids"]) for prompt in prompts]
    for number, one in enumerate(ids, 1):
        if loaded.context is not None and len(one) > loaded.context:
            raise InputError(f"Prompt {number} has {len(one):,} tokens and the model reads {loaded.context:,} at most: "
                             f"shorten it, or part it with lines of ---.")
    blank = len(loaded.tokenizer("")["input_ids"])      # what the tokenizer puts around any text
    usable = [(number, one) for number, one in enumerate(ids) if len(one) - blank >= 2]
    if not usable:
        raise InputError("Every prompt is a single token: nothing follows it that could be scored. Use longer prompts.")
    short = len(ids) - len(usable)
    remarks = (f"Left out: {short} of {len(ids)} prompts, a single token each.",) if short else ()
    if not hold_out:
        return Texts(tuple(one for _, one in usable), tuple(number for number, _ in usable), (), remarks)
    if len(usable) >= HELD_OUT:
        kept = [pair for place, pair in enumerate(usable) if place % HELD_OUT != HELD_OUT - 1]
        out = tuple(one for place, (_, one) in enumerate(usable) if place % HELD_OUT == HELD_OUT - 1)
    else:
        kept = [(number, one[len(one) // HELD_OUT :]) for number, one in usable]
        out = tuple(one[: max(1, len(one) // HELD_OUT)] for _, one in usable)
    return Texts(tuple(one for _, one in kept), tuple(number for number, _ in kept), out, remarks)


def continuations(model: PreTrainedModel, held_out: Sequence[Ids], sequences: int, tokens: int) -> list[torch.Tensor]:
    """`sequences` texts [1, tokens] that the model samples after pieces of the held-out prompts."""
    import torch

    length = min(SEED_TOKENS, min(map(len, held_out)))
    seeds = torch.tensor(_pieces(held_out, sequences, length), device=model.device)
    torch.manual_seed(0)
    with torch.inference_mode():
        texts = model.generate(
            seeds, attention_mask=torch.ones_like(seeds), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
            min_new_tokens=tokens - length, max_new_tokens=tokens - length, pad_token_id=0,
        )
    return list(texts.split(1))


def windows(loaded: Loaded, texts: Sequence[str], sequences: int, tokens: int) -> list[torch.Tensor]:
    """Up to `sequences` pieces [1, <= tokens] of given texts. Raises InputError where they hold too little."""
    import torch

    ids = [loaded.tokenizer(text)["input_ids"] for text in texts]
    pieces = [one[at : at + tokens] for one in ids for at in range(0, len(one), tokens)]
    pieces = [piece for piece in pieces if len(piece) > 1][:sequences]
    if not pieces:
        raise InputError("The calibration text has fewer than two tokens. Give a page of text like your prompts.")
    return [torch.tensor([piece], device=loaded.model.device) for piece in pieces]


def _pieces(held_out: Sequence[Ids], count: int, length: int) -> list[Ids]:
    """`count` pieces of equal length, spread over the held-out prompts."""
    starts = [one[at : at + length] for one in held_out for at in range(0, len(one) - length + 1, length)]
    return [starts[(place * len(starts)) // count if len(starts) >= count else place % len(starts)]
            for place in range(count)]
