"""Time of matmuls: operators on a roofline by their rows, tabulated once for every pair and interpolated."""

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.physics.efficiency import Rates, operators
from core.physics.speed.cases import Floats, Rows
from core.physics.speed.work import ACTIVATION_BYTES, Work

TOKENS: Final[Floats] = np.exp2(np.arange(0, 16.5, 0.5))      # rows of a matmul at which times are tabulated
BLOCK: Final = 128               # pairs tabulated at a time: a comparison's 5,600 at once took 120 MB
# Terms the tables of matmuls depend on
TABULATED: Final = frozenset(
    {"weights_bandwidth", "matmul_rate", "dequantised_rate", "expert_rate", "expert_bandwidth", "expert_imbalance"}
)
POWER_SHARPNESS: Final = 4.0     # clocks throttle gradually near the power limit

Value = TypeVar("Value", np.float64, np.bool_)


def join(*times: Floats) -> Floats:
    """Smooth maximum of times that overlap: the 3-norm (left free, operator tables choose 2.5 to 4.5)."""
    total = np.zeros(np.broadcast_shapes(*(time.shape for time in times)))
    for time in times:
        total += time * time * time
    return np.cbrt(total)


@dataclass(frozen=True, slots=True)
class Matmuls:
    """Bytes and FLOPs of matmuls at given tokens, the time each roof allows, and what adds to them."""

    bytes: Floats
    flops: Floats
    memory_s: Floats
    compute_s: Floats
    serial_s: Floats             # loop over K, quantising activations, unpacking to memory, writing results

    @property
    def seconds(self) -> Floats:
        """Both roofs joined, then what adds to them [s]."""
        return join(self.memory_s, self.compute_s) + self.serial_s


def padded(rows: Floats, part: Floats) -> Floats:
    """Rows a kernel pays for: `part` of the padding to whole tiles of up to 128 rows."""
    smallest, largest = operators.TILE_ROWS
    tile = np.clip(2.0 ** np.ceil(np.log2(np.maximum(rows, 1.0))), smallest, largest)
    return np.asarray(rows + part * (np.ceil(rows / tile) * tile - rows))


def matmuls(work: Work, rates: Rates, ops: Rows, tokens: Floats) -> Matmuls:
    """Matmuls `ops` [n] at `tokens` [m] -> arrays [n, m], all layers that own the matrix.

    Experts: a batch of M tokens touches E(1-(1-k/E)^M) distinct experts, streams those weights and
    pads the rows of each. Weight-only kernels also unpack every weight they touch, or from some rows on
    write it unpacked for a 16-bit matmul. Laws and constants: `core.physics.efficiency.operators`.
    """
    pair = work.pair[ops]

    def column(values: NDArray[Value]) -> NDArray[Value]:
        return values[:, None]

    K, N, count = column(work.inputs[ops]), column(work.outputs[ops]), column(work.count[ops])
    rows, touched = _routed_rows(work, rates, ops, tokens)
    routed = column(work.experts[ops]) > 0
    quantises, apart = column(work.quantises[ops]), tokens >= column(work.unpacked_from[ops])
    dequantises = column(work.dequantises[ops]) & ~apart         # in the kernel that multiplies
    part = np.where(dequantises, operators.DEQUANTISING_PADDING,
                    np.where(routed, operators.EXPERT_PADDING, operators.LIBRARY_PADDING))
    weights = touched * K * N
    stored = column(work.weight_bytes[ops])
    moved = weights * np.where(apart, ACTIVATION_BYTES, stored) + rows * (K + N) * ACTIVATION_BYTES
    bandwidth = column(work.bandwidth[pair])
    gathered = np.where(work.experts[ops] > 0, rates.expert_bandwidth[pair], 1.0)
    reached = column(np.minimum(rates.weights_bandwidth[pair] * gathered, 1.0)) * bandwidth
    rate = column(rates.matmul_rate[pair] * np.where(work.experts[ops] > 0, rates.expert_rate[pair], 1.0))
    rate = rate * np.where(column(work.widens[ops]) & ~apart, column(rates.dequantised_rate[pair]), 1.0)
    per_flop = ((1 / (rate * column(work.peak[ops]))) ** POWER_SHARPNESS
                + column(work.power_s[ops]) ** POWER_SHARPNESS) ** (1 / POWER_SHARPNESS)
    multiply = 2.0 * padded(rows / touched, part) * weights * per_flop
    unpack = np.where(dequantises, weights / column(work.unpack[pair]), 0.0)
    unpacked = np.where(apart, weights * (stored + ACTIVATION_BYTES), 0.0)
    loop = np.where(quantises, operators.INNER_S_PER_K_QUANTISED,
                    np.where(dequantises, operators.INNER_S_PER_K_DEQUANTISED, operators.INNER_S_PER_K)) * K
    passes = ACTIVATION_BYTES * rows * np.where(
        routed, operators.EXPERT_PASSES * (K + N),
        np.where(quantises, operators.QUANTISE_PASSES, 0.0) * K + operators.EPILOGUE_PASSES * N,
    )
    return Matmuls(
        bytes=count * (moved + unpacked),
        flops=count * 2.0 * rows * K * N,
        memory_s=count * moved / reached,
        compute_s=count * join(multiply, unpack),
        serial_s=count * (loop + passes / bandwidth + unpacked / reached),
    )


