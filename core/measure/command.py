"""`sweetspot measure`: the engine, a running server, or the kernels alone, without a browser."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from core.basics.bounds import Bounds
from core.basics.errors import InputError
from core.basics.fields import MAX_JSON_BYTES
from core.basics.words import counted, number
from core.delivery.export import verify
from core.delivery.export.order import Order
from core.measure import address, loads
from core.measure.loads import Trial
from core.measure.record import EngineRun, from_json, measurements_csv, to_json
from core.measure.session import LIMIT_S, Asked, Server, measure
from core.products.drafters import Drafter
from core.products.engines import find
from core.terms import Mode

MINUTES: Final = Bounds(1, 600, "minutes")
LOADS: Final = Bounds(1, 64, "loads", whole=True)
REQUESTS: Final = Bounds(1, 100_000, "requests", whole=True)
DEFAULT_REQUESTS: Final = 500       # of somebody's server
TOKEN: Final = "OPENAI_API_KEY"
_FIGURES: Final = (("ttft_ms", "TTFT", "ms"), ("tpot_ms", "TPOT", "ms"),
                   ("output_tokens_per_s_per_gpu", "output per GPU", "tokens/s"))


def arguments(parser: argparse.ArgumentParser) -> None:
    """What every way of measuring asks, besides the plan's own options."""
    parser.add_argument("--weights", metavar="FORMAT", help="the format that is measured (the plan's choice)")
    parser.add_argument("--loads", type=int, default=loads.USUALLY, metavar="N",
                        help=f"how many loads are run: {LOADS.span} (%(default)s)")
    parser.add_argument("--minutes", type=float, default=LIMIT_S / 60, metavar="N",
                        help=f"after which it is ended: {MINUTES.span} (%(default)s)")
    parser.add_argument("--programs", default="", metavar="DIR", help="where its programs are: /opt/vllm/bin")
    parser.add_argument("--dry-run", action="store_true", help="say what would be run and how long it takes")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the run, for the Measure page to open")
    parser.add_argument("--csv", type=Path, metavar="FILE.csv",
                        help="write the loads as `estimate --measurements` reads them")


def engine_arguments(parser: argparse.ArgumentParser) -> None:
    """What only a started engine asks."""
    parser.add_argument("--real", action="store_true",
                        help="load the checkpoint itself; else weights are drawn at random and nothing is downloaded")
    parser.add_argument("more", nargs="*", metavar="-- WORDS", help="options for the engine behind the plan's own")


def server_arguments(parser: argparse.ArgumentParser) -> None:
    """What only a running server asks."""
    parser.add_argument("--endpoint", required=True, metavar="URL",
                        help=f"an OpenAI-compatible server: http://localhost:8000; a token is read from {TOKEN}")
    parser.add_argument("--served-model", default="", metavar="NAME", help="the model to ask for (its only one)")
    parser.add_argument("--tokenizer", default="", metavar="NAME",
                        help="that counts prompts: Hub id or folder (--model)")
    parser.add_argument("--most-requests", type=int, default=DEFAULT_REQUESTS, metavar="N",
                        help="that it is sent, all loads together (%(default)s)")


def read_arguments(parser: argparse.ArgumentParser) -> None:
    """A run that was recorded elsewhere."""
    parser.add_argument("file", type=Path, metavar="RUN.json")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE.csv",
                        help="write the loads as `estimate --measurements` reads them")


def read(said: argparse.Namespace, write: Callable[[Path, str], object]) -> str:
    """A recorded run as it is printed. Raises InputError where the file is none."""
    try:
        with said.file.open("rb") as opened:
            found = from_json(opened.read(MAX_JSON_BYTES + 1).decode("utf-8", "replace"))
    except OSError as error:
        raise InputError(f"Cannot read {said.file}: {error.strerror}.") from None
    if said.csv:
        write(said.csv, measurements_csv(found))
    return to_json(found) if said.json else text(found)


