"""Every sentence of a plan, with every name it may hold, as a native reader would write it."""

import ast
import re
from dataclasses import replace
from functools import cache
from itertools import product

import pytest

from core.answers import advice
from core.answers.advice import Plan, Standing, sentences
from core.basics.places import ROOT
from core.basics.words import with_article
from core.products import gpus
from core.products.engines import ENGINES
from core.products.formats import FORMATS, KV_FORMATS
from core.reading import catalogue
from core.terms import Workload

# Spoken with another sound than they are written with.
SILENT, LIKE_YOU = {"hour", "hours"}, {"one", "unit", "usual", "used", "user", "users", "uniform", "useful"}
COUNTED = ("request", "replica", "GPU", "token", "layer", "server", "prompt", "deployment", "point", "node")


def faults(text: str) -> list[str]:
    """Articles before the wrong sound, one thing in the plural, many in the singular."""
    wrong = [
        found[0] for found in re.finditer(r"\b([Aa]n?) ([A-Za-z0-9][\w-]*)", text)
        if found[1].lower() != _article(found[2])
    ]
    wrong += re.findall(rf"(?<![\d.,])1 (?:concurrent )?(?:{'|'.join(COUNTED)})s\b", text)
    wrong += re.findall(rf"\b(?:[2-9]|\d+\d) (?:concurrent )?(?:{'|'.join(COUNTED)})\b(?!-| parallel| KV)", text)
    return wrong


def _article(word: str) -> str:
    if word in SILENT:
        return "an"
    return "a" if word in LIKE_YOU else with_article(word).split()[0]


def test_the_checker_sees_faults():
    assert faults("a FP8 cache, an BF16 one, 1 requests, 2 request, an user") == [
        "a FP8", "an BF16", "an user", "1 requests", "2 request"]
    assert faults("an FP8 cache for 1 request of 11 requests on 2 GPUs, an hour, a user") == []


@cache
def planned(requests: int) -> Plan:
    spec = catalogue.load(catalogue.DEFAULT_MODEL)
    return advice.recommend(spec, gpus.find("H100 SXM5 80GB"), Workload(concurrency=requests))


@pytest.mark.parametrize("requests", [1, 2, 16])
def test_sentences_with_every_format_and_engine(requests):
    """All weight formats, cache formats and engines; one request, two and sixteen; every standing."""
    plan = planned(requests)
    best = plan.best
    for fmt, (kv, engine) in product(FORMATS.values(), zip([*KV_FORMATS.values()] * 3, ENGINES, strict=False)):
        deployment = replace(best.deployment, weights=fmt, kv_cache=kv, engine=engine)
        choice = replace(best, deployment=deployment)
        said = [
            sentences.formats(deployment), sentences.why_chosen(choice, best), sentences.trade(best, choice),
            sentences.missed(choice, plan.workload),
            *(text for standing in Standing for text in sentences.verdict(
                plan.spec, standing, choice, plan.workload, "its limit", "it is over", 53)),
        ]
        assert not [found for text in said for found in faults(text)], said


@pytest.mark.parametrize("requests", [1, 2, 16])
def test_everything_a_plan_says(requests):
    plan = planned(requests)
    said = [plan.sentence, plan.reason, plan.trade, plan.binding_limit, *plan.spec.notes,
            *(f"{move.what}: {move.effect}" for move in plan.sensitivity),
            *(f"{remedy.label}: {remedy.effect}" for remedy in plan.remedies),
            *(refusal.reason for refusal in plan.refused), *(candidate.note for candidate in plan.candidates)]
    assert not [found for text in said for found in faults(text)]


def test_no_article_stands_before_a_name_that_is_filled_in():
    """What follows may be an FP8 or a BF16: `words.with_article` writes both."""
    found = [
        f"{path.relative_to(ROOT)}:{text.lineno}"
        for folder in ("core", "pages") for path in (ROOT / folder).rglob("*.py")
        for text in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(text, ast.JoinedStr)
        for before, after in zip(text.values, text.values[1:], strict=False)
        if isinstance(before, ast.Constant) and isinstance(after, ast.FormattedValue)
        and re.search(r"(^|\s)an? $", before.value)
    ]
    assert not found
