"""What operator tables and data sheets say before any end-to-end figure is looked at.

Shares of dense data-sheet peaks by compute capability. Unless a line says otherwise the source is
aiconfigurator-core 0.12 (Apache-2.0): laws of three to five constants fitted on 3.0 M timed matmuls,
1.3 M decode attentions, 0.4 M expert layers and all-reduces of vLLM, SGLang and TensorRT-LLM.
"""

from collections.abc import Mapping
from typing import Final

TILE_ROWS: Final = (4.0, 128.0)      # smallest (matrix times a few vectors) and largest tile of rows of a kernel
LIBRARY_PADDING: Final = 0.5         # part of the padding to a tile that costs time: libraries pick the tile
EXPERT_PADDING: Final = 0.78         # the same for grouped matmuls, every expert padded on its own
DEQUANTISING_PADDING: Final = 1.0    # weight-only kernels pay the whole tile: the step at 64 rows
DEQUANTISED_PER_CLOCK_SM: Final = 23.5   # weights a multiprocessor unpacks a clock; 19-31 on four architectures
INNER_S_PER_K: Final = 0.27e-9       # serial loop over K of one tile; 0.45e-9 with quantised activations
INNER_S_PER_K_QUANTISED: Final = 0.45e-9
INNER_S_PER_K_DEQUANTISED: Final = 1.1e-9
QUANTISE_PASSES: Final = 2.9         # reads of the 16-bit activations spent on quantising them; 1.3-9 by engine
EPILOGUE_PASSES: Final = 0.7         # writes of the result that nothing overlaps
EXPERT_PASSES: Final = 2.7           # movements of 2h + 3i 16-bit values a routed row: permute, gate, reduce
CACHE_ELEMENTS_PER_S: Final = 2.4e12     # FP8 cache on Hopper: FlashAttention-3 widens before it multiplies
SCORE_BYTES_PER_FLOP: Final = 0.04   # 32-bit scores moved five times (product, mask, softmax, cast) per 4 x 128 FLOPs
RAMP_S: Final = 10e-6                # all-reduces of about a MB leave the latency regime over this time
RAMP_BYTES: Final = 1e6

# Launches, in units of one 16-bit matmul kernel of 3.2 us
QUANTISED_MATMUL: Final = 1.8        # 5.8 us with the quantising kernel before it
MIXER_UNITS: Final = 4.0             # attention 9.5-12 us with rotary embedding and cache write
NORM_UNITS: Final = 3.0              # two norms with residual, one activation
EXPERTS_UNITS: Final = 12.0          # 38 us: routing, permutation, two grouped matmuls, reduction

BANDWIDTH: Final[Mapping[str, float]] = {    # weights streamed by a matmul of one row
    "8.0": 0.78, "8.6": 0.85, "8.9": 0.82, "9.0": 0.89, "10.0": 0.86, "10.3": 0.86, "12.0": 0.82,
}
CACHE_BANDWIDTH: Final[Mapping[str, float]] = {   # decode attention far above the latency regime
    "8.0": 0.75, "8.6": 0.80, "8.9": 0.82, "9.0": 0.89, "10.0": 0.88, "10.3": 0.88, "12.0": 0.83,
}
MATMUL: Final[Mapping[str, float]] = {       # large matmuls below the power limit, by capability and operand bits
    "8.0 16": 0.83, "8.6 16": 0.88, "8.9 16": 0.88, "9.0 16": 0.90, "10.0 16": 0.83, "10.3 16": 0.83, "12.0 16": 0.92,
    "8.0 8": 0.77, "8.9 8": 0.83, "9.0 8": 0.72, "10.0 8": 0.73, "10.3 8": 0.73, "12.0 8": 0.96,
    "10.0 4": 0.56, "10.3 4": 0.40, "12.0 4": 0.89,
    # MAMF, stas00/ml-engineering@744d01e: MI300X 668 of 1307 TFLOPS, MI325X 785 of 1307, MI355X 1565 of 2517
    "gfx942 16": 0.55, "gfx950 16": 0.62,
    # llama.cpp discussion 4167: 7B F16 prompts on M2 Ultra, 1,402 tokens/s of 27.2 TFLOPS, all overheads in: 0.70
    "Apple GPU 16": 0.80,
}
ATTENTION: Final[Mapping[str, float]] = {    # causal prompts, head size 128, share of the 16-bit peak
    "8.0": 0.62, "8.6": 0.55, "8.9": 0.53, "9.0": 0.67, "10.0": 0.62, "10.3": 0.76, "12.0": 0.66,
}
LINK_RATE: Final[Mapping[str, float]] = {    # all-reduce bandwidth over GPUs that share it
    "nvlink 2": 0.60, "nvlink 4": 0.66, "nvlink 8": 0.68, "pcie 2": 0.57, "pcie 4": 0.26, "pcie 8": 0.15,
}
LINK_LATENCY: Final[Mapping[str, float]] = {   # small all-reduces, inside CUDA graphs [s]
    "nvlink 2": 4.8e-6, "nvlink 4": 5.2e-6, "nvlink 8": 6.3e-6, "pcie 2": 7e-6, "pcie 4": 13e-6, "pcie 8": 24e-6,
}
JOULES_PER_FLOP: Final[Mapping[str, float]] = {   # 16-bit matmuls at the power limit; joined with MATMUL they
    "8.0": 1.0e-12, "9.0": 0.65e-12, "10.0": 0.45e-12, "10.3": 0.45e-12, "12.0": 1.1e-12,   # give the tables' rates
}
JOULES_PER_FLOP_OTHERS: Final = 1.6e-12      # L40S: 205 TFLOPS at 350 W
NARROW_ENERGY: Final[Mapping[int, float]] = {16: 1.0, 8: 0.56, 4: 0.28}   # energy of narrower operands: H100, B200
