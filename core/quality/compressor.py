"""What llm-compressor makes: AWQ, GPTQ, W8A8 with SmoothQuant, FP8, plain INT8 and INT4, in schemes that vLLM loads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from core.basics.errors import QualityError
from core.quality import smoothing
from core.quality.matrices import linears, others

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from core.quality.variants import Means, Variant

AWQ: Final = "AWQ"
# Texts that AWQ tries each of its 20 scales on: 8 of 256 tokens gave SmolLM2-135M KL .181 +- .014, 16 of them
# .181 +- .012 in twice the time; its authors find it little in need of text (arXiv 2306.00978).
AWQ_TEXTS: Final = 8
LOGITS: Final = 2**26               # 32-bit values that a batch of texts may come to at the head: 256 MiB


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

    common: dict[str, Any] = {"ignore": others(model)}
    if variant.weights == "fp8":
        return "FP8", [QuantizationModifier(targets=["Linear"], scheme="FP8_DYNAMIC", **common)]
    if variant.weights == "w8a8-int8":
        rounding = QuantizationModifier(targets=["Linear"], scheme="W8A8", **common)
        return "SmoothQuant W8A8", [smoothing.smoothquant(model), rounding]
    weights = {"num_bits": variant.bits, "type": "int", "symmetric": False, "strategy": "group",
               "group_size": variant.group}
    common["config_groups"] = {"group_0": {"targets": ["Linear"], "weights": weights}}
    if variant.name.startswith("gptq"):
        return "GPTQ, act-order, static groups", [GPTQModifier(actorder="static", **common)]
    if variant.name.startswith("awq"):
        return AWQ, [smoothing.awq(model), QuantizationModifier(**common)]
    return "round to nearest", [QuantizationModifier(**common)]
