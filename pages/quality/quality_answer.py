"""What a quality check found: how far each variant strays, where, and what is published beside it."""

from collections.abc import Sequence

import streamlit as st

from core.basics.words import counted
from core.delivery import charts
from core.losses import Losses
from core.losses import prior as quality_prior
from core.losses.measured import QualityMeasurement, Score
from core.losses.prior import NO_FIGURE
from core.models import ModelSpec
from core.products.formats import FORMATS, KV_FORMATS
from core.quality.variants import FLOOR
from core.terms import Basis, Estimate
from pages.shared import figures, parts, shelf

HELP = {
    "KL, nats/token": "How far the next-token probabilities move from full precision. The main figure: it shows what "
                      "perplexity hides.",
    "Same first choice, %": "How often the likeliest next token is the same as in full precision.",
    "Perplexity": "How surprised the model is by your text; lower is better.",
    "Loss, %": "Increase of perplexity over full precision: this is what the accepted loss of quality is compared "
    "with.",
    "Published": "What the loss was expected to be, from published figures alone.",
}
HOW_TO_READ = """
- **KL divergence** [nats per token] compares whole next-token distributions with those of full precision. Nothing below
  twice the BF16 floor means anything. On Llama-3-8B, llama.cpp measured 0.001 for Q8_0, 0.031 for Q4_K_M and 0.45 for
  Q2_K: up to about 0.01 nobody will notice, from about 0.1 on answers read differently.
- **Same first choice** is the share of tokens at which greedy decoding would go on as before: 98 % for that Q8_0, 92 %
  for Q4_K_M, 71 % for Q2_K. One other token early on can change the rest of an answer.
- **Perplexity** says how surprised the model is by your text, and its increase is the loss that plans weigh. It can
  fall by luck on little text; then trust the divergence.
- **±** is a standard error over blocks of your tokens: two variants closer than that are not told apart. More prompts
  narrow it.
"""


def how_to_read() -> None:
    with st.expander("What the figures mean, and what counts as large", icon=":material/school:"):
        st.markdown(HOW_TO_READ)


def result(check: QualityMeasurement, spec: ModelSpec) -> None:
    """Everything one check says."""
    device = ":orange-badge[on a processor]" if check.device.startswith("CPU") else ""
    with st.container(border=True, key="verdict", gap="small"):
        st.markdown(f"{figures.badge(Basis.MEASURED)} {device}")
        st.header(_headline(check), anchor=False)
        name = check.model.rpartition("/")[2]
        st.caption(figures.plain(
            f"{name}: {check.tokens:,} tokens of {counted(check.prompts, 'prompt')} against {check.reference}, whose "
            f"perplexity is {check.perplexity:.2f}; {check.device}, {check.seconds:.0f} s, {shelf.when(check.date)}."
            + (f" Calibrated on {check.calibration}." if check.calibration else "")
        ))
        for sentence in check.lost:
            st.caption(f":orange[:material/warning:] {figures.plain(sentence)}")
    with st.container(border=True, gap="small"):
        parts.section("How far each variant strays", "Lines: ± one standard error. Dashed: the noise floor.")
        parts.chart(charts.divergence([
            charts.Strayed(_short(score.label), score.kl.value, score.kl.standard_error, score.variant == FLOOR.name)
            for score in check.scores
        ]), alt="KL divergence of each variant from full precision", key="divergence")
        scores(check.scores, spec, key="scores")
        how_to_read()
    _worst(check)
    with st.expander("Versions and methods", icon=":material/inventory_2:"):
        st.dataframe([{"Variant": score.label, "Made by": score.method, "Seconds": round(score.seconds, 1)}
                      for score in check.scores], hide_index=True)
        st.caption(figures.plain(", ".join(f"{name} {version}" for name, version in check.versions)))


def _headline(check: QualityMeasurement) -> str:
    """What strays least, apart from the floor."""
    others = [score for score in check.scores if score.variant != FLOOR.name]
    if not others:
        return "Only the noise floor could be measured"
    best = min(others, key=lambda score: score.kl.value)
    return figures.plain(f"{best.label} strays least: KL {figures.three(best.kl.value)}, "
                         f"{100 * best.agreement.value:.0f} % the same first choice")


def scores(found: Sequence[Score], spec: ModelSpec, *, key: str) -> None:
    """The variants as a table, the noise floor first, next to what was published."""
    number = st.column_config.NumberColumn
    st.dataframe(
        [_row(score, spec) for score in found], hide_index=True, key=key, placeholder="–",
        alt="Variants with divergence, agreement, perplexity and loss",
        column_config={
            "Variant": st.column_config.TextColumn(pinned=True),
            "KL, nats/token": number(format="%.4f", help=HELP["KL, nats/token"]),
            "± KL": number(format="%.4f"),
            "Same first choice, %": number(format="%.1f", help=HELP["Same first choice, %"]),
            "± choice": number(format="%.1f"),
            "Perplexity": number(format="%.2f", help=HELP["Perplexity"]),
            "Loss, %": number(format="%.2f", help=HELP["Loss, %"]),
            "± loss": number(format="%.2f"),
            "Published": st.column_config.TextColumn(help=HELP["Published"]),
        },
    )


def _row(score: Score, spec: ModelSpec) -> dict[str, object]:
    return {
        "Variant": _short(score.label),
        "KL, nats/token": score.kl.value, "± KL": score.kl.standard_error,
        "Same first choice, %": 100 * score.agreement.value, "± choice": 100 * score.agreement.standard_error,
        "Perplexity": score.perplexity,
        "Loss, %": 100 * score.loss.value, "± loss": 100 * score.loss.standard_error,
        "Published": _published(score, spec),
        "In plans": in_plans(score.weights, score.kv_cache),
    }


