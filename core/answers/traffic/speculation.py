"""Speculative decoding: a draft proposes tokens, the model checks them all in one step.

Law: Leviathan, Kalman, Matias, "Fast Inference from Transformers via Speculative Decoding", ICML 2023
(arXiv 2211.17192), equation 1 and theorem 3.8.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from core.answers.traffic.steps import StepTable
from core.basics.bounds import Bounds
from core.basics.errors import InputError

LAW: Final = "Leviathan et al. 2023, arXiv 2211.17192"
MOST_DRAFT_TOKENS: Final = 16
_REAL: Final = 1e-9            # a root's imaginary part below it is rounding


METHODS: Final = ("eagle3", "mtp", "draft_model", "ngram")     # as vLLM's and SGLang's settings know them


def acceptance_of(tokens_per_step: float, draft_tokens: int) -> float:
    """The acceptance rate at which a check of so many drafted tokens yields that many: the law solved for it.

    Engines publish the mean acceptance length, which counts the model's own token.
    """
    roots = np.roots([*[1.0] * draft_tokens, 1.0 - tokens_per_step])
    return float(next(root.real for root in roots if abs(root.imag) < _REAL and 0 <= root.real <= 1))


@dataclass(frozen=True, slots=True)
class Acceptance:
    """How often a draft's token is accepted, as somebody measured it."""

    name: str
    method: str             # of METHODS
    draft_tokens: int       # per check, as measured
    rate: float
    source: str


_VLLM: Final = "vLLM tests/v1/spec_decode/test_acceptance_length.py, MT-Bench, greedy"
_LEVIATHAN: Final = "Leviathan et al. 2023, arXiv 2211.17192, table"
ACCEPTANCES: Final = (
    Acceptance("EAGLE-3 head", "eagle3", 3, acceptance_of(2.60, 3),
               f"{_VLLM}: 2.60 tokens a check of 3 drafted for Llama-3.1-8B-Instruct; gpt-oss-20b 2.56, Qwen3-8B 2.26"),
    Acceptance("MTP head", "mtp", 1, 0.85,
               "DeepSeek-V3 technical report, arXiv 2412.19437, section 5.4.3: 85 to 90 % of the second tokens"),
    Acceptance("draft model, dialogue", "draft_model", 3, 0.71,
               f"{_LEVIATHAN} 3: LaMDA 137B with a draft of 2B, greedy"),
    Acceptance("draft model, translation", "draft_model", 7, 0.75,
               f"{_LEVIATHAN} 2: T5-XXL with T5-small, English to German, greedy"),
    Acceptance("draft model, summarising", "draft_model", 5, 0.65,
               f"{_LEVIATHAN} 2: T5-XXL with T5-small, CNN/DailyMail, greedy"),
)


@dataclass(frozen=True, slots=True)
class Speculation:
    """A draft of `draft_tokens` tokens per step, each accepted with probability `acceptance`.

    `draft_cost` is one step of the draft over one step of the model; Leviathan et al. saw less than 0.05.
    Raises InputError outside of the ranges.
    """

    acceptance: float
    draft_tokens: int = 3
    draft_cost: float = 0.05
    method: str = "draft_model"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"'{self.method[:20]}' is no way to draft: use one of {', '.join(METHODS)}.")
        Bounds(0, 0.99).checked("The acceptance rate", self.acceptance)
        Bounds(1, MOST_DRAFT_TOKENS).checked("The number of draft tokens", self.draft_tokens)
        Bounds(0, 1).checked("The cost of a draft step", self.draft_cost)

    @property
    def tokens_per_step(self) -> float:
        """Tokens one check yields on average: (1 - a^(g+1)) / (1 - a)."""
        return float((1 - self.acceptance ** (self.draft_tokens + 1)) / (1 - self.acceptance))


def speculative(table: StepTable, speculation: Speculation) -> StepTable:
    """The table per token gained: a step checks g drafted tokens of every sequence beside its own.

    Time = (step + what g more tokens per sequence add to it + g steps of the draft) / tokens per check.
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
