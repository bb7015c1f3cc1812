"""Speculative decoding: a draft proposes tokens, the model checks them all in one step.

Law: Leviathan, Kalman, Matias, "Fast Inference from Transformers via Speculative Decoding", ICML 2023
(arXiv 2211.17192), equation 1 and theorem 3.8.
"""

from dataclasses import dataclass
from typing import Final

from core.errors import InputError
from core.traffic.steps import StepTable

LAW: Final = "Leviathan et al. 2023, arXiv 2211.17192"
MOST_DRAFT_TOKENS: Final = 16


@dataclass(frozen=True, slots=True)
class Acceptance:
    """How often a draft's token is accepted, as somebody measured it."""

    name: str
    rate: float
    source: str


ACCEPTANCES: Final = (
    Acceptance("EAGLE-3 head", 0.64, "model card BCCard/MoAI-gemma-4-12B-it-speculator.eagle3: 0.62 to 0.67"),
    Acceptance("draft model, dialogue", 0.71, "Leviathan et al. 2023, table 3: LaMDA 137B with a draft of 2B"),
    Acceptance("draft model, translation", 0.75, "Leviathan et al. 2023, table 3: T5-XXL with T5-small, EnDe"),
    Acceptance("draft model, summarising", 0.65, "Leviathan et al. 2023, table 3: T5-XXL with T5-small, CNN/DM"),
)


@dataclass(frozen=True, slots=True)
class Speculation:
    """A draft of `draft_tokens` tokens a step, each accepted with probability `acceptance`.

    `draft_cost` is one step of the draft over one step of the model; Leviathan et al. saw less than 0.05.
    Raises InputError outside of the ranges.
    """

    acceptance: float
    draft_tokens: int = 3
    draft_cost: float = 0.05

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("acceptance rate", self.acceptance, 0.0, 0.99),
            ("number of draft tokens", self.draft_tokens, 1, MOST_DRAFT_TOKENS),
            ("cost of a draft step", self.draft_cost, 0.0, 1.0),
        ):
            if not low <= value <= high:
                raise InputError(f"The {name} must lie between {low:g} and {high:g}; it is {value:g}.")

    @property
    def tokens_per_step(self) -> float:
        """Tokens one check yields on average: (1 - a^(g+1)) / (1 - a)."""
        return float((1 - self.acceptance ** (self.draft_tokens + 1)) / (1 - self.acceptance))


@dataclass(frozen=True, slots=True)
class SpeculativeSteps:
    """`StepTimes` per token gained: a step checks g drafted tokens of every sequence beside its own."""

    base: StepTable
    speculation: Speculation

    def seconds(self, decoding: int, context_tokens: float, prefill_tokens: int) -> float:
        """Time in which every sequence gains one token on average, and a share of prompts is computed [s]."""
        if not decoding:
            return self.base.seconds(0, 0.0, prefill_tokens)
        plain = self.base.seconds(decoding, context_tokens, 0)
        drafted = decoding * self.speculation.draft_tokens
        check = plain + self.base.prompts_s(decoding, drafted)
        draft = self.speculation.draft_tokens * self.speculation.draft_cost * plain
        prompts = self.base.seconds(decoding, context_tokens, prefill_tokens) - plain
        return (check + draft) / self.speculation.tokens_per_step + prompts

    def attention_s(self, start: int, end: int) -> float:
        """What tokens `start` to `end` of a prompt add to it by attending to all before them [s]."""
        return self.base.attention_s(start, end)
