"""Checkpoints: what a repository stores, read from its declarations and its tensor headers."""

from core.checkpoints.declaration import Json, declaration
from core.models import Shipped

__all__ = ["shipped"]


def shipped(config: Json, quant_config: Json | None = None) -> Shipped | None:
    """How the repository stores its weights; None when it declares no quantisation."""
    declared = declaration(config, quant_config)
    if declared is None:
        return None
    return Shipped(declared.format, kv_format=declared.kv_format, unquantised=declared.unquantised,
                   source=declared.source)
