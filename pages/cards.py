"""Cards of the catalogue: one model, one GPU, one format, each with its facts and where they come from."""

from collections.abc import Iterable, Sequence

import streamlit as st

from core import catalogue, charts, formats
from core.formats import FORMATS, KV_FORMATS, Format, KvFormat
from core.gpus import GpuSpec
from core.models import ModelSpec, Role, kinds_of_layers, layer_by_layer
from core.sources import address
from core.support import Verdict, by_engine, by_generation
from core.units import GB, GIB, TERA
from pages import figures, inputs, keeping, parts

SCOPES = {"all": "everything", "linears": "matrices of the layers", "experts": "routed experts",
          "file": "everything, a mixture of types"}
KINDS = {
    "full": "attends to every earlier token",
    "sliding": "attends to the last tokens only",
    "latent": "one compressed key and value for all heads (MLA)",
    "latent sparse": "compressed keys, an index picks what is read (DSA)",
    "sparse": "an index picks the tokens that are read",
    "none": "a feed-forward layer alone",
}
RECURRENT = "carries a state of fixed size instead of a cache"
DTYPES = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16", "fp8": "FP8", "int8": "INT8", "fp4": "FP4", "int4": "INT4"}


def plan_with(change: dict[str, object], label: str = "Plan this", *, key: str) -> None:
    """The button that sets inputs of the sidebar and goes to the plan."""
    if st.button(label, icon=":material/target:", type="primary", key=key, on_click=parts.apply, args=(change,)):
        st.switch_page("plan.py")


def source(text: str) -> None:
    """Where the facts of a card come from, with a link where there is one."""
    link = address(text)
    st.caption(f"Source: {figures.plain(text)}" + (f" · [open]({link})" if link else ""))


# -- model ------------------------------------------------------------------------------------------


def model(name: str, copies: Sequence[str], context_tokens: int) -> None:
    """A model: what it is, what each layer does, what it caches, how it ships."""
    with st.container(border=True, gap="small"):
        if copies:
            repository = st.selectbox(
                "Repository", [name, *copies], key=f"repository {name}",
                help="Repositories of the same shapes; they differ in weights and in how these are stored.",
            )
            name = repository or name
        spec = keeping.own_model(name) or catalogue.load(name)
        if spec is None:
            st.markdown(f"**{figures.plain(name)}** is read from the Hub when it is planned.")
            plan_with({"model": name}, key="plan_model")
            return
        _facts(spec, context_tokens)


def _facts(spec: ModelSpec, context_tokens: int) -> None:
    head, button = st.columns([5, 1], vertical_alignment="center")
    head.markdown(f"##### {figures.plain(spec.name)}")
    with button:
        plan_with({"model": spec.name}, key="plan_model")
    asked = inputs.asked().kv_formats
    cache = st.segmented_control(
        "KV cache format", list(KV_FORMATS), default=asked[0] if asked else "bf16", required=True, key="card_kv",
    )
    kv = formats.find_kv(cache or "bf16")
    _metrics(spec, kv, context_tokens)
    strip = layer_by_layer(spec)
    parts.section(f"{spec.n_layers} layers", "What mixes tokens in each layer, and below it what follows.")
    parts.chart(charts.layer_strip(strip), alt=_told(spec), key="strip")
    parts.legend(charts.strip_legend(strip))
    _kinds(spec, kv, context_tokens)
    left, right = st.columns(2)
    with left:
        _parameters(spec)
    with right:
        _shipped(spec)
    if spec.best_effort:
        st.warning("This family is unknown: the figures are read from ordinary keys and may miss parts of it.")
    source(spec.source or "typed in")


def _metrics(spec: ModelSpec, kv: KvFormat, context_tokens: int) -> None:
    per_token, one = spec.kv_bytes_per_token(kv), float(spec.kv_bytes(context_tokens, kv))
    state = spec.state_bytes()
    with st.grid(5, min_column_width=150, gap="small"):
        _metric("Parameters", billions(spec.total_params), f"{spec.total_params:,}, everything that is resident.")
        _metric(
            "Active per token", billions(spec.active_params),
            f"{spec.active_params:,} with the input embedding; "
            f"{spec.active_params_without_input_embedding:,} without, as publishers count.",
        )
        _metric(
            "KV cache per token", size(per_token), "All layers on one GPU, once every window is full.",
        )
        _metric(
            f"One request of {context_tokens:,}", size(one + state),
            f"Cache {size(one)}" + (f" and state {size(state)}" if state else "") + " at the length of the sidebar.",
        )
        _metric(
            "Context", f"{spec.max_context:,}" if spec.max_context else "–",
            f"Tokens the model was made for. Family {spec.family}, vocabulary {spec.vocab_size:,}, "
            f"hidden size {spec.hidden_size:,}.",
        )


