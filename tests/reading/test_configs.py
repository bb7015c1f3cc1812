"""config.json -> ModelSpec: exact against models built on the meta device, trap by trap."""

import json

import pytest

from core.basics.errors import ConfigInvalid
from core.models import Attention, CompressedAttention, LatentAttention, ModelSpec, Recurrence, distinct_experts
from core.products.formats import KV_FORMATS
from core.reading import catalogue
from core.reading.configs import read_config
from tests.model_configs import BY_NAME, LLAMA, VECTORS, rows

BF16 = KV_FORMATS["bf16"]
# The two totals that differ from transformers on purpose.
#  longcat_flash: transformers 5.23 allocates weights for experts that do nothing; the checkpoint has none (560B).
#  Step-3.7-Flash: the public copy is flattened, transformers then ignores its vocabulary of 128,896.
KNOWN_APART = {"class-default/longcat_flash", "stepfun-ai/Step-3.7-Flash-FP8"}
# idefics3's connector and T5Gemma's encoder table are counted elsewhere by the source
ACTIVE_APART = KNOWN_APART | {"class-default/idefics3", "class-default/t5gemma"}
# exaone_moe's default window (4,096) is longer than its default context (2,048) and never bites;
# mistral_large4 was weighed with a bf16 index key, engines store fp8 and a scale
KV_APART = {"class-default/exaone_moe", "class-default/mistral_large4"}


def spec_of(model: str) -> ModelSpec:
    return read_config(json.loads(BY_NAME[model]["config"]), name=model)


@pytest.mark.parametrize("row", VECTORS, ids=lambda row: row["model"])
def test_parameters_and_caches_are_exact(row: dict[str, str]) -> None:
    """Every figure the source measured, to the parameter and to the byte."""
    spec = read_config(json.loads(row["config"]), name=row["model"])
    if row["model"] not in KNOWN_APART:
        assert spec.total_params == int(row["total_params"])
    if row["model"] not in ACTIVE_APART:
        assert spec.text_params == int(row["text_params"])
        assert spec.active_params == int(row["active_params"])
        assert spec.active_params_without_input_embedding == int(row["active_without_input_embedding"])
    if row["kv_bytes_per_token"] and row["model"] not in KV_APART:
        assert int(spec.kv_bytes_per_token(BF16)) == float(row["kv_bytes_per_token"])
    if row["state_bytes"]:
        recurrent = sum(n * mixer.state_bytes(2, 1) for mixer, n in spec.mixers() if isinstance(mixer, Recurrence))
        assert recurrent == float(row["state_bytes"])


def transformers_cache(spec: ModelSpec, context: int) -> float:
    """transformers keeps window − 1 tokens in a sliding layer (MiMo-V2: the whole window)."""
    less = 0 if spec.family == "mimo_v2_flash" else 1
    return sum(
        n * mixer.kv_bytes(min(context, mixer.window - less) if mixer.window else context, BF16, 1)
        for mixer, n in spec.mixers()
        if isinstance(mixer, Attention)
    )


@pytest.mark.parametrize("row", [row for row in VECTORS if row["kv_bytes_32768"]], ids=lambda row: row["model"])
def test_cache_of_a_sequence_is_exact(row: dict[str, str]) -> None:
    """Real caches, weighed after a forward pass of 4,096 and 32,768 tokens."""
    spec = read_config(json.loads(row["config"]), name=row["model"])
    plain = all(isinstance(mixer, Attention | Recurrence) for mixer, _ in spec.mixers())
    # falcon-40b: transformers stores keys and values broadcast to all heads, engines the 8 there are
    if plain and row["model"] not in KV_APART | {"tiiuae/falcon-40b"}:
        assert transformers_cache(spec, 4096) == float(row["kv_bytes_4096"])
        assert transformers_cache(spec, 32768) == float(row["kv_bytes_32768"])


@pytest.mark.parametrize("row", rows("models_flops.csv"), ids=lambda row: row["model"])
def test_flops_are_exact(row: dict[str, str]) -> None:
    """FLOPs counted by torch on the meta device."""
    spec = catalogue.load(row["model"])
    assert spec is not None
    routed = 2 * spec.active_routed_params
    assert spec.linear_flops_per_token - routed == int(row["linear_flops"])
    assert routed == int(row["routed_flops"])
    assert spec.head_flops_per_token == int(row["head_flops"])
    pairs = 1.0  # one token attends to itself alone
    mixing = sum(n * mixer.prefill_flops(pairs) for mixer, n in spec.mixers())
    assert mixing == float(row["attention_flops_per_pair"])


