"""Which reader a config.json belongs to."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from core.basics.errors import ArchitectureUnknown, ConfigInvalid
from core.models import ModelSpec, Part
from core.reading.checkpoints import Tensors, described
from core.reading.configs import (
    bart,
    bert,
    classic,
    decoder,
    early,
    gemma,
    hybrid,
    kimi,
    latent,
    pairs,
    pure,
    seeing,
    seq2seq,
    sparse,
    speech,
    state_space,
    towers,
)
from core.reading.configs.decoder import Traits
from core.reading.configs.families import FAMILIES
from core.reading.configs.keys import Keys
from core.reading.configs.latent import LatentTraits
from core.reading.configs.listening import AUDIO_TOWERS
from core.reading.configs.vision import TOWERS as EARLIER_TOWERS

TOWERS: Final = {**EARLIER_TOWERS, **towers.TOWERS}
Reader = Callable[[str, Keys, Keys | None, tuple[Part, ...]], ModelSpec]

TEXT_KEYS: Final = ("text_config", "language_config", "llm_config", "thinker_config")

# names under which the same code travels
SAME_AS: Final[Mapping[str, str]] = {
    "gemma3_text": "gemma3",
    "qwen2_vl_text": "qwen2",
    "qwen2_vl": "qwen2",
    "qwen2_5_vl_text": "qwen2",
    "qwen2_5_vl": "qwen2",
    "qwen2_5_omni_text": "qwen2",
    "qwen3_omni_moe_text": "qwen3_moe",
    "qwen3_vl_text": "qwen3",
    "qwen3_vl_moe_text": "qwen3_moe",
    "qwen3_5_text": "qwen3_5",
    "qwen3_5_moe_text": "qwen3_5",
    "qwen3_5_moe": "qwen3_5",
    "kimi_k2": "deepseek_v3",
    "mistral_large4_text": "mistral_large4",
    "phi-msft": "phi",
    "gemma3n_text": "gemma3n",
    "gemma4_text": "gemma4",
    "gemma4_unified_text": "gemma4",
    "deepseek_ref": "deepseek_v4",
    "minimax_m3_vl_text": "minimax_m3",
    "minimax_m3_vl": "minimax_m3",
    "step3p7": "step3p5",
    "step3p7_text": "step3p5",
    "llama4_text": "llama4",
    "mllama_text_model": "mllama",
    "minimax_m1": "minimax",
    "minimax_text_01": "minimax",
    "phi3_v": "phi3",
    "glm46v_text": "glm4v_text",
    "glm4v_moe_text": "glm4_moe",
    "cosmos3_omni_text": "qwen3",
    "granite_docling_text": "granite",
    "unlimited_ocr_text": "deepseek",
    "deepseek_ocr2_text": "deepseek",
    "paddleocr_vl_text": "ernie4_5",
    "gpt-sw3": "gpt2",
    "fuyu": "persimmon",
    "phi4_multimodal": "phi3",
}


def _latent(traits: LatentTraits) -> Reader:
    def read(name: str, keys: Keys, top: Keys | None, parts: tuple[Part, ...]) -> ModelSpec:
        return latent.read(name, keys, traits, top, parts)

    return read


READERS: Final[Mapping[str, Reader]] = {
    "deepseek_v2": _latent(LatentTraits()),
    "deepseek_v3": _latent(LatentTraits()),
    "glm4_moe_lite": _latent(LatentTraits()),
    "mistral4": _latent(LatentTraits()),
    "youtu": _latent(LatentTraits(routed=False)),
    "minicpm3": _latent(LatentTraits(routed=False)),
    "sarvam_mla": _latent(LatentTraits()),
    "axk1": _latent(LatentTraits(norms_if_moe=1)),
    "deepseek_v32": _latent(LatentTraits(indexer=True)),
    "glm_moe_dsa": _latent(LatentTraits(indexer=True)),
    "mistral_large4": _latent(LatentTraits(indexer=True, index_from_hidden=True)),
    "longcat_flash": latent.read_longcat,
    "qwen3_next": hybrid.read_qwen_next,
    "qwen3_5": hybrid.read_qwen_next,
    "olmo_hybrid": hybrid.read_olmo_hybrid,
    "nemotron_h": state_space.read_nemotron_h,
    "mamba": pure.read_mamba,
    "mamba2": pure.read_mamba2,
    "falcon_mamba": pure.read_falcon_mamba,
    "jamba": state_space.read_jamba,
    "bamba": state_space.read_bamba,
    "granitemoehybrid": state_space.read_granite_hybrid,
    "falcon_h1": state_space.read_falcon_h1,
    "lfm2": hybrid.read_lfm2,
    "lfm2_moe": hybrid.read_lfm2,
    "lfm3": hybrid.read_lfm3,
    "minimax": hybrid.read_minimax,
    "recurrent_gemma": pure.read_recurrent_gemma,
    **classic.READERS,
    **early.READERS,
    **speech.READERS,
    "gemma3n": gemma.read_gemma3n,
    "gemma4": gemma.read_gemma4,
    "whisper": seq2seq.read_whisper,
    **bart.READERS,
    "t5": seq2seq.read_t5,
    "mt5": seq2seq.read_t5,
    "umt5": seq2seq.read_t5,
    "longt5": seq2seq.read_t5,
    "switch_transformers": seq2seq.read_t5,
    "pop2piano": seq2seq.read_t5,
    "udop": seq2seq.read_t5,
    "moonshine": seq2seq.read_moonshine,
    "t5gemma": seq2seq.read_t5gemma,
    "deepseek_v4": sparse.read_deepseek_v4,
    "minimax_m3": sparse.read_minimax_m3,
    "mimo_v2_flash": sparse.read_mimo_v2,
    "step3p5": sparse.read_step,
    "llama4": sparse.read_llama4,
    "mllama": sparse.read_mllama,
    "encoder-decoder": pairs.read,
    "vision-encoder-decoder": pairs.read,
    "speech-encoder-decoder": pairs.read,
    "lara_mini": hybrid.read_lara_mini,
    "laguna": sparse.read_laguna,
    "ernie4_5_vl_moe_text": sparse.read_ernie_vl,
    "bailing_hybrid": kimi.read_bailing_hybrid,
    "hy_v4": latent.read_hy_v4,
    "hy_v4_vl_text": latent.read_hy_v4,
    "muse_spark_text": sparse.read_muse_spark,
    "inkling_text": sparse.read_inkling,
    "kimi_linear": kimi.read_kimi_linear,
    "glm5_next_text": kimi.read_glm5_next,
    "zamba2": state_space.read_zamba2,
    "rwkv": pure.read_rwkv,
    "rwkv5": pure.read_rwkv,
    "xlstm": pure.read_xlstm,
}


OPTIONAL_TOWERS: Final = frozenset({"gemma4", "gemma4_unified"})  # text alone when the file has no vision_config


ALWAYS_SEES: Final = frozenset({"fuyu"})  # whose class for text is the one that sees


def _nested(top: Keys) -> Keys | None:
    """The text config of a file that nests it."""
    for name in TEXT_KEYS:
        part = top.part(name)
        if part is not None:
            return _nested(part) or part if name == "thinker_config" else part
    return None


def _text(name: str, keys: Keys, top: Keys | None, parts: tuple[Part, ...]) -> ModelSpec:
    """The text model with the towers beside it, whichever reader its family has."""
    spec = _decoder(name, keys, top, parts)
    return spec if parts == spec.parts[: len(parts)] else replace(spec, parts=(*parts, *spec.parts))


BY_LAYER: Final = frozenset({*FAMILIES, "gemma4", "step3p5"})   # whose readers ask each layer's own keys


def _decoder(name: str, keys: Keys, top: Keys | None, parts: tuple[Part, ...]) -> ModelSpec:
    family = SAME_AS.get(keys.family, keys.family)
    if keys.values.get("per_layer_config") and family not in BY_LAYER:
        raise ArchitectureUnknown(
            f"{name} says in 'per_layer_config' that its layers differ, which is not understood of the family "
            f"'{_said(keys)}'; pick a model of the catalogue with the same shapes."
        )
    if (reader := READERS.get(family)) is not None:
        return reader(name, keys, top, parts)
    if (traits := FAMILIES.get(family)) is not None:
        return decoder.read(name, keys, traits, top, parts)
    if (kin := bert.FAMILIES.get(family)) is not None:
        return bert.read(name, keys, kin, top, parts)
    return _best_effort(name, keys, top, parts)


ORDINARY: Final = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")


# What a Llama or a Mixtral does not have and that changes what it weighs or keeps: latents, states, convolutions,
# loops over the layers, attention to something else, widths a layer, experts beside experts.
BEYOND: Final = re.compile(
    r"mamba|ssm|state_size|linear_(attn|num|key|value|conv|head)|lora_rank|lru|rwkv|conv|kernel|laten(t|cy)_|compress"
    r"|recurren|loop|cycle|_per_stack|n_streams|hc_|hyper|altup|laurel|per_layer|cross_attn|cross_attention_layers"
    r"|index_(head|n_heads|topk)|zero_expert|router_hidden|kv_channels|norm_rank|low_rank|rank$|embedding_size"
    r"|num_codebooks|memory_size|memory_layers|gating|moe_hidden|aligner|resampler|perceiver|cross_layer|gated_attention|attn_output_gate|_blocks$|value_residual"
)


def _changes_sizes(key: str, value: object) -> bool:
    """Whether a key says that the model is made of more than attention and MLPs or experts of one width."""
    said = value not in (None, False, 0, "", [], {})
    listed = isinstance(value, list) and key.endswith(("_size", "_sizes", "heads", "_dim", "_per_layer", "experts"))
    return said and (listed or BEYOND.search(key.lower()) is not None)


def _said(keys: Keys) -> str:
    """The family's name as a message may hold it."""
    return " ".join(keys.family.split())[:60]


