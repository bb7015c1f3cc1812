"""Numbers, articles and plurals as a native reader writes them."""

import pytest

from core.basics.words import counted, number, with_article


@pytest.mark.parametrize("name, written", [
    ("FP8 KV cache", "an FP8 KV cache"), ("BF16 KV cache", "a BF16 KV cache"), ("INT8 cache", "an INT8 cache"),
    ("NF4", "an NF4"), ("MXFP4", "an MXFP4"), ("GPTQ INT4", "a GPTQ INT4"), ("AWQ INT4", "an AWQ INT4"),
    ("H100", "an H100"), ("L40S", "an L40S"), ("A100", "an A100"), ("B200", "a B200"), ("RTX 4090", "an RTX 4090"),
    ("8-bit cache", "an 8-bit cache"), ("4-bit cache", "a 4-bit cache"), ("answer", "an answer"), ("GPU", "a GPU"),
    ("request", "a request"),
])
def test_an_article_follows_the_sound(name, written):
    assert with_article(name) == written


@pytest.mark.parametrize("count, written", [(0, "0 requests"), (1, "1 request"), (2, "2 requests"),
                                            (1_024, "1,024 requests")])
def test_one_thing_has_no_plural(count, written):
    assert counted(count, "request") == written


def test_three_figures():
    assert [number(value) for value in (0, 0.1239, 7.412, 13.93, 148.2, 1930.4, float("inf"))] == [
        "0", "0.124", "7.41", "13.9", "148", "1,930", "–"]
