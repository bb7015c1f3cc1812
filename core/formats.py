"""Number formats: what a weight or a cached value costs, and which GPU has kernels for it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    """How the matrices are stored and multiplied."""

    name: str                  # the name of the command line: bf16, fp8, awq-int4, gguf-Q4_K_M, ...
    label: str                 # for people
    bits_per_weight: float     # scales and zero points included
    compute: str               # dtype the tensor cores multiply in: fp16 bf16 fp8 int8 fp4 fp32
    weight_only: bool          # dequantised in the kernel, multiplied in 16 bits
    group_size: int | None     # weights that share a scale
    experts_only: bool         # quantises the routed experts and nothing else (MXFP4 of gpt-oss)
    source: str

    @property
    def bytes_per_weight(self) -> float:
        return self.bits_per_weight / 8


@dataclass(frozen=True, slots=True)
class KvFormat:
    """How keys and values are cached."""

    name: str                  # bf16 fp16 fp8 int8 int4 fp32
    bits_per_value: float      # scales included
    source: str

    @property
    def bytes_per_value(self) -> float:
        return self.bits_per_value / 8
