"""What the Traffic page asks: the requests that come, how the engine runs, what must hold."""

import streamlit as st

from core.answers import traffic
from core.answers.advice import Arrivals, Plan
from core.answers.traffic import Options, Slo, Trace
from core.basics.errors import InputError
from core.basics.words import counted
from pages.shared import figures, inputs

POISSON, BURSTY, DAY, UPLOAD = "Poisson", "bursty", "day curve", "my trace"
PATTERNS = {
    POISSON: "independent users: random, uncorrelated arrivals",
    BURSTY: "arrivals in clumps; the factor is that of `vllm bench serve --burstiness`",
    DAY: "the rate swings along one day, squeezed into the time simulated",
    UPLOAD: "arrival times and lengths of a CSV file",
}
SIDEBAR_LENGTHS = "as in the sidebar"
LENGTHS = {lengths.name: lengths for lengths in traffic.PRESETS}
NO_OFFLOAD, TO_HOST = "off", "to host memory"
MINUTES = (1, 5, 10, 30, 60)
HOURS = 24
WINDOW_S = 30.0         # shorter windows hold too few requests to scale by
TRACE_COLUMNS = "arrival_s,input_tokens,output_tokens"


def load(plan: Plan, remembered: Trace | None) -> Trace | None:
    """The requests asked for; None while a trace is awaited. Raises InputError for one that cannot be.

    `remembered` are those of the simulation that the link names: an uploaded file is not in the link.
    """
    with st.grid(4, min_column_width=150, gap="small"):
        pattern = st.selectbox(
            "Arrivals", list(PATTERNS), key="arrivals", bind="query-params",
            help="\n\n".join(f"**{name}**: {says}" for name, says in PATTERNS.items()),
        )
        if pattern == UPLOAD:
            return _uploaded(remembered)
        planned = carried_per_s(plan)
        typed = st.number_input(
            "Requests per second", 0.01, 10_000.0, None, step=1.0, key="rate", bind="query-params",
            placeholder=f"as planned: {planned:g}",
            help="Mean over the time simulated, all replicas together. Left empty, it is what the sidebar's load comes "
            "to: requests in flight over the time each takes.",
        )
        rate = planned if typed is None else typed
        name = st.selectbox(
            "Lengths", [SIDEBAR_LENGTHS, *LENGTHS], key="lengths", bind="query-params",
            help="\n\n".join(
                f"**{lengths.name}**: {lengths.source}"
                + (f"; up to {lengths.prefix_reuse:.0%} of a prompt found in the cache" if lengths.prefix_reuse else "")
                for lengths in traffic.PRESETS
            ),
        )
        minutes = st.selectbox(
            "Minutes simulated", MINUTES, index=MINUTES.index(5), key="minutes", bind="query-params",
            help="Longer traces see rarer bursts and take longer to simulate.",
        )
    burstiness, swing = _shape(pattern)
    duration_s = min(60.0 * minutes, 0.9 * traffic.MAX_REQUESTS / rate)
    if duration_s < 60.0 * minutes:
        st.caption(f":material/info: {duration_s:,.0f} s are simulated: {traffic.MAX_REQUESTS:,} requests at most.")
    return _generated(rate, duration_s, _lengths(name, plan), burstiness, swing, plan.spec.max_context)


def carried_per_s(plan: Plan) -> float:
    """Requests per second of the sidebar's load, at the speed of the plan: all that is in flight over their time.

    Little, Operations Research 9, 1961; three figures.
    """
    demand, shown = inputs.asked().demand, plan.shown
    if isinstance(demand, Arrivals):
        return demand.per_s
    assert shown is not None
    per_s = shown.output_tokens_per_s.value / plan.workload.output_tokens
    return min(max(float(f"{per_s:.3g}"), 0.01), 10_000.0)


def _shape(pattern: str) -> tuple[float, float]:
    """Burstiness and swing of the pattern."""
    if pattern == BURSTY:
        return st.slider(
            "Burstiness factor", 0.05, 1.0, 0.25, key="burstiness", bind="query-params",
            help="Gamma gaps with a squared coefficient of variation of 1 / factor: 1 is Poisson, lower is burstier.",
        ), 0.0
    if pattern == DAY:
        return 1.0, st.slider(
            "Swing of the day", 0.0, 1.0, 0.8, key="swing", bind="query-params",
            help="0: flat. 1: from nothing at night to twice the mean at noon.",
        )
    return 1.0, 0.0


