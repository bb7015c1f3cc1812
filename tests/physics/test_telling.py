"""Loads that are worth measuring: after them, less is unknown of the others than after any set drawn at random."""

from dataclasses import fields, replace

import numpy as np
import pytest

from core.physics.ask import Load, desk
from core.physics.efficiency import TERMS, load
from core.physics.speed import anchors
from core.physics.speed.predict import logs
from core.physics.speed.telling import most_telling
from core.products import formats, gpus
from core.reading import catalogue
from core.terms import Deployment

REQUESTS = np.array([1, 4, 16, 64, 256] * 3, float)
PROMPTS = np.repeat([128.0, 1024.0, 8192.0], 5)


@pytest.fixture(scope="module")
def asked():
    """Figures of fifteen loads on one deployment, and the load that each belongs to."""
    one = Deployment(gpus.find("H100 SXM5 80GB"), formats.find("bf16"), formats.find_kv("bf16"))
    at = desk([(catalogue.load("meta-llama/Llama-3.1-8B"), one)])
    cases = at.cases(Load(False, REQUESTS, PROMPTS, 128.0), np.zeros(15, np.intp))
    plain = np.zeros((1, len(TERMS)))
    slopes = anchors.slopes(cases, plain, lambda rows, shifts: logs(rows, load(), shifts))
    figures = anchors.figures(cases, logs(cases, load(), plain), slopes)
    return figures, np.tile(np.arange(15), len(anchors.METRICS))


def test_a_level_far_off_is_found_from_eight_loads():
    """A card that streams weights at a fifth, multiplies at a third and launches four times as slowly as we think."""
    one = Deployment(gpus.find("H100 SXM5 80GB"), formats.find("bf16"), formats.find_kv("bf16"))
    at = desk([(catalogue.load("meta-llama/Llama-3.1-8B"), one)])
    cases = at.cases(Load(False, REQUESTS, PROMPTS, 128.0), np.zeros(15, np.intp))
    off = {"weights_bandwidth": -4.0, "matmul_rate": -1.6, "kernel_s": 1.4, "step_s": 1.4}
    truth = np.exp(logs(cases, load(), np.array([[off.get(term.name, 0.0) for term in TERMS]])))
    plain = np.zeros((1, len(TERMS)))
    slopes = anchors.slopes(cases, plain, lambda rows, shifts: logs(rows, load(), shifts))
    measured = most_telling(anchors.figures(cases, logs(cases, load(), plain), slopes), np.tile(np.arange(15), 3), 8)
    kept = anchors.Anchors(replace(cases, **{
        column.name: getattr(cases, column.name)[measured] for column in fields(cases) if column.name != "pairs"
    }), *truth[:, measured])
    found = at.answer(cases, kept)
    rest = np.setdiff1d(np.arange(15), measured)
    alone = at.answer(cases)
    for figure, true in zip(anchors.METRICS, truth, strict=True):
        before, after = (np.abs(getattr(p, figure).value / true - 1)[rest] for p in (alone, found))
        assert np.median(before) > 0.5 and np.median(after) < 0.1 and after.max() < 0.3


def unknown(figures, row, measured):
    """Mean share of the deviation of all figures that stays."""
    here = np.isin(row, measured)
    return anchors.posterior(np.zeros(here.sum()), figures, figures.of(here))[1].mean()


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_chosen_loads_tell_more_than_random_ones(asked, count):
    figures, row = asked
    chosen = most_telling(figures, row, count)
    assert len(set(chosen.tolist())) == count
    draws = np.random.default_rng(1)
    at_random = [unknown(figures, row, draws.choice(15, count, replace=False)) for _ in range(200)]
    assert unknown(figures, row, chosen) < np.quantile(at_random, 0.1)


def test_each_one_more_tells_more_and_the_order_stays(asked):
    figures, row = asked
    all_of_them = most_telling(figures, row, 15)
    assert sorted(all_of_them.tolist()) == list(range(15))
    assert most_telling(figures, row, 4).tolist() == all_of_them[:4].tolist()
    left = [unknown(figures, row, all_of_them[:n]) for n in (1, 2, 4, 8, 15)]
    assert left == sorted(left, reverse=True) and left[-1] < 0.5 * left[0]


def test_no_more_are_chosen_than_there_are(asked):
    figures, row = asked
    assert len(most_telling(figures, row, 40)) == 15
