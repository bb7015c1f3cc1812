"""One measurement: starts the engine, waits until it answers, runs the loads, reads, and leaves nothing behind."""

import os
import platform
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from core.answers import doctor
from core.basics.errors import InputError, ProbeError
from core.delivery.export import results, verify
from core.delivery.export.launch import Launch, command
from core.delivery.export.order import Order
from core.delivery.export.random_weights import declared, with_random_weights, write_folder
from core.delivery.export.results import Measured
from core.machinery.program import Program, started
from core.machinery.worker import processor_name
from core.measure import address
from core.measure.loads import Trial, planned_memory, predicted
from core.measure.record import RANDOM, REAL, EngineRun
from core.probe.measurement import Conditions
from core.probe.telemetry import Telemetry, gpu_remarks, processor_remarks
from core.products import gpus
from core.reading import logs

LIMIT_S: Final = 1800.0             # of a whole measurement
START_LIMIT_S: Final = 900.0        # until an engine answers: it compiles and records graphs
PATIENCE: Final = 5.0               # times the expected, after which a load is given up
HERE: Final = "127.0.0.1"
_ERROR: Final = re.compile(r"[Ee]rror[:,] \S")      # "ValueError: ...", "Value error, ..." of pydantic
_READY: Final = ("/health", address.MODELS)
_RESULT_BYTES: Final = 4 * results.MAX_TEXT

Report = Callable[[float, str], None]       # share done, what now; raises to cancel


@dataclass(frozen=True, slots=True)
class Server:
    """One that runs already."""

    url: str
    model: str
    tokenizer: str
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """What to measure, and how."""

    ordered: Order
    trials: tuple[Trial, ...]
    config: Mapping[str, Any] | None = None     # random weights of that config.json; None: what the plan names
    server: Server | None = None                # None: the engine is started
    limit_s: float = LIMIT_S
    more: tuple[str, ...] = ()                  # words behind the command that starts it
    programs: str = ""                          # the folder where programs are looked for first


