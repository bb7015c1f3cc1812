"""The file of a quality check: it comes back as it was, its words can be dropped, nonsense is one sentence."""

import json
from dataclasses import asdict, replace

import pytest

from core.basics.errors import InputError
from core.losses.measured import QualityMeasurement, Score, Spread, WorstPrompt, from_json, to_json, without_text

SECRET = "the patient's name"


def score(variant="bf16", **changes):
    return replace(Score(
        variant=variant, label=variant, weights="", kv_cache="", method="torch 2.13.0", perplexity=29.8,
        loss=Spread(-0.001, 0.002), kl=Spread(0.0011, 0.0001), agreement=Spread(0.969, 0.004), seconds=3.0,
        worst=(WorstPrompt(3, 0.4, SECRET, ("name|patient",)),),
    ), **changes)


CHECK = QualityMeasurement(
    model="org/m", revision="", device="CPU: a processor", versions=(("torch", "2.13.0"),),
    date="2026-11-25T12:00:00+00:00", seconds=60.0, prompts=4, tokens=1408, prompts_digest="ab" * 32,
    calibration="", reference="float32", perplexity=29.83, scores=(score(), score("int8")), lost=("One failed.",),
)


def test_a_check_travels():
    assert from_json(to_json(CHECK)) == CHECK


def test_without_text_nothing_of_the_prompts_is_left():
    bare = without_text(CHECK)
    assert SECRET in to_json(CHECK) and SECRET not in to_json(bare) and "name|patient" not in to_json(bare)
    assert [one.kl for one in bare.scores] == [one.kl for one in CHECK.scores]
    assert bare.scores[0].worst[0].kl == 0.4


def broken(**changes):
    return json.dumps({"sweetspot_quality": 1, **asdict(CHECK)} | changes)


def with_score(**changes):
    return broken(scores=[asdict(score()) | changes])


@pytest.mark.parametrize(("text", "says"), [
    ("", "not JSON"), ("[1]", "of this version"), ('{"sweetspot_measurement": 1}', "Quality page"),
    (broken(sweetspot_quality=2), "of this version"), (broken(scores=[]), "1 to 100 scores"),
    (broken(scores={}), "1 to 100 scores"), (broken(model=7), "text is missing"), (broken(perplexity=0), "is zero"),
    (broken(perplexity=True), "not a number"), (with_score(kl=None), "cannot be read"),
    (with_score(kl={"value": 1.0}), "standard_error is missing"),
    (with_score(kl={"value": 1.0, "standard_error": -1}), "is negative"),
    (with_score(agreement={"value": 1.2, "standard_error": 0}), "agreement is no share"),
    (with_score(worst=[{}] * 21), "more than 20 worst prompts"),
    (with_score(worst=[{"tokens": []}]), "index is missing"),
    (broken(perplexity=1e400).replace("Infinity", "1e400"), "not a number"),
    (broken(perplexity=float("nan")), "no number"), ("[" * 100_000, "nested too deeply"),
])
def test_what_is_no_check_is_one_sentence(text, says):
    with pytest.raises(InputError, match=says) as raised:
        from_json(text)
    assert "\n" not in str(raised.value)