def _best_effort(name: str, keys: Keys, top: Keys | None, parts: tuple[Part, ...]) -> ModelSpec:
    """An unknown family read as Llama, or Mixtral, when the ordinary keys are all there."""
    missing = [f"lacks '{key}'" for key in ORDINARY if key not in keys]
    beyond = [f"has '{key}'" for key, value in keys.values.items() if _changes_sizes(key, value)]
    if missing or beyond:
        raise ArchitectureUnknown(
            f"The family '{_said(keys)}' of {name} is not understood, and it {(beyond + missing)[0]}, so it cannot be "
            "read as an ordinary transformer; pick a model of the catalogue with the same shapes."
        )
    bias = "attention_bias"
    traits = Traits(bias, bias, "mlp_bias", moe=True, shared="count")
    spec = decoder.read(name, keys, traits, top, parts)
    note = f"'{_said(keys)}' is not a known family: read as an ordinary transformer, so it may be a little off."
    return replace(spec, best_effort=True, notes=(*spec.notes, note))


MTP_KEYS: Final = ("num_nextn_predict_layers", "num_mtp_modules", "mtp_num_hidden_layers", "num_mtp_layers")
MTP_WITH_COPIES: Final = frozenset({"deepseek_v3", "deepseek_v32", "glm4_moe", "glm4_moe_lite", "glm_moe_dsa"})


