"""The paragraph for whoever pays: dollars a month, and the risk that is largest."""

from dataclasses import replace

from core.answers.advice import recommend
from core.delivery.export.manager import for_manager
from core.products import gpus
from core.reading import catalogue
from core.terms import Workload


def said(load: Workload, usd_per_hour: float | None = 3.0) -> str:
    gpu = replace(gpus.find("H100 SXM5 80GB"), price_usd_per_hour=usd_per_hour, price_source="your own price")
    return for_manager(recommend(catalogue.load(catalogue.DEFAULT_MODEL), gpu, load, tps=(1,)))


def test_a_month_is_730_hours():
    """3 dollars x 730 h = 2,190."""
    assert "about $2,190 per month (your own price)" in said(Workload())
    assert "No price of these GPUs is known." in said(Workload(), None)


def test_the_risk_is_a_target_within_the_range():
    """16 requests decode in some 9 ms, the range reaches 12: a target of 10 ms is at risk, one of 50 is not."""
    assert "past the target of 10.0 ms: benchmark it" in said(Workload(tpot_slo_s=0.010))
    assert "past the target" not in said(Workload())


def test_nothing_is_said_where_nothing_can_run():
    tight = replace(gpus.find("T4"))
    assert for_manager(recommend(catalogue.load("deepseek-ai/DeepSeek-V3"), tight, Workload(), tps=(1,))) == ""
