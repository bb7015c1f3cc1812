"""Whether an engine's release has a family: what its own registry says (assets/engine_models.csv, `make engines`)."""

import pytest

from core.answers.sweep import STRUCTURE, layouts
from core.products import gpus
from core.products.architectures import unrunnable
from core.reading import catalogue


@pytest.mark.parametrize(("name", "engine", "words"), [
    ("meta-llama/Llama-3.2-11B-Vision-Instruct", "vllm", "vLLM 0.10.2 was the last that did. SGLang runs it."),
    ("xai-org/grok-1", "vllm", "vLLM 0.24.0 was the last that did. SGLang and llama.cpp run it."),
    ("google/flan-t5-xl", "vllm", "does not run models of the family t5"),
    ("google/flan-t5-xl", "sglang", "does not run models of the family t5"),
    ("google/recurrentgemma-9b", "vllm", "does not run models of the family recurrent_gemma"),
])
def test_a_family_an_engine_lacks_is_refused_by_its_name(name, engine, words):
    spec = catalogue.load(name)
    found = layouts(spec, gpus.find("H100 SXM5 80GB"), engine)
    assert not found.deployments and words in found.refusals[0].reason and found.refusals[0].by == STRUCTURE


@pytest.mark.parametrize(("family", "engine", "version"), [
    ("llama", "vllm", ""), ("qwen3_moe", "sglang", ""), ("mllama", "sglang", ""), ("never_heard_of", "vllm", ""),
    ("t5", "hf-eager", ""), ("mllama", "vllm", "0.9.2"), ("phimoe", "vllm", ""), ("kimi_k2", "vllm", ""),
])
def test_what_runs_or_may_run_is_not_refused(family, engine, version):
    assert unrunnable(family, engine, version) is None


def test_few_of_the_catalogue_are_refused():
    """By vLLM 0.33's registry 12 of 114 families of the catalogue, by SGLang 0.5.23's 8."""
    families = {row.family for row in catalogue.rows()}
    assert len([family for family in families if unrunnable(family, "vllm")]) <= 14
    assert len([family for family in families if unrunnable(family, "sglang")]) <= 9


@pytest.mark.parametrize("engine", ["llamacpp", "ollama"])
@pytest.mark.parametrize("name", ["openai/whisper-base", "google/recurrentgemma-2b"])
def test_a_family_that_llama_cpps_converter_does_not_know_is_refused(name, engine):
    found = layouts(catalogue.load(name), gpus.find("H100 SXM5 80GB"), engine)
    assert not found.deployments and "llama.cpp b11243 does not run models of the family" in found.refusals[0].reason


def test_what_was_taken_out_runs_on_transformers_code_where_its_attention_can_be_replaced():
    """vLLM 0.33 `inspect_model_cls` asks its Transformers backend before it names the last release: dots.llm1."""
    assert unrunnable("dots1", "vllm") is None and unrunnable("mllama", "vllm") is not None


def test_states_alone_have_no_cache_to_make_smaller():
    """Mamba keeps no keys or values: an FP8 cache of it would do nothing."""
    found = layouts(catalogue.load("state-spaces/mamba-1.4b-hf"), gpus.find("H100 SXM5 80GB"))
    assert {deployment.kv_cache.name for deployment in found.deployments} == {"bf16"}
