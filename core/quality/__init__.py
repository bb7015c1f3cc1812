"""What a format costs on somebody's own prompts, measured: torch and transformers run in a process of their own.

They are imported only by `core.quality.worker` and what it calls.
"""

from core.quality.order import Order
from core.quality.prompts import read_prompts
from core.quality.session import check
from core.quality.variants import VARIANTS, Variant, missing

__all__ = ["VARIANTS", "Order", "Variant", "check", "missing", "read_prompts"]