def _short(label: str) -> str:
    """A variant's name as it fits beside a chart on a phone."""
    return label.replace(" round to nearest", " RTN").replace(", groups of ", " g").replace(", the noise", "")


def _published(score: Score, spec: ModelSpec) -> str:
    """What was to be expected of a variant; nothing for the floor, nor for formats of another version's file."""
    if score.variant == FLOOR.name or score.weights not in {"", *FORMATS} or score.kv_cache not in {"", *KV_FORMATS}:
        return ""
    prior = quality_prior.expected_loss(
        spec, FORMATS[score.weights or "bf16"], KV_FORMATS[score.kv_cache or "bf16"]
    )
    return NO_FIGURE if prior is None else f"{100 * prior.value:.2f} % ({_range(prior)})"


def _range(loss: Estimate) -> str:
    return f"{100 * loss.low:.2f} – {100 * loss.high:.2f} %, {loss.basis}"


def in_plans(weights: str, kv_cache: str) -> str:
    """What the formats are called in plans."""
    label = FORMATS[weights].label if weights in FORMATS else weights
    return " + ".join(filter(None, [label, kv_cache and f"{kv_cache.upper()} KV cache"])) or "16 bits"


def _worst(check: QualityMeasurement) -> None:
    """The prompts each variant strays most on, with the tokens where it parts."""
    shown = {score.label: score for score in check.scores if score.worst and score.variant != FLOOR.name}
    if not shown:
        return
    with st.container(border=True, gap="small"):
        parts.section("Where it parts", "Prompts with the largest divergence; in full precision → in the variant.")
        label = st.selectbox("Variant", list(shown), index=_most(list(shown.values())), key="worst_of")
        for prompt in shown[label or next(iter(shown))].worst:
            st.markdown(f"**Prompt {prompt.index + 1}**, KL {figures.three(prompt.kl)}")
            if prompt.text:
                st.caption(figures.plain(" ".join(prompt.text.split()) + " …"))
            if prompt.tokens:
                st.markdown(" ".join(f":gray-badge[{_parting(pair)}]" for pair in prompt.tokens))
        if not any(prompt.text for score in shown.values() for prompt in score.worst):
            st.caption("The words were not kept with this result.")


def _most(found: Sequence[Score]) -> int:
    return max(range(len(found)), key=lambda place: found[place].kl.value)


def _parting(pair: str) -> str:
    """ "reference|variant" as it is read."""
    reference, _, variant = pair.partition("|")
    return " → ".join(figures.plain(repr(token)[1:-1].strip() or "␣") for token in (reference, variant))


def side_by_side(named: Sequence[tuple[str, QualityMeasurement]]) -> None:
    """The same variants on different prompts: what a format costs depends on the domain."""
    if len({check.prompts_digest for _, check in named}) < 2:
        return
    labels = dict.fromkeys(score.label for _, check in named for score in check.scores)
    names = [name.partition(", ")[2] or name for name, _ in named]
    titles = [name if names.count(name) == 1 else f"{name}, {shelf.when(check.date)}"
              for name, (_, check) in zip(names, named, strict=True)]
    with st.container(border=True, gap="small"):
        parts.section("The same model on other prompts", "KL divergence, nats per token, ± one standard error.")
        st.dataframe([
            {"Variant": _short(label)} | {
                title: next((f"{score.kl.value:.4f} ± {score.kl.standard_error:.4f}"
                             for score in check.scores if score.label == label), "–")
                for title, (_, check) in zip(titles, named, strict=True)
            } for label in labels
        ], hide_index=True, alt="KL divergence of each variant on each set of prompts", key="side_by_side")


def prior(spec: ModelSpec, losses: Losses) -> None:
    """What is published of every format for this model, and what was measured of it."""
    rows = [_prior_row(row, losses) for row in quality_prior.table(spec)]
    if not any(row["Measured, %"] for row in rows):
        rows = [{name: cell for name, cell in row.items() if name != "Measured, %"} for row in rows]
    number = st.column_config.NumberColumn
    with st.container(border=True, gap="small"):
        parts.section(
            f"What is published, for {figures.plain(spec.name.rpartition('/')[2])}",
            "Increase of perplexity by format and method: quoted where this model was measured, else interpolated over "
            "family and size. Plans take it until you measure.",
        )
        st.dataframe(
            rows, hide_index=True, key="prior", height=420, alt="Expected loss of every format with range and source",
            column_config={
                "Format": st.column_config.TextColumn(pinned=True), "Loss, %": number(format="%.2f"),
                "Measured, %": st.column_config.TextColumn(alignment="right"),
                "Method": st.column_config.TextColumn(width=110),
                "Models": number(help="With published figures of it"),
            },
        )


def _prior_row(row: quality_prior.Row, losses: Losses) -> dict[str, object]:
    known, loss = losses.of(FORMATS[row.weights], KV_FORMATS[row.kv_cache or "bf16"]), row.loss
    return {
        "Format": in_plans("" if row.weights == "bf16" else row.weights, row.kv_cache), "Method": row.method,
        "Loss, %": loss and 100 * loss.value, "80 % range": _range(loss) if loss else NO_FIGURE,
        "Measured, %": f"{100 * known.value:.2f}" if known and known.basis is Basis.MEASURED else "",
        "Models": row.models or None, "Source": loss.source if loss else "",
    }
