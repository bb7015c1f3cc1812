"""A config.json that is unknown, broken or hostile: an answer marked as such, or one sentence that names the key."""

import csv
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.basics.errors import ArchitectureUnknown, ConfigInvalid, ModelError
from core.reading.configs import read_config
from tests.conftest import ROOT
from tests.model_configs import BY_NAME, LLAMA, VECTORS


def test_unknown_family_with_ordinary_keys_is_marked() -> None:
    spec = read_config({**LLAMA, "model_type": "brand_new"}, name="x")
    assert spec.best_effort
    assert "brand_new" in spec.notes[0]
    assert spec.total_params == read_config(LLAMA, name="x").total_params


def test_unknown_family_without_them_is_refused_by_name() -> None:
    with pytest.raises(ArchitectureUnknown, match=r"brand_new.*ssm_state"):
        read_config({**LLAMA, "model_type": "brand_new", "ssm_state": 3}, name="x")


@pytest.mark.parametrize(
    "key, value",
    [
        ("num_hidden_layers", 10**30),
        ("num_hidden_layers", -1),
        ("num_hidden_layers", "many"),
        ("num_hidden_layers", True),
        ("hidden_size", float("nan")),
        ("hidden_size", float("inf")),
        ("hidden_size", 0),
        ("hidden_size", None),
        pytest.param("hidden_size", 10**5000, id="hidden_size-5001 digits"),
        ("hidden_size", "x" * 10**6),
        ("num_attention_heads", [32]),
        ("num_key_value_heads", 64),
        ("vocab_size", 2**40),
        ("intermediate_size", {"a": 1}),
        ("head_dim", -128),
        ("tie_word_embeddings", "perhaps"),
        ("layer_types", ["full_attention"] * 10**6),
    ],
)
def test_absurd_values_end_in_one_sentence_that_names_the_key(key: str, value: object) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        read_config({**LLAMA, "model_type": "mistral", key: value}, name="x")
    assert key in str(caught.value)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model, key, value", [
    ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", "no_rope_layers", [0]),
    ("class-default/xlstm", "ffn_round_up_to_multiple_of", 0),
])
def test_a_value_of_one_family_that_cannot_be_is_named(model: str, key: str, value: object) -> None:
    config = json.loads(CONFIGS[model])
    inner = config.get("text_config", config)
    inner[key] = value
    with pytest.raises(ConfigInvalid, match=key):
        read_config(config, name="x")


@pytest.mark.parametrize("key", ["num_experts_per_tok", "moe_intermediate_size", "num_key_value_heads"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_size_of_zero_or_less_is_refused(key: str, value: int) -> None:
    """A mixture that sends a token nowhere divided by zero further on."""
    config = {**LLAMA, "model_type": "qwen3_moe", "num_experts": 128, "num_experts_per_tok": 8,
              "moe_intermediate_size": 768, key: value}
    with pytest.raises(ConfigInvalid, match=key):
        read_config(config, name="x")


@pytest.mark.parametrize("key, value", [
    ("num_loops", 2), ("kv_latent_dim", 512), ("conv_kernel_size", 4), ("num_attention_heads_per_layer", [32, 64]),
    ("router_hidden_size", 256), ("per_layer_config", {"0": {"head_dim": 64}}),
])
def test_an_unknown_family_is_not_read_as_llama_past_what_llama_has(key: str, value: object) -> None:
    with pytest.raises(ArchitectureUnknown, match=key):
        read_config({**LLAMA, "model_type": "brand_new", key: value}, name="x")
    assert read_config({**LLAMA, "model_type": "brand_new", key: None}, name="x").best_effort


@pytest.mark.parametrize("key", ["hidden_size", "model_type"])
def test_missing_keys_are_named(key: str) -> None:
    config = {k: v for k, v in LLAMA.items() if k != key}
    with pytest.raises(ConfigInvalid, match=key):
        read_config(config, name="x")


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.one_of(st.integers(-5, 10**9), st.text(max_size=4), st.none()), max_size=4),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=3),
)
FAMILIES = sorted({json.loads(row["config"])["model_type"]: row["model"] for row in VECTORS}.values())
FURTHER = ("tencent/Hunyuan-A13B-Instruct", "inclusionAI/Ling-mini-2.0", "Snowflake/snowflake-arctic-instruct",
           "xai-org/grok-2", "OpenGVLab/InternVL3-78B", "zai-org/GLM-4.5V", "google/gemma-4-12B-it",
           "microsoft/Phi-3-small-8k-instruct", "arcee-ai/Trinity-Mini", "google/flan-t5-xl",
           "Qwen/Qwen3-Omni-30B-A3B-Instruct", "Qwen/Qwen2.5-Omni-7B")
CONFIGS = {model: BY_NAME[model]["config"] for model in FAMILIES} | {
    row["name"]: row["config"] for row in csv.DictReader(
        (ROOT / "assets" / "models.csv").read_text(encoding="utf-8").splitlines()
    ) if row["name"] in FURTHER
}


@settings(max_examples=120)
@given(st.sampled_from(sorted(CONFIGS)), st.data())
def test_any_damage_is_answered_or_refused(model: str, data: st.DataObject) -> None:
    """Keys of a real configuration overwritten or dropped: a spec or our own error; no number of layers is believed."""
    config = json.loads(CONFIGS[model])
    target = config
    nested = [key for key, value in config.items() if isinstance(value, dict)]
    if nested and data.draw(st.booleans()):
        target = config[data.draw(st.sampled_from(nested))]
    if not target:
        return
    for key in data.draw(st.lists(st.sampled_from(sorted(target)), min_size=1, max_size=3)):
        if data.draw(st.integers(0, 4)) == 0:
            target.pop(key, None)
        else:
            target[key] = data.draw(JUNK)
    try:
        spec = read_config(config, name="x")
    except ModelError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert spec.total_params > 0
