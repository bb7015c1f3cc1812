"""What a hand does next: suggestions are buttons, an own price stays with its GPU."""

import pytest


def test_a_price_typed_for_one_gpu_is_not_that_of_the_next(first_visit):
    """0.75 dollars for an H100; an A100 then costs what it is listed at, and going back does not bring it back."""
    page = first_visit.run()
    page.number_input(key="price").set_value(0.75).run()
    page.selectbox(key="gpu").set_value("A100 SXM4 80GB").run()
    assert not page.exception and page.number_input(key="price").value is None
    page.number_input(key="price").set_value(1.5).run()
    page.number_input(key="out").set_value(300).run()
    assert page.number_input(key="price").value == 1.5


@pytest.mark.parametrize(("key", "typed", "offered"), [
    ("model", "lama 3.1 8b", "Plan meta-llama/Llama-3.1-8B"), ("gpu", "H10", "Use H100 SXM5 80GB"),
])
def test_every_suggestion_is_a_button(first_visit, key, typed, offered):
    first_visit.query_params[key] = typed
    page = first_visit.run()
    assert page.error
    assert offered in [button.label for button in page.button]
