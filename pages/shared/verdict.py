"""The verdict: the answer in a sentence with its badges and reasons, what measurements changed, what a change moved."""

from dataclasses import replace

import streamlit as st

from core.answers import advice
from core.basics.words import counted, percent
from core.probe import override
from core.terms import Basis
from pages.shared import evidence, figures, inputs, parts


def show(plan: advice.Plan) -> None:
    """The answer in one sentence, what it keeps or misses as badges above, and the reason below."""
    with st.container(border=True, key="verdict", gap="small"):
        st.markdown(" ".join(_claims(plan)))
        st.header(figures.plain(plan.headline), anchor=False)
        st.markdown(figures.plain(figures.opened(plan.details)))
        if found := advice.assumed(inputs.asked().demand, plan):
            st.markdown(figures.plain(found))
        if plan.reason and plan.best is not None:
            st.caption(figures.plain(plan.reason))
        for note in (*filter(None, (parts.current_engine().why,)), *advice.sentences.notes(plan)):
            st.caption(f":orange[:material/info:] {figures.plain(note)}")
        if plan.best is not None and plan.gpu.measured:
            by_probe(plan, plan.best)
        _by_benchmarks(plan)
    if said := _moved(plan):
        st.caption(f":material/trending_flat: {figures.plain(said)}")


def _moved(plan: advice.Plan) -> str:
    """What the visitor's last change moved; it stays until the next one."""
    before: advice.Plan | None = st.session_state.get("planned")
    if before is not None and before is not plan:
        st.session_state["moved"] = advice.moved(before, plan)
    st.session_state["planned"] = plan
    said: str = st.session_state.get("moved", "")
    return said


def _by_benchmarks(plan: advice.Plan) -> None:
    """What the visitor's benchmarks changed, what the plan is without them, and the way back."""
    runs = evidence.benchmark_runs(plan.spec, plan.gpu, plan.engine)
    used = tuple(item for item in runs if evidence.in_use(item))
    if not runs:
        return
    if used:
        days = sorted({one.date[:10] for one in plan.benchmarks if one.date})
        when = f" on {figures.plain(days[-1])}" if days else ""
        st.markdown(
            f"{figures.badge(Basis.MEASURED)} Planned with {counted(len(used), 'benchmark')} of yours, measured"
            f"{when}: {figures.plain(_short(plan))}. Without: "
            f"{figures.plain(_short(parts.plan_with(())))}. The address of this page does not carry what you measured."
        )
    else:
        st.caption(f"{counted(len(runs), 'benchmark')} of yours of this model, GPU and engine: not used.")
    st.button("Plan without" if used else "Plan with", key="benchmarks_in_use", type="tertiary",
              on_click=evidence.use_benchmarks, args=(used or runs,))


def _short(plan: advice.Plan) -> str:
    """A plan in a few words: what is deployed, how fast, and its batch limit."""
    if plan.best is None:
        return plan.headline
    d, limit = plan.best.deployment, plan.recommended_batch
    batch = "" if limit is None else f", batch limit {limit:,}"
    return f"{d.weights.label} on {advice.sentences.hardware(d)}, TPOT {figures.ms(plan.best.tpot.value)}{batch}"


def by_probe(plan: advice.Plan, choice: advice.Choice) -> None:
    """What a probe of this GPU changed."""
    load = replace(plan.workload, concurrency=choice.concurrency)
    here, without = override.tpot_without(plan.spec, choice.deployment, load)
    st.markdown(
        f"{figures.badge(Basis.MEASURED)} Bandwidth and rates of this GPU come from "
        f"{figures.plain(evidence.probe_name(plan.gpu))}: "
        f"TPOT {figures.ms(here)}, {figures.ms(without)} estimated without it ({here / without - 1:+.0%})."
    )


def _claims(plan: advice.Plan) -> list[str]:
    """Badges: does it fit, does it keep the targets, what limits it."""
    choice = plan.best
    if choice is None:
        near = plan.nearest
        if near is None or not near.fits:
            return [":red-badge[:material/close: does not fit]"]
        return [":green-badge[:material/check: fits]", ":orange-badge[:material/close: quality]", *_quality(near)]
    kept = {
        "TTFT": choice.ttft.value <= plan.workload.ttft_slo_s,
        "TPOT": not choice.tpot.value > plan.workload.tpot_slo_s,      # a single token has none
        _served(choice.concurrency, plan.workload.concurrency): choice.concurrency >= plan.workload.concurrency,
    }
    return [
        ":green-badge[:material/check: fits]",
        *(
            f":green-badge[:material/check: {name}]" if met else f":orange-badge[:material/close: {name}]"
            for name, met in kept.items()
        ),
        *_quality(choice),
        f":gray-badge[decode limited by {choice.decode_bound}]",
        f":gray-badge[prefill limited by {choice.prefill_bound}]",
    ]


def _served(served: int, asked: int) -> str:
    """Of how many requests the plan speaks: "all 16 requests", "12 of 16 requests", "the one request"."""
    if served < asked:
        return f"{served:,} of {asked:,} requests"
    return f"all {asked:,} requests" if asked > 1 else "the one request"


def _quality(choice: advice.Choice) -> list[str]:
    """A badge with what the format costs in quality and how that is known; none for the checkpoint's own."""
    loss = choice.quality
    if loss is None:
        return [":orange-badge[quality loss: no figure]"]
    if loss.value == 0 and loss.basis is not Basis.MEASURED:
        return []
    return [f":{figures.BADGES[loss.basis]}-badge[quality loss {percent(loss.value)}, {loss.basis}]"]
