"""Mixers with a state of fixed size: Mamba, gated delta nets, short convolutions and their kin."""

from dataclasses import dataclass
from typing import Final

from core.models.attention import Tokens
from core.products.formats import KvFormat

FLOPS_PER_STATE_VALUE: Final = 6  # decay, outer-product update and readout, a multiply and an add each


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A recurrent mixer: a state per head and the last inputs of a causal convolution.

    Shapes as vLLM 0.33 allocates them: kernel − 1 columns of convolution inputs in the model's
    dtype, the recurrent state in `state_value_bytes` (None: the model's dtype).
    """

    kind: str
    conv_channels: int          # split over the ranks
    conv_kernel: int
    state_values: int           # values of recurrent state, all heads
    state_value_bytes: int | None = None
    groups: int = 0             # B and C of Mamba-2 come in groups, replicated once ranks outnumber them
    group_channels: int = 0     # convolution channels of all groups

    def kv_bytes(self, context: Tokens, kv: KvFormat, tp: int) -> Tokens:
        """0: nothing is kept for each token [B]."""
        return 0.0 * context

    def kv_bytes_read(self, context: Tokens, kv: KvFormat, tp: int) -> Tokens:
        """0: `state_bytes` is what a step reads [B]."""
        return 0.0 * context

    def kv_bytes_per_token(self, kv: KvFormat, tp: int) -> float:
        """0: a state does not grow [B/token]."""
        return 0.0

    def decode_flops(self, context: Tokens) -> Tokens:
        """Update and readout of the state, and the convolution's taps, whatever the context [FLOP]."""
        channels = self.conv_channels + self.group_channels
        return FLOPS_PER_STATE_VALUE * self.state_values + 2 * channels * self.conv_kernel + 0.0 * context

    def prefill_flops(self, tokens: Tokens) -> Tokens:
        """As many times one token's [FLOP]."""
        return self.decode_flops(0) * tokens

    def state_bytes(self, model_bytes_per_value: float, tp: int) -> float:
        """kernel − 1 columns of convolution inputs and the recurrent state of one sequence, a rank's share [B]."""
        groups = self.group_channels * max(1.0, self.groups / tp) / max(1, self.groups)
        columns = max(0, self.conv_kernel - 1)
        conv = columns * (self.conv_channels / tp + groups) * model_bytes_per_value
        return conv + self.state_values / tp * (self.state_value_bytes or model_bytes_per_value)
