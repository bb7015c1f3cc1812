"""What is planned for, as a command asks it: model, GPU, load and engine; and the plan of it."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import Final

from core.answers import advice
from core.answers.sweep import DEFAULT_ENGINE, DEFAULT_GPU_COUNTS
from core.basics.bounds import figure
from core.basics.errors import InputError
from core.basics.inputs import Input
from core.losses.measured import QualityMeasurement
from core.models import ModelSpec
from core.products import gpus
from core.products.engines import ENGINES, USUAL_AT_HOME
from core.reading import catalogue
from core.terms import INPUTS, Mode, Workload

OPEN: Final = "concurrency"             # left out, the plan says how many requests can be carried


def arguments(plan: argparse.ArgumentParser) -> None:
    """Adds model, GPU, load and engine."""
    plan.add_argument("--model", default=catalogue.DEFAULT_MODEL, help="Hub id, folder or file (%(default)s)")
    plan.add_argument("--gpu", default=None,
                      help=f"name, count (8x H100) or machine (the GPU in this one, else {gpus.DEFAULT_GPU})")
    _typed_in_arguments(plan.add_argument_group("a GPU typed in, where no table has it"))
    for one in INPUTS:
        default = "as many as can be carried" if one.name == OPEN else _said(one)
        plan.add_argument(one.option, dest=one.name, type=partial(one.read, called=one.option),
                          default=None if one.name == OPEN else one.default,
                          metavar="WORD" if one.words else "N",
                          help=f"{one.label}: {' '.join(one.words) or one.in_files.span} ({default})")
    plan.add_argument("--mode", choices=[mode.value for mode in Mode], default=Workload().mode.value)
    plan.add_argument("--engine", choices=list(ENGINES), default=None,
                      help="what serves the model (the one to launch, else what is usual on the GPU: "
                           f"{USUAL_AT_HOME} on cards for home, {DEFAULT_ENGINE} on others)")
    plan.add_argument("--gpus", type=int, nargs="+", metavar="N",
                      help="numbers of GPUs that may be tried (1 2 4 8, no more than --gpu names)")


def _said(one: Input) -> str:
    """What an input is where nothing is said."""
    default = one.filed(one.default)
    return "as published" if default is None else default if isinstance(default, str) else figure(default)


def _typed_in_arguments(card: argparse._ArgumentGroup) -> None:
    for option, unit, ranged, text in (
        ("--memory", "GIB", "memory", "memory as the driver reports it"),
        ("--bandwidth", "GB/S", "memory bandwidth", "memory bandwidth"),
        ("--tflops", "TFLOPS", "peak", "dense FP16 peak"),
        ("--fp8-tflops", "TFLOPS", "peak", "dense FP8 peak, where it has one"),
        ("--link-gb-s", "GB/S", "link", "link to another such GPU, in one direction (PCIe 4.0 x16)"),
    ):
        bounds = gpus.RANGES[ranged]
        card.add_argument(option, type=partial(bounds.read, option), metavar=unit, help=f"{text}: {bounds.span}")
    card.add_argument("--vendor", help=f"its maker: {', '.join(gpus.VENDORS)} (%(default)s)", default=gpus.VENDORS[0])
    card.add_argument("--compute-capability", metavar="X.Y", default="",
                      help="NVIDIA's generation, as 9.0 (the oldest with the peaks given)")


def planned(asked: argparse.Namespace, spec: ModelSpec, named: str | None, *, formats: Sequence[str] | None = None,
            measured: Sequence[QualityMeasurement] = ()) -> advice.Plan:
    """The plan of the question; on standard error, how many GPUs were tried and which engine, where a name says.

    Raises SweetspotError.
    """
    gpu, counts, counted = _hardware(asked)
    engine, why = advice.Usual(named, "") if named else advice.usual_engine(spec, gpu)
    said = {one.name: getattr(asked, one.name) for one in INPUTS}
    demand = advice.Open() if said[OPEN] is None else None
    workload = Workload.of({name: value for name, value in said.items() if value is not None}, Mode(asked.mode))

    def found(load: Workload, tps: Sequence[int]) -> advice.Plan:
        return advice.recommend(spec, gpu, load, engine=engine, tps=tps, formats=formats, measured=measured)

    plan = advice.answered(found, workload, counts, demand)
    for note in filter(None, (counted, why)):
        print(note, file=sys.stderr)
    return plan


def _hardware(asked: argparse.Namespace) -> tuple[gpus.GpuSpec, Sequence[int], str]:
    """The GPU, the numbers of it that may be tried, and a sentence on these where its name limits them."""
    if any((asked.memory, asked.bandwidth, asked.tflops, asked.fp8_tflops, asked.link_gb_s)):
        return _typed_in(asked), asked.gpus or DEFAULT_GPU_COUNTS, ""
    if not asked.gpu and (local := gpus.detect()):
        return local[0].spec, asked.gpus or DEFAULT_GPU_COUNTS, ""
    found = gpus.meant(asked.gpu or gpus.DEFAULT_GPU)
    if asked.gpus or not found.names_count:
        return found.spec, asked.gpus or DEFAULT_GPU_COUNTS, found.note
    counts = sorted({*(count for count in DEFAULT_GPU_COUNTS if count < found.count), found.count})
    tried = f"Up to {found.count} GPUs are tried" if found.count > 1 else "One GPU is tried"
    return found.spec, counts, f"{found.note} {tried}, as '{asked.gpu}' has: --gpus asks for others.".strip()


def _typed_in(asked: argparse.Namespace) -> gpus.GpuSpec:
    """The card whose figures are typed in. Raises InputError where one of the three it needs is missing."""
    for option, value in (("--memory", asked.memory), ("--bandwidth", asked.bandwidth), ("--tflops", asked.tflops)):
        if value is None:
            raise InputError(f"A GPU typed in needs --memory, --bandwidth and --tflops: {option} is missing.")
    return gpus.custom(
        asked.gpu or "GPU typed in", asked.memory, asked.bandwidth, asked.tflops, fp8_tflops=asked.fp8_tflops,
        vendor=asked.vendor, compute_capability=asked.compute_capability,
        **({} if asked.link_gb_s is None else {"link_gb_s": asked.link_gb_s}),
    )
