"""The bundled models: what the table says is what the readers say."""


import pytest

from core.products.formats import FORMATS
from core.reading import catalogue, meant


def test_there_are_enough_and_each_has_a_source() -> None:
    cards = catalogue.models()
    assert len(cards) >= 390
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
    "name, total",
    [
        ("mistralai/Mistral-7B-Instruct-v0.2", 7_241_732_096),        # Hub safetensors metadata, as all but those named
        ("Qwen/Qwen3-VL-8B-Instruct", 8_767_123_696),
        ("Qwen/Qwen2.5-VL-72B-Instruct", 73_410_777_344),
        ("microsoft/Phi-3.5-MoE-instruct", 41_873_153_344),
        ("CohereForAI/c4ai-command-r-plus", 103_810_674_688),
        ("ibm-granite/granite-3.3-8b-instruct", 8_170_864_640),
        ("HuggingFaceTB/SmolLM3-3B", 3_075_098_624),
        ("ai21labs/Jamba-v0.1", 51_570_323_328),
        ("LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct", 7_818_448_896),
        ("bigcode/starcoder2-15b", 15_957_889_024),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 1_777_088_000),
        ("EleutherAI/pythia-12b-deduped", 11_846_072_320),            # model card, table of engineering details
        ("bigscience/bloom", 176_247_271_424),                        # model card, "Model architecture"
        ("EleutherAI/gpt-neox-20b", 20_554_567_680),                  # model card, n_parameters
    ],
)
def test_published_totals(name: str, total: int) -> None:
    """The total that the publisher gives, to the parameter."""
    spec = catalogue.load(name)
    assert spec is not None
    assert spec.total_params == total


@pytest.mark.parametrize(
    "name, context",
    [
        ("meta-llama/Llama-2-7b-hf", 4096),          # Llama 2 paper, table 1: 4k
        ("meta-llama/Llama-2-70b-chat-hf", 4096),
        ("lmsys/vicuna-13b-v1.5", 4096),
        ("huggyllama/llama-7b", 2048),               # LLaMA paper: 2k, as Vicuna 1.3 made from it
        ("lmsys/vicuna-7b-v1.3", 2048),
        ("mistralai/Mistral-7B-Instruct-v0.2", 32768),
    ],
)
def test_contexts_of_models_that_share_shapes(name: str, context: int) -> None:
    spec = catalogue.load(name)
    assert spec is not None
    assert spec.max_context == context


def test_every_alias_leads_to_a_model_in_a_known_format() -> None:
    """No alias hides a model or names an architecture or a format that is not there."""
    cards = catalogue.models()
    names = {card.name.lower() for card in cards}
    aliases = [alias for card in cards for alias in card.aliases]
    assert len({alias.lower() for alias in aliases}) == len(aliases) >= 1700
    for alias in aliases:
        spec = catalogue.load(alias)
        assert alias.lower() not in names and spec is not None
        assert spec.shipped is None or spec.shipped.format in FORMATS


