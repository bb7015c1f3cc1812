"""What a changed input moved, in one sentence."""

from core.answers.advice import moved, recommend
from core.products import gpus
from core.reading import catalogue
from core.terms import Workload


def test_a_change_says_what_moved():
    spec, card = catalogue.load("meta-llama/Llama-3.1-8B"), gpus.find("H100 SXM5 80GB")
    before = recommend(spec, card, Workload(), tps=(1,))
    longer = recommend(spec, card, Workload(input_tokens=8192), tps=(1,))
    said = moved(before, longer)
    assert said.startswith("Prompt tokens 1024 → 8192: TPOT ")
    assert f"batch limit {before.recommended_batch} → {longer.recommended_batch}" in said
    assert longer.best.tpot.value > before.best.tpot.value and moved(before, before) == ""


def test_a_change_that_leaves_nothing_is_said():
    spec = catalogue.load("meta-llama/Llama-3.1-70B")
    before, after = (recommend(spec, gpus.find(name), Workload(), tps=(1,))
                     for name in ("B200 SXM 180GB", "GeForce RTX 4090"))
    assert "GPU B200 SXM 180GB → GeForce RTX 4090" in moved(before, after)
    assert "now nothing can be recommended" in moved(before, after)
