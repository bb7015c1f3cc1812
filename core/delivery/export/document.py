"""A plan as JSON for programs and as text for a terminal."""

import json
from typing import Any

from core.answers.advice import Choice, Plan, batch_limit, sentences
from core.answers.advice.sentences import formats, hardware, loss_text
from core.answers.cost import HOURS_PER_MONTH
from core.basics.units import GIB, MS_PER_S
from core.basics.words import dollars, ms, number
from core.delivery.export.launch import Launch
from core.delivery.export.tables import finite, table
from core.terms import Estimate


def plan_json(plan: Plan, launch: Launch | None = None) -> str:
    """The plan as JSON: the verdict, the choice, its rivals, what would help, and where figures come from."""
    return json.dumps(finite(_document(plan, launch)), indent=1, ensure_ascii=False)


def _document(plan: Plan, launch: Launch | None) -> dict[str, Any]:
    return {
        "sentence": plan.sentence,
        "reason": plan.reason,
        "standing": plan.standing.name.lower(),
        "binding_limit": plan.binding_limit,
        "recommended_batch": plan.recommended_batch,
        "best_value_batch": plan.best_value_batch,
        "refused_by": plan.refused_by,
        "compute_bound_batch": plan.knee,
        "model": {
            "name": plan.spec.name, "total_params": plan.spec.total_params, "active_params": plan.spec.active_params,
            "max_context": plan.spec.max_context, "source": plan.spec.source,
        },
        "speculation": None if plan.speculation is None else {
            "speed_up": plan.speculation.here, "stops_paying_at": plan.speculation.stops_at,
            "sentence": plan.speculation.sentence,
        },
        "workload": {**plan.workload.filed(), "mode": str(plan.workload.mode)},
        "image_tokens": plan.workload.image_tokens if plan.workload.images else None,
        "notes": list(sentences.notes(plan)),
        "best": _choice(plan.best),
        "nearest": _choice(plan.nearest),
        "runner_up": _choice(plan.runner_up),
        "trade": plan.trade,
        "alternatives": {name: _alternative(choice) for name, choice in plan.alternatives.items()},
        "remedies": [{"label": remedy.label, "effect": remedy.effect} for remedy in plan.remedies],
        "candidates": [
            {**(_choice(candidate.choice) or {}), "allowed": candidate.allowed, "note": candidate.note}
            for candidate in plan.candidates
        ],
        "refused": [{"choice": refusal.choice, "reason": refusal.reason} for refusal in plan.refused],
        "launch": None if launch is None else launch.text(),
    }


def _alternative(choice: Choice | None) -> dict[str, Any] | None:
    """One of the answers beside the recommended one; its figures are of `concurrency` requests, as the plan's are."""
    if choice is None:
        return None
    d, hourly = choice.deployment, choice.usd_per_hour
    return {
        "gpu": d.gpu.name, "gpus": d.gpus, "tp": d.tp, "pp": d.pp, "ep": d.ep, "dp": d.dp, "engine": d.engine,
        "weights": d.weights.name, "kv_cache": d.kv_cache.name,
        "batch": batch_limit(choice), "concurrency": choice.concurrency,
        "ttft_ms": choice.ttft.value * MS_PER_S, "tpot_ms": choice.tpot.value * MS_PER_S,
        "output_tokens_per_s": choice.output_tokens_per_s.value,
        "usd_per_hour": hourly, "usd_per_month": None if hourly is None else hourly * HOURS_PER_MONTH,
        "quality_loss": None if choice.quality is None else choice.quality.value,
    }


