"""The loads that are run: within the time and the server's room, and the ones that tell most."""

from dataclasses import replace

import pytest

from core.answers.advice import recommend
from core.basics.errors import InputError
from core.delivery.export.order import batch_limit, longest_request, order
from core.measure.loads import MOST_ROUNDS, chosen, predicted
from core.products import gpus
from core.reading import catalogue
from core.terms import Mode, Workload


@pytest.fixture(scope="module")
def ordered():
    return order(recommend(catalogue.load("meta-llama/Llama-3.1-8B"), gpus.find("H100 SXM5 80GB"), Workload()))


def test_eight_loads_span_what_the_server_carries(ordered):
    trials = chosen(ordered, 8, 1800.0, Mode.SERVING)
    loads = [trial.workload for trial in trials]
    assert len(set(loads)) == 8
    assert min(load.concurrency for load in loads) == 1
    assert max(load.concurrency for load in loads) > ordered.workload.concurrency
    for trial in trials:
        load = trial.workload
        assert load.concurrency <= batch_limit(ordered) and load.context_tokens <= longest_request(ordered)
        assert load.concurrency * load.context_tokens <= ordered.choice.footprint.kv_tokens
        assert 2 * load.concurrency <= trial.requests <= MOST_ROUNDS * load.concurrency
        assert trial.expected_s <= 1800 / 8
    assert sum(trial.expected_s for trial in trials) <= 1800


def test_requests_and_time_are_bounds(ordered):
    few = chosen(ordered, 4, 600.0, Mode.SERVING, most_requests=100)
    assert sum(trial.requests for trial in few) <= 100
    with pytest.raises(InputError, match="allow more"):
        chosen(ordered, 8, 60.0, Mode.SERVING)


def test_a_batch_that_starts_together_is_run_once(ordered):
    for trial in chosen(ordered, 4, 1800.0, Mode.STATIC):
        assert trial.workload.mode is Mode.STATIC and trial.requests == trial.workload.concurrency


def test_what_is_expected_is_the_plan_s_own_figure(ordered):
    trial = replace(chosen(ordered, 1, 1800.0, Mode.SERVING)[0], workload=ordered.workload)
    expected = predicted(ordered, (trial,))[0]
    assert ordered.choice.concurrency == ordered.workload.concurrency
    assert expected["tpot_ms"] == pytest.approx(1000 * ordered.choice.tpot.value, rel=1e-6)
    assert expected["ttft_ms"] == pytest.approx(1000 * ordered.choice.ttft.value, rel=1e-6)
