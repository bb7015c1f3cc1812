"""Perplexity, divergence, agreement and their standard errors, against arithmetic done by hand and by simulation."""

from dataclasses import replace

import numpy as np
import pytest

from core.losses.measured import Spread
from core.quality.metrics import BLOCK, Tokens, blocks, spread


def test_blocks_stay_within_a_prompt_and_are_short():
    prompt = np.repeat([0, 1, 2], [150, 64, 2000])
    found = blocks(prompt)
    assert (np.diff(found) >= 0).all()
    assert np.bincount(found).max() == BLOCK
    assert all(len(np.unique(prompt[found == block])) == 1 for block in np.unique(found))
    assert len(np.unique(found)) == 3 + 1 + 32


def test_few_tokens_make_shorter_blocks():
    assert np.bincount(blocks(np.zeros(32, int))).tolist() == [2] * 16


def test_the_mean_of_one_number_has_no_spread():
    assert spread(np.full(100, 0.5), np.zeros(100, int)) == Spread(0.5, 0.0)


def test_the_standard_error_of_equal_blocks_is_that_of_their_means():
    values = np.random.default_rng(0).normal(size=640)
    means = values.reshape(-1, 40).mean(1)       # 640 // 16 = 40 tokens a block
    found = spread(values, np.zeros(640, int))
    assert found.value == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(means.std(ddof=1) / 4)


def test_the_standard_error_covers_runs_that_hang_together():
    """Neighbours that stray together: 95 % of intervals of two standard errors hold the truth, as they should."""
    rng = np.random.default_rng(1)
    held, naive = 0, 0
    for _ in range(400):
        values = np.repeat(rng.exponential(size=100), 16)
        found = spread(values, np.zeros(1600, int))
        held += abs(found.value - 1) < 2 * found.standard_error
        naive += abs(found.value - 1) < 2 * values.std() / 40
    assert 0.88 < held / 400 < 0.99
    assert naive / 400 < 0.5                    # token by token it would look four times as sure


def tokens(**changes):
    return replace(Tokens(
        prompt=np.array([0, 0, 1, 1]), loss=np.log([2.0, 4.0, 8.0, 2.0]), reference_loss=np.log([2.0, 2.0, 4.0, 2.0]),
        kl=np.array([0.0, 0.4, 0.2, 0.1]), first=np.array([1, 2, 3, 4]), reference_first=np.array([1, 9, 8, 4]),
    ), **changes)


def test_perplexity_is_the_geometric_mean():
    seen = tokens()
    assert seen.perplexity == pytest.approx((2 * 4 * 8 * 2) ** 0.25)
    assert seen.relative_loss.value == pytest.approx(4**0.25 - 1)
    assert seen.agrees.mean() == 0.5


def test_the_worst_prompt_and_where_it_parts():
    seen = tokens()
    assert seen.worst(1) == [(0, pytest.approx(0.2))]
    assert seen.partings(0, 5) == [(9, 2)] and seen.partings(1, 5) == [(8, 3)]
