"""From what was seen at every token to perplexity, divergence and agreement, each with a block standard error."""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.losses.measured import Spread

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

BLOCK: Final = 64                   # tokens that are taken to hang together
LEAST_BLOCKS: Final = 16


@dataclass(frozen=True, slots=True)
class Tokens:
    """One variant at every scored token, and the reference there."""

    prompt: Ints                    # which prompt the token belongs to
    loss: Floats                    # -log p of the token that came [nats]
    reference_loss: Floats
    kl: Floats                      # from the reference's distribution to the variant's [nats]
    first: Ints                     # the variant's first choice
    reference_first: Ints

    @property
    def agrees(self) -> Floats:
        """1 where variant and reference choose the same token first, else 0 [tokens]."""
        same: Floats = (self.first == self.reference_first).astype(np.float64)
        return same

    @property
    def perplexity(self) -> float:
        """exp of the mean loss over all scored tokens."""
        return float(np.exp(self.loss.mean()))

    @property
    def relative_loss(self) -> Spread:
        """Relative increase of perplexity, exp(mean difference of losses) - 1, with the delta method's error."""
        difference = spread(self.loss - self.reference_loss, self.prompt)
        ratio = float(np.exp(difference.value))
        return Spread(ratio - 1, ratio * difference.standard_error)

    def worst(self, count: int) -> list[tuple[int, float]]:
        """(prompt, mean KL) of the prompts that stray most."""
        prompts = np.unique(self.prompt)
        means = [float(self.kl[self.prompt == one].mean()) for one in prompts]
        return sorted(zip(prompts.tolist(), means, strict=True), key=lambda pair: -pair[1])[:count]

    def partings(self, prompt: int, count: int) -> list[tuple[int, int]]:
        """(reference's, variant's) first choices where they differ in a prompt, the largest KL first."""
        places = np.flatnonzero((self.prompt == prompt) & (self.first != self.reference_first))
        ranked = places[np.argsort(-self.kl[places], kind="stable")][:count]
        return [(int(self.reference_first[place]), int(self.first[place])) for place in ranked]


def blocks(prompt: Ints) -> Ints:
    """Which block a token belongs to: runs of neighbours within a prompt, none longer than BLOCK."""
    length = max(1, min(BLOCK, len(prompt) // LEAST_BLOCKS))
    starts = np.flatnonzero(np.diff(prompt, prepend=prompt[0] - 1))
    within = np.arange(len(prompt)) - np.repeat(starts, np.diff(np.append(starts, len(prompt))))
    return np.cumsum(within % length == 0) - 1


def spread(values: Floats, prompt: Ints) -> Spread:
    """Mean over tokens and its standard error over blocks of unequal size.

    The ratio estimator's: sum over blocks of (their sum - their tokens x mean)^2, as neighbouring tokens
    stray together and would look independent one by one (Cochran, Sampling Techniques, 1977, 6.3).
    """
    block = blocks(prompt)
    mean = float(values.mean())
    sums, sizes = np.bincount(block, values), np.bincount(block)
    count = len(sizes)
    if count < 2:
        return Spread(mean, 0.0)
    variance = ((sums - sizes * mean) ** 2).sum() * count / (count - 1) / len(values) ** 2
    return Spread(mean, float(np.sqrt(variance)))
