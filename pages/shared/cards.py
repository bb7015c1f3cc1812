"""Cards of the catalogue: a GPU, a format, each with its facts and where they come from."""

from collections.abc import Iterable, Sequence

import streamlit as st

from core.basics.sources import address
from core.basics.units import GB, GIB, TERA
from core.products import engines, kernels
from core.products.formats import Format, KvFormat
from core.products.gpus import GpuSpec
from core.products.support import Verdict, by_engine, by_generation
from pages.shared import figures, parts

SCOPES = {"all": "everything", "linears": "layer matrices", "experts": "routed experts", "file": "everything, mixed"}
LINK = st.column_config.LinkColumn("Link", display_text=r"https?://(?:www\.)?([^/]+).*")
# What a table was read from, as a link that says which repository, paper or package; its card says the rest.
SOURCE = st.column_config.LinkColumn(
    "Source", width=170, help="Opens where the figures were read; the card below says more.",
    display_text=r"https?://(?:www\.|huggingface\.co/|github\.com/|pypi\.org/project/)?(.+?)/?$",
)
DTYPES = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16", "fp8": "FP8", "int8": "INT8", "fp4": "FP4", "int4": "INT4"}


def plan_with(change: dict[str, object], label: str = "Plan this", *, key: str) -> None:
    """The button that sets inputs of the sidebar and goes to the plan."""
    if st.button(label, icon=":material/target:", type="primary", key=key, on_click=parts.apply, args=(change,)):
        parts.go_to_plan()