def _choice(choice: Choice | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    d, footprint = choice.deployment, choice.footprint
    return {
        "gpu": d.gpu.name, "gpus": d.gpus, "tp": d.tp, "pp": d.pp, "engine": d.engine,
        "weights": d.weights.name, "kv_cache": d.kv_cache.name, "concurrency": choice.concurrency,
        "fits": choice.fits, "meets_slo": choice.meets_slo, "slo_concurrency": choice.slo_concurrency,
        "memory_concurrency": choice.memory_concurrency, "kv_occupancy": choice.occupancy,
        "ttft_ms": _estimate(choice.ttft, MS_PER_S), "tpot_ms": _estimate(choice.tpot, MS_PER_S),
        "output_tokens_per_s": _estimate(choice.output_tokens_per_s),
        "usd_per_million_output_tokens": _estimate(choice.cost_usd_per_million_output_tokens),
        "watts_per_gpu": _estimate(choice.watts_per_gpu),
        "kwh_per_million_output_tokens": _estimate(choice.kwh_per_million_output_tokens),
        "output_tokens_per_joule": _estimate(choice.output_tokens_per_joule),
        "usd_per_hour": choice.usd_per_hour, "price_source": d.gpu.price_source,
        "prefill_bound": str(choice.prefill_bound), "decode_bound": str(choice.decode_bound),
        "quality_loss": _estimate(choice.quality), "quality_note": choice.quality_note,
        "memory": {
            "reported_gib": footprint.reported_bytes / GIB, "usable_gib": footprint.usable_bytes / GIB,
            "kv_cache_gib": footprint.kv_cache_bytes / GIB, "kv_cache_tokens": footprint.kv_tokens,
            "overflow_gib": footprint.overflow_bytes / GIB,
            "terms": [
                {"name": term.name, "gib": term.bytes / GIB, "low_gib": term.low / GIB, "high_gib": term.high / GIB,
                 "rule": term.rule, "basis": str(term.basis), "source": term.source}
                for term in footprint.terms
            ],
        },
    }


def _estimate(estimate: Estimate | None, scale: float = 1.0) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {
        "value": estimate.value * scale, "low": estimate.low * scale, "high": estimate.high * scale,
        "basis": str(estimate.basis), "source": estimate.source,
    }


def plan_text(plan: Plan) -> str:
    """The plan for a terminal."""
    parts = [plan.sentence, plan.reason] if plan.best else [plan.sentence]
    if plan.shown is not None:
        parts.append(_figures(plan.shown))
    if plan.trade:
        parts.append(f"Runner-up: {plan.trade}")
    if plan.remedies:
        parts.append("What would help:\n" + "\n".join(f"- {r.label}: {r.effect}" for r in plan.remedies))
    if plan.candidates:
        parts.append(table([["weights", "KV cache", "TPOT", "tokens/s", "loss", "note"], *(
            [c.choice.deployment.weights.label, c.choice.deployment.kv_cache.name, ms(c.choice.tpot.value),
             number(c.choice.output_tokens_per_s.value),
             loss_text(c.choice.quality), c.note or ("recommended" if plan.best else "")]
            for c in plan.candidates
        )]))
    parts.extend(sentences.notes(plan))
    parts.append("Figures are estimated, with 80 % ranges in --json and --csv, unless they say otherwise; prices and "
                 "peaks are published.")
    return "\n\n".join(parts)


def _figures(choice: Choice) -> str:
    footprint, cost = choice.footprint, choice.cost_usd_per_million_output_tokens
    rows = [
        ["deployment", f"{formats(choice.deployment)}, {hardware(choice.deployment)}"],
        ["TTFT", _span(choice.ttft)],
        ["TPOT", _span(choice.tpot)],
        ["output", f"{number(choice.output_tokens_per_s.value)} tokens/s for {choice.concurrency:,} in flight"],
        ["memory", f"{footprint.term('weights').bytes / GIB:.1f} GiB of weights, "
                   f"{footprint.kv_cache_bytes / GIB:.1f} GiB for the KV cache, "
                   f"of {footprint.reported_bytes / GIB:.1f} GiB per GPU"],
    ]
    if cost is not None and choice.usd_per_hour is not None:
        hourly = dollars(choice.usd_per_hour)
        rows.append(["cost", f"{dollars(cost.value)} per million output tokens, {hourly} per hour"])
    watts, kwh = choice.watts_per_gpu, choice.kwh_per_million_output_tokens
    if watts is not None and kwh is not None:
        rows.append(["energy", f"about {number(watts.value)} W per GPU, {number(kwh.value)} kWh "
                               f"({number(kwh.low)} to {number(kwh.high)}) per million output tokens, GPUs alone"])
    return table(rows)


def _span(estimate: Estimate) -> str:
    return f"{ms(estimate.value)} ({ms(estimate.low)} to {ms(estimate.high)})"