@dataclass(slots=True)
class _Bench:
    """Where a measurement stands."""

    asked: Asked
    folder: Path
    report: Report
    telemetry: Telemetry
    until_s: float
    tool: str = ""
    command: tuple[str, ...] = ()
    log: str = ""
    found: list[tuple[Trial, Measured]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def left_s(self) -> float:
        return max(0.0, self.until_s - time.monotonic())

    @property
    def share(self) -> float:
        """Of the work done: the start of the engine counts as a load."""
        return (1 + len(self.found) + len(self.lost)) / (1 + len(self.asked.trials))

    def tick(self, note: str) -> None:
        self.telemetry.look()
        self.report(min(1.0, self.share), note)

    def variables(self) -> dict[str, str]:
        """The environment of a program: nothing is asked of the network but what the plan names."""
        server = self.asked.server
        path = os.pathsep.join(filter(None, (self.asked.programs, os.environ.get("PATH", ""))))
        offline = {"HF_HUB_OFFLINE": "1"} if self.asked.config is not None else {}
        token = {"OPENAI_API_KEY": server.token, "GUIDELLM__OPENAI__API_KEY": server.token} if server else {}
        return {"PATH": path, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", **offline,
                **{name: value for name, value in token.items() if value}}


def measure(asked: Asked, report: Report) -> EngineRun:
    """Runs the loads and returns what they showed.

    `report` is called about ten times a second; what it raises (a cancellation) ends the engine at once. Raises
    InputError for what cannot be measured here, ProbeError where the engine did not start or no load ended. A load
    that fails or takes too long is lost, the rest is kept.
    """
    local = gpu_here(asked)
    began, busy, telemetry = time.monotonic(), os.getloadavg()[0], Telemetry()
    if local is not None:
        telemetry.open(local.uuid)
    with closing(telemetry), TemporaryDirectory(prefix="sweetspot-", ignore_cleanup_errors=True) as name:
        bench = _Bench(asked, Path(name), report, telemetry, began + asked.limit_s)
        _measured(bench)
    if not bench.found:
        raise ProbeError(f"No load could be measured: {'; '.join(dict.fromkeys(bench.lost)) or 'the time ran out'}")
    remarks = gpu_remarks(telemetry.before, telemetry.during) if local else processor_remarks(busy)
    return _run(bench, local, Conditions(not remarks, remarks, telemetry.samples), time.monotonic() - began)


def gpu_here(asked: Asked) -> gpus.LocalGpu | None:
    """This machine's GPU of the plan; None where the plan's card was typed in, or the server runs elsewhere.

    Raises InputError where the engine would be started on something else than what is planned.
    """
    wanted, local = asked.ordered.deployment.gpu, gpus.detect()
    same = [one for one in local if one.spec.name == wanted.name]
    if asked.server is not None:
        return None
    if same and len(same) < asked.ordered.deployment.gpus:
        raise InputError(f"The plan takes {asked.ordered.deployment.gpus} of {wanted.name}; {len(same)} are here.")
    if not same and (local or wanted.source != "typed in"):
        here = ", ".join(dict.fromkeys(one.spec.name for one in local)) or "no GPU that is known"
        raise InputError(f"The plan is for {wanted.name}, and here is {here}: plan for what is here, or start this on "
                         "the planned machine.")
    return same[0] if same else None


# -- the loads ----------------------------------------------------------------------------------------


def _measured(bench: _Bench) -> None:
    """Everything inside the folder that goes afterwards."""
    asked = bench.asked
    if asked.server is not None:
        _run_loads(bench, verify.Asked(asked.server.url, asked.server.model, asked.server.tokenizer))
        return
    if verify.benchmarks(asked.ordered)[0].alone:
        _run_loads(bench, verify.USUALLY)
        return
    launch = _prepared(bench)
    with _serving(bench, launch) as (url, program):
        _run_loads(bench, verify.Asked(url, verify.answers_to(launch),
                                       launch.model if asked.config is not None else ""), program)
        bench.log = program.said()


def _prepared(bench: _Bench) -> Launch:
    """The plan's launch, its files and its random weights in place."""
    asked = bench.asked
    launch = command(asked.ordered, {"host": HERE, "port": _free_port()})
    if asked.config is not None:
        model = bench.folder / "model"
        write_folder(model, declared(asked.ordered, asked.config))
        launch = with_random_weights(asked.ordered, launch, str(model))
    for name, text in launch.files.items():
        (bench.folder / name).write_text(text, encoding="utf-8")
    return launch


def _installed(bench: _Bench, tools: Sequence[verify.Benchmark]) -> verify.Benchmark:
    """The first tool that is installed. Raises InputError naming them where none is.

    Where the engine's own works without a server, only that will do: others would count by a tokenizer it lacks.
    """
    tools = tools[:1] if tools[0].alone and bench.asked.server is None else [one for one in tools if not one.alone]
    path = bench.variables()["PATH"]
    here = [one for one in tools if shutil.which(one.words[0], path=path)]
    if not here:
        raise InputError(f"None of {', '.join(one.tool for one in tools)} is installed here: install one, or name the "
                         "folder of its program with --programs.")
    return here[0]


def _run_loads(bench: _Bench, server: verify.Asked, program: Program | None = None) -> None:
    for number, trial in enumerate(bench.asked.trials, 1):
        if program is not None and program.code is not None:
            bench.lost.append(f"The engine ended before load {number}: {why(program.said())}")
            return
        note = f"load {number} of {len(bench.asked.trials)}: {trial.says}"
        seconds = min(bench.left_s, PATIENCE * trial.expected_s + 60.0)
        if seconds <= 0:
            bench.lost.append(f"No time was left for {note}.")
            return
        _run_load(bench, replace(server, requests=trial.requests, seconds=int(max(trial.expected_s, 30.0))), trial,
                  note, seconds)


def _run_load(bench: _Bench, server: verify.Asked, trial: Trial, note: str, seconds: float) -> None:
    """Runs the client for one load and reads its result, in a folder of its own."""
    tool = _installed(bench, verify.benchmarks(replace(bench.asked.ordered, workload=trial.workload), server))
    folder = bench.folder / f"load{len(bench.found) + len(bench.lost)}"
    folder.mkdir()
    words = _from_here((*tool.words, *bench.asked.more) if tool.alone else tool.words, bench.asked.ordered.spec.name)
    with started(words, folder, bench.variables(), "said.txt") as client:
        code = client.wait(seconds, lambda: bench.tick(note))
        said = client.said()
    bench.tool = tool.tool
    if tool.alone:
        bench.command, bench.log = words, said
    if code is None:
        bench.lost.append(f"After {seconds:,.0f} s it was given up: {note}.")
    elif code != 0:
        bench.lost.append(f"The client failed ({why(said)}): {note}.")
    else:
        try:
            bench.found.append((trial, _result(tool, folder, said, trial)))
        except InputError as error:
            bench.lost.append(f"{error} ({note})")
    shutil.rmtree(folder, ignore_errors=True)


def _result(tool: verify.Benchmark, folder: Path, said: str, trial: Trial) -> Measured:
    """What the tool wrote. Raises InputError where it is no result, or one of another load."""
    file = folder / tool.result
    if tool.result and (not file.is_file() or file.stat().st_size > _RESULT_BYTES):
        raise InputError(f"{tool.tool} left no result.")
    text = file.read_text(encoding="utf-8", errors="replace") if tool.result else _json_lines(said)
    return results.read_result(text, trial.workload.concurrency)


def _json_lines(said: str) -> str:
    """The lines of a tool's output that are its result."""
    return "\n".join(line for line in said.splitlines() if line.startswith("{"))


# -- the engine ---------------------------------------------------------------------------------------


@contextmanager
def _serving(bench: _Bench, launch: Launch) -> Iterator[tuple[str, Program]]:
    """The engine, once it answers. Raises ProbeError with its own reason where it does not."""
    words = _from_here((*launch.command, *bench.asked.more), launch.model)
    if shutil.which(words[0], path=bench.variables()["PATH"]) is None:
        raise InputError(f"`{words[0]}` is not installed here: install the engine, or name the folder of its program "
                         "with --programs.")
    bench.command = words
    url = f"http://{HERE}:{words[words.index('--port') + 1]}"
    until = time.monotonic() + min(START_LIMIT_S, bench.left_s)
    with started(words, bench.folder, bench.variables(), "engine.txt") as program:
        while not any(address.status(url, path)[0] == 200 for path in _READY):
            bench.report(0.0, "the engine starts")
            if program.code is not None:
                raise ProbeError(f"The engine did not start: {why(program.said())}")
            if time.monotonic() > until:
                raise ProbeError(f"The engine did not answer within {min(START_LIMIT_S, bench.asked.limit_s):,.0f} s "
                                 "and was stopped: allow it more time, or start it by hand and see.")
            program.wait(0.5, lambda: bench.tick("the engine starts"))
        yield url, program


def why(said: str) -> str:
    """Why a program ended, in one sentence: as the doctor reads it, else its last words."""
    problem = logs.read(said).problem
    if problem is not None:
        return problem.sentence
    errors = [line for line in said.splitlines() if _ERROR.search(line)]
    lines = errors or [line for line in said.splitlines() if line.strip()] or ["it said nothing"]
    return f"{' '.join(lines[-1].split())[:200].rstrip('.')}."


def _from_here(words: tuple[str, ...], model: str) -> tuple[str, ...]:
    """The command with the path of a local model in full: it runs in another folder."""
    path = Path(model)
    return tuple(str(path.resolve()) if word == model and path.exists() else word for word in words)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((HERE, 0))
        port: int = probe.getsockname()[1]
        return port


# -- what it showed -----------------------------------------------------------------------------------


def _run(bench: _Bench, local: gpus.LocalGpu | None, conditions: Conditions, seconds: float) -> EngineRun:
    asked, ordered = bench.asked, bench.asked.ordered
    log = logs.read(bench.log)
    version = log.texts.get("version", "")
    versions = {name: text for name, text in {ordered.engine: version, "python": platform.python_version()}.items()
                if text}
    deployed = replace(ordered.deployment, engine_version=version or ordered.deployment.engine_version)
    rows = [(replace(ordered, workload=trial.workload, choice=replace(ordered.choice, deployment=deployed)), measured)
            for trial, measured in bench.found]
    return EngineRun(
        model=ordered.spec.name, gpu=deployed.gpu.name, device=local.reported_name if local else processor_name(),
        engine=ordered.engine, weights_are=REAL if asked.config is None else RANDOM, tool=bench.tool,
        versions=versions, date=datetime.now(UTC).isoformat(timespec="seconds"), seconds=seconds,
        conditions=conditions, command=_without_folder(bench), memory=doctor.measured(log),
        planned_memory=planned_memory(ordered), cells=tuple(verify.cells(row, measured) for row, measured in rows),
        predicted=predicted(ordered, tuple(trial for trial, _ in bench.found)), lost=tuple(bench.lost),
    )


def _without_folder(bench: _Bench) -> tuple[str, ...]:
    """The command as a person would repeat it."""
    return tuple(word.replace(str(bench.folder), ".")[:300] for word in bench.command)