def head(title: str, says: str, change: dict[str, object], *, key: str) -> None:
    """The first line of a card: its name, one line on what it is, and the button that plans with it."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        with st.container(width="content", gap=None):
            st.markdown(f"##### {figures.plain(title)}", width="content")
            if says:
                st.caption(figures.plain(says), width="content")
        plan_with(change, key=key)


def source(text: str) -> None:
    """Where the facts of a card come from, with a link where there is one."""
    link = address(text)
    st.caption(f"Source: {figures.plain(text)}" + (f" · [open]({link})" if link else ""))


def fact(label: str, value: str, help: str) -> None:
    st.metric(label, value, help=help, border=True, height="stretch")


def billions(params: int) -> str:
    """A count of parameters: "8.03 B", "494 M"."""
    return f"{figures.three(params / 1e9)} B" if params >= 1e9 else f"{figures.three(params / 1e6)} M"


def size(size_bytes: float) -> str:
    """Bytes as KiB, MiB or GiB, with three figures."""
    for unit, scale in (("GiB", GIB), ("MiB", 2**20), ("KiB", 1024)):
        if size_bytes >= scale:
            return f"{figures.three(size_bytes / scale)} {unit}"
    return f"{size_bytes:.0f} B"


# -- GPU --------------------------------------------------------------------------------------------


def gpu(spec: GpuSpec) -> None:
    """A GPU: memory, bandwidth, peaks with their ridge, price, and where each comes from."""
    with st.container(border=True, gap="small"):
        born = f", {spec.release_year}" if spec.release_year else ""
        kind = " ".join(filter(None, (spec.vendor, spec.architecture, spec.compute_capability)))
        head(spec.name, f"{kind}{born}", {"gpu": spec.name}, key="plan_gpu")
        with st.grid(5, min_column_width=150, gap="small"):
            sold = f"Sold as {spec.nominal_memory_gib:g} GB. " if spec.nominal_memory_gib else ""
            fact("Memory", figures.gib(spec.memory_bytes), f"{sold}What the driver lets an engine see: "
                    f"{spec.memory_basis}.")
            fact("Bandwidth", f"{spec.bandwidth_bytes_per_s / GB:,.0f} GB/s", "Of the device memory, by data sheet.")
            peak = spec.peak("bf16")
            fact("16-bit TFLOPS", f"{peak / TERA:,.0f}" if peak else "–", f"Dense peak, {spec.basis}.")
            ridge = spec.ridge_flops_per_byte("bf16")
            fact("Ridge, FLOP/B", f"{ridge:,.0f}" if ridge else "–",
                    "At 16 bits. Below this many operations per byte read, memory limits; above, compute.")
            price = spec.price_usd_per_hour
            fact("Price", f"{figures.dollars(price)} / h" if price is not None else "–",
                    figures.plain(spec.price_source) or "No price is known: type your own in the sidebar.")
        _peaks(spec)
        lines = [f"Link to other GPUs: {figures.plain(spec.link)}" if spec.link else "",
                 f"power {spec.tdp_w:,.0f} W" if spec.tdp_w else "", f"{spec.sm_count} SMs" if spec.sm_count else ""]
        st.markdown(", ".join(filter(None, lines)) + ("." if any(lines) else ""))
        if spec.notes:
            st.markdown(figures.plain(spec.notes))
        source(spec.source)


def _peaks(spec: GpuSpec) -> None:
    rows = []
    for dtype, label in DTYPES.items():
        peak, ridge = spec.flops.get(dtype), spec.ridge_flops_per_byte(dtype)
        if peak is not None:
            low, high = spec.flops_range.get(dtype, (peak, peak))
            disputed = f"{low / TERA:,.0f} – {high / TERA:,.0f}" if high > low else ""
            rows.append({"Number format": label, "TFLOPS": peak / TERA, "Range": disputed, "Ridge": ridge,
                         "Basis": spec.basis})
    st.dataframe(
        rows, hide_index=True, alt="Dense peaks by number format with their ridge",
        column_config={
            "TFLOPS": st.column_config.NumberColumn(format="%,.1f", help="Dense, without sparsity."),
            "Range": st.column_config.TextColumn(help="Where sources disagree."),
            "Ridge": st.column_config.NumberColumn(format="%,.0f FLOP/B"),
        },
    )


# -- formats ----------------------------------------------------------------------------------------


def weight_format(fmt: Format, engine: str, gpu: GpuSpec) -> None:
    """A weight format: what it costs, where it runs, and the reason where it does not."""
    with st.container(border=True, gap="small"):
        multiplied = "unpacked in the kernel and multiplied" if fmt.weight_only else "multiplied"
        says = (f"{fmt.bits_per_weight:.4g} bits per weight with scales; stores {SCOPES[fmt.scope]}; "
                f"{multiplied} in {fmt.compute.upper()}.")
        head(fmt.label, says, {"weights": fmt.name}, key="plan_format")
        left, right = st.columns(2)
        with left:
            parts.section(f"With {engines.ENGINES[engine].label}", "By GPU generation.")
            _verdicts(by_generation(fmt, engine), "Generation")
        with right:
            parts.section(f"On {figures.plain(gpu.name)}", "By engine.")
            _verdicts(by_engine(fmt, gpu), "Engine")
        source(fmt.source)


def _yes(reason: str | None) -> str:
    return "no" if reason else "✓ yes"


def _verdicts(verdicts: Sequence[Verdict], column: str) -> None:
    st.dataframe(
        [{column: verdict.where, "Runs": _yes(verdict.reason), "Why not": verdict.reason or ""}
         for verdict in verdicts],
        hide_index=True, height=400, alt=f"Where the format runs, by {column.lower()}, with the reason where not",
        column_config={"Why not": st.column_config.TextColumn(width="large")},
    )


def kv_formats(all_formats: Iterable[KvFormat], engine: str, gpu: GpuSpec) -> None:
    """Formats of the KV cache, and whether the engine has them on that GPU."""
    with st.container(border=True, gap="small"):
        parts.section("KV cache formats", f"With {engines.ENGINES[engine].label} on {figures.plain(gpu.name)}.")
        reasons = [(kv, kernels.kv_unsupported(kv, gpu, engine)) for kv in all_formats]
        st.dataframe(
            [{"Name": kv.name, "Bits": kv.bits_per_value, "Runs": _yes(why), "Why not": why or "",
              "Source": kv.source, "Link": address(kv.source)} for kv, why in reasons],
            hide_index=True, placeholder="", alt="Formats of the KV cache, and whether they run",
            column_config={
                "Bits": st.column_config.NumberColumn(format="%.2f"),
                "Why not": st.column_config.TextColumn(width=260),
                "Source": st.column_config.TextColumn(width=300),
                "Link": LINK,
            },
        )
