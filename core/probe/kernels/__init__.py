"""Matmuls and attention of our own in Triton, and the layouts that AWQ and GPTQ checkpoints store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch

PROGRAMS_PER_SM: Final = 4      # enough reads in flight to fill the memory's queues


def programs_at_once(device: torch.device) -> int:
    """Programs of one of our kernels that keep a GPU's memory busy."""
    import torch

    return PROGRAMS_PER_SM * int(torch.cuda.get_device_properties(device).multi_processor_count)
