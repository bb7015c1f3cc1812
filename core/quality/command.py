"""`sweetspot quality`: the same check without a browser."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from core.basics.errors import ArchitectureUnknown, QualityError
from core.basics.words import counted
from core.losses.measured import QualityMeasurement, to_json, without_text
from core.models import ModelSpec
from core.quality.budget import CPU, SHARE, checked_device, estimate_cost, free_bytes, refusal
from core.quality.order import DEFAULT_S, MAX_S, MIN_S, Order
from core.quality.prompts import read_file
from core.quality.session import check
from core.quality.variants import DEFAULT, VARIANTS, chosen


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `quality` besides the model."""
    parser.add_argument("--prompts", type=Path, required=True, metavar="FILE",
                        help="text (prompts between lines of ---), .jsonl, .csv or a chat export (.json)")
    parser.add_argument("--formats", default=",".join(DEFAULT), metavar="A,B",
                        help=f"some of {', '.join(VARIANTS)} (%(default)s)")
    parser.add_argument("--calibration", type=Path, metavar="FILE",
                        help="text to calibrate on (the model's own continuations of held-out prompts)")
    parser.add_argument("--device", default=None, help="cuda:0, cuda:1, ... or cpu (the first GPU, else the processor)")
    parser.add_argument("--seconds", type=float, default=DEFAULT_S, help=f"{MIN_S:.0f} to {MAX_S:.0f} (%(default)s)")
    parser.add_argument("--save", default="", metavar="DIR", help="save each checkpoint in a new folder of DIR")
    parser.add_argument("--words", action="store_true", help="leave the worst prompts' own words in the JSON")


def run(asked: argparse.Namespace, resolve: Callable[[], ModelSpec]) -> str:
    """Checks and returns what is to be printed; progress goes to standard error.

    Raises InputError for bad prompts or variants, QualityError where it cannot be run or came to nothing.
    """
    device = checked_device(asked.device)
    free = free_bytes(device)
    order = Order(
        model=asked.model, prompts=read_file(asked.prompts), variants=tuple(filter(None, asked.formats.split(","))),
        device=device, seconds=asked.seconds, calibration=read_file(asked.calibration) if asked.calibration else (),
        save=asked.save, token=os.environ.get("HF_TOKEN", ""), offline=asked.offline,
        memory_bytes=SHARE * free if free is not None and device == CPU else None,
    )
    _check_cost(order, resolve)
    found = check(order, lambda share, note, _: _progress(share, note))
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if asked.json:
        return to_json(found if asked.words else without_text(found))
    return text(found)


def _check_cost(order: Order, resolve: Callable[[], ModelSpec]) -> None:
    """Says what it will take, or raises QualityError where it cannot be run here."""
    variants = chosen(order.variants)
    try:
        spec = resolve()
    except ArchitectureUnknown:         # transformers may load what the planner does not understand
        return
    cost = estimate_cost(spec, order.prompts, variants, order.device, own_text=not order.calibration)
    if why := refusal(cost, order.device, order.seconds):
        raise QualityError(why)
    _progress(0.0, f"about {cost.low_s / 60:.0f} to {cost.high_s / 60:.0f} minutes")


def _progress(fraction: float, note: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{fraction:4.0%}  {note:60.60}", end="", file=sys.stderr, flush=True)


def text(found: QualityMeasurement) -> str:
    """The scores in a few lines, and where the least faithful variant parts from the reference."""
    lines = [f"{found.model} on {found.device}: {found.tokens:,} tokens of {counted(found.prompts, 'prompt')}, "
             f"perplexity {found.perplexity:.2f} in {found.reference}"]
    if found.calibration:
        lines.append(f"Calibrated on {found.calibration}")
    lines.append(f"  {'':38} {'KL, nats/token':>18} {'same first choice':>18} {'perplexity':>11} {'loss':>18}")
    lines += [
        f"  {score.label:38} {score.kl.value:9.4f} ± {score.kl.standard_error:6.4f} "
        f"{score.agreement.value:9.1%} ± {score.agreement.standard_error:6.1%} {score.perplexity:11.2f} "
        f"{score.loss.value:+9.2%} ± {score.loss.standard_error:6.2%}"
        for score in found.scores
    ]
    lines += [f"  - {sentence}" for sentence in found.lost]
    worst = max(found.scores, key=lambda score: score.kl.value)
    for prompt in worst.worst[:3]:
        parted = ", ".join(repr(pair) for pair in prompt.tokens)
        lines.append(f"  {worst.label} strays most on prompt {prompt.index + 1} ({prompt.kl:.3f}): {parted}")
    return "\n".join(lines)
