"""Launch and benchmark: files that start a deployment, the benchmark of its load, and the result pasted back."""

from collections.abc import Mapping

import streamlit as st

from core.basics.errors import SweetspotError
from core.basics.words import counted
from core.delivery.export import anchored, deliver, results, verify
from core.delivery.export.manifests import Manifest
from core.delivery.export.order import Order
from core.machinery.store import Kind, Saved
from pages.shared import evidence, figures, keeping, parts

LONG, LONG_PX = 24, 460         # lines from which a file scrolls
MAX_PASTED = 2_000_000          # characters; longer results come as a file


@st.fragment
def files(ordered: Order, key: str) -> None:
    """Every file of a deployment, one shown at a time, and its benchmark below."""
    d = ordered.deployment
    made, why_not = deliver.manifests(ordered)
    with st.container(border=True, gap="small", key=f"files_{key}"):
        several = f"{ordered.times:,} servers of " if ordered.times > 1 else ""
        parts.section(
            f"Launch it: {several}{figures.plain(figures.layout(d))}",
            f"{d.weights.label} weights, {d.kv_cache.name.upper()} KV cache. Lengths in the plan are averages; the "
            "server accepts anything up to its longest context.",
        )
        if made:
            label = st.segmented_control(
                "File", [manifest.label for manifest in made], default=made[0].label, required=True,
                key=f"file_{key}", label_visibility="collapsed",
            )
            shown(next(manifest for manifest in made if manifest.label == label), key)
        for why, labels in by_reason(why_not).items():
            st.caption(f"**{', '.join(labels)}**: {figures.plain(why)}")
        if made and "Command" not in why_not:
            proof(ordered, key)


def by_reason(why_not: Mapping[str, str]) -> dict[str, list[str]]:
    """What cannot be made, under its reason."""
    reasons: dict[str, list[str]] = {}
    for label, why in why_not.items():
        reasons.setdefault(why, []).append(label)
    return reasons


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
    with st.expander("Benchmark it: the command for this load, and its result", icon=":material/speed:"):
        tools = {one.tool: one for one in verify.benchmarks(ordered)}
        tool = st.segmented_control(
            "Benchmark", list(tools), default=next(iter(tools)), required=True, key=f"tool_{key}",
            label_visibility="collapsed",
        )
        st.caption(f"{tools[tool].says} Random prompts of the planned lengths. Start the server, run it, then give its "
                   "result below.")
        st.code(tools[tool].command, language="bash", wrap_lines=True)
        typed, file = st.columns([3, 2])
        text = typed.text_area(
            "What it printed or saved", key=f"result_{key}", max_chars=MAX_PASTED, height=140,
            placeholder="============ Serving Benchmark Result ============ …, or JSON",
            help=f"Understood: {figures.plain(results.READABLE)}.",
        )
        given = file.file_uploader(
            "or its file", type=["json", "jsonl", "txt", "log", "md"], key=f"result_file_{key}",
            help="benchmarks.json of GuideLLM, result.json of vLLM, result.jsonl of SGLang or llama.cpp. Of several "
            "runs the one nearest to the plan is taken.",
        )
        if given is not None:
            text = given.getvalue().decode("utf-8", "replace")
        if text.strip():
            against(ordered, text, key)
        after(ordered, key)


def against(ordered: Order, text: str, key: str) -> None:
    """Predicted against measured, and a way to keep it."""
    try:
        measured = results.read_result(text, ordered.workload.concurrency)
    except SweetspotError as error:
        st.error(figures.plain(error), icon=":material/error:")
        return
    of = f", the nearest of {measured.runs:,} runs" if measured.runs > 1 else ""
    st.caption(f"Recognised: {figures.plain(measured.tool)}{of}.")
    if why := verify.wrong_load(ordered, measured):
        st.warning(figures.plain(why), icon=":material/warning:")
    st.dataframe(
        [_checked(check) for check in verify.checks(ordered, measured)], hide_index=True,
        alt="Measured figures beside the predicted ones",
        column_config={"Measured / predicted": st.column_config.NumberColumn(format="%.2f ×")},
    )
    if st.button("Keep this measurement", key=f"keep_{key}", icon=":material/bookmark_add:"):
        try:
            keeping.store().save(Kind.MEASUREMENT, name_of(ordered), verify.record(ordered, measured))
        except SweetspotError as error:
            st.error(figures.plain(error), icon=":material/error:")
        else:
            keeping.changed()
            st.toast("Kept: future plans are corrected by it.", icon=":material/bookmark_added:")


def _checked(check: verify.Check) -> dict[str, object]:
    """One figure as a row."""
    low, high = figures.three(check.predicted.low), figures.three(check.predicted.high)
    return {
        "Figure": check.name, "Measured": f"{figures.three(check.measured)} {check.unit}",
        "Predicted": f"{figures.three(check.predicted.value)} {check.unit}", "80 % range": f"{low} – {high}",
        "Measured / predicted": check.ratio, "Within the range": check.within,
    }


def after(ordered: Order, key: str) -> None:
    """The prediction once more, with the kept benchmarks that speak for it; each can be forgotten."""
    try:
        measured = keeping.store().all(Kind.MEASUREMENT)
    except SweetspotError:
        return
    kept = [saved for saved in measured if evidence.in_use(saved) and anchored.speaking_for(ordered, [saved.body])]
    if not kept:
        return
    cells = anchored.speaking_for(ordered, [saved.body for saved in kept])
    now, count = anchored.anchored(ordered, cells), counted(len(cells), "kept benchmark")
    st.markdown(
        f"With {count} of this GPU, engine and format: TPOT {figures.ms(now.tpot.value)} "
        f"({figures.span(now.tpot, figures.ms)}), TTFT {figures.ms(now.ttft.value)} "
        f"({figures.span(now.ttft, figures.ms)}), {figures.rate(now.output_tokens_per_s.value)} "
        ":gray-badge[estimated, corrected by your benchmark]"
    )
    for saved in kept:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(figures.plain(f"{saved.name}, {str(saved.body.get('date', ''))[:10]}"))
            st.button("Forget", key=f"forget_{key}_{saved.id}", type="tertiary", on_click=forget, args=(saved,))


def forget(saved: Saved) -> None:
    """A button's callback: a benchmark no longer counts."""
    try:
        keeping.store().delete(saved)
        keeping.changed()
    except SweetspotError as error:
        st.toast(figures.plain(error), icon=":material/error:")


def name_of(ordered: Order) -> str:
    """What a kept measurement is called."""
    d = ordered.deployment
    model = ordered.spec.name.rpartition("/")[2]
    return f"{model[:80]} {d.weights.label} on {figures.layout(d)}, {counted(ordered.workload.concurrency, 'request')}"
