"""Names as people write them: the model that is meant, or none; never another one."""

import pytest

from core.basics.errors import HubUnreachable, ModelNotFound
from core.reading import hub, meant
from core.reading.written import as_asked


@pytest.mark.parametrize(("pasted", "name"), [
    ("https://huggingface.co/Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
    ("https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct/tree/main", "meta-llama/Llama-3.1-8B-Instruct"),
    ("huggingface.co/openai/gpt-oss-20b/blob/main/config.json?x=1", "openai/gpt-oss-20b"),
    ("https://huggingface.co/a/b-GGUF/resolve/main/part/b-Q6_K.gguf?download=true", "a/b-GGUF/part/b-Q6_K.gguf"),
    ("hf.co/unsloth/Qwen3-8B-GGUF:Q4_K_M", "unsloth/Qwen3-8B-GGUF:Q4_K_M"),
    ("https://ollama.com/library/qwen3:8b", "qwen3:8b"),
    ("ollama run llama3.3", "llama3.3"),
    ("ollama/qwen3:8b", "qwen3:8b"),
    ("lmstudio: qwen/qwen3-coder-30b", "qwen/qwen3-coder-30b"),
    ("https://lmstudio.ai/models/qwen/qwen3-4b-2507", "qwen/qwen3-4b-2507"),
    (' "Qwen/Qwen3-8B" ', "Qwen/Qwen3-8B"),
    ("lmstudio-community/Qwen3-4B-GGUF", "lmstudio-community/Qwen3-4B-GGUF"),
    ("/home/me/model", "/home/me/model"),
])
def test_pages_and_commands_are_names(pasted: str, name: str) -> None:
    assert as_asked(pasted) == name


@pytest.mark.parametrize(("asked", "name", "context"), [  # contexts: max_position_embeddings of the config.json
    ("llama3.3", "meta-llama/Llama-3.3-70B-Instruct", 131072),
    ("qwq", "Qwen/QwQ-32B", 40960),
    ("Qwen/Qwen2.5-72B-Instruct", "Qwen/Qwen2.5-72B-Instruct", 32768),
    ("unsloth/Qwen2.5-72B-Instruct", "unsloth/Qwen2.5-72B-Instruct", 32768),
    ("microsoft/Phi-4-reasoning", "microsoft/Phi-4-reasoning", 32768),
    ("deepseek-r1:70b", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B", 131072),
    ("qwen3-coder", "Qwen/Qwen3-Coder-30B-A3B-Instruct", 262144),
    ("Qwen/Qwen3-8B-Base", "Qwen/Qwen3-8B-Base", 32768),
])
def test_a_model_of_another_ones_shapes_keeps_its_name_and_its_context(asked: str, name: str, context: int) -> None:
    spec = hub.resolve(asked, offline=True)
    assert (spec.name, spec.max_context) == (name, context)


@pytest.mark.parametrize(("asked", "name"), [
    ("Mistral-Large-2512", "mistralai/Mistral-Large-3-675B-Instruct-2512"),
    ("mistral-large-2411", "mistralai/Mistral-Large-Instruct-2411"),
    ("Qwen3-4B-2507", "Qwen/Qwen3-4B-Instruct-2507"),
    ("qwen3:30b-a3b-thinking-2507-fp16", "Qwen/Qwen3-30B-A3B-Thinking-2507"),
    ("mistral:7b-text", "mistralai/Mistral-7B-v0.3"),
    ("Kimi-K2-0905", "moonshotai/Kimi-K2-Instruct-0905"),
    ("Devstral-Small-2512", "mistralai/Devstral-Small-2-24B-Instruct-2512"),
    ("internlm2.5-7b", "internlm/internlm2_5-7b"),
    ("qwen3_8b", "Qwen/Qwen3-8B"),
    ("gptoss120b", "openai/gpt-oss-120b"),
    ("R1-Distill-Qwen-32B", "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B"),
    ("Hermes-3-8B", "NousResearch/Hermes-3-Llama-3.1-8B"),
    ("Mistral Nemo 12B", "mistralai/Mistral-Nemo-Instruct-2407"),
    ("Llama 4 Scout", "meta-llama/Llama-4-Scout-17B-16E-Instruct"),
    ("jamba large 1.7", "ai21labs/AI21-Jamba-Large-1.7"),
    ("DeepSeek R1", "deepseek-ai/DeepSeek-R1"),
    ("Mistral-7B-base-v0.1", "mistralai/Mistral-7B-v0.1"),
])
def test_every_part_of_a_name_counts(asked: str, name: str) -> None:
    assert hub.resolve(asked, offline=True).name == name


@pytest.mark.parametrize("asked", [
    "DeepSeek-V5", "deepseek-v1", "deepseek-coder-v3", "Llama-2-7B-32K", "Falcon-7B-chat", "Mistral-Large-4",
    "T5-base", "Mistral-7B-Instruct-v0.4", "Qwen3-32B-Base", "llama-70b", "llama 8b", "coder-7b", "8b instruct",
    "Qwen3.5-Omni", "Hermes-4", "granite-4.0-small-2611", "qwen3-coder:480b-cloud", "gpt-oss-2", "nobody/Qwen3-8B",
])
def test_a_version_date_length_or_kind_that_is_not_there_is_refused(asked: str) -> None:
    with pytest.raises((ModelNotFound, HubUnreachable)):
        hub.resolve(asked, offline=True)


def test_two_tags_of_one_model_agree() -> None:
    first, second, third = (hub.resolve(name, offline=True) for name in ("gpt-oss", "gpt-oss:20b", "gpt-oss:latest"))
    assert first.shipped is not None and second.shipped is not None and third.shipped is not None
    assert {first.name, second.name, third.name} == {"openai/gpt-oss-20b"}
    assert {first.shipped.format, second.shipped.format, third.shipped.format} == {"mxfp4"}


def test_a_tag_stored_in_an_unknown_way_is_refused_with_those_it_resembles() -> None:
    with pytest.raises(ModelNotFound, match=r"is no Ollama tag that is known\. Did you mean qwen3:8b-q"):
        hub.resolve("qwen3:8b-q9_9", offline=True)


@pytest.mark.parametrize(("name", "copied", "fmt"), [
    ("ggml-org/gpt-oss-20b-GGUF:Q8_0", "openai/gpt-oss-20b", "gguf-Q8_0"),
    ("bartowski/Qwen_Qwen3-32B-GGUF:Q5_K_M", "Qwen/Qwen3-32B", "gguf-Q5_K_M"),
    ("somebody/Qwen3-8B-GGUF/Qwen3-8B-Q6_K.gguf", "Qwen/Qwen3-8B", "gguf-Q6_K"),
    ("unsloth/Qwen3-8B-unsloth-bnb-4bit", "Qwen/Qwen3-8B", "bnb-nf4-dq"),
    ("unsloth/Qwen3-30B-A3B-GGUF:UD-Q4_K_XL", "Qwen/Qwen3-30B-A3B", "gguf-UD-Q4_K_XL"),
    ("somebody/Qwen3-8B-MXFP4", "Qwen/Qwen3-8B", "mxfp4"),
    ("QuantTrio/GLM-4.6-AWQ", "zai-org/GLM-4.6", "awq-int4"),
    ("mlx-community/Llama-3.3-70B-Instruct-8bit", "meta-llama/Llama-3.3-70B-Instruct", "mlx-8bit"),
    ("mlx-community/Qwen3-14B-6bit", "Qwen/Qwen3-14B", "mlx-6bit"),
    ("mradermacher/Qwen3-8B-i1-GGUF:i1-IQ2_M", "Qwen/Qwen3-8B", "gguf-IQ2_M"),
    ("somebody/Qwen3-32B-EXL3:4.0bpw_H6", "Qwen/Qwen3-32B", "exl3-4bpw"),
    ("somebody/Qwen3-32B-5.0bpw-h6-exl2", "Qwen/Qwen3-32B", "exl2-5bpw"),
    ("somebody/Meta-Llama-3.3-70B-Instruct-AWQ-INT4", "meta-llama/Llama-3.3-70B-Instruct", "awq-int4"),
])
def test_a_strangers_copy_keeps_its_name_and_is_marked_unchecked(name: str, copied: str, fmt: str) -> None:
    spec = meant.guess_copy(name)
    assert spec is not None and spec.shipped is not None
    assert (spec.name, spec.shipped.format) == (name, fmt)
    assert f"Taken as a copy of {copied} by its name; it was not checked against the Hub." in spec.notes
    assert any("tensor by tensor" in note for note in spec.notes) is ("UD-" in fmt)


def test_an_exllama_copy_needs_its_bits() -> None:
    assert meant.guess_copy("somebody/Qwen3-32B-exl3") is None


@pytest.mark.parametrize("name", ["a/Qwen3-8B", "a/Qwen3-9B-AWQ", "a/Qwen3-8B-GGUF:Q99", "a/Qwen3-8B-uncensored-AWQ"])
def test_what_is_no_copy_of_a_bundled_model_is_not_taken_for_one(name: str) -> None:
    assert meant.guess_copy(name) is None


@pytest.mark.parametrize("asked", ["DeepSeek-V4", "deepseek-ai/DeepSeek-V4"])
def test_a_name_that_leaves_open_which_of_two_sizes_asks(asked: str) -> None:
    """DeepSeek-V4 is published as Pro (1,573B parameters) and as Flash (284B) only."""
    with pytest.raises((ModelNotFound, HubUnreachable), match=r"DeepSeek-V4-Pro.*DeepSeek-V4-Flash"):
        hub.resolve(asked, offline=True)
