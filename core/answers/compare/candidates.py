"""Every layout of a model that some accelerator and engine run within the tolerance for loss of quality."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from core.answers.advice.select import Question, is_allowed
from core.answers.sweep import NOTHING_MORE, layouts
from core.basics.errors import SweetspotError
from core.losses import Losses
from core.models import ModelSpec
from core.physics.shapes import misfit
from core.products.engines import find as find_engine
from core.products.gpus import GpuSpec
from core.terms import Deployment, Estimate, Workload


class Split(StrEnum):
    """How the GPUs of a deployment share the work."""

    TENSORS = "tensors"        # tp: every matrix over all GPUs
    REPLICAS = "replicas"      # dp: copies of the model, each with a share of the requests
    LAYERS = "layers"          # pp: two stages of layers, tensors split within each
    EXPERTS = "experts"        # ep: attention by tensors or replicas, whole experts spread over the GPUs


SPLITS: Final = tuple(Split)
_STAGES: Final = 2


@dataclass(frozen=True, slots=True)
class Candidates:
    """Layouts with their expected loss of quality, and why accelerators have none."""

    deployments: tuple[Deployment, ...]
    losses: tuple[Estimate | None, ...]
    without: dict[str, str]            # GPU -> why nothing runs on it


def candidates(
    known_losses: Losses,
    among: Sequence[GpuSpec],
    quality_loss: float,
    engines: Sequence[str],
    *,
    counts: Sequence[int],
    splits: Sequence[Split] = SPLITS,
    formats: tuple[str, ...] | None = None,
    kv_formats: tuple[str, ...] | None = None,
    run_as: Workload = NOTHING_MORE,
) -> Candidates:
    """All layouts on `counts` GPUs. Announced accelerators are left out: nobody can rent or buy them yet."""
    accepted = replace(run_as, quality_loss=quality_loss)
    deployments: list[Deployment] = []
    losses: list[Estimate | None] = []
    without: dict[str, str] = {}
    for gpu in among:
        if gpu.announced:
            without[gpu.name] = "announced, not shipping yet"
            continue
        before, reasons = len(deployments), []
        for engine in engines:
            question = Question(known_losses, gpu, accepted, engine, tuple(counts), formats, kv_formats)
            found, why = _runnable(question)
            reasons += why
            for whole, loss in found:
                split = [way for way in _splits(known_losses.spec, whole, counts, splits)
                         if misfit(known_losses.spec, way) is None]
                deployments += split
                losses += [loss] * len(split)
        if len(deployments) == before:
            without[gpu.name] = reasons[0] if reasons else "every format that runs loses more quality than accepted"
    return Candidates(tuple(deployments), tuple(losses), without)


def _runnable(question: Question) -> tuple[list[tuple[Deployment, Estimate | None]], list[str]]:
    """Single replicas within the tolerance, with their losses, and what does not run."""
    q = question
    try:
        found = layouts(q.spec, q.gpu, q.engine, formats=q.formats, kv_formats=q.kv_formats, tps=q.tps,
                        asked=q.workload)
    except SweetspotError as error:
        return [], [str(error)]
    known = [(whole, q.losses.of(whole.weights, whole.kv_cache)) for whole in found.deployments]
    return [(whole, loss) for whole, loss in known if is_allowed(q, whole, loss)], [
        refusal.reason for refusal in found.refusals
    ]


def _splits(
    spec: ModelSpec, whole: Deployment, counts: Sequence[int], splits: Sequence[Split]
) -> Iterator[Deployment]:
    """A replica of `whole.gpus` GPUs as it is and split otherwise, and copies of it up to the largest count."""
    gpus, by_layers = whole.gpus, find_engine(whole.engine).splits_layers
    spreads = Split.EXPERTS in splits and spec.is_moe and not by_layers
    if gpus == 1 or by_layers or Split.TENSORS in splits:
        yield whole
        for count in counts if Split.REPLICAS in splits else ():
            if count > gpus and count % gpus == 0:
                yield replace(whole, dp=count // gpus)
                if spreads:
                    yield replace(whole, dp=count // gpus, ep=count)
    if gpus == 1 or by_layers:
        return
    if Split.LAYERS in splits and spec.n_layers >= _STAGES:
        yield replace(whole, tp=gpus // _STAGES, pp=_STAGES)
    if spreads:
        yield replace(whole, ep=gpus)
