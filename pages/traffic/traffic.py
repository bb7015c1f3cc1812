"""Traffic: how many replicas hold the requests that come, how long users wait, what that costs."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

import streamlit as st

from core.answers import traffic
from core.answers.advice import Plan
from core.answers.traffic import Effect, Fleet, Hour, Part, Question, RatePoint, Split
from core.basics.errors import InputError
from core.basics.words import counted
from core.delivery.export.fleet import Answer
from core.delivery.export.order import as_launched, order
from core.machinery.jobs import Job, Jobs, State
from pages.shared import figures, parts, verdict
from pages.traffic import traffic_answer as shown
from pages.traffic import traffic_load as asked
from pages.traffic import traffic_study as study

LANE = "traffic"


@st.cache_resource(show_spinner=False)
def jobs() -> Jobs:
    """The simulations of all visitors, one at a time."""
    return Jobs()


@st.cache_resource(show_spinner=False)
def questions() -> dict[str, Question]:
    """What each simulation was asked, by its id."""
    return {}


def visitor() -> str:
    return st.session_state.setdefault("visitor", uuid4().hex)


def running_or_done() -> Job | None:
    """The simulation that the link names, while the server remembers it."""
    return jobs().get(st.query_params.get("job", ""))


def digest(question: Question) -> str:
    """Names a question: the same inputs give the same name."""
    trace = question.trace
    said = hashlib.sha256(repr((
        question.spec, question.deployment, question.options, question.slo, question.headroom, question.replicas,
        question.windows,
    )).encode())
    for column in (trace.arrival_s, trace.input_tokens, trace.output_tokens):
        said.update(column.tobytes())
    return said.hexdigest()


def start(question: Question) -> None:
    """Queues the whole simulation and names it in the link; the one before it stops."""
    def work(job: Job) -> None:
        for part in traffic.study(question, job.report):
            job.report(job.fraction, job.note, part)

    if (before := running_or_done()) is not None:
        before.cancel()
    try:
        job = jobs().submit(LANE, visitor(), digest(question), work)
    except InputError as error:
        st.toast(figures.plain(error))
        return
    known = questions()
    for old in [name for name in known if jobs().get(name) is None]:
        del known[old]
    known[job.id] = question
    st.query_params["job"] = job.id


# -- the answer -------------------------------------------------------------------------------------


def gathered(plan: Plan, question: Question, fleet: Fleet, found: Sequence[Part]) -> Answer:
    """The parts found so far, each in its place."""
    windows = [part for part in found if isinstance(part, tuple)]
    ordered = replace(as_launched(order(plan)), options=question.options, times=fleet.to_buy)
    return Answer(
        question, ordered, fleet,
        points=[part for part in found if isinstance(part, RatePoint)],
        hours=next((part for part in windows if isinstance(part[0], Hour)), ()),
        splits=next((part for part in windows if isinstance(part[0], Split)), ()),
        effects=[part for part in found if isinstance(part, Effect)],
    )


def results(plan: Plan, found: Answer, job: Job, by_day: bool) -> None:
    """Everything found so far."""
    question, fleet = found.question, found.fleet
    study.curves(question, found.points, fleet)
    left, right = st.columns(2)
    with left:
        study.cost_curve(plan, question, found.points)
    if found.hours:
        with right:
            study.autoscaling(plan, question, found.hours, fleet.needed, by_day)
    if found.splits:
        left, right = st.columns(2)
        with left:
            study.disaggregation(found.splits)
        with right:
            study.effects(found.effects, question.options, job.ended)
    if job.state is State.DONE:
        study.tried(fleet)
        shown.take_away(found)


def watch(job: Job) -> None:
    """Progress of a simulation under way, and a way to stop it."""
    ahead = jobs().ahead_of(job)
    note = f"waiting for {ahead} before it" if ahead else job.note or "starting"
    bar, button = st.columns([5, 1], vertical_alignment="center")
    bar.progress(job.fraction, text=f"Simulating: {note}")
    if button.button("Cancel", key="cancel", width="stretch"):
        job.cancel()


def answer(plan: Plan, question: Question, job: Job | None, *, by_day: bool) -> None:
    """The verdict and what is known so far; it redraws itself while the simulation runs."""
    try:
        quick, quick_points = _first_look(digest(question), question)
    except InputError as error:
        shown.impossible(question, error)
        return
    running = job is not None and not job.ended

    @st.fragment(run_every="0.5s" if running else None)
    def draw() -> None:
        if running and job and job.ended:
            st.rerun()
        whole = next((part for part in job.parts if isinstance(part, Fleet)), None) if job else None
        shown.verdict(plan, question, whole or quick, whole=whole is not None)
        if job is None or job.state is State.CANCELLED:
            _offer(question, cancelled=job is not None)
        elif job.state is State.FAILED:
            st.error(figures.plain(job.error), icon=":material/error:")
        elif not job.ended:
            watch(job)
        shown.figures_of(plan, question, whole or quick)
        if job and whole and len(job.parts) > len(traffic.FACTORS):
            results(plan, gathered(plan, question, whole, list(job.parts)), job, by_day)
        else:       # a picture redrawn for every point would keep the browser busy
            study.curves(question, quick_points, quick)
            if not running:
                shown.take_away(gathered(plan, question, quick, quick_points))

    draw()


@st.cache_resource(max_entries=64, ttl="1h", show_spinner="Simulating the first requests …")
def _first_look(key: str, _question: Question) -> tuple[Fleet, tuple[RatePoint, ...]]:
    del key
    return traffic.first_look(_question)


def _offer(question: Question, *, cancelled: bool) -> None:
    left, right = st.columns([1, 2], vertical_alignment="center")
    words = f"Simulate all {counted(len(question.trace), 'request')}"
    if left.button(words, key="simulate", type="primary", width="stretch"):
        start(question)
        st.rerun()
    right.caption(
        ("Cancelled. " if cancelled else "")
        + "Adds waiting and cost by rate, autoscaling, prefill and decode apart, and what each option does."
    )


def page() -> None:
    """The load asked for, then its answer."""
    plan = parts.current_plan()
    if plan.best is None:
        verdict.show(plan)
        st.caption("Traffic needs a deployment that fits: change the model, the GPU or its number in the sidebar.")
        return
    job = running_or_done()
    before = questions().get(job.id) if job else None
    with st.container(border=True, key="arriving", gap="small"):
        trace = asked.load(plan, before.trace if before else None)
        with st.expander("Engine options, targets, replicas", icon=":material/tune:"):
            slo, headroom, owned = asked.targets(plan)
            options = asked.options(plan)
        if trace is not None:
            asked.describe(trace)
    if trace is None:
        st.info(f"Choose a CSV file with a header line: {asked.TRACE_COLUMNS}.", icon=":material/upload_file:")
        return
    by_day = st.session_state.get("arrivals") == asked.DAY
    windows = asked.HOURS if by_day else asked.windows(trace)
    question = Question(plan.spec, as_launched(order(plan)).deployment, options, trace, slo, headroom, owned, windows)
    if job is not None and job.title != digest(question):
        job = None
    answer(plan, question, job, by_day=by_day)


page()
