"""The traits of every family that is attention plus MLP or experts; source: the family's own model code
in transformers 5.23.0, or in its repository where a comment says so."""

from collections.abc import Mapping
from typing import Final

from core.reading.configs.decoder import Traits

_LLAMA: Final = Traits("attention_bias", "attention_bias", "mlp_bias")
_QWEN2: Final = Traits(qkv_bias=True, window_gate=True)
_QWEN3: Final = Traits("attention_bias", "attention_bias", qk_norm="head", window_gate=True)
_PLAIN: Final = Traits()
_EXPERT_WIDTH: Final = "intermediate_size"

FAMILIES: Final[Mapping[str, Traits]] = {
    "llama": _LLAMA,
    "granite": _LLAMA,
    "smollm3": Traits("attention_bias", "attention_bias", "mlp_bias", window_gate=True),
    "mistral": _PLAIN,
    "ministral": _PLAIN,
    "ministral3": _PLAIN,
    "cwm": Traits(mlp_bias="mlp_bias"),
    "mixtral": Traits(moe=True, expert_inner=_EXPERT_WIDTH),
    "qwen2": _QWEN2,
    "qwen3": _QWEN3,
    "qwen2_moe": Traits(qkv_bias="qkv_bias", window_gate=True, moe=True, shared="size", shared_gate=True),
    "qwen3_moe": Traits("attention_bias", "attention_bias", qk_norm="head", window_gate=True, moe=True),
    "gemma": Traits("attention_bias", "attention_bias"),
    "gemma2": Traits("attention_bias", "attention_bias", norms=4, every=2),
    "vaultgemma": Traits("attention_bias", "attention_bias", norms=2, every=2),
    "gemma3": Traits("attention_bias", "attention_bias", norms=4, qk_norm="head", every=6),
    "phi3": _PLAIN,
    "phi3small": Traits(True, True, True, norms=4, final_norms=2),
    "phi": Traits(
        True,
        True,
        True,
        gated=False,
        norms=2,
        final_norms=2,
        head_bias=True,
        qk_norm="head",
        qk_norm_key="qk_layernorm",
    ),
    "phimoe": Traits(
        "attention_bias",
        "attention_bias",
        norms=4,
        final_norms=2,
        head_bias="lm_head_bias",
        moe=True,
        expert_inner=_EXPERT_WIDTH,
    ),
    "olmo": Traits("attention_bias", "attention_bias", norms=0, final_norms=0),
    "olmo2": Traits("attention_bias", "attention_bias", qk_norm="full"),
    "olmo3": Traits("attention_bias", "attention_bias", qk_norm="full", every=4),
    "olmoe": Traits("attention_bias", "attention_bias", qk_norm="full", moe=True, expert_inner=_EXPERT_WIDTH),
    "flex_olmo": Traits("attention_bias", "attention_bias", qk_norm="full", moe=True, expert_inner=_EXPERT_WIDTH),
    "exaone4": Traits(qk_norm="head", every=4),
    "exaone_moe": Traits(qk_norm="head", every=4, moe=True, shared="count"),
    "cohere": Traits("attention_bias", "attention_bias", norms=1, qk_norm="heads", qk_norm_key="use_qk_norm"),
    "cohere2_moe": Traits(
        "attention_bias", "attention_bias", norms=1, every=4, moe=True, expert_inner=_EXPERT_WIDTH, shared="count"
    ),
    "cohere2": Traits("attention_bias", "attention_bias", norms=1, every=4),
    "starcoder2": Traits("use_bias", "use_bias", "use_bias", gated=False, norms=4, final_norms=2),
    "seed_oss": Traits("attention_bias", "attention_out_bias", "mlp_bias"),
    "arcee": Traits("attention_bias", "attention_bias", "mlp_bias", gated=False),
    "apertus": Traits("attention_bias", "attention_bias", gated=False, qk_norm="head", extra=(("layer", 2),)),
    "nemotron": Traits("attention_bias", "attention_bias", "mlp_bias", gated=False, norms=4, final_norms=2),
    "bitnet": Traits("attention_bias", "attention_bias", extra=(("hidden", 1), ("inner", 1))),
    "glm": Traits("attention_bias"),
    "glm4": Traits("attention_bias", norms=4),
    "aria_text": Traits(
        "attention_bias", "attention_bias", "mlp_bias", moe=True, expert_inner=_EXPERT_WIDTH, shared="count"
    ),
    "hy_v3": Traits("attention_bias", "attention_bias", "mlp_bias", qk_norm="head", moe=True, shared="count"),
    "hyperclovax": Traits("attention_bias", "attention_bias", "mlp_bias", norms_key="use_post_norm"),
    "sarvam_moe": Traits("attention_bias", qk_norm="head", qk_norm_key="use_qk_norm", moe=True, shared="count"),
    "kolibri1": Traits(norms=4, qk_norm="head", every=5, moe=True, shared="size"),
    "beam": Traits(
        "attention_bias", "attention_bias", norms=4, qk_norm="head", gate_proj=True, every=6, moe=True,
        extra=(("heads", 1),),
    ),
    "flint": Traits(
        "attention_bias", "attention_bias", qk_norm="head", every=4, moe=True, shared="size", extra=(("heads", 1),)
    ),
    "apertus1p5_text": Traits("attention_bias", "attention_bias", gated=False, qk_norm="head", extra=(("layer", 2),)),
    "molmo2_text": Traits("attention_bias", "attention_bias", "mlp_bias", qk_norm="head"),
    "glm4v_text": Traits(True, norms=4),
    "glm_ocr_text": Traits(norms=4),
    "cosmos3_edge_text": Traits("attention_bias", "attention_bias", "mlp_bias", gated=False),
    "muse_glimmer_text": Traits("attention_bias", "attention_bias", norms=4, gate_proj=True, every=4),
    "voxtral_realtime_text": Traits(extra=(("hidden", 64),)),   # a norm adapted to the delay, 32 wide
    "helium": Traits("attention_bias", mlp_bias="mlp_bias", square_o=True),
    "nanochat": Traits("attention_bias", "attention_bias", gated=False, norms=0, final_norms=0),
    "jais2": Traits("attention_bias", "attention_bias", "mlp_bias", gated=False, norms=4, final_norms=2),
    "diffllama": Traits("attention_bias", "attention_bias", "mlp_bias", extra=(("head_dim", 4),)),
    "doge": Traits("attention_bias", "attention_bias", "mlp_bias", qk_norm="head", norms=4, extra=(("mask", 1),)),
    "granite_swa": Traits("attention_bias", "attention_bias", "mlp_bias", extra=(("heads", 1),)),
    "ernie4_5": Traits("use_bias", "use_bias", "use_bias"),
    "ernie4_5_moe": Traits("use_bias", "use_bias", "use_bias", moe=True, shared="count", router_params=1),
    "hunyuan_v1_dense": Traits("attention_bias", "attention_bias", qk_norm="head"),
    "hunyuan_v1_moe": Traits(
        "attention_bias", "attention_bias", qk_norm="head", moe=True, expert_inner=_EXPERT_WIDTH, shared="one"
    ),
    "minimax_m2": Traits(qk_norm="full", moe=True, expert_inner=_EXPERT_WIDTH),
    "glm4_moe": Traits("attention_bias", qk_norm="head", qk_norm_key="use_qk_norm", moe=True, shared="count"),
    "dots1": Traits("attention_bias", "attention_bias", qk_norm="head", moe=True, shared="count"),
    "solar_open": Traits("attention_bias", moe=True, shared="count"),
    "mellum": Traits("attention_bias", "attention_bias", qk_norm="head", moe=True),
    "gpt_oss": Traits(
        "attention_bias",
        "attention_bias",
        every=2,
        extra=(("heads", 1),),
        moe=True,
        expert_inner=_EXPERT_WIDTH,
        router_bias=True,
        expert_bias=True,
    ),
    "granitemoe": Traits("attention_bias", "attention_bias", moe=True, expert_inner=_EXPERT_WIDTH),
    "granitemoeshared": Traits("attention_bias", "attention_bias", moe=True, expert_inner=_EXPERT_WIDTH, shared="size"),
    "granitemoe_swa": Traits(
        "attention_bias", "attention_bias", moe=True, expert_inner=_EXPERT_WIDTH, extra=(("heads", 1),)
    ),
    "afmoe": Traits(
        "attention_bias",
        "attention_bias",
        norms=4,
        qk_norm="head",
        gate_proj=True,
        every=4,
        moe=True,
        shared="count",
        router_params=1,
    ),
    # repositories with their own code
    "mimo": Traits(qkv_bias="attention_bias", window_gate=True),
    "deepseek": Traits("attention_bias", "attention_bias", moe=True, shared="count"),
    "internlm": Traits("bias", "bias"),
    "internlm2": Traits("bias", "bias"),
    "internlm3": Traits("qkv_bias", "bias", "bias"),
    "baichuan": _PLAIN,
    "exaone": _PLAIN,
    "orion": Traits(norms=4, final_norms=2),
    "minicpm": Traits(moe=True, expert_inner=_EXPERT_WIDTH),
    "solar": _LLAMA,
    "arctic": Traits(norms=3, moe=True, expert_inner=_EXPERT_WIDTH, shared="hidden"),  # a dense MLP besides the experts
    "grok": Traits(norms=4, moe=True, shared="size"),
    "bailing_moe": Traits("use_qkv_bias", "use_bias", moe=True, shared="count"),
    "bailing_moe_v2": Traits("use_qkv_bias", "use_bias", qk_norm="head", moe=True, shared="count", router_params=1),
}
