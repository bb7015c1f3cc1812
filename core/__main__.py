"""The command `sweetspot`, or `python -m core`: the planner without a browser, and `sweetspot app` with one.

Answers go to standard output, one sentence per error to standard error with exit code 2.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from core import __version__
from core.answers import advice, doctor
from core.basics import places
from core.basics.errors import InputError, SweetspotError
from core.basics.units import GIB
from core.basics.words import counted
from core.delivery import estimate, export, question
from core.delivery.export import deliver, report
from core.delivery.export.order import Order, order
from core.losses import speaks_of
from core.losses.measured import QualityMeasurement, from_json
from core.machinery import app
from core.measure import command as measuring
from core.models import ModelSpec
from core.probe import command as probing
from core.products import gpus
from core.products.engines import launched
from core.products.formats import find as find_format
from core.quality import command as checking
from core.reading import catalogue, hub, refresh, resolved

FAILED = 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence instead of the whole usage."""
        self.exit(FAILED, f"{message[:1].upper()}{message[1:]}. See `{self.prog} --help`.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code."""
    try:
        asked = _parser().parse_args(arguments)
        command: Callable[[argparse.Namespace], None] = asked.command
        command(asked)
        sys.stdout.flush()
    except SweetspotError as error:
        print(error, file=sys.stderr)
        return FAILED
    except BrokenPipeError:                       # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="sweetspot", description="Which precision and batch size to deploy, and why.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(
        required=True,
        metavar="app | plan | estimate | measure | probe | quality | doctor | resolve | models | gpus | catalogue",
    )
    served = commands.add_parser("app", help="open the app in a browser")
    served.add_argument("--address", default="localhost", help="who may reach it: 0.0.0.0 is everybody (%(default)s)")
    served.add_argument("--port", type=int, default=8501, help="(%(default)s)")
    served.set_defaults(command=_app)
    shared = _Parser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print JSON")
    shared.add_argument("--offline", action="store_true", help="ask nothing of the Hub: bundled and local models only")
    _plan_arguments(commands.add_parser("plan", parents=[shared], help="what to deploy for a model, a GPU and a load"))
    cases = commands.add_parser("estimate", parents=[shared], help="memory and speed of many deployments")
    cases.add_argument("cases", type=Path, metavar="CASES.csv")
    cases.add_argument("--out", type=Path, required=True, metavar="ESTIMATES.csv")
    cases.add_argument("--measurements", type=Path, metavar="M.csv",
                       help="the same columns plus measured_ttft_ms, measured_tpot_ms, "
                            "measured_output_tokens_per_s_per_gpu")
    cases.set_defaults(command=_estimate)
    _probe_arguments(commands.add_parser("probe", parents=[shared],
                                         help="measure this machine's GPU with a model's shapes"))
    _measure_arguments(commands.add_parser("measure", help="the engine, a running server or the kernels"), shared)
    quality = commands.add_parser("quality", parents=[shared], help="what formats cost on your own prompts")
    quality.add_argument("--model", default=catalogue.DEFAULT_MODEL, help="Hub id, folder or GGUF file (%(default)s)")
    checking.arguments(quality)
    quality.set_defaults(command=_quality)
    asking = commands.add_parser("doctor", parents=[shared], help="why a server did not start: a log, error or command")
    asking.add_argument("text", type=Path, metavar="FILE|-", help="the text, or - for standard input")
    asking.set_defaults(command=_doctor)
    resolving = commands.add_parser("resolve", parents=[shared], help="which model or GPU a name means")
    resolving.add_argument("what", choices=("model", "gpu"))
    resolving.add_argument("names", nargs="+", metavar="NAME")
    resolving.set_defaults(command=_resolved)
    for name, command, text in (("models", _models, "bundled models"), ("gpus", _gpus, "known accelerators")):
        listing = commands.add_parser(name, parents=[shared], help=f"list {text}")
        listing.add_argument("query", nargs="*", metavar="QUERY")
        listing.set_defaults(command=command)
    kept = commands.add_parser("catalogue", help="read the bundled models again from the Hub")
    kept.add_argument("what", choices=("refresh",))
    kept.add_argument("names", nargs="*", metavar="NAME", help="bundled models or other Hub ids (every bundled model)")
    kept.add_argument("--new", type=int, default=0, metavar="N", help="look at the N most downloaded for new ones too")
    kept.add_argument("--write", action="store_true", help="write what was found into the table of models")
    kept.add_argument("--json", action="store_true", help="print JSON")
    kept.set_defaults(command=_refreshed)
    return parser


