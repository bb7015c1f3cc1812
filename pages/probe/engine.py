"""The engine or a server, measured from the page: the loads before they run, and the command that does the same."""

import os
import shlex
import shutil

import streamlit as st

from core.basics.errors import SweetspotError
from core.basics.settings import is_public
from core.delivery.export import verify
from core.delivery.export.launch import command as launch_command
from core.delivery.export.order import Order, order
from core.machinery.jobs import Job
from core.measure import address, loads
from core.measure.command import DEFAULT_REQUESTS, announced
from core.measure.record import EngineRun
from core.measure.session import LIMIT_S, Asked, Server, measure
from core.probe import devices
from core.reading import hub
from core.terms import INPUTS, Mode
from pages.shared import evidence, figures, inputs, parts, tasks

LINK = "run"
WHAT = ("The engine itself, on the plan's own command, with weights drawn at random in the planned format: nothing is "
        "downloaded. Its start-up log gives the memory, a few loads the speed; predictions of this deployment follow.")
OFF = ("No engine is started from this server. Run the command below on the machine that will serve, with the engine's "
       "environment active, and open the file here.")
SERVER_OFF = ("Servers are not asked from here: this app is public, or its administrator keeps measuring off. Run the "
              "command below where the server can be reached, and open the file here.")


def section(of_server: bool) -> EngineRun | None:
    """What would be run, and the button or the command; the run that just ended."""
    try:
        ordered = order(parts.current_plan())
    except SweetspotError as error:
        st.warning(figures.plain(error), icon=":material/warning:")
        return None
    with st.container(border=True, key="ask"):
        st.caption(WHAT)
        if of_server:
            _server(ordered)
        else:
            _engine(ordered)
    return tasks.outcome(LINK, EngineRun, lambda _: None, evidence.keep_run)


def _engine(ordered: Order) -> None:
    alone = ordered.one_of(ordered.copies * ordered.times)
    words, mode = ["engine"], Mode.STATIC if verify.benchmarks(alone)[0].alone else Mode.SERVING
    trials = _loads(alone, mode)
    program = launch_command(alone).command[0]
    if not devices.is_allowed() or shutil.which(program) is None:
        st.info(OFF, icon=":material/terminal:")
    elif trials:
        st.button("Measure", type="primary", icon=":material/speed:", key="measure_engine", on_click=_start,
                  args=(alone, trials, None))
    st.code(command(words, ordered), language="bash", wrap_lines=True)


def _server(ordered: Order) -> None:
    trials = _loads(ordered, Mode.SERVING, DEFAULT_REQUESTS)
    if is_public() or not devices.is_allowed():
        st.info(SERVER_OFF, icon=":material/lock:")
    else:
        left, middle, right = st.columns([3, 2, 2])
        url = left.text_input("Address", "http://localhost:8000", key="endpoint", max_chars=200)
        model = middle.text_input("Model it serves", ordered.spec.name, key="served_model", max_chars=200)
        token = right.text_input("Token", type="password", key="endpoint_token", help="Kept nowhere, printed nowhere.")
        st.button("Measure", type="primary", icon=":material/speed:", key="measure_server", disabled=not trials,
                  on_click=_start, args=(ordered, trials, Server(url, model, ordered.spec.name, token)))
    st.code(command(["server", "--endpoint", "http://localhost:8000"], ordered), language="bash", wrap_lines=True)


def _loads(ordered: Order, mode: Mode, most_requests: int | None = None) -> tuple[loads.Trial, ...]:
    """The loads that would be run, shown before anything starts."""
    try:
        trials = loads.chosen(ordered, loads.USUALLY, LIMIT_S, mode, most_requests)
    except SweetspotError as error:
        st.warning(figures.plain(error), icon=":material/warning:")
        return ()
    st.markdown(f"**{figures.plain(announced(trials).splitlines()[0].rstrip(':'))}**")
    st.dataframe([
        {"requests in flight": trial.workload.concurrency, "prompt": trial.workload.input_tokens,
         "answer": trial.workload.output_tokens, "requests": trial.requests, "seconds": round(trial.expected_s)}
        for trial in trials
    ], hide_index=True, alt="Loads that would be run")
    return trials


def _start(ordered: Order, trials: tuple[loads.Trial, ...], server: Server | None) -> None:
    """Queues the measurement and names it in the link."""
    def work(job: Job) -> EngineRun:
        config, asked = None, server
        if server is None:
            config = hub.config_json(ordered.spec.name, token=os.environ.get("HF_TOKEN"))
        else:
            url = address.checked(server.url)
            asked = Server(url, address.model_served(url, server.model, server.token), server.tokenizer, server.token)
        return measure(Asked(ordered, trials, config, asked), job.report)

    tasks.start(LINK, ordered.spec.name, work)


def command(way: list[str], ordered: Order) -> str:
    """The same without a browser."""
    d, load = ordered.deployment, ordered.workload
    asked = [word for one in INPUTS if (value := getattr(load, one.name)) != one.default
             for word in (one.option, f"{one.filed(value)}")]
    card = ["--gpu", d.gpu.name, *_typed(inputs.asked().gpu == inputs.CUSTOM_GPU, ordered)]
    return shlex.join(["sweetspot", "measure", *way, "--model", ordered.spec.name, *card, "--gpus", str(d.tp * d.pp),
                       "--engine", d.engine, "--weights", d.weights.name, *asked, "--out", "run.json"])


def _typed(is_typed: bool, ordered: Order) -> list[str]:
    gpu = ordered.deployment.gpu
    if not is_typed:
        return []
    return ["--memory", f"{gpu.memory_bytes / 2**30:g}", "--bandwidth", f"{gpu.bandwidth_bytes_per_s / 1e9:g}",
            "--tflops", f"{gpu.peak('fp16') / 1e12:g}"]