def _mtp(spec: ModelSpec, keys: Keys) -> ModelSpec:
    """Multi-token prediction: a layer like the last, a 2h x h projection and three norms, dropped by loaders.

    DeepSeek and GLM checkpoints store the embedding and the head once more with it: DeepSeek-V3.2's is
    13,477,385,472 parameters, GLM-4.7-Flash's 1,278,094,592, Qwen3-Next's 1,650,471,424.
    """
    n = max((keys.size_or(0, key, high=64) for key in MTP_KEYS if key in keys), default=0)
    if not n or not spec.layer_order:
        return spec
    h = spec.hidden_size
    layer = spec.layers[spec.layer_order[-1]].params
    copies = spec.embedding_params + spec.head.params if SAME_AS.get(keys.family, keys.family) in MTP_WITH_COPIES else 0
    part = Part("multi-token prediction", n * (layer + 2 * h * h + 3 * h + copies), resident=False)
    return replace(spec, parts=(*spec.parts, part))


MAX_PARAMS: Final = 10**15
REQUIRED: Final = ("hidden_size",)  # what no class default may fill in
ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "hidden_size": ("n_embd", "d_model", "embedding_dim", "emb_dim", "encoder", "decoder", "decoder_config")
}


def _within(top: Keys) -> Keys:
    """Where the towers are described: in the part that listens, sees and writes, where a file has one."""
    return top.part("thinker_config", family=top.family) or top


def _tower(top: Keys, hidden: int) -> tuple[Part, ...]:
    """The towers besides the text model, in full and as loaded; speech output (Omni) is not served."""
    parts: list[Part] = []
    build, within = TOWERS.get(top.family), _within(top)
    if build is not None and (top.family not in OPTIONAL_TOWERS or "vision_config" in within):
        size = build(within.part_or_default("vision_config"), within, hidden)
        parts.append(Part("vision tower", size, resident=True))
    listen, audio = AUDIO_TOWERS.get(top.family), within.part("audio_config") or within.part("encoder_config")
    if listen is not None and audio is not None:
        parts.append(Part("audio tower", listen(audio, within, hidden), resident=True))
    return tuple(parts)


def architecture(config: Mapping[str, object], *, name: str) -> ModelSpec:
    """The spec that a config.json describes, its weights in 16 bits.

    Raises: ConfigInvalid naming the key that is missing or absurd; ArchitectureUnknown naming the family.
    """
    if not isinstance(config, Mapping):
        raise ConfigInvalid("config.json must hold one JSON object.")
    family = config.get("model_type")
    if not isinstance(family, str) or not family:
        raise ConfigInvalid("config.json lacks 'model_type'; it must name the model's family.")
    top = Keys(config, family)
    text = _nested(top)
    spec = _flat(name, top) if text is None else _composite(name, top, text)
    spec = _mtp(_uncounted(_sighted(spec, top), top), text or top)
    if spec.total_params > MAX_PARAMS:
        raise ConfigInvalid(
            f"config.json describes {spec.total_params:.1e} parameters; more than {MAX_PARAMS:.0e} is not believed."
        )
    return spec


