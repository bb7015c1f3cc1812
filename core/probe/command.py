"""`sweetspot probe`: the same measurement without a browser."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from core.basics.bounds import Bounds
from core.basics.errors import InputError
from core.machinery.worker import free_memory_bytes
from core.models import ModelSpec
from core.probe import many_command
from core.probe.devices import CPU, DEFAULT_S, MAX_S, MIN_S, checked, devices, ranks
from core.probe.fit import ceilings, crossings, decode_steps, speed_over_16_bit
from core.probe.measurement import Measurement, to_json
from core.probe.order import order
from core.probe.override import step_differences
from core.probe.session import probe
from core.products import gpus


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `probe` besides the model."""
    parser.add_argument("--device", default=None, help="cuda:0, cuda:1, ... or cpu (the first GPU, else the processor)")
    parser.add_argument("--seconds", type=float, default=DEFAULT_S, help=f"{MIN_S:.0f} to {MAX_S:.0f} (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the measurement, for the Probe page to import")
    many_command.arguments(parser)


def run(spec: ModelSpec, asked: argparse.Namespace, write: Callable[[Path, str], object]) -> str:
    """Measures and returns what is to be printed; progress goes to standard error.

    Raises InputError for a time out of range, ProbeError when it could not be measured.
    """
    Bounds(MIN_S, MAX_S, "s").checked("The time of a probe", asked.seconds)
    if asked.cluster:
        return many_command.run(spec, asked, write, _progress)
    if asked.host or asked.gpu_type:
        raise InputError("--host and --gpu-type choose among the machines of a cluster: add --cluster.")
    device = checked(asked.device or devices()[0].name)
    asked_for = order(spec, device, asked.seconds, free_memory_bytes() if device == CPU else None, ranks(device))
    found = probe(asked_for, lambda share, note, _: _progress(share, note))
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if asked.out:
        write(asked.out, to_json(found))
    return to_json(found) if asked.json else text(found, spec)


def _progress(fraction: float, note: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{fraction:4.0%}  {note:60}", end="", file=sys.stderr, flush=True)


def _steps(found: Measurement, spec: ModelSpec) -> list[str]:
    """Decode steps of the whole model, beside the estimates where the GPU is in the catalogue."""
    estimated: dict[tuple[str, int], float] = {}
    if found.gpu:
        differences = step_differences(spec, gpus.find(found.gpu), found)
        estimated = {(one.format, one.batch): one.estimated_s for one in differences}
    steps = decode_steps(found, spec.n_layers)
    lines = []
    for step in steps:
        seconds = estimated.get((step.format, step.batch))
        beside = "" if seconds is None else f", estimated {seconds * 1e3:,.2f}"
        name = f"{step.format} decode, batch {step.batch}"
        lines.append(f"  {name:24} {step.full.seconds * 1e3:10,.2f} ms per step{beside}")
    for fmt, (batch, _) in crossings(steps).items():
        lines.append(f"  {fmt + ' pays to batch':24} {batch:10,.0f}")
    return lines


def text(found: Measurement, spec: ModelSpec) -> str:
    """The ceilings in a few lines."""
    reached = ceilings(found)
    lines = [f"Measured: {found.device}, {len(found.points)} points in {found.seconds:.0f} s, shapes of {found.model}"]
    for name, rate in (("copy", reached.copy_bytes_per_s), ("read", reached.read_bytes_per_s)):
        if rate:
            lines.append(f"  {name:24} {rate / 1e9:10,.1f} GB/s")
    for fmt, rate in reached.weights_bytes_per_s.items():
        lines.append(f"  {fmt + ' weights, M = 1':24} {rate / 1e9:10,.1f} GB/s")
    for fmt, rate in reached.matmul_flops_per_s.items():
        lines.append(f"  {fmt + ' matmul':24} {rate / 1e12:10,.1f} TFLOPS")
    for kv, rate in reached.kv_bytes_per_s.items():
        lines.append(f"  {kv + ' KV cache':24} {rate / 1e9:10,.1f} GB/s")
    for fmt, by_rows in speed_over_16_bit(found.points).items():
        if fmt != "bf16" and by_rows:
            ratios = ", ".join(f"{ratio:.2f}x at M={M}" for M, ratio in by_rows.items())
            lines.append(f"  {fmt + ' against 16 bit':24} {ratios}")
    if reached.link:
        name = f"all-reduce, {reached.ranks} GPUs"
        lines.append(f"  {name:24} {reached.link.rate_per_s / 1e9:10,.1f} GB/s, {reached.link.start_s * 1e6:.1f} us")
    lines += _steps(found, spec)
    lines += [f"  ! {remark}" for remark in found.conditions.remarks]
    lines += [f"  - {sentence}" for sentence in found.lost]
    return "\n".join(lines)
