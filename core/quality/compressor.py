"""What llm-compressor makes: AWQ, GPTQ, W8A8 with SmoothQuant, FP8, plain INT8 and INT4, in schemes that vLLM loads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from core.errors import QualityError
from core.quality.matrices import linears, others

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from core.quality.make import Means
    from core.quality.variants import Variant

AWQ: Final = "AWQ"
# Texts that AWQ tries each of its 20 scales on: 8 of 256 tokens gave SmolLM2-135M KL .181 +- .014, 16 of them
# .181 +- .012 in twice the time; its authors find it little in need of text (arXiv 2306.00978).
AWQ_TEXTS: Final = 8
MOST_HEADROOM: Final = 2.0**10      # activations grow by as much: far from BF16's limits
LOGITS: Final = 2**26               # 32-bit values that a batch of texts may come to at the head: 256 MiB
SMOOTHING: Final = 0.5              # SmoothQuant's alpha: what the paper takes for most models (arXiv 2211.10438)


def compress(variant: Variant, model: PreTrainedModel, means: Means) -> str:
    """Turns the model into the variant; what made it, with its version.

    Raises QualityError where groups do not divide a matrix's inputs, and what llm-compressor raises.
    """
    from importlib.metadata import version

    import torch
    from compressed_tensors.offload import remove_dispatch
    from llmcompressor import oneshot
    from torch.utils.data import DataLoader

    _check_groups(variant, model)
    model.config.save_pretrained(means.folder)      # llm-compressor reads it again; a GGUF has none
    model.config._name_or_path = str(means.folder)
    device = model.device
    method, recipe = _recipe(variant, model)
    texts = means.texts[:AWQ_TEXTS] if method == AWQ else means.texts
    rows: Any = [{"input_ids": batch, "attention_mask": torch.ones_like(batch)} for batch in _batches(texts, model)]
    oneshot(
        model=model, processor=means.tokenizer, recipe=recipe,
        dataset=DataLoader(rows, batch_size=None) if variant.calibrated else None,
    )
    remove_dispatch(model).to(device)               # it was moved to and fro, layer by layer
    return f"llmcompressor {version('llmcompressor')} {method}"


def _batches(texts: Sequence[torch.Tensor], model: PreTrainedModel) -> list[torch.Tensor]:
    """Texts of one length side by side [texts, tokens]: matrices of few rows waste a processor."""
    import torch

    batches: list[torch.Tensor] = []
    for length, alike in groupby(texts, key=lambda text: text.shape[1]):
        side_by_side = max(1, LOGITS // (length * model.config.get_text_config().vocab_size))
        batches += torch.split(torch.cat(list(alike)), side_by_side)
    return batches


def _check_groups(variant: Variant, model: PreTrainedModel) -> None:
    """No kernel takes a short last group, and llm-compressor makes none."""
    for name, linear in linears(model).items():
        if variant.group and linear.in_features % variant.group:
            raise QualityError(f"groups of {variant.group} do not divide the {linear.in_features} inputs of {name}")


def _recipe(variant: Variant, model: PreTrainedModel) -> tuple[str, list[Any]]:
    """The method's name, and llm-compressor's modifiers for it."""
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    common: dict[str, Any] = {"ignore": others(model)}
    if variant.weights == "fp8":
        return "FP8", [QuantizationModifier(targets=["Linear"], scheme="FP8_DYNAMIC", **common)]
    if variant.weights == "w8a8-int8":
        smooth = SmoothQuantModifier(smoothing_strength=SMOOTHING)
        return "SmoothQuant W8A8", [smooth, QuantizationModifier(targets=["Linear"], scheme="W8A8", **common)]
    weights = {"num_bits": variant.bits, "type": "int", "symmetric": False, "strategy": "group",
               "group_size": variant.group}
    common["config_groups"] = {"group_0": {"targets": ["Linear"], "weights": weights}}
    if variant.name.startswith("gptq"):
        return "GPTQ, act-order, static groups", [GPTQModifier(actorder="static", **common)]
    if variant.name.startswith("awq"):
        return AWQ, [_awq(model), QuantizationModifier(**common)]
    return "round to nearest", [QuantizationModifier(**common)]


def _awq(model: PreTrainedModel) -> Any:
    """llm-compressor's AWQ with two mends: it runs without an accelerator, and Gemma's norms survive BF16.

    0.14 pins cached activations always, and torch refuses to pin memory without an accelerator.

    Gemma's norms multiply by 1 + w. A scale that makes 1 + w small leaves a w near -1, of which BF16 keeps two or
    three digits (Gemma-3-270m with 8-bit AWQ: KL .0008 before the cast, .13 after); a power of two taken from the
    norm into the matrices costs nothing, as their scales take it up. llm-compressor spares Gemma 3 that harm by not
    smoothing q, k and v at all (its issue 2522), which here is as bad as rounding; Gemma 2's mappings smooth them.
    """
    import torch
    from llmcompressor.modeling import CalibrationOffsetNorm
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.modifiers.transform.awq.mappings import AWQ_MAPPING_REGISTRY
    from llmcompressor.pipelines.cache import IntermediatesCache

    class Pageable(IntermediatesCache):  # type: ignore[misc]  # llm-compressor is untyped to mypy, see pyproject
        def pin_memory(self, batch_index: int, input_names: list[str] | None = None) -> None:
            """Nothing is pinned: the activations are used where they are."""

    class MendedAWQModifier(AWQModifier):  # type: ignore[misc]  # as above
        def _setup_activation_cache_hooks(self) -> None:
            super()._setup_activation_cache_hooks()
            for parent in () if torch.accelerator.is_available() else self._parent_args_cache:
                self._parent_args_cache[parent] = Pageable(None, self.offload_device)

        def _compute_best_scale(self, mapping: Any, *given: Any) -> torch.Tensor:
            scales: torch.Tensor = super()._compute_best_scale(mapping, *given)
            if isinstance(mapping.smooth_layer, CalibrationOffsetNorm):
                scales = scales / _headroom(mapping.smooth_layer.weight.detach().cpu() / scales)
            return scales

    gemma3 = type(model).__name__.startswith("Gemma3")
    return MendedAWQModifier(mappings=AWQ_MAPPING_REGISTRY["Gemma2ForCausalLM"] if gemma3 else None)


def _headroom(weight: torch.Tensor) -> float:
    """The power of two, 1 to MOST_HEADROOM, that lifts a norm's factors [K] to 1/2 or more."""
    import torch

    factors = weight.abs()
    lift = torch.log2(0.5 / factors[factors > 0].min()).ceil().item()
    return float(min(max(1.0, 2.0**lift), MOST_HEADROOM))