def test_head_dim_is_not_always_hidden_over_heads() -> None:
    """Devstral-Small-2: 128 on h 5,120 and 32 heads; gpt-oss: 64."""
    for model, dim in (("mistralai/Devstral-Small-2-24B-Instruct-2512", 128), ("openai/gpt-oss-20b", 64)):
        spec = catalogue.load(model)
        assert spec is not None
        assert {mixer.qk_dim for mixer, _ in spec.mixers() if isinstance(mixer, Attention)} == {dim}


def test_null_differs_from_absent() -> None:
    """Mistral slides over 4,096 tokens when the key is absent, not when it is null; so q_lora_rank."""
    mistral = {**LLAMA, "model_type": "mistral"}
    assert read_config(mistral, name="x").layer_kinds[0] == "sliding"
    assert read_config({**mistral, "sliding_window": None}, name="x").layer_kinds[0] == "full"
    lite = json.loads(BY_NAME["deepseek-ai/DeepSeek-V2-Lite"]["config"])
    del lite["q_lora_rank"]
    gained = read_config(lite, name="x").total_params - spec_of("deepseek-ai/DeepSeek-V2-Lite").total_params
    assert gained == 42_508_800  # what an earlier copy of the file without the null was off by


def test_use_sliding_window_false_kills_the_window() -> None:
    qwen = {**LLAMA, "model_type": "qwen2", "sliding_window": 4096, "max_window_layers": 16}
    assert set(read_config({**qwen, "use_sliding_window": False}, name="x").layer_kinds) == {"full"}
    assert read_config({**qwen, "use_sliding_window": True}, name="x").layer_kinds.count("sliding") == 16


@pytest.mark.parametrize("pattern, sliding", [("LLLG", 24), (4, 24), (6, 27)])
def test_sliding_patterns(pattern: object, sliding: int) -> None:
    """A string names the layers of a period, a number its length."""
    config = {**LLAMA, "model_type": "exaone4", "sliding_window": 4096, "sliding_window_pattern": pattern}
    assert read_config(config, name="x").layer_kinds.count("sliding") == sliding


GPT_NEO = {
    "model_type": "gpt_neo", "hidden_size": 2048, "num_layers": 24, "num_heads": 16, "vocab_size": 50257,
    "max_position_embeddings": 2048, "window_size": 256,
}


@pytest.mark.parametrize("types", [{"attention_types": [[["global", "local"], 12]]}, {}])
def test_gpt_neo_is_global_and_local_in_turn(types: dict[str, object]) -> None:
    """GPT-Neo 1.3B: parameters and a window of 256 as GPTNeoForCausalLM of transformers 5.17 builds it."""
    spec = read_config({**GPT_NEO, **types}, name="x")
    assert spec.total_params == 1_315_575_808
    assert spec.layer_kinds == ("full", "sliding") * 12
    row = 2 * 2048 * 2     # keys and values of a token in one layer [B]
    for context in (100, 2048):
        cached = sum(n * mixer.kv_bytes(context, BF16, 1) for mixer, n in spec.mixers() if isinstance(mixer, Attention))
        assert cached == 12 * row * (context + min(context, 256))


def test_gpt_neo_says_by_periods_which_layers_are_local() -> None:
    periods = [[["global"], 2], [["global", "local", "local"], 7], [["local"], 1]]
    kinds = read_config({**GPT_NEO, "attention_types": periods}, name="x").layer_kinds
    assert kinds == ("full", "full") + ("full", "sliding", "sliding") * 7 + ("sliding",)


@pytest.mark.parametrize("types", [
    [[["global", "local"], 11]], [[["global", "local"], 10**12]], [[[], 10**12]], [["global", 24]], "global",
    [[["local"]]], [], [[["local"], 24.0]],
])
def test_periods_that_are_not_one_kind_a_layer_are_refused(types: object) -> None:
    with pytest.raises(ConfigInvalid, match="attention_types"):
        read_config({**GPT_NEO, "attention_types": types}, name="x")


def test_falcon_7b_has_one_key_value_head_whatever_it_says() -> None:
    spec = catalogue.load("tiiuae/falcon-7b")
    assert spec is not None
    assert {mixer.kv_heads for mixer, _ in spec.mixers() if isinstance(mixer, Attention)} == {1}


