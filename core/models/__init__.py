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
from core.models.facts import KindOfLayer, kinds_of_layers, layer_by_layer
from core.models.linear import Linear, Role, Shard
from core.models.recurrence import Recurrence
from core.models.spec import Layer, ModelSpec, Part, Shipped, distinct_experts

__all__ = [
    "Attention",
    "CompressedAttention",
    "CrossAttention",
    "Indexer",
    "KindOfLayer",
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
    "kinds_of_layers",
    "layer_by_layer",
]
