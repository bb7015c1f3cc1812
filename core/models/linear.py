"""The matrices of a model: what multiplies, how it is split, and what quantisers decide by."""

from dataclasses import dataclass
from enum import StrEnum


class Shard(StrEnum):
    """How tensor parallelism splits a matrix."""

    COLUMN = "column"          # outputs split over the ranks
    ROW = "row"                # inputs split; an all-reduce follows
    REPLICATED = "replicated"  # every rank holds and computes all of it


class Role(StrEnum):
    """What part of the model a matrix belongs to; quantisers decide by this."""

    ATTENTION = "attention"
    MLP = "mlp"
    EXPERT = "expert"
    SHARED_EXPERT = "shared expert"
    ROUTER = "router"
    STATE = "state"            # projections of a recurrent mixer
    HEAD = "head"


@dataclass(frozen=True, slots=True)
class Linear:
    """One weight matrix [inputs, outputs]; with `experts` > 0, that many of the same shape."""

    name: str                  # as engines name it: qkv_proj, o_proj, gate_up_proj, down_proj, ...
    inputs: int                # K
    outputs: int               # N
    role: Role
    shard: Shard = Shard.COLUMN
    bias: bool = False
    experts: int = 0
    experts_per_token: int = 0
    reused: bool = False       # multiplies weights an earlier layer owns and counts (Zamba2)

    @property
    def matrices(self) -> int:
        """Matrices of this shape: the experts, or one."""
        return max(1, self.experts)

    @property
    def matrix_params(self) -> int:
        """Weights stored here that multiply, all experts [elements]."""
        return 0 if self.reused else self.matrices * self.inputs * self.outputs

    @property
    def params(self) -> int:
        """Weights and biases stored here, all experts [elements]."""
        return self.matrix_params + (0 if self.reused else self.matrices * self.outputs * self.bias)

    @property
    def active_matrix_params(self) -> int:
        """Weights one token multiplies with [elements]."""
        return self.inputs * self.outputs * (self.experts_per_token if self.experts else 1)