def _probe_arguments(probe: argparse.ArgumentParser) -> None:
    probe.add_argument("--model", default=catalogue.DEFAULT_MODEL, help="Hub id, folder or file (%(default)s)")
    probing.arguments(probe)
    probe.set_defaults(command=_probe)


def _measure_arguments(measure: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    ways = measure.add_subparsers(required=True, metavar="engine | server | kernels | read")
    for name, more, command, text in (
        ("engine", measuring.engine_arguments, _measure_engine, "start the engine on the plan and run a few loads"),
        ("server", measuring.server_arguments, _measure_server, "run a few loads on a server that runs"),
    ):
        way = ways.add_parser(name, parents=[shared], help=text)
        question.arguments(way)
        measuring.arguments(way)
        more(way)
        way.set_defaults(command=command)
    _probe_arguments(ways.add_parser("kernels", parents=[shared], help="a model's shapes on the GPU, as `probe` does"))
    recorded = ways.add_parser("read", help="a run that was recorded elsewhere: print it, or its loads as CSV")
    measuring.read_arguments(recorded)
    recorded.set_defaults(command=_measured_elsewhere)


def _plan_arguments(plan: argparse.ArgumentParser) -> None:
    question.arguments(plan)
    plan.add_argument("--quality", type=Path, nargs="+", default=[], metavar="FILE.json",
                      help="quality checks of this model, newest first: their losses replace the published ones")
    plan.add_argument("--csv", type=Path, metavar="FILE", help="write the recommendation and its rivals")
    plan.add_argument("--sweep", type=Path, metavar="FILE", help="write the whole grid as CSV")
    plan.add_argument("--launch", choices=sorted(launched()), metavar="ENGINE",
                      help=f"print the launch command: {', '.join(sorted(launched()))}")
    plan.add_argument("--files", type=Path, metavar="DIR", help="write every file that launches the plan")
    plan.add_argument("--report", type=Path, metavar="FILE", help="write the plan as a page to print, HTML")
    plan.set_defaults(command=_plan)


def _app(asked: argparse.Namespace) -> None:
    app.serve(asked.address, asked.port)


def _plan(asked: argparse.Namespace) -> None:
    spec = _resolve(asked.model, asked.offline)
    measured = [_checked(path, spec) for path in asked.quality]
    plan = question.planned(asked, spec, asked.engine or asked.launch, measured=measured)
    launch = export.launch(plan, asked.launch) if asked.launch else None
    if asked.csv:
        export.write(asked.csv, export.recommendation_csv(plan))
    if asked.sweep:
        export.write(asked.sweep, export.sweep_csv(plan))
    if asked.report:
        export.write(asked.report, report.report(plan))
    if asked.files:
        _write_files(plan, asked.files)
    if asked.json:
        print(export.plan_json(plan, launch))
    elif launch:
        print(launch.text())
    else:
        print(export.plan_text(plan))


def _write_files(plan: advice.Plan, folder: Path) -> None:
    """Every file that launches the plan; on standard error, what cannot be made. Raises InputError."""
    made, why_not = deliver.manifests(order(plan))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {folder}: {error.strerror}.") from error
    for manifest in made:
        export.write(folder / manifest.file, manifest.text)
        print(f"{folder / manifest.file}: {manifest.use}", file=sys.stderr)
    for label, why in why_not.items():
        print(f"No file for {label}: {why}", file=sys.stderr)


def _checked(path: Path, spec: ModelSpec) -> QualityMeasurement:
    """A quality check of this very model. Raises InputError."""
    try:
        measurement = from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {path}: {getattr(error, 'strerror', None) or 'it is not text'}.") from None
    if not speaks_of(measurement, spec):
        raise InputError(f"{path} was made with {measurement.model}, not with {spec.name}: check {spec.name} itself.")
    return measurement


def _resolve(name: str, offline: bool) -> ModelSpec:
    return hub.resolve(name, token=os.environ.get("HF_TOKEN"), offline=offline)


def _estimate(asked: argparse.Namespace) -> None:
    rows, failed = estimate.answer_file(
        asked.cases, asked.out, lambda name: _resolve(name, asked.offline), measurements=asked.measurements
    )
    if asked.json:
        print(json.dumps({"rows": rows, "answered": rows - failed, "failed": failed, "out": str(asked.out)}))
    else:
        print(f"{counted(rows, 'row')}, {failed:,} refused or not answered; see the column error of {asked.out}.")


def _probe(asked: argparse.Namespace) -> None:
    print(probing.run(_resolve(asked.model, asked.offline), asked, export.write))


def _measure_engine(asked: argparse.Namespace) -> None:
    def read_config() -> dict[str, object]:
        return hub.config_json(asked.model, token=os.environ.get("HF_TOKEN"), offline=asked.offline)

    print(measuring.run(measuring.of_engine(_ordered(asked), read_config, asked), asked, export.write))


def _measure_server(asked: argparse.Namespace) -> None:
    print(measuring.run(measuring.of_server(_ordered(asked), asked), asked, export.write))


def _measured_elsewhere(asked: argparse.Namespace) -> None:
    print(measuring.read(asked, export.write))


def _ordered(asked: argparse.Namespace) -> Order:
    """What the plan recommends, in the format that is to be measured where one is named."""
    formats = [find_format(asked.weights).name] if asked.weights else None
    return order(question.planned(asked, _resolve(asked.model, asked.offline), asked.engine, formats=formats))


def _quality(asked: argparse.Namespace) -> None:
    print(checking.run(asked, lambda: _resolve(asked.model, asked.offline)))


def _doctor(asked: argparse.Namespace) -> None:
    try:
        source = sys.stdin.buffer if str(asked.text) == "-" else asked.text.open("rb")
        with source:
            text = source.read(doctor.MAX_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise InputError(f"Cannot read {asked.text}: {error.strerror}.") from None
    found = doctor.diagnose(text, lambda name: _resolve(name, asked.offline))
    if asked.json:
        print(json.dumps(asdict(found), indent=1))
    else:
        print("\n".join([found.problem, *(f"- {change}" for change in found.changes)]))


def _resolved(asked: argparse.Namespace) -> None:
    answers = (resolved.cards(asked.names) if asked.what == "gpu" else
               resolved.models(asked.names, lambda name: _resolve(name, asked.offline)))
    _print([asdict(answer) | {"suggestions": list(answer.suggestions) if asked.json else ", ".join(answer.suggestions)}
            for answer in answers], asked.json, f"{asked.what}s")


def _refreshed(asked: argparse.Namespace) -> None:
    token = os.environ.get("HF_TOKEN")

    def read(name: str) -> refresh.Declared:
        return hub.declared(name, token=token, endpoint=None)

    wanted = {name.lower() for name in asked.names}
    rows = [row for row in catalogue.rows() if not wanted or row.name.lower() in wanted]
    others = [name for name in asked.names if name.lower() not in {row.name.lower() for row in rows}]
    if asked.new:
        others += [hit.name for hit in hub.popular(token=token, endpoint=None, limit=asked.new)]
    findings = [*refresh.refreshed(rows, read), *refresh.added(others, read)]
    if asked.write:
        export.write(places.ASSETS / refresh.TABLE, refresh.table(findings))
    _print([{"name": found.name, "verdict": found.verdict, "note": found.note} for found in findings],
           asked.json, "models")


def _models(asked: argparse.Namespace) -> None:
    cards = catalogue.models(" ".join(asked.query))
    fields = ("name", "family", "total_params", "active_params", "max_context", "shipped", "source")
    _print([{field: getattr(card, field) for field in fields} for card in cards], asked.json, "models")


def _gpus(asked: argparse.Namespace) -> None:
    _print([
        {
            "name": gpu.name, "architecture": gpu.architecture, "memory_gib": round(gpu.memory_bytes / GIB, 1),
            "bandwidth_gb_s": round(gpu.bandwidth_bytes_per_s / 1e9), "fp16_tflops": _tera(gpu.peak("fp16")),
            "fp8_tflops": _tera(gpu.flops.get("fp8")), "usd_per_hour": gpu.price_usd_per_hour, "source": gpu.source,
        }
        for gpu in gpus.search(" ".join(asked.query))
    ], asked.json, "GPUs")


def _tera(flops: float | None) -> float | None:
    return None if flops is None else round(flops / 1e12, 1)


def _print(rows: Sequence[dict[str, object]], as_json: bool, what: str) -> None:
    """A table for people, or JSON; an empty one says so on standard error."""
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    if not rows:
        print(f"No {what} match. Try fewer or other words.", file=sys.stderr)
        return
    cells = [["–" if value is None else str(value) for value in one.values()] for one in rows]
    print(export.table([list(rows[0]), *cells]))


if __name__ == "__main__":
    sys.exit(main())
