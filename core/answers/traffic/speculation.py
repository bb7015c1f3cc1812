"""Speculative decoding under traffic: how many tokens are drafted a step, and how many a step yields."""

from dataclasses import dataclass

from core.basics.bounds import Bounds
from core.models import ModelSpec
from core.products.drafters import MOST_DRAFTED, USUAL_DRAFTED, kept_share
from core.terms import Workload


@dataclass(frozen=True, slots=True)
class Speculation:
    """Drafted tokens a step, and the share of them that is kept. Raises InputError outside of the ranges."""

    kept: float
    draft_tokens: int = USUAL_DRAFTED

    def __post_init__(self) -> None:
        Bounds(0, 1).checked("The share of drafts kept", self.kept)
        Bounds(1, MOST_DRAFTED, whole=True).checked("The number of tokens drafted", self.draft_tokens)

    @property
    def tokens_per_step(self) -> float:
        """Tokens one check yields on average, the model's own one too."""
        return 1 + self.draft_tokens * self.kept


def speculation(spec: ModelSpec, workload: Workload) -> Speculation | None:
    """What a load asks for; the share kept is as published where nobody says. None without a drafter."""
    if not workload.drafter:
        return None
    kept = workload.spec_acceptance
    if kept is None:
        kept = kept_share(workload.drafter, spec.name, workload.spec_tokens)
    return Speculation(kept, workload.spec_tokens)
