"""Saved: plans that were kept, as cards; reopen, rename, delete, compare two, take away, bring back."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

import streamlit as st

from core.answers.advice import sentences
from core.basics.errors import InputError, SweetspotError
from core.basics.settings import is_public
from core.basics.units import MS_PER_S
from core.delivery import export
from core.delivery.export import KeptPlan
from core.machinery.store import Kind, Saved
from core.terms import Estimate
from pages.shared import answers, figures, keeping, parts

UPLOAD_MB = 5
LABELS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "tpot_ms": ("TPOT", lambda value: figures.ms(value / MS_PER_S)),
    "ttft_ms": ("TTFT", lambda value: figures.ms(value / MS_PER_S)),
    "output_tokens_per_s": ("Output", figures.rate),
    "usd_per_million_output_tokens": ("Cost per million", figures.dollars),
}
STANDINGS = {"met": "green", "fewer": "orange", "late": "orange", "impossible": "red"}


# -- cards ------------------------------------------------------------------------------------------


def card(item: Saved) -> None:
    """One kept plan."""
    with st.container(border=True, gap="small", height="stretch"):
        try:
            plan = export.kept(item.body)
        except InputError as error:
            st.markdown(f"**{figures.plain(item.name)}**")
            st.caption(f":orange[{figures.plain(error)}]")
            _delete(item)
            return
        st.markdown(f"##### {figures.plain(item.name)}")
        st.markdown(" ".join(_badges(plan)))
        st.markdown(figures.plain(plan.sentence))
        st.caption(" · ".join(
            f"{label} {figures.plain(write(plan.figures[name].value))}"
            for name, (label, write) in LABELS.items() if name in plan.figures
        ))
        st.caption(f"{sentences.came_in(plan.load)}. Saved {_day(item.created_s)}.")
        with st.container(horizontal=True, gap="small"):
            if st.button("Reopen", key=f"reopen {item.id}", icon=":material/open_in_browser:", type="primary",
                         on_click=parts.apply, args=(answers.taken(plan.inputs),),
                         help="Sets every input in the sidebar as it was, and plans again."):
                parts.go_to_plan()
            _rename(item)
            _delete(item)


def _badges(plan: KeptPlan) -> list[str]:
    deployed = plan.deployed
    if deployed is None:
        return [":red-badge[nothing runs]"]
    colour = STANDINGS.get(plan.standing, "gray")
    return [
        f":{colour}-badge[{'fits' if deployed.fits else 'does not fit'}]",
        f":gray-badge[{figures.plain(deployed.weights)} weights]",
        f":gray-badge[{figures.plain(deployed.kv_cache.upper())} cache]",
    ]


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _rename(item: Saved) -> None:
    with st.popover("Rename", icon=":material/edit:"):
        name = st.text_input("New name", item.name, max_chars=200, key=f"name {item.id} {item.revision}")
        st.button("Rename", key=f"rename {item.id}", on_click=_renamed, args=(item, name))


def _renamed(item: Saved, name: str) -> None:
    try:
        keeping.store().rename(item, st.session_state.get(f"name {item.id} {item.revision}", name))
    except SweetspotError as error:
        st.session_state["store_problem"] = str(error)
    keeping.changed()


def _delete(item: Saved) -> None:
    st.button("Delete", key=f"delete {item.id}", icon=":material/delete:", on_click=keeping.delete, args=(item,),
              help="It can be undone.")


# -- comparing two ----------------------------------------------------------------------------------


def compare(items: tuple[Saved, ...]) -> None:
    """Two plans side by side, row by row, with the difference."""
    readable = {item.id: item for item in items if _readable(item)}
    if len(readable) < 2:
        return
    chosen = st.multiselect(
        "Compare two", list(readable), max_selections=2, format_func=lambda item_id: readable[item_id].name,
        key="compare", placeholder="Pick two plans",
    )
    if len(chosen) < 2:
        return
    first, second = (readable[item_id] for item_id in chosen)
    one, other = export.kept(first.body), export.kept(second.body)
    left, right = (f"{letter}: {item.name}" for letter, item in (("A", first), ("B", second)))
    rows = [
        {"": label, left: a, right: b, "Difference": difference}
        for label, a, b, difference in _compared(one, other)
    ]
    st.dataframe(rows, hide_index=True, alt=f"{first.name} beside {second.name}", height="content")


def _readable(item: Saved) -> bool:
    try:
        export.kept(item.body)
    except InputError:
        return False
    return True


def _compared(one: KeptPlan, other: KeptPlan) -> list[tuple[str, str, str, str]]:
    facts = [(label, told(one), told(other)) for label, told in _FACTS]
    rows = [(label, a, b, "" if a == b else "differs") for label, a, b in facts]
    for name, (label, write) in LABELS.items():
        change = one.change_to(other, name)
        ends = (_figure(plan.figures.get(name), write) for plan in (one, other))
        rows.append((label, *ends, "" if change is None else _judged(name, change)))
    return rows


def _judged(name: str, change: float) -> str:
    """ "-56 %, better": tokens per second are the only figure that is better when it is higher."""
    if abs(change) < 0.005:
        return "the same"
    better = (change > 0) == (name == "output_tokens_per_s")
    return f"{100 * change:+.0f} %, {'better' if better else 'worse'}"


def _figure(estimate: Estimate | None, write: Callable[[float], str]) -> str:
    if estimate is None:
        return "–"
    return f"{write(estimate.value)} ({figures.span(estimate, write)}), {estimate.basis}"


_FACTS: tuple[tuple[str, Callable[[KeptPlan], str]], ...] = (
    ("Model", lambda plan: plan.model),
    ("Hardware", lambda plan: plan.deployed.hardware if plan.deployed else plan.gpu),
    ("Weights", lambda plan: plan.deployed.weights if plan.deployed else "–"),
    ("KV cache", lambda plan: plan.deployed.kv_cache if plan.deployed else "–"),
    ("Engine", lambda plan: plan.engine),
    ("Load", lambda plan: sentences.came_in(plan.load)),
    ("Requests in flight", lambda plan: f"{plan.deployed.concurrency:,}" if plan.deployed else "–"),
    ("Memory before requests", lambda plan: f"{plan.deployed.taken_gib:.1f} of {plan.deployed.memory_gib:.1f} GiB"
     if plan.deployed else "–"),
)


# -- taking away and bringing back ------------------------------------------------------------------


def take_away(items: tuple[Saved, ...]) -> None:
    """Everything as CSV and JSON, and the way back in."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        if items:
            plans = [(item.name, item.created_s, export.kept(item.body)) for item in items if _readable(item)]
            parts.download("All plans, CSV", partial(export.kept_csv, plans), "sweetspot-plans.csv")
        parts.download("Everything, JSON", keeping.store().export, "sweetspot.json")
        with st.popover("Import", icon=":material/upload:"):
            file = st.file_uploader(
                "An export of this page, JSON", type=["json"], max_upload_size=UPLOAD_MB, key="import_file",
                help="Plans, GPUs and models are added to what is kept; nothing is overwritten.",
            )
            st.button("Import", key="import", disabled=file is None, on_click=_import)


