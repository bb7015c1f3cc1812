"""Which reader a config.json belongs to."""

from collections.abc import Callable, Mapping
from typing import Final

from core.configs import classic, decoder, gemma, hybrid, kimi, latent, seq2seq, sparse
from core.configs.families import FAMILIES
from core.configs.keys import Keys
from core.configs.latent import LatentTraits
from core.configs.vision import TOWERS
from core.errors import ArchitectureUnknown, ConfigInvalid
from core.models import ModelSpec, Part

Reader = Callable[[str, Keys, Keys | None, tuple[Part, ...]], ModelSpec]

TEXT_KEYS: Final = ("text_config", "language_config", "llm_config", "thinker_config")

# names under which the same code travels
SAME_AS: Final[Mapping[str, str]] = {
    "gemma3_text": "gemma3", "qwen2_vl_text": "qwen2", "qwen2_vl": "qwen2", "qwen2_5_vl_text": "qwen2", "qwen2_5_vl": "qwen2",
    "qwen3_vl_text": "qwen3", "qwen3_vl_moe_text": "qwen3_moe", "qwen3_5_text": "qwen3_5", "qwen3_5_moe_text": "qwen3_5",
    "qwen3_5_moe": "qwen3_5", "kimi_k2": "deepseek_v3", "mistral_large4_text": "mistral_large4", "phi-msft": "phi",
    "gemma3n_text": "gemma3n", "gemma4_text": "gemma4", "deepseek_ref": "deepseek_v4", "minimax_m3_vl_text": "minimax_m3",
    "minimax_m3_vl": "minimax_m3", "step3p7": "step3p5", "step3p7_text": "step3p5", "llama4_text": "llama4",
    "mllama_text_model": "mllama", "minimax_m1": "minimax", "minimax_text_01": "minimax",
    "phi3_v": "phi3", "phi3small": "phi3",
}


def _latent(**traits: bool | int) -> Reader:
    def read(name: str, keys: Keys, top: Keys | None, parts: tuple[Part, ...]) -> ModelSpec:
        return latent.read(name, keys, LatentTraits(**traits), top, parts)  # type: ignore[arg-type]  # names are checked by the class

    return read


READERS: Final[Mapping[str, Reader]] = {
    "deepseek_v2": _latent(), "deepseek_v3": _latent(), "glm4_moe_lite": _latent(), "mistral4": _latent(),
    "youtu": _latent(routed=False), "minicpm3": _latent(routed=False), "axk1": _latent(norms_if_moe=1),
    "deepseek_v32": _latent(indexer=True), "glm_moe_dsa": _latent(indexer=True),
    "mistral_large4": _latent(indexer=True, index_from_hidden=True),
    "longcat_flash": latent.read_longcat,
    "qwen3_next": hybrid.read_qwen_next, "qwen3_5": hybrid.read_qwen_next, "olmo_hybrid": hybrid.read_olmo_hybrid,
    "nemotron_h": hybrid.read_nemotron_h, "mamba": hybrid.read_mamba, "mamba2": hybrid.read_mamba2,
    "falcon_mamba": hybrid.read_falcon_mamba, "jamba": hybrid.read_jamba, "bamba": hybrid.read_bamba,
    "granitemoehybrid": hybrid.read_granite_hybrid, "falcon_h1": hybrid.read_falcon_h1,
    "lfm2": hybrid.read_lfm2, "lfm2_moe": hybrid.read_lfm2, "lfm3": hybrid.read_lfm3,
    "minimax": hybrid.read_minimax, "recurrent_gemma": hybrid.read_recurrent_gemma,
    **classic.READERS,
    "gemma3n": gemma.read_gemma3n, "gemma4": gemma.read_gemma4,
    "whisper": seq2seq.read_whisper, "bart": seq2seq.read_bart, "mbart": seq2seq.read_bart, "t5": seq2seq.read_t5,
    "mt5": seq2seq.read_t5, "moonshine": seq2seq.read_moonshine, "t5gemma": seq2seq.read_t5gemma,
    "deepseek_v4": sparse.read_deepseek_v4, "minimax_m3": sparse.read_minimax_m3, "mimo_v2_flash": sparse.read_mimo_v2,
    "step3p5": sparse.read_step, "llama4": sparse.read_llama4, "mllama": sparse.read_mllama,
    "kimi_linear": kimi.read_kimi_linear,
    "zamba2": hybrid.read_zamba2, "rwkv": hybrid.read_rwkv, "rwkv5": hybrid.read_rwkv, "xlstm": hybrid.read_xlstm,
}


OPTIONAL_TOWERS: Final = frozenset({"gemma4"})  # text alone when the file has no vision_config


def _nested(top: Keys) -> Keys | None:
    """The text config of a file that nests it."""
    for name in TEXT_KEYS:
        part = top.part(name)
        if part is not None:
            return _nested(part) or part if name == "thinker_config" else part
    return None


def _text(name: str, keys: Keys, top: Keys | None, parts: tuple[Part, ...]) -> ModelSpec:
    family = SAME_AS.get(keys.family, keys.family)
    if (reader := READERS.get(family)) is not None:
        return reader(name, keys, top, parts)
    if (traits := FAMILIES.get(family)) is not None:
        return decoder.read(name, keys, traits, top, parts)
    raise ArchitectureUnknown(
        f"The model type '{keys.family}' of {name} is not understood; use a listed family, or add its config keys.")


def _tower(top: Keys, hidden: int) -> tuple[Part, ...]:
    build = TOWERS.get(top.family)
    if build is None or (top.family in OPTIONAL_TOWERS and "vision_config" not in top):
        return ()
    return (Part("vision tower", build(top.part_or_default("vision_config"), top, hidden), resident=True),)


def read_config(
    config: Mapping[str, object], *, name: str, quant_config: Mapping[str, object] | None = None
) -> ModelSpec:
    """The spec that a config.json describes.

    Raises: ConfigInvalid naming the key that is missing or absurd; ArchitectureUnknown naming the family.
    """
    if not isinstance(config, Mapping):
        raise ConfigInvalid("config.json must hold one JSON object.")
    family = config.get("model_type")
    if not isinstance(family, str) or not family:
        raise ConfigInvalid("config.json lacks 'model_type'; it must name the model's family.")
    top = Keys(config, family)
    text = _nested(top)
    if text is None:
        sees = "vision_config" in top or top.family == "step3p7"
        return _text(name, top, None, _tower(top, top.size("hidden_size")) if sees else ())
    text_only = any(said.endswith("ForCausalLM") for said in top.texts("architectures") or ())
    return _text(name, text, top, () if text_only else _tower(top, text.size("hidden_size")))