def _lengths(name: str, plan: Plan) -> traffic.Lengths:
    if name in LENGTHS:
        return LENGTHS[name]
    work = plan.workload
    return traffic.Lengths(name, work.prompt_tokens, 0.0, work.output_tokens, 0.0, "your own")


@st.cache_data(max_entries=16, show_spinner=False)
def _generated(
    rate: float, duration_s: float, lengths: traffic.Lengths, burstiness: float, swing: float, longest: int | None
) -> Trace:
    return traffic.generate(
        rate, duration_s, lengths, burstiness=burstiness, day_swing=swing, max_context=longest
    )


def _uploaded(remembered: Trace | None) -> Trace | None:
    """The visitor's trace: the file just given, or the one of the run that the link names."""
    file = st.file_uploader(
        "Trace, CSV", type="csv", key="trace",
        help=f"A header line with {TRACE_COLUMNS}; arrival in seconds or as date and time. "
        f"At most {traffic.MAX_REQUESTS:,} requests.",
    )
    return remembered if file is None else _read(file.getvalue())


@st.cache_data(max_entries=8, scope="session", show_spinner=False)
def _read(content: bytes) -> Trace:
    try:
        return traffic.read_trace(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise InputError("The trace is not a text file in UTF-8: save it as CSV.") from None


def options(plan: Plan) -> Options:
    """How the engine runs beyond the plan; the prefix found on the GPU and what drafts are the load's own."""
    asked = inputs.asked().workload
    with st.grid(3, min_column_width=150, gap="small"):
        chunk = st.number_input(
            "Max batched tokens", 16, 131_072, None, step=256, key="chunk", bind="query-params",
            placeholder="engine's", help="Tokens of one step (max_num_batched_tokens), shared by decodes and prompt "
            "chunks. Fewer: steadier answers, slower first tokens.",
        )
        offload = st.selectbox(
            "KV offload", [NO_OFFLOAD, TO_HOST], key="offload", bind="query-params",
            help="Evicted and preempted caches go to the host's memory and come back over PCIe.",
        ) == TO_HOST
        host = 0 if not offload else st.number_input(
            "Prefix hits in host memory, %", 0, 100, 20, step=5, key="host", bind="query-params",
            help="Share of each prompt whose cache comes from the host's memory, on top of what the GPU holds.",
        )
    return Options(
        chunk_tokens=chunk, prefix_reuse=asked.prefix_hit_rate, offload=offload, host_reuse=host / 100,
        speculation=traffic.speculation(plan.spec, asked),
    )


def targets(plan: Plan) -> tuple[Slo, float, int | None]:
    """The targets, the headroom and the replicas at hand."""
    with st.grid(4, min_column_width=150, gap="small"):
        share = st.selectbox(
            "Requests within targets", (0.9, 0.95, 0.99, 0.999), index=2, format_func=lambda x: f"{100 * x:g} %",
            key="share", bind="query-params", help="Share that must meet both the TTFT and the TPOT target "
            "of the sidebar; 99 % means that p99 of both is within its target.",
        )
        headroom = st.number_input(
            "Headroom, %", 0, 200, 20, step=5, key="headroom", bind="query-params",
            help="Spare capacity on top of the rate asked for; one spare replica is added after that (N+1).",
        )
        owned = st.number_input(
            "Replicas I already have", 1, 4096, None, key="replicas", bind="query-params", placeholder="none",
            help="Leave empty to be told how many you need.",
        )
    return Slo(plan.workload.ttft_slo_s, plan.workload.tpot_slo_s, share), headroom / 100, owned


def describe(trace: Trace) -> None:
    """What the requests are like."""
    n = len(trace)
    if not n:
        return
    st.caption(
        f"{counted(n, 'request')} in {trace.duration_s / 60:,.3g} minutes; prompts of "
        f"{figures.three(float(trace.input_tokens.mean()))} and answers of "
        f"{figures.three(float(trace.output_tokens.mean()))} tokens on average."
        + ("" if trace.was_in_order else " Its lines were out of order and have been sorted by arrival.")
    )


def windows(trace: Trace) -> int:
    """Windows in which an autoscaler looks at a trace that is no day."""
    return max(2, min(HOURS, int(trace.duration_s / WINDOW_S)))
