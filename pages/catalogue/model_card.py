"""The card of a model: parameters, what each layer does and caches, how the repository stores it."""

from collections.abc import Sequence

import streamlit as st

from core.delivery import charts
from core.models import ModelSpec, Role, kinds_of_layers, layer_by_layer
from core.products import formats
from core.products.formats import FORMATS, KV_FORMATS, KvFormat
from core.reading import catalogue
from pages.shared import cards, figures, inputs, keeping, parts
from pages.shared.cards import billions, size

KINDS = {
    "full": "attends to every earlier token",
    "sliding": "attends to the last tokens only",
    "latent": "one compressed key and value for all heads (MLA)",
    "latent sparse": "compressed keys, an index picks what is read (DSA)",
    "sparse": "an index picks the tokens that are read",
    "none": "a feed-forward layer alone",
}
RECURRENT = "carries a state of fixed size instead of a cache"


def show(name: str, copies: Sequence[str], context_tokens: int) -> None:
    """A model: what it is, what each layer does, what it caches, how it ships."""
    with st.container(border=True, gap="small"):
        if copies:
            repository = st.selectbox(
                "Repository", [name, *copies], key=f"repository {name}",
                help="Repositories with the same matrices; they differ in their weights and in how these are stored.",
            )
            name = repository or name
        spec = keeping.own_model(name) or catalogue.load(name)
        if spec is None:
            st.markdown(f"**{figures.plain(name)}** is read from the Hub when it is planned.")
            cards.plan_with({"model": name}, key="plan_model")
            return
        _facts(spec, context_tokens)


def _facts(spec: ModelSpec, context_tokens: int) -> None:
    cards.head(spec.name, "", {"model": spec.name}, key="plan_model")
    asked = inputs.asked().kv_formats
    cache = st.segmented_control(
        "KV cache format", list(KV_FORMATS), default=asked[0] if asked else "bf16", required=True, key="card_kv",
    )
    kv = formats.find_kv(cache or "bf16")
    _metrics(spec, kv, context_tokens)
    strip = layer_by_layer(spec)
    parts.section(f"{spec.n_layers} layers", "Attention type of each layer (top) and its feed-forward type (bottom).")
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
    cards.source(spec.source or "typed in")


def _metrics(spec: ModelSpec, kv: KvFormat, context_tokens: int) -> None:
    per_token, one = spec.kv_bytes_per_token(kv), float(spec.kv_bytes(context_tokens, kv))
    state = spec.state_bytes()
    with st.grid(5, min_column_width=150, gap="small"):
        cards.fact("Parameters", billions(spec.total_params), f"{spec.total_params:,}, everything that is loaded.")
        cards.fact(
            "Active per token", billions(spec.active_params),
            f"{spec.active_params:,} with the input embedding; "
            f"{spec.active_params_without_input_embedding:,} without, as publishers count.",
        )
        cards.fact(
            "KV cache per token", size(per_token), "All layers on one GPU, once every window is full.",
        )
        cards.fact(
            "Cache of a request", size(one + state),
            f"Cache {size(one)}" + (f" and state {size(state)}" if state else "")
            + f" at {context_tokens:,} tokens, the length in the sidebar.",
        )
        cards.fact(
            "Context", f"{spec.max_context:,}" if spec.max_context else "–",
            f"Tokens the model was made for. Family {spec.family}, vocabulary {spec.vocab_size:,}, "
            f"hidden size {spec.hidden_size:,}.",
        )


def _told(spec: ModelSpec) -> str:
    kinds = [f"{text}" for text, _, _ in charts.strip_legend(layer_by_layer(spec))]
    return f"{spec.n_layers} layers: {', '.join(kinds)}"


def _kinds(spec: ModelSpec, kv: KvFormat, context_tokens: int) -> None:
    number = st.column_config.NumberColumn
    rows = [
        {
            "Kind": kind.kind, "Layers": kind.layers,
            "Window": kind.window, "Per token": kind.kv_bytes_per_token / 1024,
            "Per token, each": kind.kv_bytes_per_token / kind.layers / 1024,
            "Request": kind.kv_bytes / 2**20, "State": kind.state_bytes / 2**20,
            "What it does": KINDS.get(kind.kind, _described(kind.kind)),
        }
        for kind in kinds_of_layers(spec, kv, context_tokens)
    ]
    empty = [name for name in ("Window", "State") if not any(row[name] for row in rows)]
    st.dataframe(
        [{name: value for name, value in row.items() if name not in empty} for row in rows],
        hide_index=True, placeholder="", alt="Cache and state of each kind of layer",
        column_config={
            "What it does": st.column_config.TextColumn(width=320),
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
        f"- Text model **{billions(spec.text_params)}**, of which embeddings "
        f"{billions(spec.embedding_params + spec.lookup_params)}"
        + (" (also the output head)" if spec.tied_embeddings else f" and output head {billions(spec.head.params)}"),
    ]
    lines.append(
        f"- One token runs through **{billions(spec.active_params)}**, "
        f"{billions(spec.active_params_without_input_embedding)} without the input embedding"
    )
    if spec.is_moe:
        lines.append(
            f"- Routed experts **{billions(spec.routed_params)}**, of which {billions(spec.active_routed_params)} "
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
             + (f", {fmt.bits_per_weight:.2f} bits per weight, {cards.SCOPES[fmt.scope]}" if fmt else "")]
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
