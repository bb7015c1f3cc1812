"""What a model is to a planner: layers made of matrices and mixers, and what each of them caches."""

from core.models.attention import (
    Attention,
    CompressedAttention,
    CrossAttention,
    Indexer,
    LatentAttention,
    Mixer,
    Tokens,
)
from core.models.linear import Linear, Role, Shard
from core.models.recurrence import Recurrence
from core.models.spec import Layer, ModelSpec, Part, Shipped, distinct_experts

__all__ = [
    "Attention",
    "CompressedAttention",
    "CrossAttention",
    "Indexer",
    "LatentAttention",
    "Layer",
    "Linear",
    "Mixer",
    "ModelSpec",
    "Part",
    "Recurrence",
    "Role",
    "Shard",
    "Shipped",
    "Tokens",
    "distinct_experts",
]
