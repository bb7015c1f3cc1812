"""Take it away: files that start a deployment, the benchmark that proves it, and its result pasted back."""

import streamlit as st

from core.errors import SweetspotError
from core.export import anchored, deliver, verify
from core.export.manifests import Manifest
from core.export.order import Order
from core.store import Kind, Saved
from pages import figures, keeping, parts

LONG, LONG_PX = 24, 460         # lines from which a file scrolls
CHECKED = {True: ":green-badge[within the range]", False: ":orange-badge[outside the range]"}


@st.fragment
def files(ordered: Order, key: str) -> None:
    """Every file of a deployment, one shown at a time, and the proof below."""
    d = ordered.deployment
    made, why_not = deliver.manifests(ordered)
    with st.container(border=True, gap="small", key=f"files_{key}"):
        parts.section(
            f"Launch it: {figures.plain(figures.layout(d))}",
            f"{d.weights.label} weights, {d.kv_cache.name.upper()} cache. Every setting follows from the plan, and "
            "planned lengths are averages, so a server takes requests as long as the model and its cache allow.",
        )
        if made:
            label = st.segmented_control(
                "File", [manifest.label for manifest in made], default=made[0].label, required=True,
                key=f"file_{key}", label_visibility="collapsed",
            )
            shown(next(manifest for manifest in made if manifest.label == label), key)
        if why_not:
            st.caption(" ".join(f"**{label}**: {figures.plain(why)}" for label, why in why_not.items()))
        if made:
            proof(ordered, key)


def shown(manifest: Manifest, key: str) -> None:
    """One file with its use."""
    for note in manifest.notes:
        st.caption(f":material/info: {figures.plain(note)}")
    long = manifest.text.count("\n") > LONG
    st.code(manifest.text, language=manifest.language, wrap_lines=True, height=LONG_PX if long else "content")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            manifest.file, manifest.text.encode(), file_name=manifest.file, on_click="ignore",
            icon=":material/download:", key=f"download_{key}_{manifest.file}",
        )
        st.markdown(f"`{manifest.use}`")


def proof(ordered: Order, key: str) -> None:
    """The benchmark to run, and its result against the prediction."""
    with st.expander("Prove it: the benchmark for this load, and its result", icon=":material/speed:"):
        st.caption("Start the server, run one of these, paste what it prints. Random prompts of the planned lengths.")
        st.code(verify.vllm_bench(ordered), language="bash", wrap_lines=True)
        st.code(verify.guidellm(ordered), language="bash", wrap_lines=True)
        text = st.text_area(
            "Result of vllm bench serve", key=f"result_{key}", max_chars=verify.MAX_TEXT, height=140,
            placeholder="============ Serving Benchmark Result ============ …, or the saved result.json",
        )
        if text.strip():
            against(ordered, text, key)
        after(ordered, key)


def against(ordered: Order, text: str, key: str) -> None:
    """Predicted against measured, and a way to keep it."""
    try:
        measured = verify.read_result(text)
    except SweetspotError as error:
        st.error(figures.plain(error), icon=":material/error:")
        return
    if why := verify.wrong_load(ordered, measured):
        st.warning(figures.plain(why), icon=":material/warning:")
    for check in verify.checks(ordered, measured):
        low, high = figures.three(check.predicted.low), figures.three(check.predicted.high)
        st.markdown(
            f"**{check.name}** {figures.three(check.measured)} {check.unit} :green-badge[measured] against "
            f"{figures.three(check.predicted.value)} ({low} – {high}) :gray-badge[estimated]: "
            f"{check.ratio:.2f} × {CHECKED[check.within]}"
        )
    if st.button("Keep this measurement", key=f"keep_{key}", icon=":material/bookmark_add:"):
        try:
            keeping.store().save(Kind.MEASUREMENT, name_of(ordered), verify.record(ordered, measured))
        except SweetspotError as error:
            st.error(figures.plain(error), icon=":material/error:")
        else:
            st.toast("Kept: from now on it pulls this prediction.", icon=":material/bookmark_added:")


def after(ordered: Order, key: str) -> None:
    """The prediction once more, with the kept benchmarks that speak for it; each can be forgotten."""
    try:
        measured = keeping.store().all(Kind.MEASUREMENT)
    except SweetspotError:
        return
    kept = [saved for saved in measured if anchored.speaking_for(ordered, [saved.body])]
    if not kept:
        return
    now = anchored.anchored(ordered, anchored.speaking_for(ordered, [saved.body for saved in kept]))
    count = f"{len(kept)} kept benchmark{'s' * (len(kept) > 1)}"
    st.markdown(
        f"With {count} of this GPU, engine and format: TPOT {figures.ms(now.tpot.value)} "
        f"({figures.span(now.tpot, figures.ms)}), TTFT {figures.ms(now.ttft.value)} "
        f"({figures.span(now.ttft, figures.ms)}), {figures.rate(now.output_tokens_per_s.value)} "
        ":gray-badge[estimated, anchored]"
    )
    for saved in kept:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(figures.plain(f"{saved.name}, {str(saved.body.get('date', ''))[:10]}"))
            st.button("Forget", key=f"forget_{key}_{saved.id}", type="tertiary", on_click=forget, args=(saved,))


def forget(saved: Saved) -> None:
    """A button's callback: a benchmark no longer counts."""
    try:
        keeping.store().delete(saved)
    except SweetspotError as error:
        st.toast(figures.plain(error), icon=":material/error:")


def name_of(ordered: Order) -> str:
    """What a kept measurement is called."""
    d = ordered.deployment
    model = ordered.spec.name.rpartition("/")[2]
    return f"{model[:80]} {d.weights.label} on {figures.layout(d)}, {ordered.workload.concurrency:,} requests"
