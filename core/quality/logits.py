"""What a model says of the next token, for every token of every prompt, and how that differs from the reference.

The reference's log-probabilities are computed once and kept in a file as 32-bit floats: they are what
every variant is held against, a second full-precision model in memory would cost twice the weights, and
16 bits would blur a noise floor of a thousandth of a nat. At most one prompt's logits and a few rows in
32 bits are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from core.quality.metrics import Tokens

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

CHUNK_VALUES: Final = 2**24         # 32-bit values of one step: 64 MiB
Ids = Sequence[int]
Report = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Reference:
    """The full-precision model on every scored token."""

    prompts: tuple[tuple[int, ...], ...]        # token ids
    file: Path                                  # log-probabilities [tokens, vocabulary] as 32-bit floats
    loss: NDArray[np.float64]
    first: NDArray[np.int64]
    prompt: NDArray[np.int64]


def scored_tokens(prompts: Sequence[Ids]) -> int:
    """How many tokens have one before them that foretells them."""
    return sum(len(ids) - 1 for ids in prompts)


def reference(model: PreTrainedModel, prompts: Sequence[Ids], file: Path, report: Report) -> Reference:
    """Runs the model in full precision and keeps its log-probabilities in `file`."""
    losses, firsts = [], []
    with file.open("wb") as opened:
        for position, ids in enumerate(prompts):
            for rows, targets in _rows(model, ids):
                rows.cpu().numpy().tofile(opened)
                losses.append(_losses(rows, targets))
                firsts.append(rows.argmax(-1).cpu().numpy())
            report((position + 1) / len(prompts))
    belongs = np.repeat(np.arange(len(prompts)), [len(ids) - 1 for ids in prompts])
    return Reference(
        tuple(tuple(ids) for ids in prompts), file, np.concatenate(losses), np.concatenate(firsts), belongs
    )


def held_against(model: PreTrainedModel, known: Reference, report: Report) -> Tokens:
    """The model at every token, alongside the reference."""
    import torch

    losses, firsts, divergences = [], [], []
    with known.file.open("rb") as opened:
        for position, ids in enumerate(known.prompts):
            for rows, targets in _rows(model, ids):
                truth = torch.from_numpy(np.fromfile(opened, np.float32, rows.numel())).view_as(rows).to(rows.device)
                losses.append(_losses(rows, targets))
                firsts.append(rows.argmax(-1).cpu().numpy())
                divergences.append((truth.exp() * (truth - rows)).sum(-1).double().cpu().numpy())
            report((position + 1) / len(known.prompts))
    return Tokens(
        known.prompt, np.concatenate(losses), known.loss, np.concatenate(divergences), np.concatenate(firsts),
        known.first,
    )


def _rows(model: PreTrainedModel, ids: Ids) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Log-probabilities [rows, vocabulary] in 32 bits with the tokens that came, a few rows at a time."""
    import torch

    tokens = torch.tensor([list(ids)], device=model.device)
    with torch.inference_mode():
        logits: Any = model(input_ids=tokens, use_cache=False).logits[0, :-1]
        step = max(1, CHUNK_VALUES // logits.shape[-1])
        for begin in range(0, len(logits), step):
            rows = logits[begin : begin + step].float().log_softmax(-1)
            yield rows, tokens[0, 1 + begin : 1 + begin + len(rows)]


def _losses(rows: torch.Tensor, targets: torch.Tensor) -> NDArray[np.float64]:
    """-log p of the tokens that came [nats]."""
    losses: NDArray[np.float64] = -rows.gather(1, targets[:, None])[:, 0].double().cpu().numpy()
    return losses
