"""Speculative decoding in the words of each engine: a published drafter by its name, or what kind is needed."""

import json
from collections.abc import Mapping
from typing import Final

from core.delivery.export.order import Order
from core.physics import drafter
from core.products.drafters import Drafter

_KINDS: Final[Mapping[Drafter, str]] = {
    Drafter.EAGLE3: "an EAGLE-3 head trained for this model", Drafter.DRAFT: "a small model with the same vocabulary",
}
_VLLM: Final[Mapping[Drafter, str]] = {
    Drafter.MTP: "mtp", Drafter.EAGLE3: "eagle3", Drafter.DRAFT: "draft_model", Drafter.NGRAM: "ngram"}
_SGLANG: Final[Mapping[Drafter, str]] = {
    Drafter.MTP: "NEXTN", Drafter.EAGLE3: "EAGLE3", Drafter.DRAFT: "STANDALONE", Drafter.NGRAM: "NGRAM"}
_TRTLLM: Final[Mapping[Drafter, str]] = {
    Drafter.MTP: "MTP", Drafter.EAGLE3: "Eagle", Drafter.DRAFT: "DraftTarget", Drafter.NGRAM: "NGram"}
_LOOKED_UP: Final = 4           # words before that vLLM looks for at most


def _named(ordered: Order) -> str:
    """The drafter's Hub id; empty where the model drafts itself, or none is known."""
    own = drafter.of(ordered.spec, ordered.deployment.drafter)
    return own.name if own else ""


def _is_left_out(ordered: Order) -> bool:
    """Whether nothing can be written: no speculation, or a drafter that has no published name."""
    way = ordered.deployment.drafter
    return not way or ordered.options.speculation is None or (way in _KINDS and not _named(ordered))


def draft_notes(ordered: Order) -> tuple[str, ...]:
    """What is needed where the command cannot name it."""
    way = ordered.deployment.drafter
    if not way or ordered.options.speculation is None or not _is_left_out(ordered):
        return ()
    return (f"Speculative decoding is left out: it needs {_KINDS[way]}, and none is known here for "
            f"{ordered.spec.name}. Look for one on the Hub, or draft with what the model has: mtp or ngram.",)


def _tokens(ordered: Order) -> int:
    speculation = ordered.options.speculation
    assert speculation is not None
    return speculation.draft_tokens


def vllm_draft(ordered: Order) -> str | None:
    """vLLM's SpeculativeConfig as JSON (vllm/config/speculative.py, 0.33)."""
    if _is_left_out(ordered):
        return None
    way = ordered.deployment.drafter
    settings: dict[str, object] = {"method": _VLLM[way], "num_speculative_tokens": _tokens(ordered)}
    if name := _named(ordered):
        settings["model"] = name
    if way is Drafter.NGRAM:
        settings["prompt_lookup_max"] = _LOOKED_UP
    return json.dumps(settings)


def sglang_draft(ordered: Order) -> dict[str, object]:
    """A chain of drafted tokens: a tree of width one (SGLang docs, speculative decoding)."""
    if _is_left_out(ordered):
        return {}
    way, tokens = ordered.deployment.drafter, _tokens(ordered)
    if way is Drafter.NGRAM:
        return {"draft_method": _SGLANG[way], "draft_tokens": tokens + 1}
    return {
        "draft_method": _SGLANG[way], "draft_model": _named(ordered) or None,
        "draft_steps": tokens, "draft_topk": 1, "draft_tokens": tokens + 1,
    }


def trtllm_draft(ordered: Order) -> dict[str, object]:
    """TensorRT-LLM 1.0 docs, speculative decoding: the section of each method."""
    if _is_left_out(ordered):
        return {}
    way = ordered.deployment.drafter
    tokens = "num_nextn_predict_layers" if way is Drafter.MTP else "max_draft_len"
    settings: dict[str, object] = {"decoding_type": _TRTLLM[way], tokens: _tokens(ordered)}
    if name := _named(ordered):
        settings["speculative_model_dir"] = name
    return {"speculative_config": settings}


def llamacpp_draft(ordered: Order) -> dict[str, object]:
    """llama-server takes a draft model as a GGUF file."""
    return {} if _is_left_out(ordered) else {"draft_model": _draft_file(ordered)}


def llamacpp_draft_notes(ordered: Order) -> tuple[str, ...]:
    """Where the draft model's file comes from."""
    if _is_left_out(ordered):
        return draft_notes(ordered)
    return (f"{_draft_file(ordered)} holds {_named(ordered)}: download it, and let it draft {_tokens(ordered)} tokens "
            "(the option is called otherwise from release to release).",)


def _draft_file(ordered: Order) -> str:
    return f"{_named(ordered).split('/')[-1]}.gguf"


def mlx_draft(ordered: Order) -> dict[str, object]:
    """mlx_lm.server takes a draft model by name."""
    return {} if _is_left_out(ordered) else {"draft_model": _named(ordered), "drafted": _tokens(ordered)}
