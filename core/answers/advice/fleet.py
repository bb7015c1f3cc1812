"""One model over every accelerator: the best deployment on each, and the cheapest of all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.answers.advice.plan import Choice, Standing
from core.answers.advice.row import choice_at
from core.answers.advice.select import Question, is_allowed, ranked, worth_most
from core.answers.sweep import DEFAULT_ENGINE, DEFAULT_GPU_COUNTS, layouts, overflow_text
from core.basics.errors import SweetspotError
from core.basics.words import counted
from core.losses import Losses
from core.losses.measured import QualityMeasurement
from core.models import ModelSpec
from core.physics import images
from core.physics.ask import Load, desk
from core.physics.memory import Footprint
from core.physics.speed import Prediction
from core.products import gpus
from core.products.gpus import GpuSpec
from core.terms import Deployment, Estimate, Workload


@dataclass(frozen=True, slots=True)
class Offer:
    """The best that one GPU type can do for the workload."""

    gpu: GpuSpec
    standing: Standing          # MET, LATE (fits, misses a target) or IMPOSSIBLE
    choice: Choice | None       # None when nothing runs or fits
    reason: str                 # why not; empty when met
    miss: float = np.inf        # the worse of TPOT and TTFT over their targets
    tried: int = 0              # GPUs of the largest layout that was tried in vain


@dataclass(frozen=True, slots=True)
class _Field:
    """Every allowed layout of every GPU, one row each."""

    workload: Workload
    deployments: tuple[Deployment, ...]
    losses: tuple[Estimate | None, ...]
    lost: np.ndarray            # the same to choose by
    footprints: tuple[Footprint, ...]
    held: np.ndarray
    prediction: Prediction


def best_over_gpus(
    spec: ModelSpec,
    workload: Workload,
    *,
    engine: str = DEFAULT_ENGINE,
    tps: Sequence[int] = DEFAULT_GPU_COUNTS,
    among: Sequence[GpuSpec] | None = None,
    measured: Sequence[QualityMeasurement] = (),
) -> tuple[Offer, ...]:
    """The best deployment on every catalogued GPU (or `among` some), in one call of the speed model.

    Those that meet everything come first, cheapest an hour first, unpriced ones after them by GPUs
    needed; then those that fit and miss a target; then the others with their reasons.
    """
    offered, known_losses = gpus.catalogue() if among is None else tuple(among), Losses(spec, tuple(measured))
    best: dict[str, Offer] = {}
    for count in sorted(tps):
        open_gpus = [gpu for gpu in offered if gpu.name not in best or best[gpu.name].standing is not Standing.MET]
        for offer in _offers(known_losses, workload, engine, count, open_gpus):
            known = best.get(offer.gpu.name)
            if known is None or _closer(offer, known):
                best[offer.gpu.name] = offer
    return tuple(sorted(best.values(), key=_rank))


def _offers(
    known_losses: Losses, workload: Workload, engine: str, count: int, offered: Sequence[GpuSpec]
) -> list[Offer]:
    """The best choice on each GPU type, with that many GPUs per replica."""
    rows: list[list[int]] = []
    reasons: list[str] = []
    deployments: list[Deployment] = []
    losses: list[Estimate | None] = []
    for gpu in offered:
        allowed, reason = _allowed(Question(known_losses, gpu, workload, engine, (count,)))
        rows.append(list(range(len(deployments), len(deployments) + len(allowed))))
        reasons.append(reason)
        deployments += [deployment for deployment, _ in allowed]
        losses += [loss for _, loss in allowed]
    if not deployments:
        return [Offer(gpu, Standing.IMPOSSIBLE, None, reason) for gpu, reason in zip(offered, reasons, strict=True)]
    field = _measured(known_losses, workload, deployments, losses)
    return [_offer(gpu, field, own, reason) for gpu, own, reason in zip(offered, rows, reasons, strict=True)]


def _closer(offer: Offer, known: Offer) -> bool:
    """Whether an offer of more GPUs is nearer to what is asked."""
    if offer.standing != known.standing:
        return offer.standing > known.standing
    return offer.miss < known.miss or offer.tried > known.tried


def _allowed(question: Question) -> tuple[list[tuple[Deployment, Estimate | None]], str]:
    """Layouts that run on the GPU within the tolerance, and why there are none."""
    q = question
    try:
        found = layouts(q.spec, q.gpu, q.engine, tps=q.tps, asked=q.workload)
    except SweetspotError as error:
        return [], str(error)
    known = [(d, q.losses.of(d.weights, d.kv_cache)) for d in found.deployments]
    allowed = [(deployment, loss) for deployment, loss in known if is_allowed(q, deployment, loss)]
    return allowed, found.refusals[0].reason if found.refusals else "Nothing runs here."


def _measured(
    known: Losses, workload: Workload, deployments: Sequence[Deployment], losses: Sequence[Estimate | None]
) -> _Field:
    """Memory and speed of every layout at the concurrency asked."""
    workload = images.resolved(known.spec, workload)
    asked = desk((known.spec, deployment) for deployment in deployments)
    held = asked.capacity(float(workload.context_tokens), float(workload.shared_tokens))[:, 0]
    return _Field(workload, tuple(deployments), tuple(losses), ranked(known, deployments, losses), asked.footprints,
                  held, asked.predict(Load.of(workload)))


def _offer(gpu: GpuSpec, field: _Field, own: Sequence[int], reason: str) -> Offer:
    """The best of a GPU's own rows: the one a plan for it takes."""
    workload, p = field.workload, field.prediction
    if not own:
        return Offer(gpu, Standing.IMPOSSIBLE, None, reason)
    fitting = [i for i in own if field.held[i] >= workload.concurrency and not _too_long(field, i)]
    if not fitting:
        last = min(own, key=lambda i: (field.footprints[i].overflow_bytes, -field.held[i]))
        why = overflow_text(field.footprints[last]) or f"the KV cache holds {counted(field.held[last], 'request')}"
        tried = field.deployments[last].gpus
        return Offer(gpu, Standing.IMPOSSIBLE, None, f"on {counted(tried, 'GPU')}: {why}", tried=tried)
    met = [i for i in fitting if _miss(field, i) <= 1]
    if met:
        among = np.isin(np.arange(len(field.deployments)), met)
        best = worth_most(field.deployments, p.output_tokens_per_s_per_gpu.value, field.lost, among)
        return Offer(gpu, Standing.MET, _choice(field, best, True), "", _miss(field, best))
    best = min(fitting, key=lambda i: _miss(field, i))
    return Offer(gpu, Standing.LATE, _choice(field, best, False), "a target is missed", _miss(field, best))


def _too_long(field: _Field, row: int) -> bool:
    longest = field.footprints[row].cache.chosen.max_model_len
    return field.workload.context_tokens > longest


def _miss(field: _Field, row: int) -> float:
    """The worse of TPOT and TTFT over their targets; 1 and less is met."""
    tpot, ttft = float(field.prediction.tpot_s.value[row]), float(field.prediction.ttft_s.value[row])
    over = ttft / field.workload.ttft_slo_s
    return over if np.isnan(tpot) else max(over, tpot / field.workload.tpot_slo_s)


def _choice(field: _Field, row: int, met: bool) -> Choice:
    return choice_at(
        field.prediction, row, field.deployments[row], field.workload.concurrency, field.footprints[row],
        field.losses[row], fits=True, met=met, held=float(field.held[row]),
        served=field.workload.concurrency if met else 0,
    )


def _rank(offer: Offer) -> tuple[int, bool, float, int]:
    choice = offer.choice
    price = choice.usd_per_hour if choice else None
    needed = choice.deployment.gpus if choice else 0
    return -offer.standing, price is None, price or 0.0, needed
