"""Money: arithmetic checked by hand, ranges the right way round, prices in range."""

import math

import numpy as np
import pytest

from core.answers.cost import (
    HOURS_PER_MONTH,
    price_of,
    usd_per_hour,
    usd_per_million,
    usd_per_million_output_tokens,
    usd_per_million_tokens,
    usd_per_month,
)
from core.basics.errors import InputError
from core.products.gpus import find
from core.terms import Basis, Estimate, Workload

THROUGHPUT = Estimate(1000.0, 800.0, 1250.0, Basis.ESTIMATED, "roofline")


def test_dollars_per_million_by_hand():
    """3.60 USD per hour is 0.001 USD per second; at 1000 tokens/s a million takes 1000 s: 1 USD."""
    assert usd_per_million(3.60, 1000.0) == pytest.approx(1.0)


def test_the_slow_end_of_the_throughput_is_the_dear_end_of_the_cost():
    cost = usd_per_million_output_tokens(3.60, THROUGHPUT)
    assert (cost.low, cost.value, cost.high) == pytest.approx((0.8, 1.0, 1.25))
    assert cost.basis is Basis.ESTIMATED
    assert cost.source == "3.6 USD per GPU hour over roofline"


def test_prompt_tokens_share_the_bill():
    """1024 in and 256 out: five tokens counted for each one made."""
    cost = usd_per_million_tokens(3.60, THROUGHPUT, Workload(input_tokens=1024, output_tokens=256))
    assert cost.value == pytest.approx(0.2)
    assert (cost.low, cost.high) == pytest.approx((0.16, 0.25))


def test_a_grid_of_throughputs_is_priced_at_once():
    assert usd_per_million(3.60, np.array([[1000.0, 2000.0], [500.0, 4000.0]])) == pytest.approx(
        np.array([[1.0, 0.5], [2.0, 0.25]])
    )


def test_no_tokens_cost_without_bound():
    stalled = Estimate(0.0, 0.0, 10.0, Basis.ESTIMATED, "roofline")
    assert usd_per_million_output_tokens(3.60, stalled).value == math.inf


def test_hours_and_months_of_a_deployment():
    """8760 / 12 = 730 hours; eight H100 at the reference 3.49."""
    assert HOURS_PER_MONTH == 8760 / 12
    assert usd_per_hour(3.49, 8) == pytest.approx(27.92)
    assert usd_per_month(3.49, 8) == pytest.approx(20381.6)


def test_an_own_price_wins_and_an_unknown_one_says_so():
    assert price_of(find("H100"))[0] == 3.49
    assert price_of(find("H100"), 1.99) == (1.99, "your own price")
    assert price_of(find("H100"), 0.0)[0] == 0.0
    price, reason = price_of(find("RTX 5090"))
    assert price is None
    assert reason == "No price is known for GeForce RTX 5090: type in your own."


@pytest.mark.parametrize("price", [-1.0, 1001.0, math.nan, math.inf])
def test_an_own_price_out_of_range_is_refused(price):
    with pytest.raises(InputError, match="outside 0 to 1000"):
        price_of(find("H100"), price)
