"""Loads given as users, as a rate, or left open: what they come to in requests in flight; and the use cases."""

import pytest

from core.answers import advice
from core.answers.advice import Arrivals, Open, Standing, Users
from core.answers.advice.demand import latency_s
from core.products import gpus
from core.reading import catalogue
from core.terms import Workload

SPEC = catalogue.load("meta-llama/Llama-3.1-8B")
H100 = gpus.find("H100")


def planned(workload, counts):
    return advice.recommend(SPEC, H100, workload, tps=counts)


def test_littles_law():
    """12 requests/s of 2 s each are 24 at once; 100 users who think 30 s after 10 s of service are served 10/40."""
    assert Arrivals(12).in_flight(2.0) == 24
    assert Users(100, 30.0).in_flight(10.0) == 25
    assert Users(7, 0.0).in_flight(3.0) == 7


@pytest.mark.parametrize("demand", [Arrivals(12), Users(1000, 30)], ids=["12 a second", "1,000 users"])
def test_a_demand_is_planned_at_the_requests_that_its_own_latency_gives(demand):
    plan = advice.answered(planned, Workload(), (1, 2), demand)
    asked = plan.workload.concurrency
    assert plan.standing is Standing.MET and plan.best.concurrency == asked
    assert demand.in_flight(latency_s(plan.best, plan.workload)) == pytest.approx(asked, rel=0.05, abs=1)
    assert f"about {asked} requests in flight" in advice.assumed(demand, plan)


def test_a_demand_beyond_what_can_be_served_is_not_made_smaller():
    """500 requests/s x (1 s + 255 x 50 ms) = 6,875 requests, which one H100 does not hold."""
    plan = advice.answered(planned, Workload(), (1,), Arrivals(500))
    assert plan.standing is Standing.FEWER and plan.workload.concurrency == 6875
    assert "at least 6,875 requests" in advice.assumed(Arrivals(500), plan)


def test_an_open_load_says_that_it_was_open():
    plan = advice.answered(planned, Workload(), (1,), Open())
    assert plan.best.concurrency == plan.recommended_batch > 100
    assert f"{plan.recommended_batch} requests in flight" in advice.assumed(Open(), plan)
    assert advice.assumed(None, plan) == ""


@pytest.mark.parametrize("case", advice.USE_CASES.values(), ids=lambda case: case.name)
def test_a_use_case_fills_a_load_and_is_known_again(case):
    filled = case.of(Workload(concurrency=5, quality_loss=0.1))
    filled.check()
    assert (filled.concurrency, filled.quality_loss) == (5, 0.1)
    assert advice.use_case(filled) is case
    assert len(case.source) > 20


def test_the_defaults_are_no_use_case():
    assert advice.use_case(Workload()) is None


def test_the_batch_that_memory_ends_at_is_found_to_the_request():
    """Beyond 256 requests a plan steps by 8, but the last that the cache holds is named itself."""
    loose = Workload(tpot_slo_s=10.0, ttft_slo_s=1000.0)
    best = advice.answered(planned, loose, (1,), Open()).best
    assert best.slo_concurrency == best.memory_concurrency and best.memory_concurrency % 8
