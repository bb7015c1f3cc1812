"""The bundled models: what the table says is what the readers say."""

import time

import pytest

from core import catalogue
from core.formats import FORMATS


def test_there_are_enough_and_each_has_a_source() -> None:
    cards = catalogue.models()
    assert len(cards) >= 120
    assert all(card.source for card in cards)


@pytest.mark.parametrize("card", catalogue.models(), ids=lambda card: card.name)
def test_cards_tell_what_the_architecture_has(card: catalogue.Card) -> None:
    spec = catalogue.load(card.name)
    assert spec is not None
    assert (spec.total_params, spec.active_params, spec.max_context, spec.family) == (
        card.total_params,
        card.active_params,
        card.max_context,
        card.family,
    )
    assert not spec.best_effort
    assert card.shipped == "" or card.shipped in FORMATS


def test_default_model_under_all_its_names() -> None:
    """meta-llama renamed its 3.1 repositories; users type both."""
    for name in (catalogue.DEFAULT_MODEL, "meta-llama/Llama-3.1-8B-Instruct", "Meta-Llama/meta-llama-3.1-8b"):
        spec = catalogue.load(name)
        assert spec is not None
        assert spec.total_params == 8_030_261_248
    assert catalogue.load("meta-llama/Llama-3.1-8B-Instruct").name == "meta-llama/Llama-3.1-8B-Instruct"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "name, shipped",
    [
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", "awq-int4"),
        ("nvidia/Llama-3.3-70B-Instruct-FP4", "nvfp4"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8", "w8a8-int8"),
        ("Qwen/Qwen3-8B-FP8", "fp8"),
        ("deepseek-ai/DeepSeek-V3", "fp8"),
        ("openai/gpt-oss-20b", "mxfp4"),
        ("unsloth/gpt-oss-20b-GGUF", "gguf-Q4_K_M"),
    ],
)
def test_quantised_names_carry_their_format(name: str, shipped: str) -> None:
    spec = catalogue.load(name)
    assert spec is not None and spec.shipped is not None
    assert spec.shipped.format == shipped


def test_unquantised_and_unknown() -> None:
    assert catalogue.load("Qwen/Qwen3-8B").shipped is None  # type: ignore[union-attr]
    assert catalogue.load("nobody/nothing") is None


def test_search_takes_words_in_any_order_and_aliases() -> None:
    assert any(card.name == "Qwen/Qwen3-30B-A3B" for card in catalogue.models("a3b QWEN3"))
    assert any(card.name == catalogue.DEFAULT_MODEL for card in catalogue.models("Meta-Llama-3.1-8B-Instruct"))


def test_loading_is_quick() -> None:
    """No model takes more than a few milliseconds the first time, and none at all the second."""
    names = [card.name for card in catalogue.models()]
    start = time.perf_counter()
    for name in names:
        catalogue.load(name)
    assert (time.perf_counter() - start) / len(names) < 0.02
