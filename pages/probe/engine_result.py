"""What a run of an engine found: memory and loads, measured beside planned."""

import streamlit as st

from core.basics.words import counted
from core.measure.record import EngineRun
from core.products.engines import find
from core.terms import Basis
from pages.shared import figures, parts, shelf

_FIGURES = (("ttft_ms", "TTFT", "ms"), ("tpot_ms", "TPOT", "ms"),
            ("output_tokens_per_s_per_gpu", "Output per GPU", "tokens/s"))


def result(run: EngineRun) -> None:
    """Everything one run says."""
    quiet = (":green-badge[:material/check: machine quiet]" if run.conditions.quiet
             else ":orange-badge[:material/warning: machine not quiet]")
    with st.container(border=True, key="verdict", gap="small"):
        st.markdown(f"{figures.badge(Basis.MEASURED)} {quiet}")
        st.header(f"Measured: {find(run.engine).label} on {figures.plain(run.device)}", anchor=False)
        st.markdown(figures.plain(
            f"{counted(len(run.cells), 'load')} by {run.tool} in {run.seconds:.0f} s, {run.weights_are} weights of "
            f"{run.model}, {shelf.when(run.date)}."
        ))
        for sentence in (*run.conditions.remarks, *run.lost):
            st.caption(f":material/info: {figures.plain(sentence)}")
    with st.container(border=True, gap="small"):
        parts.section("Loads, measured beside planned", "Planned: before the run, from published figures alone.")
        st.dataframe([_load(cells, expected) for cells, expected in zip(run.cells, run.predicted, strict=True)],
                     hide_index=True, alt="Loads, measured beside planned")
    if run.memory:
        with st.container(border=True, gap="small"):
            parts.section("Memory by the start-up log", "GiB of one GPU, and tokens of its cache.")
            st.dataframe([
                {"term": name.removesuffix("_gib"), "measured": figures.three(value),
                 "planned": figures.three(planned) if (planned := run.planned_memory.get(name)) is not None else "–"}
                for name, value in run.memory.items()
            ], hide_index=True, alt="Memory by the start-up log")
    with st.expander("Command and versions", icon=":material/terminal:"):
        st.code(" ".join(run.command) or "A server that ran.", language="bash", wrap_lines=True)
        st.caption(figures.plain(", ".join(f"{name} {version}" for name, version in run.versions.items())))


def _load(cells: dict[str, object], expected: dict[str, float]) -> dict[str, object]:
    row: dict[str, object] = {"requests in flight": cells["concurrency"], "prompt": cells["input_tokens"],
                              "answer": cells["output_tokens"]}
    for name, label, unit in _FIGURES:
        value = cells.get(f"measured_{name}")
        if isinstance(value, float):
            row[f"{label}, {unit}"] = figures.three(value)
            row[f"{label} planned"] = figures.three(expected[name]) if name in expected else "–"
    return row
