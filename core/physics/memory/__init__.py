"""What a deployment holds in GPU memory, and how much KV cache the engine can allocate beside it."""

from core.physics.memory.footprint import Footprint, footprint, hosted, kv_bytes_per_token_per_gpu, sequence_bytes
from core.physics.memory.hosted import Hosted
from core.physics.memory.reserve import Term
from core.physics.memory.settings import unreachable
from core.physics.memory.weights import weight_bytes_per_gpu

__all__ = ["Footprint", "Hosted", "Term", "footprint", "hosted", "kv_bytes_per_token_per_gpu", "sequence_bytes",
           "unreachable", "weight_bytes_per_gpu"]