def _import() -> None:
    file = st.session_state.get("import_file")
    try:
        count = keeping.store().load(file.getvalue().decode("utf-8", "replace"))
    except SweetspotError as error:
        st.session_state["store_problem"] = str(error)
        return
    keeping.changed()
    st.toast(f"Added {count:,}.", icon=":material/check:")


def broken() -> list[Saved]:
    """Rows of every other kind that cannot be read: no page uses them, and here they can be deleted."""
    return [item for kind in Kind if kind is not Kind.PLAN for item in keeping.all_of(kind) if item.broken]


def page() -> None:
    st.header("Saved", anchor=False)
    items = keeping.all_of(Kind.PLAN)
    whose = ("Only you see them: they belong to this browser, by a cookie. Take the JSON to use them elsewhere."
             if is_public() else "They stay on this machine.")
    st.caption(f"Plans as they were when you saved them. {whose}")
    keeping.undo(Kind.PLAN)
    if not items:
        st.info("Nothing is saved yet. Plan something, then press **Save this plan** at the end of the page.",
                icon=":material/bookmark:")
        st.page_link(parts.PLAN_PAGE, label="Go to the plan", icon=":material/target:")
    with st.grid(3, min_column_width=320, gap="small"):
        for item in (*items, *broken()):
            card(item)
    compare(items)
    take_away(items)


page()
