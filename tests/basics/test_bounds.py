"""One wording for every number that is not what it may be."""

import math

import pytest

from core.basics.bounds import Bounds
from core.basics.errors import InputError

TOKENS = Bounds(1, 100_000_000, "tokens", whole=True)


@pytest.mark.parametrize("text, says", [
    ("0", "n is '0', outside 1 to 100,000,000 tokens."),
    ("nan", "n is 'nan', outside 1 to 100,000,000 tokens."),
    ("1e999", "n is '1e999', outside 1 to 100,000,000 tokens."),
    ("2.5", "n is '2.5', no whole number: give one from 1 to 100,000,000 tokens."),
    ("many", "n is 'many', no number: give one from 1 to 100,000,000 tokens."),
])
def test_a_text_that_is_not_within_is_one_sentence(text, says):
    with pytest.raises(InputError) as refused:
        TOKENS.read("n", text)
    assert str(refused.value) == says


def test_a_number_that_is_not_within_is_the_same_sentence():
    with pytest.raises(InputError, match=r"^The memory of 0 GiB is outside 1 to 8192 GiB\.$"):
        Bounds(1, 8192, "GiB").checked("The memory", 0)
    assert not TOKENS.holds(math.nan) and not TOKENS.holds(1.5)


def test_ends_belong_to_the_range():
    assert [TOKENS.read("n", text) for text in ("1", "1e8")] == [1, 100_000_000]
