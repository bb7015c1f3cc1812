"""Today's prices through gpuhunt: an optional extra, asked as its own signature allows."""

import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from core.basics.errors import HardwareError
from core.products import gpus
from core.products.gpus.market import todays_quotes


@dataclass
class Item:
    """The fields of gpuhunt 0.1 CatalogItem that are read; price is of the whole instance."""

    provider: str
    gpu_name: str | None
    gpu_memory: float | None
    gpu_count: int
    price: float
    spot: bool
    location: str = "us-1"
    instance_name: str = "big"


ITEMS = [
    Item("aws", "H100", 80, 8, 55.04, False), Item("aws", "H100", 80, 1, 7.5, False),
    Item("aws", "H100", 80, 8, 24.0, True),
    Item("lambda", "H100", 80, 1, 2.99, False), Item("x", "H100NVL", 94, 1, 1.0, False),
    Item("y", "A100", 80, 1, 0.5, False), Item("z", None, None, 0, 0.1, False), Item("free", "H100", 80, 1, 0.0, False),
]


@pytest.fixture
def market(monkeypatch):
    def install(query):
        monkeypatch.setitem(sys.modules, "gpuhunt", SimpleNamespace(query=query))
    return install


def test_the_lowest_of_each_provider_for_one_gpu_and_hour(market):
    market(lambda *, min_gpu_count: [item for item in ITEMS if item.gpu_count >= min_gpu_count])
    quotes = todays_quotes(gpus.find("H100 SXM5 80GB"))
    assert [(q.provider, q.kind, q.usd_per_gpu_hour) for q in quotes] == [
        ("lambda", "on-demand", 2.99), ("aws", "spot", 3.0), ("aws", "on-demand", 6.88)]
    assert all(quote.source == "gpuhunt" and quote.as_of for quote in quotes)


def test_without_it_one_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "gpuhunt", None)
    with pytest.raises(HardwareError, match="pip install gpuhunt"):
        todays_quotes(gpus.find("H100"))


def test_no_network_is_one_sentence(market):
    def unreachable(**_):
        raise OSError("secret proxy address")

    market(unreachable)
    with pytest.raises(HardwareError, match="could not fetch") as failed:
        todays_quotes(gpus.find("H100"))
    assert "secret" not in str(failed.value)