@pytest.mark.parametrize(
    "name, shipped",
    [
        ("hugging-quants/Meta-Llama-3.1-405B-Instruct-GPTQ-INT4", "gptq-int4"),
        ("casperhansen/llama-3-8b-instruct-awq", "awq-int4"),
        ("RedHatAI/Llama-3.2-3B-Instruct-quantized.w8a8", "w8a8-int8"),
        ("TheBloke/Mistral-7B-Instruct-v0.2-GPTQ", "gptq-int4"),
        ("Qwen/Qwen2.5-Coder-7B-Instruct-GPTQ-Int8", "gptq-int8"),
        ("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", "bnb-nf4-dq"),
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


@pytest.mark.parametrize(
    "asked, name",
    [
        ("llama-2-7b", "meta-llama/Llama-2-7b-hf"),
        ("llama3-8b", "meta-llama/Meta-Llama-3-8B"),
        ("Llama_3 8B", "meta-llama/Meta-Llama-3-8B"),
        ("Qwen2-57B-A14B", "Qwen/Qwen2-57B-A14B"),          # not Qwen2.5-7B
        ("qwen2.5-7b", "Qwen/Qwen2.5-7B"),
        ("mixtral-8x7b", "mistralai/Mixtral-8x7B-v0.1"),
        ("Mixtral-8x7B-Instruct", "mistralai/Mixtral-8x7B-Instruct-v0.1"),
        ("mistral-7b", "mistralai/Mistral-7B-v0.1"),
        ("llama2-70b-chat", "meta-llama/Llama-2-70b-chat-hf"),
        ("deepseek-v3", "deepseek-ai/DeepSeek-V3"),
        ("kimi-k2", "moonshotai/Kimi-K2-Instruct"),
        ("gemma-3-27b", "google/gemma-3-27b-it"),
        ("opt-66b", "facebook/opt-66b"),
    ],
)
def test_a_name_without_a_publisher_means_the_obvious_model_and_says_which(asked: str, name: str) -> None:
    spec = catalogue.load(asked) or meant.guess(asked)
    assert spec is not None
    assert spec.name.lower() == name.lower() or spec.name == catalogue.load(name).name  # type: ignore[union-attr]
    assert f"'{asked}' is taken as {spec.name}." in spec.notes


@pytest.mark.parametrize(
    "tag, name, shipped",
    [  # Ollama's library: a size alone is Q4_K_M, the first models' Q4_0, gpt-oss its own MXFP4
        ("llama3.1:8b", "meta-llama/Llama-3.1-8B-Instruct", "gguf-Q4_K_M"),
        ("llama3.1:70b-instruct-q8_0", "meta-llama/Llama-3.1-70B-Instruct", "gguf-Q8_0"),
        ("qwen3:30b-a3b-instruct-2507-q4_K_M", "Qwen/Qwen3-30B-A3B-Instruct-2507", "gguf-Q4_K_M"),
        ("llama2:7b", "meta-llama/Llama-2-7b-chat-hf", "gguf-Q4_0"),
        ("gpt-oss:20b", "openai/gpt-oss-20b", "mxfp4"),
    ],
)
def test_an_ollama_tag_is_a_model_and_how_it_is_stored(tag: str, name: str, shipped: str) -> None:
    spec = catalogue.load(tag) or meant.guess(tag)
    assert spec is not None and spec.shipped is not None
    assert (spec.name, spec.shipped.format) == (name, shipped)
    assert meant.guess("llama3:8b-instruct-fp16").shipped is None  # type: ignore[union-attr]


@pytest.mark.parametrize("asked", ["", "llama3:9999b", "a:b:c", "nobody/llama-2-7b", "llama", "8b", ":", "x" * 5000])
def test_what_fits_no_model_is_not_guessed(asked: str) -> None:
    assert meant.guess(asked) is None


def test_the_nearest_names_of_one_that_is_not_there() -> None:
    assert meant.closest("meta-llama/Lama-3-8B")[0] == "meta-llama/Meta-Llama-3-8B"
    assert meant.closest("Qwen/Qwen3-33B")[0] == "Qwen/Qwen3-32B"
    assert len(meant.closest("google/gemma-3-28b-it")) == 3
    assert meant.closest("xyzzy/foo") == ()


def test_unquantised_and_unknown() -> None:
    assert catalogue.load("Qwen/Qwen3-8B").shipped is None  # type: ignore[union-attr]
    assert catalogue.load("nobody/nothing") is None


def test_search_takes_words_in_any_order_and_aliases() -> None:
    assert any(card.name == "Qwen/Qwen3-30B-A3B" for card in catalogue.models("a3b QWEN3"))
    assert any(card.name == catalogue.DEFAULT_MODEL for card in catalogue.models("Meta-Llama-3.1-8B-Instruct"))
