"""Speculative decoding: a draft proposes tokens, the model checks them all in one step.

Law: Leviathan, Kalman, Matias, "Fast Inference from Transformers via Speculative Decoding", ICML 2023
(arXiv 2211.17192), equation 1 and theorem 3.8.
"""

from dataclasses import dataclass, replace
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


def speculative(table: StepTable, speculation: Speculation) -> StepTable:
    """The table per token gained: a step checks g drafted tokens of every sequence beside its own.

    Time = (step + what g more tokens a sequence add to it + g steps of the draft) / tokens per check.
    """
    drafted, gained = speculation.draft_tokens, speculation.tokens_per_step
    draft = 1 + drafted * speculation.draft_cost
    return replace(table, decode_s=tuple(
        tuple((draft * step_s + checks_s) / gained for step_s in row)
        for row, checks_s in (
            (row, table.prompts_s(sequences, drafted * sequences))
            for sequences, row in enumerate(table.decode_s, start=1)
        )
    ))
