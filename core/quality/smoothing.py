"""llm-compressor's AWQ and SmoothQuant where it takes the wrong norms, or stops on a plain processor.

Both divide the output of a norm by scales and multiply the matrices that read it, which changes nothing
only where no one else reads it and the digits suffice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from core.basics.errors import QualityError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

STRENGTH: Final = 0.5               # SmoothQuant's alpha: what the paper takes for most models (arXiv 2211.10438)
MOST_HEADROOM: Final = 2.0**10      # activations grow by as much: far from the limits of BF16
# Where a model norms, by the name of one such in llm-compressor's registry
AROUND: Final = "Gemma2ForCausalLM"     # before and after each block: what follows attention is not what comes next
AFTER: Final = "Exaone4ForCausalLM"     # after each block alone
PLACES: Final = {
    "Gemma2ForCausalLM": AROUND, "Gemma3ForCausalLM": AROUND, "Gemma3ForConditionalGeneration": AROUND,
    "Exaone4ForCausalLM": AFTER, "Olmo2ForCausalLM": AFTER, "Olmo3ForCausalLM": AFTER,
}


def awq(model: PreTrainedModel) -> Any:
    """The modifier that seeks AWQ's scales for this model. Raises QualityError where none would leave it the same.

    llm-compressor 0.14 pins cached activations always, and torch refuses to pin memory without an accelerator.
    It spares q, k and v of Gemma 3, for smoothing them did harm (its issue 2522); the harm is the cast that
    `_with_headroom` mends, and without q, k and v AWQ is no better there than rounding.
    """
    import torch
    from llmcompressor.modifiers.transform import awq as library
    from llmcompressor.modifiers.transform.awq.mappings import AWQ_MAPPING_REGISTRY
    from llmcompressor.pipelines.cache import IntermediatesCache

    class Pageable(IntermediatesCache):  # type: ignore[misc]  # llm-compressor is untyped to mypy, see pyproject
        def pin_memory(self, batch_index: int, input_names: list[str] | None = None) -> None:
            """Nothing is pinned: the activations are used where they are."""

    class AWQModifier(library.AWQModifier):  # type: ignore[misc]  # as above; recipes that are saved name the class
        def _setup_activation_cache_hooks(self) -> None:
            super()._setup_activation_cache_hooks()
            for parent in () if torch.accelerator.is_available() else self._parent_args_cache:
                self._parent_args_cache[parent] = Pageable(None, self.offload_device)

        def _compute_best_scale(self, mapping: Any, *given: Any) -> torch.Tensor:
            return _with_headroom(super()._compute_best_scale(mapping, *given), mapping.smooth_layer)

    return AWQModifier(mappings=AWQ_MAPPING_REGISTRY.get(_place(model)))


def smoothquant(model: PreTrainedModel) -> Any:
    """The modifier that evens activations out. Raises QualityError where no norm comes before the matrices."""
    from llmcompressor.modifiers.transform import smoothquant as library

    class SmoothQuantModifier(library.SmoothQuantModifier):  # type: ignore[misc]  # as above
        def _infer_mappings_from_model(self, model: Any) -> list[list[Any]]:
            return [list(mapping) for mapping in super()._infer_mappings_from_model(model)]     # recipes hold no tuples

        def _calculate_smoothing_scales(self, balance_layers: Any, activation_scales: torch.Tensor) -> torch.Tensor:
            norm = next(mapping.smooth_layer for mapping in self.resolved_mappings_
                        if mapping.balance_layers is balance_layers)
            return _with_headroom(super()._calculate_smoothing_scales(balance_layers, activation_scales), norm)

    place = _place(model)
    if place == AFTER:
        raise QualityError("SmoothQuant needs a norm before the matrices, and this model norms what comes after them")
    mappings = [
        (["re:.*q_proj", "re:.*k_proj", "re:.*v_proj"], "re:.*input_layernorm"),
        (["re:.*gate_proj", "re:.*up_proj"], "re:.*pre_feedforward_layernorm"),
    ]
    return SmoothQuantModifier(smoothing_strength=STRENGTH, mappings=mappings if place == AROUND else None)


def _place(model: PreTrainedModel) -> str:
    """AROUND, AFTER, or "" for norms before each block alone. Raises QualityError where it is none of them."""
    name = type(model).__name__
    if name not in PLACES and any(path.endswith("post_feedforward_layernorm") for path, _ in model.named_modules()):
        raise QualityError(f"no scales are known that leave {name} the same: it norms what comes after a block")
    return PLACES.get(name, "")


def _with_headroom(scales: torch.Tensor, norm: Any) -> torch.Tensor:
    """The scales [K], divided by a power of two where that keeps the norm's digits.

    Gemma's norms multiply by 1 + w. A scale that makes 1 + w small leaves a w near -1, of which BF16 keeps two or
    three digits (Gemma-3-270m with 8-bit AWQ strayed .0008 nats before the cast and .13 after). What a power of two
    adds to the norm it takes from the matrices, whose own scales take it up.
    """
    import torch
    from llmcompressor.modeling import CalibrationOffsetNorm

    if not isinstance(norm, CalibrationOffsetNorm):
        return scales
    factors = norm.weight.detach().to(scales.device).abs() / scales
    lift = torch.log2(0.5 / factors[factors > 0].min()).ceil()      # the smallest comes to 1/2 or more
    return scales / (2.0**lift).clamp(1.0, MOST_HEADROOM)
