"""Which matrices of a model a format quantises."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from core.basics.errors import QualityError

if TYPE_CHECKING:
    from torch.nn import Linear
    from transformers import PreTrainedModel

LEAST_COVERED: Final = 0.5          # of the weights outside the embeddings, else the figure would flatter
# Routers, and towers that see or hear: engines keep them in 16 bits, a few percent of a model at most.
_KEPT: Final = re.compile(r"(^|\.)(gate|router|shared_expert_gate|visual|vision_\w+|audio_\w+|multi_modal_\w+)(\.|$)")


def linears(model: PreTrainedModel) -> dict[str, Linear]:
    """Every linear layer but the one that makes the logits, routers and towers.

    Raises QualityError where most weights lie elsewhere, as in experts that are stored fused.
    """
    from torch.nn import Embedding

    found = {name: linear for name, linear in _all(model).items() if name not in set(others(model))}
    tables = {id(module.weight) for module in (*model.modules(), model.get_output_embeddings())
              if isinstance(module, Embedding) or module is model.get_output_embeddings()}
    rest = sum(parameter.numel() for parameter in model.parameters() if id(parameter) not in tables)
    covered = sum(linear.weight.numel() for linear in found.values())
    if covered < LEAST_COVERED * rest:
        raise QualityError(f"only {covered / rest:.0%} of the weights are plain matrices, the rest is stored otherwise")
    return found


def others(model: PreTrainedModel) -> list[str]:
    """Linear layers that stay in 16 bits."""
    head = model.get_output_embeddings()
    return [name for name, linear in _all(model).items() if linear is head or _KEPT.search(name)]


def _all(model: PreTrainedModel) -> dict[str, Linear]:
    from torch.nn import Linear

    return {name: module for name, module in model.named_modules() if isinstance(module, Linear)}