def _metric(label: str, value: str, help: str) -> None:
    st.metric(label, value, help=help, border=True, height="stretch")


def _told(spec: ModelSpec) -> str:
    kinds = [f"{text}" for text, _, _ in charts.strip_legend(layer_by_layer(spec))]
    return f"{spec.n_layers} layers: {', '.join(kinds)}"


def _kinds(spec: ModelSpec, kv: KvFormat, context_tokens: int) -> None:
    number = st.column_config.NumberColumn
    rows = [
        {
            "Kind": kind.kind, "What it does": KINDS.get(kind.kind, _described(kind.kind)), "Layers": kind.layers,
            "Window": kind.window, "Per token": kind.kv_bytes_per_token / 1024,
            "Per token, each": kind.kv_bytes_per_token / kind.layers / 1024,
            "Request": kind.kv_bytes / 2**20, "State": kind.state_bytes / 2**20,
        }
        for kind in kinds_of_layers(spec, kv, context_tokens)
    ]
    st.dataframe(
        rows, hide_index=True, alt="Cache and state of each kind of layer",
        column_config={
            "What it does": st.column_config.TextColumn(width="medium"),
            "Window": number(format="%,d", help="Tokens."),
            "Per token": number(format="%.2f KiB", help="Cache of all these layers that one more token adds."),
            "Per token, each": number(format="%.2f KiB", help="The same in one layer."),
            "Request": number(format="%.1f MiB", help=f"Cache of all these layers at {context_tokens:,} tokens."),
            "State": number(format="%.1f MiB", help="Recurrent and convolution state of one request, all layers."),
        },
    )


def _described(kind: str) -> str:
    if kind.startswith("compressed"):
        return f"keeps a window whole and one entry every {kind.split()[-1].rstrip('x')} tokens"
    return "attention beside a state, or with a second source" if "+" in kind else RECURRENT


def _parameters(spec: ModelSpec) -> None:
    lines = [
        f"- Text model **{billions(spec.text_params)}**, of it embeddings "
        f"{billions(spec.embedding_params + spec.lookup_params)}"
        + (" (also the output head)" if spec.tied_embeddings else f" and output head {billions(spec.head.params)}"),
    ]
    if spec.is_moe:
        lines.append(
            f"- Routed experts **{billions(spec.routed_params)}**, of them {billions(spec.active_routed_params)} "
            "for one token"
        )
    lines += [
        f"- {figures.opened(figures.plain(part.name))} **{billions(part.params)}**"
        + (", counted above" if part.text else "" if part.resident else ", in the checkpoint, not loaded to serve")
        for part in spec.parts
    ]
    lines += [f"- {figures.plain(note)}" for note in spec.notes]
    st.markdown("**Parameters**\n" + "\n".join(lines))


def _shipped(spec: ModelSpec) -> None:
    shipped = spec.shipped
    if shipped is None:
        st.markdown(f"**As shipped**\n- Not quantised: {figures.plain(spec.dtype)}")
        return
    fmt = FORMATS.get(shipped.format)
    lines = [f"- Weights in **{fmt.label if fmt else figures.plain(shipped.format)}**"
             + (f", {fmt.bits_per_weight:.2f} bits a weight, {SCOPES[fmt.scope]}" if fmt else "")]
    lines += [f"- {_role(role)} in {FORMATS[name].label}" for role, name in shipped.role_formats if name in FORMATS]
    if shipped.unquantised:
        lines.append("- Kept in 16 bits: " + ", ".join(map(figures.plain, shipped.unquantised[:8]))
                     + (f" and {len(shipped.unquantised) - 8} more" if len(shipped.unquantised) > 8 else ""))
    else:
        lines.append("- Embeddings, norms and output head stay in 16 bits" if fmt and fmt.scope != "file" else "")
    if shipped.kv_format:
        lines.append(f"- Calibrated for a KV cache in {figures.plain(shipped.kv_format.upper())}")
    if shipped.weight_bytes:
        lines.append(f"- {figures.gib(shipped.weight_bytes)} resident, read from the headers")
    st.markdown("**As shipped**\n" + "\n".join(filter(None, lines)))


