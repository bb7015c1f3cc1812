"""Many GPUs: the same probe on the machines of a Ray cluster, side by side, one table of what each reached."""

from collections.abc import Sequence

import streamlit as st

from core.basics.errors import InputError, SweetspotError
from core.machinery import cluster
from core.machinery.cluster import Node
from core.machinery.jobs import Job
from core.models import ModelSpec
from core.probe import devices
from core.probe.many import Row, Target, figures, measured, probe_many, targets
from pages.shared import evidence, tasks
from pages.shared import figures as shown

LINK = "cluster_job"        # names the job in the address
WHERE = {
    True: "the Ray cluster that this server's administrator named",
    False: "a Ray cluster of this machine alone, until the administrator names one in SWEETSPOT_RAY",
}


def section(spec: ModelSpec) -> None:
    """Where Ray is installed and probing is on: pick hosts and GPU types, measure, watch, keep."""
    if not (cluster.is_installed() and devices.is_allowed()):
        return
    with st.expander("Many GPUs", icon=":material/hub:", expanded=LINK in st.query_params, key="many"):
        try:
            named = cluster.address() is not None
            st.caption(f"The same probe side by side on {WHERE[named]}.")
            choose(spec)
        except SweetspotError as error:
            st.error(shown.plain(error), icon=":material/error:")
            st.button("Try again", key="cluster_again", on_click=_found.clear)
        rows = tasks.outcome(LINK, tuple, table, _keep)
        if rows is not None:
            found = measured(rows)
            table(rows)
            used = "" if all(measurement.is_cpu for measurement in found) else " Plans of these GPUs use them."
            st.caption(f"{len(found)} kept below.{used}")


def choose(spec: ModelSpec) -> None:
    """The machines there are, once they are asked for, and what to measure. Raises SweetspotError."""
    if not st.session_state.get("cluster_asked"):
        st.button("Look for GPUs", icon=":material/search:", key="cluster_look", on_click=_ask)
        return
    found = _found(cluster.address())
    if isinstance(found, SweetspotError):
        raise found
    left, middle, right = st.columns([3, 2, 2], vertical_alignment="bottom")
    by_id = {node.id: node for node in found}
    hosts = left.multiselect(
        "Hosts", list(by_id), format_func=lambda node: _host(by_id[node]), key="cluster_hosts",
        placeholder="every host with a GPU",
    )
    kinds = sorted({node.gpu_type for node in found if node.gpu_type})
    types = middle.multiselect("GPU types", kinds, key="cluster_types", placeholder="every type")
    try:
        chosen = targets(found, hosts, types)
    except InputError as error:
        st.caption(f":material/info: {shown.plain(error)}")
        return
    words = f"Measure {len(chosen)} {'host' if len(chosen) == 1 else 'hosts'}"
    right.button(
        words, type="primary", icon=":material/speed:", key="cluster_measure", width="stretch",
        on_click=start, args=(spec, chosen, float(st.session_state.get("seconds", devices.DEFAULT_S))),
    )
    st.caption(
        "One GPU of each host, for as long as set above. A host that dies or has no room loses its row alone. The same "
        "without a browser: `sweetspot probe --cluster`."
    )


def _ask() -> None:
    st.session_state["cluster_asked"] = True


@st.cache_resource(ttl=60, show_spinner="Asking the cluster …")
def _found(address: str | None) -> tuple[Node, ...] | SweetspotError:
    """The machines, or why there are none: both are kept for a minute, so that a cluster is asked seldom."""
    del address
    try:
        return cluster.nodes()
    except SweetspotError as error:
        return error


def _host(node: Node) -> str:
    kind = node.gpu_type or "GPU"
    return f"{node.name}: {node.gpus} × {kind}" if node.gpus else f"{node.name}: no GPU"


def start(spec: ModelSpec, chosen: tuple[Target, ...], seconds: float) -> None:
    """Queues the probes behind those of this machine's GPU, and names them in the link."""
    def work(job: Job) -> tuple[Row, ...]:
        def report(share: float, rows: tuple[Row, ...]) -> None:
            job.parts[:] = rows
            job.report(share, f"{sum(row.ended for row in rows)} of {len(rows)} done")

        rows = probe_many(spec, chosen, seconds, report)
        measured(rows)
        return rows

    tasks.start(LINK, f"{spec.name} on {len(chosen)} hosts", work)


def table(rows: Sequence[Row]) -> None:
    """A line for every host: how far it is, then what it reached; below, why rows were lost."""
    st.dataframe(
        [
            {
                "host": row.target.host or "any", "GPU type": row.target.gpu_type or "none",
                "done": 100 * row.share, "now": row.note, **(figures(row.measurement) if row.measurement else {}),
            }
            for row in rows
        ],
        hide_index=True, placeholder="–",
        column_config={
            "done": st.column_config.ProgressColumn(format="%.0f %%", min_value=0, max_value=100, width="small"),
            **dict.fromkeys(
                ("copy GB/s", "read GB/s", "BF16 TFLOPS"), st.column_config.NumberColumn(format="%.3g")
            ),
            "INT4 over BF16 at M=1": st.column_config.NumberColumn(format="%.2f ×"),
        },
    )
    for row in rows:
        if row.lost:
            st.caption(f":material/warning: {shown.plain(row.target.label)}: {shown.plain(row.lost)}")


def _keep(rows: tuple[Row, ...]) -> None:
    """Keeps every measurement, like a probe of this machine."""
    for measurement in measured(rows):
        evidence.keep_measurement(measurement)
