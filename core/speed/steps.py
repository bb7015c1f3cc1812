"""Time of one decode step and of one prefill: operators on a roofline, plus what is fixed per kernel,
step and message. Everything is per pair and row, in seconds."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from core.efficiency import Rates
from core.speed.cases import Floats, Rows
from core.speed.work import ACTIVATION_BYTES, Work

SHARPNESS: Final = 4.0                                 # p-norm that joins roofs: near the ridge both cost a little
TOKENS: Final = 2.0 ** np.arange(0, 16.5, 0.5)         # rows of a matmul at which times are tabulated
EAGER_KERNELS: Final = 2.5                             # kernels an eager engine launches where others fuse one


def join(*times: Floats) -> Floats:
    """Smooth maximum of times that overlap."""
    total: Floats = np.asarray(sum(time**SHARPNESS for time in times))
    return np.asarray(total ** (1 / SHARPNESS))


@dataclass(frozen=True, slots=True)
class Matmuls:
    """Bytes and FLOPs of matmuls at given tokens, and the time each roof allows."""

    bytes: Floats
    flops: Floats
    memory_s: Floats
    compute_s: Floats

    @property
    def seconds(self) -> Floats:
        return join(self.memory_s, self.compute_s)


def matmuls(work: Work, rates: Rates, ops: Rows, tokens: Floats) -> Matmuls:
    """Matmuls `ops` [n] at `tokens` [m] -> arrays [n, m], all layers that own the matrix.

    Experts: a batch of M tokens touches E(1-(1-k/E)^M) distinct experts, streams those weights and
    pads the rows of each. Bytes: weights once, activations in and out.
    """
    pair = work.pair[ops]

    def column(values: Floats) -> Floats:
        return values[:, None]

    experts, active = column(work.experts[ops]), column(work.active[ops])
    share, count = column(work.expert_share[ops]), column(work.count[ops])
    K, N = column(work.inputs[ops]), column(work.outputs[ops])
    M = tokens[None, :] * column(work.rows_per_token[ops])
    routed = experts > 0
    imbalance = np.where(routed, column(rates.expert_imbalance[pair]), 1.0)
    chance = np.where(routed, active / np.maximum(experts, 1.0), 0.0)
    touched = np.where(routed, experts * -np.expm1(M * np.log1p(-np.minimum(chance, 1 - 1e-9))), 1.0) * share
    rows = M * active * share * imbalance
    weights = count * touched * K * N * column(work.weight_bytes[ops])
    moved = weights + count * rows * (K + N) * ACTIVATION_BYTES
    flops = 2.0 * count * rows * K * N
    padded = flops + 2.0 * count * touched * column(rates.padding_rows[pair]) * K * N
    bandwidth = column((rates.weights_bandwidth * work.bandwidth)[pair])
    rate = column(rates.matmul_rate[pair] * work.peak[ops])
    return Matmuls(moved, flops, moved / bandwidth, padded / rate)


@dataclass(frozen=True, slots=True)
class Tables:
    """Times of every pair tabulated over the tokens of a step, [pairs, TOKENS]."""

    stack: Floats                # seconds of all layers' matmuls [log]
    stack_memory: Floats         # share of them bound by memory
    head: Floats                 # seconds of lm_head [log]


def tables(work: Work, rates: Rates) -> Tables:
    """Tabulate the matmuls of every pair once; rows are then interpolated."""
    costs = matmuls(work, rates, np.arange(len(work.pair)), TOKENS)
    seconds = costs.seconds
    by_memory = np.where(costs.memory_s >= costs.compute_s, seconds, 0.0)
    head = seconds[work.head]
    stack = np.add.reduceat(seconds, work.first, axis=0) - head
    memory = np.add.reduceat(by_memory, work.first, axis=0) - by_memory[work.head]
    return Tables(np.log(stack), memory / stack, np.log(head))


def _between(table: Floats, pair: Rows, tokens: Floats) -> Floats:
    """Interpolate a table of the tokens of a step; linear beyond its end in its last slope."""
    at = 2.0 * np.log2(np.maximum(tokens, 1.0))
    low = np.minimum(at.astype(np.intp), len(TOKENS) - 2)
    part = at - low
    return table[pair, low] * (1 - part) + table[pair, low + 1] * part


def _at_context(table: Floats, pair: Rows, context: Floats) -> Floats:
    """Interpolate a table of contexts, linear between powers of two."""
    low = np.clip(np.log2(np.maximum(context, 1.0)).astype(np.intp), 0, table.shape[1] - 2)
    at = 2.0**low
    part = (np.maximum(context, 0.0) - at) / at
    return table[pair, low] * (1 - part) + table[pair, low + 1] * part


@dataclass(frozen=True, slots=True)
class Step:
    """Seconds of one step or prefill, by what they are spent on; arrays [rows]."""

    memory: Floats
    compute: Floats
    overhead: Floats
    communication: Floats
    host: Floats                 # time an eager engine needs to launch it

    @property
    def seconds(self) -> Floats:
        return join(self.memory + self.compute + self.overhead + self.communication, self.host)


@dataclass(frozen=True, slots=True)
class Clock:
    """Step times of a set of pairs."""

    work: Work
    rates: Rates
    tables: Tables

    def decode(self, pair: Rows, sequences: Floats, context: Floats) -> Step:
        """One decode step of `sequences` on a replica, each at `context` tokens."""
        w, r = self.work, self.rates
        stages = np.where(w.layer_split[pair], 1.0, w.pp[pair])
        batch = np.maximum(1.0, sequences / stages)
        stack = np.exp(_between(self.tables.stack, pair, batch))
        share = _between(self.tables.stack_memory, pair, batch)
        head = np.exp(_between(self.tables.head, pair, batch))
        cache, mixing = self._cache(pair, batch, context)
        state = 2 * batch * w.state_bytes[pair] / (r.kv_bandwidth * w.bandwidth)[pair]
        reads = np.where(cache >= mixing, join(cache, mixing), 0.0)
        mixes = np.where(cache < mixing, join(cache, mixing), 0.0)
        overhead = r.kernel_s[pair] * w.kernels[pair] + r.step_s[pair] + r.sequence_s[pair] * batch
        return Step(
            memory=stack * share + head + reads + state + self._elementwise(pair, batch),
            compute=stack * (1 - share) + mixes,
            overhead=np.where(w.eager[pair], 0.0, overhead),
            communication=self._messages(pair, batch),
            host=np.where(w.eager[pair], self._host(pair) + overhead, 0.0),
        )

    def prefill(self, pair: Rows, prompts: Floats, tokens: Floats, beside: Floats | None = None) -> Step:
        """Prefill of `prompts` of `tokens` each on a replica, in chunks of the engine.

        With `beside` decoding sequences in the same steps it is what the prompts add to those steps:
        weights are streamed and kernels launched anyway.
        """
        w, r = self.work, self.rates
        total = prompts * tokens
        chunk = np.minimum(total, w.chunk[pair])
        chunks = np.maximum(1.0, total / chunk)
        share = _between(self.tables.stack_memory, pair, chunk)
        head = np.exp(_between(self.tables.head, pair, prompts))
        if beside is None:
            stack = np.exp(_between(self.tables.stack, pair, chunk))
            launches = r.kernel_s[pair] * w.kernels[pair] + r.step_s[pair]
        else:
            stack = np.exp(_between(self.tables.stack, pair, chunk + beside))
            stack = stack - np.exp(_between(self.tables.stack, pair, beside))
            launches, head = np.zeros_like(chunk), np.zeros_like(chunk)
        flops = total * _at_context(w.prefill_flops, pair, tokens)
        attention = flops / (r.attention_rate * w.peak_16bit)[pair]
        overhead = chunks * launches + r.sequence_s[pair] * prompts
        pipelined = (chunks + w.pp[pair] - 1) / (chunks * w.pp[pair])
        return Step(
            memory=(chunks * stack * share + self._elementwise(pair, total)) * pipelined + head,
            compute=(chunks * stack * (1 - share) + attention) * pipelined,
            overhead=np.where(w.eager[pair], 0.0, overhead),
            communication=chunks * self._messages(pair, chunk) * pipelined,
            host=np.where(w.eager[pair], chunks * self._host(pair) + r.step_s[pair], 0.0),
        )

    def _cache(self, pair: Rows, batch: Floats, context: Floats) -> tuple[Floats, Floats]:
        """Decode attention: time to read the cache, time to multiply with it."""
        w, r = self.work, self.rates
        read = batch * _at_context(w.kv_read, pair, context) / (r.kv_bandwidth * w.bandwidth)[pair]
        flops = batch * _at_context(w.decode_flops, pair, context)
        return read, flops / (r.attention_rate * w.peak_16bit)[pair]

    def _elementwise(self, pair: Rows, tokens: Floats) -> Floats:
        """Norms, gates and residuals: passes over the hidden vectors of every layer."""
        w, r = self.work, self.rates
        moved = tokens * w.layers[pair] * w.hidden[pair] * ACTIVATION_BYTES * r.elementwise_passes[pair]
        return np.asarray(moved / (r.weights_bandwidth * w.bandwidth)[pair])

    def _host(self, pair: Rows) -> Floats:
        return np.asarray(self.rates.host_kernel_s[pair] * EAGER_KERNELS * self.work.kernels[pair])

    def _messages(self, pair: Rows, tokens: Floats) -> Floats:
        """All-reduces of tensor parallelism, exchange of tokens with experts elsewhere.

        A ring all-reduce moves 2(n-1)/n of the message over each link (Thakur et al. 2005).
        """
        w, r = self.work, self.rates
        message = tokens * w.hidden[pair] * ACTIVATION_BYTES
        link = np.maximum((r.link_rate * w.link)[pair], 1.0)
        tp, dp = w.tp[pair], w.dp[pair]
        reduce = r.link_latency_s[pair] * np.log2(2 * tp) + 2 * (tp - 1) / tp * message / link
        exchange = r.link_latency_s[pair] * np.log2(2 * dp) + 2 * (dp - 1) * message / link
        return np.asarray(
            np.where(tp > 1, w.reductions[pair] * reduce, 0.0)
            + np.where(dp > 1, w.expert_layers[pair] * exchange, 0.0),
        )


def clock(work: Work, rates: Rates) -> Clock:
    """Tabulate the pairs."""
    return Clock(work, rates, tables(work, rates))
