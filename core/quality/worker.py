"""The process that checks: loads the model, scores it in full precision and in each variant, says so line by line.

Lines: {"device", "versions"} first; {"facts"} once the reference is scored; {"score"} or {"lost"} for each
variant; {"share", "note"} in between; {"refused"} when nothing can be done; {"done"} last.
"""

from __future__ import annotations

import copy
import gc
import math
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from core.basics.errors import QualityError, SweetspotError
from core.losses.measured import Score, WorstPrompt
from core.machinery.worker import limit_memory, processor_name, ran_out_of_memory, say, told
from core.quality import checkpoint
from core.quality.calibrate import Texts, continuations, tokenised, windows
from core.quality.make import make
from core.quality.metrics import Tokens, spread
from core.quality.order import Order
from core.quality.products import fast_products
from core.quality.variants import BITSANDBYTES, COMPRESSOR, LOADERS, Means, Variant, chosen

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from core.quality.load import Loaded
    from core.quality.logits import Reference

WORST_PROMPTS: Final = 5
WORST_TOKENS: Final = 8
READ_BACK: Final = (0.05, 1e-3)     # of the KL, and nats on top: kernels add in another order
TEXT: Final = 200                   # characters of a prompt that are shown
PACKAGES: Final = ("torch", *LOADERS, COMPRESSOR, "compressed-tensors", BITSANDBYTES)
# What libraries raise where a model, a shape or a device is not to their taste.
EXPECTED: Final = (ArithmeticError, AttributeError, ImportError, LookupError, MemoryError, OSError, RuntimeError,
                   TypeError, ValueError)


def main() -> int:
    """Runs the order; the exit code."""
    heard, out = told()
    folder = Path(heard.pop("folder"))
    order = Order.of(heard)
    try:
        with fast_products(order.device):
            _run(order, folder, out)
    except SweetspotError as error:
        say(out, refused=str(error))
    except EXPECTED as error:
        if not ran_out_of_memory(error):
            raise
        say(out, refused="There was not enough memory for the full-precision model and its logits: take a smaller "
                         "model, shorter prompts, or a machine with more memory.")
    say(out, done=True)
    return 0


def _run(order: Order, folder: Path, out: TextIO) -> None:
    from core.quality.load import load, located
    from core.quality.logits import reference, scored_tokens

    device, variants = _prepare(order, out), chosen(order.variants)
    stages = 2.0 + len(variants)
    say(out, share=0.0, note="loading the model")
    source = located(order)
    if order.memory_bytes is not None:
        limit_memory(order.memory_bytes + source.weights_bytes)     # mapped files count, though they take nothing
    loaded = load(source, device)
    calibrated = any(variant.calibrated for variant in variants)
    texts = tokenised(loaded, order.prompts, hold_out=calibrated and not order.calibration)
    known = reference(
        loaded.model, texts.scored, folder / "reference.f32",
        lambda share: say(out, share=(1 + share) / stages, note="scoring the full-precision model"),
    )
    loaded.model.to(loaded.stored)      # exact, and half the memory where the checkpoint has 16 bits
    if calibrated:
        say(out, share=2 / stages, note="taking given text" if order.calibration else "sampling text to calibrate on")
    calibration, came_from = _calibration(order, loaded, texts) if calibrated else ([], "")
    say(out, facts={
        "revision": loaded.source.revision, "prompts": len(texts.scored), "tokens": scored_tokens(texts.scored),
        "calibration": came_from, "perplexity": math.exp(known.loss.mean()), "remarks": texts.remarks,
    })
    means = Means(calibration, loaded.tokenizer, folder)
    for position, variant in enumerate(variants):
        def tell(share: float, note: str, begun: float = 2.0 + position) -> None:
            say(out, share=(begun + share) / stages, note=note)

        try:
            say(out, score=asdict(_score(order, variant, loaded, texts, known, means, tell)))
        except (SweetspotError, *EXPECTED) as error:
            say(out, lost=f"{variant.label}: {_why(error)}.")
        _free(device)