def _role(role: Role) -> str:
    return {Role.ATTENTION: "Attention", Role.MLP: "Dense feed-forward", Role.EXPERT: "Routed experts",
            Role.SHARED_EXPERT: "Shared experts", Role.HEAD: "Output head"}.get(role, figures.opened(str(role)))


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
        head, button = st.columns([5, 1], vertical_alignment="center")
        capability = f" {spec.compute_capability}" if spec.compute_capability else ""
        head.markdown(f"##### {figures.plain(spec.name)}")
        head.caption(f"{figures.plain(spec.vendor)} {figures.plain(spec.architecture)}{capability}"
                     + (f", {spec.release_year}" if spec.release_year else ""))
        with button:
            plan_with({"gpu": spec.name}, key="plan_gpu")
        with st.grid(5, min_column_width=150, gap="small"):
            sold = f"Sold as {spec.nominal_memory_gib:g} GB. " if spec.nominal_memory_gib else ""
            _metric("Memory", figures.gib(spec.memory_bytes), f"{sold}What the driver lets an engine see: "
                    f"{spec.memory_basis}.")
            _metric("Bandwidth", f"{spec.bandwidth_bytes_per_s / GB:,.0f} GB/s", "Of the device memory, by data sheet.")
            peak = spec.peak("bf16")
            _metric("16-bit peak", f"{peak / TERA:,.0f} TFLOPS" if peak else "–", f"Dense, {spec.basis}.")
            ridge = spec.ridge_flops_per_byte("bf16")
            _metric("Ridge at 16 bits", f"{ridge:,.0f} FLOP/B" if ridge else "–",
                    "Below this many operations per byte read, memory limits; above, compute.")
            price = spec.price_usd_per_hour
            _metric("Price", f"{figures.dollars(price)} / h" if price is not None else "–",
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


def where(verdicts: Iterable[Verdict]) -> str:
    """Names of everything a format runs on, or a dash."""
    return ", ".join(verdict.where for verdict in verdicts if verdict.reason is None) or "–"


def weight_format(fmt: Format, engine: str, gpu: GpuSpec) -> None:
    """A weight format: what it costs, where it runs, and the reason where it does not."""
    with st.container(border=True, gap="small"):
        head, button = st.columns([5, 1], vertical_alignment="center")
        head.markdown(f"##### {fmt.label}")
        head.caption(
            f"{fmt.bits_per_weight:.4g} bits a weight with scales; stores {SCOPES[fmt.scope]}; "
            + (f"unpacked in the kernel and multiplied in {fmt.compute.upper()}." if fmt.weight_only
               else f"multiplied in {fmt.compute.upper()}.")
        )
        with button:
            plan_with({"weights": fmt.name}, key="plan_format")
        left, right = st.columns(2)
        with left:
            parts.section(f"With {formats.ENGINES[engine].label}", "By GPU generation.")
            _verdicts(by_generation(fmt, engine), "Generation")
        with right:
            parts.section(f"On {figures.plain(gpu.name)}", "By engine.")
            _verdicts(by_engine(fmt, gpu), "Engine")
        source(fmt.source)


def _verdicts(verdicts: Sequence[Verdict], column: str) -> None:
    st.dataframe(
        [{column: verdict.where, "Runs": verdict.reason is None, "Why not": verdict.reason or ""}
         for verdict in sorted(verdicts, key=lambda verdict: verdict.reason is not None)],
        hide_index=True, height=330, alt=f"Where the format runs, by {column.lower()}, with the reason where not",
        column_config={"Why not": st.column_config.TextColumn(width="large")},
    )


def kv_formats(all_formats: Iterable[KvFormat], engine: str, gpu: GpuSpec) -> None:
    """Formats of the KV cache, and whether the engine has them on that GPU."""
    with st.container(border=True, gap="small"):
        parts.section("KV cache formats", f"With {formats.ENGINES[engine].label} on {figures.plain(gpu.name)}.")
        reasons = [(kv, formats.kv_unsupported(kv, gpu, engine)) for kv in all_formats]
        st.dataframe(
            [{"Name": kv.name, "Bits": kv.bits_per_value, "Runs": why is None, "Why not": why or "",
              "Source": kv.source, "Link": address(kv.source)} for kv, why in reasons],
            hide_index=True, alt="Formats of the KV cache, and whether they run",
            column_config={"Bits": st.column_config.NumberColumn(format="%.2f"),
                           "Link": st.column_config.LinkColumn("Link", display_text=r"https?://(?:www\.)?([^/]+).*")},
        )