def test_multi_token_prediction_is_stored_but_not_resident() -> None:
    """Tensor lists of the checkpoints: DeepSeek-V3.2 13,477,385,472; GLM-4.7-Flash 1,278,094,592 parameters."""
    for model, params in (("deepseek-ai/DeepSeek-V3.2", 13_477_385_472), ("zai-org/GLM-4.7-Flash", 1_278_094_592)):
        spec = catalogue.load(model)
        assert spec is not None
        (mtp,) = [part for part in spec.parts if "prediction" in part.name]
        assert (mtp.params, mtp.resident) == (params, False)


def test_kimi_k3_matches_its_tensor_list() -> None:
    """497,220 tensors of moonshotai/Kimi-K3, packed experts unpacked."""
    spec = catalogue.load("moonshotai/Kimi-K3")
    assert spec is not None
    assert spec.total_params == 2_779_931_754_752


def test_kimi_linear_counts_layers_from_one() -> None:
    config = {
        "model_type": "kimi_linear",
        "hidden_size": 2304,
        "num_hidden_layers": 4,
        "num_attention_heads": 32,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "q_lora_rank": None,
        "intermediate_size": 9216,
        "moe_intermediate_size": 1024,
        "num_experts": 8,
        "num_experts_per_token": 2,
        "first_k_dense_replace": 1,
        "vocab_size": 1000,
        "linear_attn_config": {
            "full_attn_layers": [4],
            "kda_layers": [1, 2, 3],
            "num_heads": 32,
            "head_dim": 128,
            "short_conv_kernel_size": 4,
        },
    }
    assert read_config(config, name="x").layer_kinds == ("kimi delta",) * 3 + ("latent",)


def test_latent_cache_is_held_whole_by_every_rank_and_quantised_by_group() -> None:
    """vLLM: 576 values of bf16 a layer whatever tp; DeepSeek-V3.2 78,324 B/token bf16 and 48,068 in fp8_ds_mla."""
    spec = catalogue.load("deepseek-ai/DeepSeek-V3.2")
    assert spec is not None
    assert spec.kv_bytes_per_token(BF16, tp=8) == spec.kv_bytes_per_token(BF16) == 78_324
    assert spec.kv_bytes_per_token(KV_FORMATS["fp8"]) == 48_068


def test_deepseek_v4_compresses() -> None:
    """Flash: 6,229 B/token bf16, 3,850.25 fp8; compressor state 8 rows of 8,192 and 2,048 B, or 128 of 4,096 B."""
    spec = catalogue.load("deepseek-ai/DeepSeek-V4-Flash")
    assert spec is not None
    assert spec.kv_bytes_per_token(BF16) == 6229
    assert spec.kv_bytes_per_token(KV_FORMATS["fp8"]) == 3850.25
    states = {m.ratio: m.state_bytes(2, 1) for m, _ in spec.mixers() if isinstance(m, CompressedAttention)}
    assert states == {0: 0, 4: 8 * 8192 + 8 * 2048, 128: 128 * 4096}


def test_shared_indexers_store_no_keys() -> None:
    """GLM-5.2: 21 of 78 layers run an indexer of their own."""
    spec = catalogue.load("zai-org/GLM-5.2")
    assert spec is not None
    owners = sum(n for m, n in spec.mixers() if isinstance(m, LatentAttention) and m.indexer and m.indexer.writes_keys)
    assert owners == 21


def test_kv_heads_replicate_once_ranks_outnumber_them() -> None:
    spec = read_config(LLAMA, name="x")
    assert spec.kv_bytes_per_token(BF16, tp=8) == spec.kv_bytes_per_token(BF16, tp=16) == 131_072 / 8


def test_towers_are_counted_or_named() -> None:
    """Gemma 4 with its default audio tower: 5,385,541,408 parameters (transformers 5.23.0, meta device)."""
    config = {"model_type": "gemma4", "text_config": {"hidden_size": 2304}, "audio_config": {}}
    assert read_config(config, name="x").total_params == 5_385_541_408
    unknown = {"model_type": "aya_vision", "text_config": {**LLAMA, "model_type": "cohere2"}, "vision_config": {}}
    assert any("vision tower" in note for note in read_config(unknown, name="x").notes)


