"""A configuration saved again by transformers reads the same: it moves keys, fills in defaults and drops others."""

import csv
import json

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from core.basics.places import ROOT
from core.models import ModelSpec
from core.products.formats import KV_FORMATS
from core.reading.configs import read_config

BF16 = KV_FORMATS["bf16"]
# Files whose own class does not understand them: what it saves is another model.
#  Step-3.7-Flash: the public copy is flattened, the class looks for text_config.
#  Ministral-3-3B: names the text family at the top, whose class knows no text_config and unties the head.
ANOTHER = {"stepfun-ai/Step-3.7-Flash-FP8", "mistralai/Ministral-3-3B-Instruct-2512"}
# Files that their class refuses to load.
REFUSED = {"LGAI-EXAONE/EXAONE-4.0-1.2B", "tiiuae/Falcon-H1-0.5B-Instruct", "Zyphra/Zamba2-7B"}


def bundled() -> dict[str, dict[str, object]]:
    with (ROOT / "assets" / "models.csv").open(encoding="utf-8", newline="") as file:
        configs = {row["name"]: json.loads(row["config"]) for row in csv.DictReader(file)}
    return {
        name: config for name, config in configs.items()
        if config["model_type"] in CONFIG_MAPPING and name not in ANOTHER | REFUSED
    }


def figures(spec: ModelSpec) -> tuple[object, ...]:
    return (
        spec.total_params, spec.active_params, spec.kv_bytes_per_token(BF16), spec.state_bytes(), spec.layer_kinds,
        spec.max_context, spec.dtype,
    )


@pytest.mark.parametrize("use_diff", [True, False], ids=["what differs", "everything"])
def test_every_bundled_configuration_reads_the_same_once_saved_again(use_diff: bool) -> None:
    configs = bundled()
    assert len(configs) > 300
    for name, config in configs.items():
        saved = json.loads(CONFIG_MAPPING[config["model_type"]].from_dict(config).to_json_string(use_diff=use_diff))
        assert figures(read_config(saved, name=name)) == figures(read_config(config, name=name)), name


def test_gemma_4_as_transformers_saves_it_since_5_17() -> None:
    """google/gemma-4-12B-it saved by 5.24.0: every sixth layer has one KV head of 512; built: 11,959,730,176."""
    config = {
        "model_type": "gemma4_unified", "tie_word_embeddings": True,
        "text_config": {
            "model_type": "gemma4_unified_text", "attention_k_eq_v": True, "head_dim": 256, "hidden_size": 3840,
            "hidden_size_per_layer_input": 0, "intermediate_size": 15360, "num_attention_heads": 16,
            "num_hidden_layers": 48, "num_key_value_heads": 8, "sliding_window": 1024, "vocab_size": 262144,
            "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 8,
            "per_layer_config": {f"{i:02}": {"head_dim": 512, "num_key_value_heads": 1} for i in range(5, 48, 6)},
        },
        "vision_config": {"model_type": "gemma4_unified_vision", "mm_embed_dim": 3840},
        "audio_config": {"model_type": "gemma4_unified_audio", "audio_embed_dim": 640},
    }
    spec = read_config(config, name="x")
    assert spec.total_params == 11_959_730_176
    assert spec.kv_bytes_per_token(BF16) == 8 * 2 * 512 * 2
