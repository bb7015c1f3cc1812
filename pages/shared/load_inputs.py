"""The load in the sidebar: how many requests, their lengths, targets, and how the model is run for them."""

from collections.abc import Iterator

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.answers import advice
from core.answers.advice import Arrivals, Demand, Open, Users
from core.basics.inputs import Input
from core.terms import INPUTS, Workload
from pages.shared import figures
from pages.shared.answers import ARRIVING, IN_FLIGHT, LOADS, OPEN, PEOPLE, PER_SECOND, THINKING, USERS

OWN_LOAD = "my own"
FILLED = ("input_tokens", "output_tokens", "prefix_hit_rate", "ttft_slo_s", "tpot_slo_s")     # by a use case
LOAD_HELP = (
    f"**{IN_FLIGHT}**: requests served at the same time.\n\n**{USERS}**: people who think between an answer and the "
    f"next request.\n\n**{PER_SECOND}**: requests per second. Both come to requests in flight through the time a "
    f"request takes.\n\n**{OPEN}**: you do not know; the plan says what can be carried."
)


def load() -> tuple[Workload, Demand | None]:
    """Every input of the load, two side by side, under the use case that they amount to."""
    case, places = st.container(), _places()
    demand: Demand | None = None
    values: dict[str, float | None] = {}
    for one in INPUTS:
        if one.group:
            continue
        if one.name == "concurrency":
            demand = _demand(places)
        if one.name != "concurrency" or demand is None:
            values[one.name] = _answer(one, next(places))
    for group in dict.fromkeys(one.group for one in INPUTS if one.group):
        with st.expander(group, icon=":material/add:"):
            inside = _places()
            values |= {one.name: _answer(one, next(inside)) for one in INPUTS if one.group == group}
    workload = Workload.of(values)
    _use_case(case, workload)
    return workload, demand


def _places() -> Iterator[DeltaGenerator]:
    """Where the next input goes: two side by side, one below the other on a phone."""
    while True:
        yield from st.columns(2)


def _demand(places: Iterator[DeltaGenerator]) -> Demand | None:
    """How many requests there are, in the words that people know; None for requests in flight."""
    way = next(places).selectbox("Load", LOADS, key="load", bind="query-params", help=LOAD_HELP)
    if way == OPEN:
        return Open()
    if way == PER_SECOND:
        return Arrivals(next(places).number_input(
            "Requests per second", ARRIVING.low, ARRIVING.high, 1.0, step=1.0, format="%g", key="per_s",
            bind="query-params", help="That arrive on average, over the whole deployment.",
        ))
    if way == USERS:
        count = next(places).number_input(
            "Users", int(PEOPLE.low), int(PEOPLE.high), 100, step=10, key="people", bind="query-params",
            help="People who use it at the same time. Each waits for an answer, reads it, and asks again.",
        )
        think_s = next(places).number_input(
            "Think time, s", THINKING.low, THINKING.high, 30.0, step=5.0, format="%g", key="think",
            bind="query-params", help="Between an answer and the same user's next request. 30 s is assumed.",
        )
        return Users(count, think_s)
    return None


def _use_case(place: DeltaGenerator, workload: Workload) -> None:
    """The use case that the inputs amount to; another one fills them in, and says what it assumes."""
    now = advice.use_case(workload)
    st.session_state["use_case"] = now.name if now else OWN_LOAD
    place.selectbox(
        "Use case", [OWN_LOAD, *advice.USE_CASES], key="use_case", on_change=_fill_in,
        help="Fills in lengths, prefix cache hits and targets. Change any of them afterwards.",
    )
    if now:
        place.caption(figures.plain(f"Assumed: {now.source}"))


def _fill_in() -> None:
    """A select box's callback: the inputs of the use case that was picked."""
    case = advice.USE_CASES.get(st.session_state["use_case"])
    if case:
        filled = case.of(Workload())
        st.session_state.update({one.key: one.shown(getattr(filled, one.name)) for one in INPUTS
                                 if one.name in FILLED})


def _answer(one: Input, place: DeltaGenerator) -> float | None:
    """The widget of an input; pages count whole numbers, or decimals where the unit is a share."""
    if one.words:
        return one.of_page(place.selectbox(one.label, one.words, key=one.key, bind="query-params", help=one.help))
    kind, bounds = int if one.unit.whole else float, one.on_pages
    low, high, default = kind(bounds.low), kind(bounds.high), one.shown(one.default)
    if one.slides_to:
        shown: float | None = st.slider(one.label, low, high, default, step=kind(one.step), format="%.1f %%",
                                        key=one.key, bind="query-params", help=one.help)
    else:
        label = f"{one.label}, {one.unit.name}" if one.unit.on_pages != 1 else one.label
        shown = place.number_input(label, low, high, default, step=kind(one.step), key=one.key, bind="query-params",
                                   format=None if one.unit.whole else "%g", help=one.help,
                                   placeholder="published" if one.is_open else None)
    return one.of_page(shown)