@pytest.mark.parametrize(
    "name, total",
    [  # Hub safetensors metadata, less what loaders drop or the class does not make, where that is said
        ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", 8_888_227_328),
        ("nvidia/NVIDIA-Nemotron-Nano-12B-v2", 12_310_001_152),
        ("moonshotai/Kimi-Linear-48B-A3B-Instruct", 49_122_681_728 - 26 * 256),      # router biases
        ("MiniMaxAI/MiniMax-Text-01", 456_089_655_296),
        ("baidu/ERNIE-4.5-21B-A3B-PT", 21_825_437_888),
        ("inclusionAI/Ling-mini-2.0", 16_255_643_392),
        ("rednote-hilab/dots.llm1.inst", 142_774_381_696 - 61 * 128),                # router biases
        ("tencent/Hunyuan-A13B-Instruct", 80_393_183_232),
        ("LiquidAI/LFM2-8B-A1B", 8_339_929_856),
        ("ByteDance-Seed/Seed-OSS-36B-Instruct", 36_151_104_512),
        ("swiss-ai/Apertus-8B-Instruct-2509", 8_053_338_176),
        ("microsoft/Phi-3-small-8k-instruct", 7_392_272_384),
        ("ibm-granite/granite-4.0-micro", 3_402_836_480),
        ("ibm-granite/granite-4.1-8b", 8_791_592_960),
        ("google/flan-t5-xxl", 11_135_332_352),
        ("google/medgemma-27b-text-it", 27_009_346_304),
        ("google/gemma-4-12B-it", 11_959_730_224 - 48),                              # a scalar a layer
        ("llava-hf/llava-v1.6-mistral-7b-hf", 7_566_747_648),
        ("OpenGVLab/InternVL2_5-8B", 8_075_365_376),
        ("OpenGVLab/InternVL3-78B", 78_408_318_336),
        ("Qwen/Qwen3-Omni-30B-A3B-Instruct", 31_719_205_488),                        # thinker: transformers 5.23.0
        ("Qwen/Qwen2.5-Omni-7B", 8_931_813_888),
        ("zai-org/GLM-4.5V", 107_710_933_120 - 45 * 128),                            # router biases
        ("mistralai/Ministral-3-8B-Instruct-2512", 8_918_026_716 - 34 * 7 * 2),      # FP8 scales
    ],
)
def test_published_totals_of_further_families(name: str, total: int) -> None:
    spec = catalogue.load(name)
    assert spec is not None
    assert spec.total_params == total
    assert not spec.best_effort


@pytest.mark.parametrize("name, total", [("Qwen/Qwen3.5-9B", 9_653_104_368), ("Qwen/Qwen3.5-0.8B", 873_438_784)])
def test_the_hubs_total_holds_the_prediction_layer(name: str, total: int) -> None:
    spec = catalogue.load(name)
    assert spec is not None
    assert spec.total_params + sum(part.params for part in spec.parts if not part.resident) == total


def test_experts_said_layer_by_layer() -> None:
    """Hunyuan-A13B lists its experts a token for every layer; they may not differ."""
    config = {**LLAMA, "model_type": "hunyuan_v1_moe", "num_experts": 8, "moe_topk": [2] * 32}
    assert read_config(config, name="x") == read_config({**config, "moe_topk": 2}, name="x")
    with pytest.raises(ConfigInvalid, match="num_experts_per_tok"):
        read_config({**config, "moe_topk": [2] * 31 + [4]}, name="x")


def test_a_patch_of_no_size_is_refused() -> None:
    """An image is divided by it."""
    config = {"model_type": "llava", "text_config": LLAMA, "vision_config": {"model_type": "clip_vision_model",
              "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "image_size": 32, "patch_size": [0]}}
    with pytest.raises(ConfigInvalid, match="patch_size"):
        read_config(config, name="x")


def test_distinct_experts_saturate() -> None:
    """E(1 − (1 − k/E)^B): 8 experts, 2 a token."""
    assert distinct_experts(8, 2, 1) == pytest.approx(2)
    assert distinct_experts(8, 2, 2) == pytest.approx(3.5)
    assert distinct_experts(8, 2, 64) == pytest.approx(8, rel=1e-6)


@pytest.mark.parametrize("row", rows("models_classes.csv"), ids=lambda row: row["class"])
def test_classes_of_transformers_are_exact(row: dict[str, str]) -> None:
    """Each built by transformers 5.24.0 on the meta device with the defaults of its configuration, as it saves them."""
    assert read_config(json.loads(row["config"]), name=row["class"]).total_params == int(row["params"])