def _routed_rows(work: Work, rates: Rates, ops: Rows, tokens: Floats) -> tuple[Floats, Floats]:
    """Rows on this GPU over all its matrices, and matrices touched; arrays [ops, tokens]."""
    pair, experts, active = work.pair[ops], work.experts[ops], work.active[ops]
    routed = experts > 0
    share = work.expert_share[ops]
    imbalance = np.where(routed, rates.expert_imbalance[pair], 1.0)
    chance = np.minimum(np.where(routed, active / np.maximum(experts, 1.0), 0.0), 1 - 1e-9)
    M = tokens[None, :] * work.rows_per_token[ops][:, None]
    distinct = np.where(routed[:, None], -experts[:, None] * np.expm1(M * np.log1p(-chance)[:, None]), 1.0)
    return M * (active * share * imbalance)[:, None], distinct * share[:, None]


@dataclass(frozen=True, slots=True)
class Tables:
    """Times of every pair tabulated over the tokens of a step, [pairs, TOKENS]."""

    stack: Floats                # seconds of all layers' matmuls [log]
    stack_memory: Floats         # share of them bound by memory
    head: Floats                 # seconds of lm_head [log]


def tables(work: Work, rates: Rates) -> Tables:
    """Tabulate the matmuls of every pair once; rows are then interpolated."""
    blocks = [_tabulated(work, rates, first, first + BLOCK) for first in range(0, len(work.first), BLOCK)]
    stack, memory, head = (np.concatenate(column) for column in zip(*blocks, strict=True))
    return Tables(np.log(stack), memory / stack, np.log(head))


def _tabulated(work: Work, rates: Rates, low: int, high: int) -> tuple[Floats, Floats, Floats]:
    """Seconds of the stack, those of them bound by memory, and of the head; pairs `low` to `high` [pairs, TOKENS]."""
    first, head = work.first[low:high], work.head[low:high]
    ops = np.arange(first[0], work.first[high] if high < len(work.first) else len(work.pair))
    costs = matmuls(work, rates, ops, TOKENS)
    seconds = costs.seconds
    by_memory = np.where(costs.memory_s >= costs.compute_s, seconds, 0.0)
    first, head = first - ops[0], head - ops[0]
    stack = np.add.reduceat(seconds, first, axis=0) - seconds[head]
    memory = np.add.reduceat(by_memory, first, axis=0) - by_memory[head]
    return stack, memory, seconds[head]


def between(table: Floats, pair: Rows, tokens: Floats) -> Floats:
    """Interpolate a table of the tokens of a step; linear beyond its end in its last slope."""
    at = 2.0 * np.log2(np.maximum(tokens, 1.0))
    low = np.minimum(at.astype(np.intp), len(TOKENS) - 2)
    part = at - low
    place, values = pair * table.shape[1] + low, table.ravel()
    return np.asarray(values[place] * (1 - part) + values[place + 1] * part)


def at_context(table: Floats, pair: Rows, context: Floats) -> Floats:
    """Interpolate a table of contexts, linear between powers of two."""
    low = np.clip(np.log2(np.maximum(context, 1.0)).astype(np.intp), 0, table.shape[1] - 2)
    at = np.ldexp(1.0, low)
    part = (np.maximum(context, 0.0) - at) / at
    place, values = pair * table.shape[1] + low, table.ravel()
    return np.asarray(values[place] * (1 - part) + values[place + 1] * part)