def of_engine(ordered: Order, read_config: Callable[[], dict[str, object]], asked: argparse.Namespace) -> Asked:
    """What is measured where the engine is started. Raises InputError, ModelError, HubError."""
    alone = ordered.one_of(ordered.copies * ordered.times)
    is_file = alone.spec.name.lower().endswith(".gguf")
    if ordered.deployment.drafter is not Drafter.NONE and not asked.real:
        raise InputError("What random weights draft is never kept: measure drafts with the checkpoints, --real.")
    config = None if asked.real or is_file else read_config()
    mode = Mode.STATIC if verify.benchmarks(alone)[0].alone else Mode.SERVING
    return _with_loads(Asked(alone, (), config, more=tuple(asked.more)), asked, mode)


def of_server(ordered: Order, asked: argparse.Namespace) -> Asked:
    """What is measured of a server that runs. Raises InputError, ProbeError."""
    REQUESTS.checked("The most requests sent, ", asked.most_requests)
    url, token = address.checked(asked.endpoint), os.environ.get(TOKEN, "")
    model = address.model_served(url, asked.served_model, token)
    server = Server(url, model, asked.tokenizer or ordered.spec.name, token)
    return _with_loads(Asked(ordered, (), server=server), asked, Mode.SERVING, asked.most_requests)


def _with_loads(asked: Asked, said: argparse.Namespace, mode: Mode, most_requests: int | None = None) -> Asked:
    count = int(LOADS.checked("The number of loads, ", said.loads))
    limit_s = 60 * MINUTES.checked("The time of a measurement, ", said.minutes)
    trials = loads.chosen(asked.ordered, count, limit_s, mode, most_requests)
    return replace(asked, trials=trials, limit_s=limit_s, programs=said.programs)


def run(asked: Asked, said: argparse.Namespace, write: Callable[[Path, str], object]) -> str:
    """Measures and returns what is to be printed; what will be run goes to standard error first."""
    before = announced(asked.trials)
    if said.dry_run:
        return before
    print(before, file=sys.stderr)
    found = measure(asked, _progress)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if said.out:
        write(said.out, to_json(found))
    if said.csv:
        write(said.csv, measurements_csv(found))
    return to_json(found) if said.json else text(found)


def announced(trials: Sequence[Trial]) -> str:
    """The loads and the time they take, before anything starts."""
    minutes = sum(trial.expected_s for trial in trials) / 60
    requests = sum(trial.requests for trial in trials)
    lines = [f"{counted(len(trials), 'load')}, {counted(requests, 'request')}, about {number(minutes)} minutes and the "
             "engine's start:"]
    return "\n".join([*lines, *(f"  {trial.says}: {trial.requests:,}, {trial.expected_s:,.0f} s" for trial in trials)])


def _progress(share: float, note: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{share:4.0%}  {note[:90]:90}", end="", file=sys.stderr, flush=True)


def text(run: EngineRun) -> str:
    """Measured beside expected, load by load, and the memory of the log."""
    lines = [f"Measured: {find(run.engine).label} with {run.weights_are} weights of {run.model} on {run.device}, "
             f"{counted(len(run.cells), 'load')} by {run.tool} in {run.seconds:,.0f} s"]
    for name, value in run.memory.items():
        planned = run.planned_memory.get(name)
        beside = "" if planned is None else f", planned {number(planned)}"
        lines.append(f"  {name:24} {number(value):>12}{beside}")
    for cells, expected in zip(run.cells, run.predicted, strict=True):
        lines.append(f"  {cells['concurrency']} in flight, {cells['input_tokens']} + {cells['output_tokens']} tokens")
        for name, label, unit in _FIGURES:
            found = cells.get(f"measured_{name}")
            if isinstance(found, float):
                lines.append(f"    {label:22} {number(found):>12} {unit}, planned {number(expected[name])}")
    lines += [f"  ! {remark}" for remark in run.conditions.remarks]
    lines += [f"  - {sentence}" for sentence in run.lost]
    return "\n".join(lines)
