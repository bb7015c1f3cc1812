"""What a format costs on somebody's own prompts, measured: torch and transformers run in a process of their own.

They are imported only by `core.quality.worker` and what it calls.
"""

from core.quality.budget import Cost, checked_device, estimate_cost, is_allowed, refusal
from core.quality.order import Order
from core.quality.prompts import check_size, read_prompts
from core.quality.session import check
from core.quality.variants import DEFAULT, VARIANTS, Variant, chosen, missing

__all__ = ["DEFAULT", "VARIANTS", "Cost", "Order", "Variant", "check", "check_size", "checked_device", "chosen",
           "estimate_cost", "is_allowed", "missing", "read_prompts", "refusal"]
