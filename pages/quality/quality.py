"""Quality: what each format costs on your own prompts, before you deploy it."""

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from core.basics.errors import SweetspotError
from core.losses import Losses, speaks_of
from core.losses.measured import QualityMeasurement, Score, from_json, to_json, without_text
from core.machinery.jobs import Job
from core.models import ModelSpec
from core.quality import check, is_allowed
from core.quality.variants import FLOOR
from pages.quality import quality_answer as shown
from pages.quality import quality_order as asked
from pages.shared import evidence, figures, parts, shelf, tasks

LINK = "check"
OFF = (
    "Checking is off on this server: it would load the model and read your prompts here. Run it on a machine of yours "
    "with the command below and open the file, or ask the administrator to set SWEETSPOT_QUALITY=1."
)


def start(spec: ModelSpec, wanted: asked.Asked) -> None:
    """Queues a check and names it in the link."""
    def work(job: Job) -> QualityMeasurement:
        def report(share: float, note: str, score: Score | None) -> None:
            job.report(share, note, score)

        return replace(check(wanted.order, report), model=spec.name)

    st.session_state["checked_prompts"] = wanted.prompts
    tasks.start(LINK, spec.name, work)


def ask(spec: ModelSpec) -> None:
    """The form and its button; or why there is none."""
    command = f"sweetspot quality --model {spec.name} --prompts prompts.txt --json > quality.json"
    if not is_allowed():
        st.info(OFF, icon=":material/lock:")
        st.code(command, language="bash")
        return
    wanted = asked.ask(spec)
    with st.container(horizontal=True, vertical_alignment="center", key="go"):
        st.button("Start the check", type="primary", icon=":material/fact_check:", key="start_check",
                  disabled=wanted is None, on_click=start, args=(spec, wanted))
        st.caption("The model's weights are fetched where they are not on this machine; the work runs in a process of "
                   "its own and can be cancelled.")


def live(found: Sequence[Score]) -> None:
    """The scores as they come."""
    shown.scores(found, parts.current_model(), key="live_scores")


def keep(found: QualityMeasurement) -> None:
    """Whether to keep a result, under which name, and whether the words go with it."""
    if st.session_state.get("kept_check") == found.date:
        st.caption(":material/check: Kept: plans of this model use it. It is in the list below.")
        return
    with st.container(border=True, gap="small", key="keep"):
        st.markdown("**Use it in plans.** Kept, its losses replace the published ones for this model.")
        left, right = st.columns(2)
        name = left.text_input("What these prompts are", st.session_state.get("checked_prompts", ""), max_chars=100,
                               key="check_name")
        model = right.text_input("Counts for the model", found.model, max_chars=200, key="check_model",
                                 help="A folder or file may be a copy of a model that you plan by another name.")
        found = replace(found, model=" ".join(model.split()) or found.model)
        with st.container(horizontal=True, vertical_alignment="center"):
            words = st.toggle("With the words of the worst prompts", key="keep_words",
                              help="Off: figures and a fingerprint of your prompts only.")
            st.button("Keep", icon=":material/bookmark_add:", key="keep_check", on_click=_keep,
                      args=(found, name, words))
            parts.download("JSON", lambda: to_json(found if words else without_text(found)),
                           f"{figures.file_name('quality', found.model)}.json")
    if problem := st.session_state.pop("keep_problem", ""):
        st.warning(figures.plain(problem), icon=":material/warning:")


def _keep(found: QualityMeasurement, name: str, words: bool) -> None:
    try:
        evidence.keep_quality(found if words else without_text(found), name)
    except SweetspotError as error:
        st.session_state["keep_problem"] = str(error)
        return
    st.session_state["kept_check"] = found.date


def page() -> None:
    """Ask, watch, read; then what is kept and what is published."""
    spec = parts.current_model()
    st.header("Quality", anchor=False)
    st.caption("Quantised weights answer a little differently. Here the quantised model is compared with its "
               "full-precision original, token by token, on your own prompts.")
    ask(spec)
    now = tasks.outcome(LINK, QualityMeasurement, live)
    if now is not None:
        keep(now)
    items = evidence.quality_checks()
    of_model = [(item.name, found) for item, found in items if speaks_of(found, spec)]
    latest = now or (of_model[0][1] if of_model else None)
    if latest is not None:
        shown.result(latest, spec)
        shown.side_by_side(of_model)
    else:
        shown.how_to_read()
    shown.prior(spec, Losses(spec, evidence.measured_losses(spec)))
    parts.section("Kept checks")
    shelf.open_file("Open a check", "import_quality", "The JSON file of a check on another machine.",
                    lambda text: evidence.keep_quality(from_json(text)))
    shelf.shelf(items, "quality", says=lambda found: f"{found.tokens:,} tokens, {shelf.when(found.date)}",
                usable=lambda found: any(score.variant != FLOOR.name for score in found.scores), to_json=to_json)


page()
