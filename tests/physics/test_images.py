"""Images in a prompt: tokens as each family's own processor makes them, and what they cost in time and memory."""

import csv

import pytest

from core.answers.advice import recommend
from core.answers.advice.sentences import seen
from core.basics.places import ROOT
from core.physics import images, memory
from core.physics.ask import Load, desk
from core.products import gpus
from core.products.formats import find, find_kv
from core.reading import catalogue
from core.terms import Deployment, Images, Workload

H100 = gpus.find("H100 SXM5 80GB")
with (ROOT / "tests" / "data" / "image_tokens.csv").open() as file:
    SEEN = list(csv.DictReader(line for line in file if not line.startswith("#")))


def shows(name, count, width=1024, height=1024):
    spec = catalogue.load(name)
    plain = Deployment(H100, find("bf16"), find_kv("bf16"), images=Images(count, width, height) if count else None)
    return spec, plain


@pytest.mark.parametrize("name", sorted({row["model"] for row in SEEN}))
def test_tokens_are_the_processors(name):
    """transformers 5.17, its own classes, at nine sizes: exact."""
    eyes = catalogue.load(name).eyes
    for row in SEEN:
        if row["model"] == name:
            assert eyes.seen(int(row["width"]), int(row["height"])).tokens == int(row["tokens"]), row


@pytest.mark.parametrize(("name", "size", "tokens"), [
    ("llava-hf/llava-1.5-7b-hf", (640, 480), 576),              # LLaVA-1.5 paper: 24 x 24 patches of CLIP-L/336
    ("google/gemma-3-27b-it", (896, 896), 256),                 # Gemma 3 report: 256 soft tokens
    ("Qwen/Qwen2-VL-7B-Instruct", (224, 224), 64),              # Qwen2-VL paper, 2.1: 66 with the two marks around it
    ("mistral-community/pixtral-12b", (1024, 1024), 64 * 65),   # Pixtral paper: a patch of 16 pixels, a mark each row
    ("OpenGVLab/InternVL3-8B", (448, 448), 258),                # InternVL: 256 a tile; one tile has no thumbnail
])
def test_published_examples(name, size, tokens):
    assert catalogue.load(name).eyes.seen(*size).tokens == tokens


def test_an_image_is_tokens_and_the_towers_time():
    spec, shown = shows("Qwen/Qwen2.5-VL-7B-Instruct", 2)
    added = images.prompt_tokens(spec, shown.images)
    assert added == 2 * 37 * 37
    _, plain = shows(spec.name, 0)
    times = desk([(spec, shown), (spec, plain)]).predict(Load(True, 1.0, 500.0, 100.0))
    text = desk([(spec, plain)]).predict(Load(True, 1.0, 500.0 + added, 100.0))
    ttft, longer = times.ttft_s.value[0], text.ttft_s.value[0]
    tower = images.flops(spec, shown.images) / H100.flops["bf16"]       # at the peak: no tower is faster
    assert longer + tower < ttft < longer + 4 * tower
    assert times.tpot_s.value[0] == pytest.approx(text.tpot_s.value[0])


def test_a_towers_flops_are_those_of_its_layers():
    """SigLIP-400M of Gemma 3: 4,096 patches, 27 layers: 2 x 0.42e9 each, and attention over all of them."""
    spec, _ = shows("google/gemma-3-27b-it", 1)
    patches, matrices = 4096, 2 * (spec.total_params - spec.text_params)
    attention = 4 * 27 * 1152 * patches
    assert images.flops(spec, Images(1, 896, 896)) == pytest.approx(patches * (matrices + attention))


def test_memory_of_images_is_the_towers_beside_a_step():
    spec, shown = shows("google/gemma-3-27b-it", 1)
    _, plain = shows(spec.name, 0)
    with_images, without = memory.footprint(spec, shown), memory.footprint(spec, plain)
    assert with_images.term("images").low > 0
    assert with_images.kv_cache_bytes == pytest.approx(without.kv_cache_bytes - with_images.term("images").bytes)
    with pytest.raises(KeyError):
        without.term("images")


def test_a_plan_counts_images_in_every_length():
    plan = recommend(catalogue.load("google/gemma-3-27b-it"), H100, Workload(images=3))
    assert plan.workload.context_tokens == 1024 + 3 * 256 + 256
    assert plan.workload.input_tokens == 1024               # of text, as asked
    assert "3 images of 1,024 × 1,024 pixels in each prompt: 256 tokens each" in seen(plan.spec, plan.workload)


@pytest.mark.parametrize(("name", "engine", "reason"), [
    ("meta-llama/Llama-3.1-8B", "vllm", "sees no images"),
    ("meta-llama/Llama-3.2-11B-Vision-Instruct", "sglang", "is not known: plan with 0 images"),
    ("google/gemma-3-27b-it", "exllama", "not known to take images"),
])
def test_what_cannot_be_shown_images_says_so(name, engine, reason):
    plan = recommend(catalogue.load(name), H100, Workload(images=1), engine=engine)
    assert plan.best is None and plan.refused_by == "structure" and reason in plan.sentence


def test_a_plan_for_text_alone_says_so():
    assert "plans text alone" in seen(catalogue.load("Qwen/Qwen3-VL-32B-Instruct"), Workload())
    assert seen(catalogue.load("Qwen/Qwen3-32B"), Workload()) is None