def _prepare(order: Order, out: TextIO) -> torch.device:
    """Imports what is large, starts torch's threads, and tells what device this is and what is installed."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401

    torch.ones(512, 512) @ torch.ones(512, 512)         # threads and libraries are up before a limit counts
    device = torch.device(order.device)
    versions = {"python": platform.python_version()} | {
        name: version(name) for name in PACKAGES if find_spec(name.replace("-", "_")) is not None
    }
    if device.type == "cpu":
        say(out, device=f"CPU: {processor_name()}", versions=versions)
    else:
        torch.cuda.set_device(device)
        say(out, device=torch.cuda.get_device_properties(device).name, versions=versions)
    return device


def _calibration(order: Order, loaded: Loaded, texts: Texts) -> tuple[list[torch.Tensor], str]:
    """Token sequences to calibrate on, and where they come from. Raises QualityError where the model writes none."""
    if order.calibration:
        pieces = windows(loaded, order.calibration, order.sequences, order.sequence_tokens)
        return pieces, f"{len(pieces)} pieces of up to {order.sequence_tokens} tokens of given text"
    try:
        pieces = continuations(loaded.model, texts.held_out, order.sequences, order.sequence_tokens)
    except EXPECTED as error:
        raise QualityError(f"The model could not continue held-out prompts ({_why(error)}): give calibration text, or "
                           f"leave out AWQ, GPTQ and SmoothQuant.") from error
    made = f"{len(pieces)} x {order.sequence_tokens} tokens"
    return pieces, f"{made} of the model's own continuations of held-out prompts"


def _score(
    order: Order, variant: Variant, loaded: Loaded, texts: Texts, known: Reference,
    means: Means, tell: Callable[[float, str], None],
) -> Score:
    """One variant, made on a copy of the model and compared with the reference."""
    from core.quality.logits import held_against

    began = time.monotonic()
    tell(0.0, f"{variant.label}: making it")
    model = copy.deepcopy(loaded.model)
    method = make(variant, model, means, as_checkpoint=bool(order.save))
    seen = held_against(model, known, lambda share: tell(share, f"{variant.label}: scoring it"))
    if order.save and variant.can_be_saved:
        method += _saved(order, variant, loaded, known, model, seen, tell)
    return Score(
        variant=variant.name, label=variant.label, weights=variant.weights, kv_cache=variant.kv_cache, method=method,
        perplexity=seen.perplexity, loss=seen.relative_loss, kl=spread(seen.kl, seen.prompt),
        agreement=spread(seen.agrees, seen.prompt), seconds=time.monotonic() - began,
        worst=_worst(order, loaded, texts, seen),
    )


def _saved(
    order: Order, variant: Variant, loaded: Loaded, known: Reference, model: PreTrainedModel, seen: Tokens,
    tell: Callable[[float, str], None],
) -> str:
    """Saves what was scored, reads it back and scores it again; a word on it, or why nothing was left of it."""
    from core.quality.logits import held_against

    tell(0.0, f"{variant.label}: saving it")
    try:
        folder = checkpoint.saved(model, loaded.tokenizer, order.save, variant)
        read = checkpoint.read_back(folder, model)
        again = held_against(read, known, lambda share: tell(share, f"{variant.label}: scoring what was saved"))
        kl, kl_again = float(seen.kl.mean()), float(again.kl.mean())
        if abs(kl_again - kl) > READ_BACK[0] * kl + READ_BACK[1]:
            raise QualityError(f"read back it strays {kl_again:.4f} nats, not {kl:.4f}")
        checkpoint.kept(folder)
    except (QualityError, *EXPECTED) as error:
        return f"; not saved: {_why(error)}"
    finally:
        checkpoint.discarded(order.save)
    return f", saved and read back (KL {kl_again:.4f})"


def _worst(order: Order, loaded: Loaded, texts: Texts, seen: Tokens) -> tuple[WorstPrompt, ...]:
    def pair(reference: int, own: int) -> str:
        return f"{loaded.tokenizer.decode([reference])}|{loaded.tokenizer.decode([own])}"[:TEXT]

    return tuple(
        WorstPrompt(
            texts.origin[prompt], kl, order.prompts[texts.origin[prompt]][:TEXT],
            tuple(pair(*choices) for choices in seen.partings(prompt, WORST_TOKENS)),
        )
        for prompt, kl in seen.worst(WORST_PROMPTS)
    )


def _why(error: Exception) -> str:
    """The reason a variant was lost, in words."""
    if ran_out_of_memory(error):
        return "not enough memory"
    return str(error).strip().split("\n")[0].rstrip(".")[:200] or type(error).__name__


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        import torch

        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
