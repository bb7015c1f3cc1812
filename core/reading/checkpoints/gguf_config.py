"""GGUF metadata -> the config.json a reader of core.reading.configs understands, and the file's format.

Keys: github.com/ggml-org/ggml docs/gguf.md and gguf-py/gguf/constants.py (`Keys.LLM`, `LlamaFileType`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from core.basics.errors import ArchitectureUnknown, CheckpointInvalid
from core.basics.tables import Note, Table, Within
from core.products.families import member
from core.reading.checkpoints.gguf import Gguf


@dataclass(frozen=True, slots=True)
class Architecture:
    """A row of assets/gguf_architectures.csv: a `general.architecture` of llama.cpp."""

    name: str
    family: Note             # model_type whose config.json reader knows it
    writes: str              # text, text by diffusion, or what it is instead
    window_period: Annotated[int, Within(2, 64)] | None   # the last of so many layers attends in full


ARCHITECTURES: Final = Table("gguf_architectures.csv", Architecture)
_KEYS: Final = {       # key after the architecture's name -> key of config.json
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.sliding_window": "sliding_window",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
    "expert_shared_count": "n_shared_experts",
    "leading_dense_block_count": "first_k_dense_replace",
    "nextn_predict_layers": "num_nextn_predict_layers",
}
_LATENT_KEYS: Final = {
    "attention.q_lora_rank": "q_lora_rank",
    "attention.kv_lora_rank": "kv_lora_rank",
    "rope.dimension_count": "qk_rope_head_dim",
    "attention.value_length_mla": "v_head_dim",
}
_BIASES: Final = (     # (tensor, key): llama.cpp loads these biases whenever the file has them
    ("blk.0.attn_q.bias", "attention_bias"), ("blk.0.attn_q.bias", "use_qkv_bias"),
    ("blk.0.ffn_down.bias", "mlp_bias"), ("blk.0.ffn_up.bias", "use_bias"),
    ("blk.0.attn_q_norm.weight", "use_qk_norm"),
)
_FILE_TYPES: Final = {  # llama.h enum llama_ftype; from 135 on ik_llama.cpp's
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS",
    20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M",
    28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 33: "Q4_0_4_4", 34: "Q4_0_4_8", 35: "Q4_0_8_8",
    36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4", 40: "Q1_0", 135: "Q6_0", 136: "IQ1_BN", 137: "IQ2_BN",
    138: "IQ2_K", 139: "IQ3_K", 140: "IQ4_K", 141: "IQ5_K", 142: "IQ6_K", 145: "IQ4_KS", 147: "IQ2_KS", 148: "IQ4_KSS",
    149: "Q8_KV", 150: "IQ5_KS", 151: "IQ2_KT", 152: "IQ3_KT", 153: "IQ4_KT", 154: "IQ3_KS", 155: "IQ2_KL",
    156: "IQ1_KT", 202: "Q4_0_R8", 207: "Q8_0_R8", 208: "Q5_0_R4", 210: "Q2_K_R4", 211: "Q3_K_R4", 214: "Q4_K_R4",
    216: "Q5_K_R4", 218: "Q6_K_R4", 219: "IQ2_XXS_R4", 220: "IQ2_XS_R4", 223: "IQ3_XXS_R4", 224: "IQ1_S_R4",
    225: "IQ4_NL_R4", 226: "IQ3_S_R4", 230: "IQ4_XS_R8", 231: "IQ1_M_R4", 335: "Q6_0_R4", 337: "IQ2_BN_R4",
    338: "IQ2_K_R4", 339: "IQ3_K_R4", 340: "IQ4_K_R4", 341: "IQ5_K_R4", 345: "IQ4_KS_R4", 350: "IQ5_KS_R4",
    398: "Q8_KV_R8", 399: "Q8_K_R8",
}
_PLAIN: Final = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "MXFP4": "mxfp4", "NVFP4": "nvfp4"}


def config_of(header: Gguf) -> dict[str, object]:
    """The config.json of the model in a GGUF file.

    Raises: ArchitectureUnknown naming the architecture; CheckpointInvalid when none is named.
    """
    architecture = header.metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise CheckpointInvalid("The GGUF file names no architecture; it holds no language model.")
    known = ARCHITECTURES.get(architecture)
    if known is None or not known.family:
        raise ArchitectureUnknown(
            f"The GGUF architecture '{architecture[:40]}' is not understood; give the folder or Hub id of the"
            " model it was made from."
        )
    names = {row.name for row in header.tensors}
    config: dict[str, object] = {
        "model_type": "mixtral" if "llama.expert_count" in header.metadata else known.family,
        "tie_word_embeddings": "output.weight" not in names,
        "vocab_size": _vocabulary(header, architecture),
        "torch_dtype": "float16",
    }
    config |= _translated(header, architecture, _KEYS)
    config |= {key: tensor in names for tensor, key in _BIASES}
    if known.family == "deepseek_v3":
        config |= _latent(header, architecture)
    if known.window_period is None:
        config.pop("sliding_window", None)      # llama.cpp ignores it: Phi-3, Mistral, StarCoder 2
    elif architecture == "olmo2" and config.get("sliding_window"):
        config["model_type"] = "olmo3"          # one name for both; only the third generation has windows
    depth, extra = config.get("num_hidden_layers"), config.get("num_nextn_predict_layers", 0)
    if isinstance(depth, int) and isinstance(extra, int) and extra:
        config["num_hidden_layers"] = depth - extra   # block_count includes the MTP layers
    return config


def _translated(header: Gguf, architecture: str, keys: Mapping[str, str]) -> dict[str, object]:
    """Metadata under config.json names; a value a layer (heads, widths) must be the same in all."""
    found: dict[str, object] = {}
    for suffix, key in keys.items():
        value = header.metadata.get(f"{architecture}.{suffix}")
        if isinstance(value, tuple):
            if len(set(value)) != 1:
                raise ArchitectureUnknown(f"The GGUF file gives layers their own '{suffix}', which is not understood.")
            value = value[0]
        if value is not None:
            found[key] = value
    if "num_experts" in found:
        found["n_routed_experts"] = found["num_local_experts"] = found["num_experts"]
    return found


def _latent(header: Gguf, architecture: str) -> dict[str, object]:
    """Latent attention: the key length of a head splits into a rotated and a plain part."""
    latent: dict[str, object] = {"q_lora_rank": None} | _translated(header, architecture, _LATENT_KEYS)
    length = header.metadata.get(f"{architecture}.attention.key_length_mla",
                                 header.metadata.get(f"{architecture}.attention.key_length"))
    rotated = latent.get("qk_rope_head_dim")
    if isinstance(length, int) and isinstance(rotated, int):
        latent["qk_nope_head_dim"] = length - rotated
    latent.setdefault("v_head_dim", header.metadata.get(f"{architecture}.attention.value_length"))
    return latent


def _vocabulary(header: Gguf, architecture: str) -> object:
    """Rows of the embedding, as stored: padding rows count."""
    for row in header.tensors:
        if row.name == "token_embd.weight":
            return row.shape[-1]
    return header.metadata.get(f"{architecture}.vocab_size", header.lengths.get("tokenizer.ggml.tokens"))


def format_of(header: Gguf) -> str:
    """The format of the file: what `general.file_type` says, else that of most weights."""
    said = header.metadata.get("general.file_type")
    name = _FILE_TYPES.get(said) if isinstance(said, int) else None
    if name is None:
        sizes: Counter[str] = Counter()
        for row in header.tensors:
            sizes[row.dtype] += row.elements
        name = sizes.most_common(1)[0][0] if sizes else "F16"
    if name in _PLAIN:
        return _PLAIN[name]
    known = member(f"gguf-{name}")
    return known.name if known else "gguf-Q8_0"      # I8 and the like: no weights are stored so