def _sighted(spec: ModelSpec, top: Keys) -> ModelSpec:
    """The spec with how it turns images into tokens, where it keeps its tower and the family's rule is known."""
    tower = sum(part.params for part in spec.parts if part.name == "vision tower" and part.resident)
    if not tower:
        return spec
    try:
        return replace(spec, eyes=seeing.eyes(top, _within(top).part_or_default("vision_config"), tower))
    except ConfigInvalid:          # sizes the tower does not need: only how it sees stays unknown
        return spec


def read_config(
    config: Mapping[str, object], *, name: str, quant_config: Mapping[str, object] | None = None,
    headers: Sequence[Tensors] = (),
) -> ModelSpec:
    """The spec that a config.json describes, with how its repository says and shows that it stores the weights.

    `headers` are the rows of its safetensors files: they settle what the declaration leaves open.
    Raises: ConfigInvalid naming the key that is missing or absurd; ArchitectureUnknown naming the family or
    the quantisation.
    """
    return described(architecture(config, name=name), config, quant_config, headers)


NOT_PARTS: Final = frozenset({*TEXT_KEYS, "quantization_config", "compression_config", "generation_config"})
SPEAKS: Final = ("talker_config", "token2wav_config", "code2wav_config")


def _uncounted(spec: ModelSpec, top: Keys) -> ModelSpec:
    """Say so where the file describes a part no reader counts."""
    counted = {"vision_config"} if top.family in TOWERS else set()
    if top.family in AUDIO_TOWERS:
        counted |= {"audio_config", "encoder_config"}
    within = _within(top)
    left = [key for key, value in within.values.items() if _describes(key, value) and key not in counted]
    text = _nested(top)
    if counted or spec.parts or (text is None and not spec.best_effort):    # what its reader knows, it counts in full
        left = [key for key in left if key in ("vision_config", "audio_config")]
    notes = [f"The {_called(key)} of this family is not counted: weights are larger by it." for key in left]
    if text is not None and not (counted or notes or spec.best_effort or _alike(top, text)):
        notes.append(f"'{_said(top)}' is not a known family: its text model is read, what else it has is not counted.")
    if any(key in top for key in SPEAKS):
        notes.append("What speaks (talker and waveform) is not counted: this plans the text it writes.")
    return replace(spec, notes=(*spec.notes, *notes))


def _alike(top: Keys, text: Keys) -> bool:
    """Whether file and text model are of one family, so that the text model's reader knows all of it."""
    own, inner = (SAME_AS.get(keys.family, keys.family).removesuffix("_text") for keys in (top, text))
    return own == inner or inner.startswith(own)


def _describes(key: str, value: object) -> bool:
    """Whether a nested object describes a part of the model with weights of its own."""
    sized = isinstance(value, Mapping) and ("model_type" in value or "hidden_size" in value)
    return (key in ("vision_config", "audio_config") and isinstance(value, Mapping)) or (
        key.endswith("_config") and key not in NOT_PARTS and key not in SPEAKS and sized
    )


def _called(key: str) -> str:
    return key.replace("_config", " tower" if key in ("vision_config", "audio_config") else "").replace("_", " ")


def _flat(name: str, top: Keys) -> ModelSpec:
    """A file that does not nest its text model; it may still describe a tower (Qwen2.5-VL, Step 3.7)."""
    family = SAME_AS.get(top.family, top.family)
    if family not in READERS and family not in FAMILIES and family not in bert.FAMILIES:
        return _best_effort(name, top, None, ())
    for key in REQUIRED:
        if all(alias not in top for alias in (key, *ALIASES.get(key, ()))):
            raise ConfigInvalid(f"config.json lacks '{key}'; it must be a whole number.")
    sees = "vision_config" in top or top.family in ("step3p7", "phi3_v", "phi4_multimodal")
    return _text(name, top, None, _tower(top, top.size("hidden_size")) if sees else ())


def _composite(name: str, top: Keys, text: Keys) -> ModelSpec:
    """A file with a nested text model; one saved for a CausalLM class loads without its tower."""
    text_only = top.family not in ALWAYS_SEES and any(
        said.endswith("ForCausalLM") for said in top.texts("architectures") or ()
    )
    return _text(name, text, top, () if text_only else _tower(top, text.size("hidden_size")))
