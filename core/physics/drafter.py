"""What drafts for a model: how large it is, what it keeps on the GPU, and why a model has none."""

from dataclasses import dataclass
from typing import Final

from core.models import ModelSpec
from core.products.drafters import WORDS, Drafter, named, published
from core.products.engines import find as find_engine
from core.terms import Deployment

BYTES: Final = 2.0                # of a drafter's weight: they are published in 16 bits
MATMULS: Final = 4.0              # of a layer: qkv, output, gate and up, down
# An EAGLE-3 head: features of three layers fused (3 h^2), one layer whose attention takes twice the width, an MLP of
# 3.5 h, and 32,000 words. Llama-3.1-8B's, yuhuili/EAGLE3-LLaMA3.1-Instruct-8B, has 0.42e9.
_EAGLE_SQUARES: Final = 17.5
_EAGLE_WORDS: Final = 32_000
_MTP: Final = "multi-token prediction"


@dataclass(frozen=True, slots=True)
class Draft:
    """A drafter beside its model."""

    params: float
    layers: int
    name: str            # Hub id; empty where the model holds it or it is not known


def of(spec: ModelSpec, way: Drafter) -> Draft | None:
    """What drafts; None where the model has no head for it, or nothing drafts."""
    if way is Drafter.NONE:
        return None
    if way is Drafter.MTP:
        head = next((part for part in spec.parts if part.name == _MTP), None)
        return None if head is None else Draft(head.params, 1, "")
    if way is Drafter.NGRAM:
        return Draft(0, 0, "")
    known = named(way, spec.name)
    if way is Drafter.EAGLE3:
        size = _EAGLE_SQUARES * spec.hidden_size**2 + _EAGLE_WORDS * spec.hidden_size
        return Draft(size, 1, known.name if known else "")
    row = next(row for row in published(way, spec.name) if row.params and row.layers)
    assert row.params is not None and row.layers is not None
    return Draft(row.params, row.layers, row.name)


def missing(spec: ModelSpec, deployment: Deployment) -> str | None:
    """Why nothing can draft as asked, one sentence; None where it can."""
    engine = find_engine(deployment.engine)
    word = WORDS[deployment.drafter]
    if deployment.drafter and word not in engine.drafts:
        others = f": it drafts with {', '.join(engine.drafts)}" if engine.drafts else ""
        return f"{engine.label} is not known to draft with {word}{others}."
    if deployment.drafter and deployment.host is not None:
        return "drafting beside weights in host memory is not estimated: leave one of the two out."
    if deployment.drafter is Drafter.MTP and of(spec, Drafter.MTP) is None:
        return f"{spec.name} has no head for multi-token prediction: draft with eagle3, draft or ngram."
    return None
