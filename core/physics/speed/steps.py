"""Time of one decode step and of one prefill: operators on a roofline, plus what is fixed per kernel,
step and message. Everything is per pair and row, in seconds."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from core.physics.efficiency import Rates, loads, operators
from core.physics.speed.adapting import Adapting
from core.physics.speed.cases import Floats, Rows
from core.physics.speed.drafts import Drafts
from core.physics.speed.hosts import Hosts
from core.physics.speed.matmuls import Tables, at_context, between, join, tables
from core.physics.speed.work import ACTIVATION_BYTES, Work

EAGER_KERNELS: Final = 2.5       # kernels an eager engine launches where others fuse one


def _eager_passes(flops: Floats, values: Floats) -> Floats:
    """Times an eager engine moves the cache to decode a token.

    transformers' DynamicCache is copied to append (read, write), then repeated for every query head of
    a group (read, one write a head) and read by attention (once a head). Each cached value is multiplied
    and added once a head of its group: two FLOPs.
    """
    heads_per_group = flops / np.maximum(2 * values, 1.0)
    return np.asarray(3 + 2 * heads_per_group)


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
        """The GPU's time; where the engine launches eagerly, joined with the time its host needs [s]."""
        device = self.memory + self.compute + self.overhead + self.communication
        return join(device, self.host) if self.host.any() else device


@dataclass(frozen=True, slots=True)
class Clock:
    """Step times of a set of pairs."""

    work: Work
    rates: Rates
    tables: Tables

    def decode(self, pair: Rows, sequences: Floats, context: Floats, drafted: Floats | float = 0.0) -> Step:
        """One decode step of `sequences` on a replica, each at `context` tokens.

        It checks `drafted` tokens more of each: the cache is read once for all of them, everything else takes them as
        more rows, and their drafter passes once for each.
        """
        w, r = self.work, self.rates
        stages = np.where(w.layer_split[pair], 1.0, w.pp[pair])
        batch = np.maximum(1.0, sequences / stages)
        more = np.asarray(drafted, float)
        drafts = w.drafts if np.any(more) else None
        rows = batch if drafts is None else batch * (1 + more)
        stack = np.exp(between(self.tables.stack, pair, rows))
        share = between(self.tables.stack_memory, pair, rows)
        head = np.exp(between(self.tables.head, pair, rows))
        cache, mixing = self.cache(pair, batch, context)
        if w.hosts is not None:
            return self._adapted(self._with_host(w.hosts, pair, batch, (stack, share, head, cache, mixing)), pair, rows)
        mixing = mixing if drafts is None else mixing * (1 + more)
        reading, joined = cache >= mixing, join(cache, mixing)
        overhead = r.kernel_s[pair] * w.units[pair] + r.step_s[pair] + r.sequence_s[pair] * batch
        step = Step(
            memory=stack * share + head + np.where(reading, joined, 0.0)
            + self.state(pair, batch) + self.elementwise(pair, rows),
            compute=stack * (1 - share) + np.where(reading, 0.0, joined),
            overhead=np.where(w.eager[pair], 0.0, overhead),
            communication=self._messages(pair, rows),
            host=np.where(w.eager[pair], self._host(pair) + overhead, 0.0),
        )
        if drafts is not None:
            step = self._drafting(drafts, step, pair, (batch, more, cache))
        return self._adapted(step, pair, rows)

    def _with_host(self, hosts: Hosts, pair: Rows, batch: Floats, whole: tuple[Floats, ...]) -> Step:
        """A decode step whose weights lie on both sides, which wait for each other; `whole`: all of it on the GPU."""
        w, r = self.work, self.rates
        stack, share, head, cache, mixing = whole
        here, layers = hosts.stack_share[pair], hosts.layers_share[pair]
        elsewhere = (1 - layers) * cache * (r.kv_bandwidth * w.bandwidth)[pair] / hosts.bytes_per_s[pair]
        device = here * stack * share + hosts.head_share[pair] * head
        launched = r.kernel_s[pair] * w.units[pair] * layers + hosts.crossings[pair] * loads.constant("crossing_s")
        return Step(
            memory=device + layers * join(cache, mixing) + layers * self.elementwise(pair, batch)
            + hosts.decode_s(pair, batch) + elsewhere,
            compute=here * stack * (1 - share),
            overhead=launched + r.step_s[pair] + r.sequence_s[pair] * batch,
            communication=self._messages(pair, batch) * layers,
            host=np.zeros_like(batch),
        )

    def _drafting(self, drafts: Drafts, step: Step, pair: Rows, asked: tuple[Floats, Floats, Floats]) -> Step:
        """A step with the passes of its drafter before it and the checks after it; `asked`: batch, drafted, cache."""
        w, r = self.work, self.rates
        batch, drafted, cache = asked
        own = drafts.stack_share[pair] * np.exp(between(self.tables.stack, pair, batch))
        own_head = drafts.own_head[pair] * np.exp(between(self.tables.head, pair, batch))
        read = drafts.bytes[pair] / (r.weights_bandwidth * w.bandwidth)[pair]
        multiply = drafts.flops[pair] * batch / (r.matmul_rate * w.peak_16bit)[pair]
        streamed = join(read, multiply) + own + own_head + drafts.stack_share[pair] * cache
        launched = drafts.units[pair] * r.kernel_s[pair] + drafts.passes[pair] * loads.constant("draft_pass_s")
        checking = np.where(drafted > 0, loads.constant("check_s"), 0.0)
        spent = drafted * launched + checking + batch * drafted * loads.constant("check_token_s")
        eager = w.eager[pair]
        return Step(
            memory=step.memory + drafted * streamed,
            compute=step.compute,
            overhead=step.overhead + np.where(eager, 0.0, spent),
            communication=step.communication + drafted * drafts.stack_share[pair] * self._messages(pair, batch),
            host=step.host + np.where(eager, spent, 0.0),
        )

    def _adapted(self, step: Step, pair: Rows, rows: Floats, passes: Floats | float = 1.0) -> Step:
        """`rows` tokens with LoRA adapters beside their matmuls, no more of them than tokens; `passes` are launched."""
        a = self.work.adapters
        if a is None:
            return step
        read, multiply = self.adapters_s(a, pair, rows)
        return replace(
            step, memory=step.memory + read, compute=step.compute + multiply,
            overhead=step.overhead + passes * a.kernels[pair] * loads.constant("adapter_kernel_s"),
        )

    def adapters_s(self, a: Adapting, pair: Rows, rows: Floats) -> tuple[Floats, Floats]:
        """Time to read the adapters that `rows` tokens use, and to multiply with them [s]."""
        w, r = self.work, self.rates
        read = np.minimum(rows, a.count[pair]) * a.bytes[pair] / (r.weights_bandwidth * w.bandwidth)[pair]
        return read, rows * a.flops[pair] / (r.matmul_rate * w.peak_16bit)[pair]

    def prefill(
        self, pair: Rows, prompts: Floats, tokens: Floats, beside: Floats | None = None, found: Floats | float = 0.0
    ) -> Step:
        """Prefill of `prompts` of `tokens` each on a replica, in chunks of the engine.

        Each stands behind `found` tokens of its own whose keys and values are cached: attended to, not computed.

        With `beside` decoding sequences in the same steps it is what the prompts add to those steps:
        weights are streamed and kernels launched anyway.
        """
        w, r = self.work, self.rates
        total = prompts * tokens
        chunk = np.minimum(total, w.chunk[pair])
        chunks = np.maximum(1.0, total / chunk)
        share = between(self.tables.stack_memory, pair, chunk)
        head = np.exp(between(self.tables.head, pair, prompts))
        if beside is None:
            stack = np.exp(between(self.tables.stack, pair, chunk))
            launches = r.kernel_s[pair] * w.units[pair] + r.step_s[pair]
        else:
            stack = np.exp(between(self.tables.stack, pair, chunk + beside))
            stack = stack - np.exp(between(self.tables.stack, pair, beside))
            launches, head = np.zeros_like(chunk), np.zeros_like(chunk)
        attention = self.prompt_attention(pair, total, tokens, found)
        if w.hosts is not None:
            stack = stack * w.hosts.stack_share[pair] + w.hosts.chunk_s(pair, chunk)
            attention = attention + w.hosts.attention_s(pair, attention * (r.attention_rate * w.peak_16bit)[pair])
        overhead = chunks * launches + r.sequence_s[pair] * prompts
        overlapped = 1 - (chunks + w.pp[pair] - 1) / (chunks * w.pp[pair])
        pipelined = 1 - r.pipeline_share[pair] * overlapped
        step = Step(
            memory=(chunks * stack * share + self.elementwise(pair, total)) * pipelined + head,
            compute=(chunks * stack * (1 - share) + attention) * pipelined + prompts * self.seeing(pair),
            overhead=np.where(w.eager[pair], 0.0, overhead),
            communication=chunks * self._messages(pair, chunk) * pipelined,
            host=np.where(w.eager[pair], chunks * self._host(pair) + r.step_s[pair], 0.0),
        )
        return self._adapted(step, pair, total, 0.0 if beside is not None else chunks)

    def seeing(self, pair: Rows) -> Floats | float:
        """The vision tower's time over the images of one prompt [s]."""
        w, r = self.work, self.rates
        return 0.0 if w.seeing is None else np.asarray(w.seeing[pair] / (r.matmul_rate * w.peak_16bit)[pair])

    def prompt_attention(self, pair: Rows, total: Floats, tokens: Floats, found: Floats | float = 0.0) -> Floats:
        """Causal attention of prompts of `tokens`, `total` tokens together; some engines write the scores out.

        Behind `found` cached tokens it is that of the whole prompt without that of the cached part.
        """
        w, r = self.work, self.rates
        whole = tokens + found
        flops = total * at_context(w.prefill_flops, pair, whole)
        if np.any(found):
            cached = np.asarray(found) * at_context(w.prefill_flops, pair, np.asarray(found, float))
            flops = total / tokens * (whole * at_context(w.prefill_flops, pair, whole) - cached)
        scores = np.where(w.writes_scores[pair], flops * operators.SCORE_BYTES_PER_FLOP, 0.0)
        return join(flops / (r.attention_rate * w.peak_16bit)[pair], scores / (r.kv_bandwidth * w.bandwidth)[pair])

    def state(self, pair: Rows, batch: Floats) -> Floats:
        """Recurrent state of every sequence, read and written once a token."""
        w, r = self.work, self.rates
        return np.asarray(2 * batch * w.state_bytes[pair] / (r.kv_bandwidth * w.bandwidth)[pair])

    def cache(self, pair: Rows, batch: Floats, context: Floats) -> tuple[Floats, Floats]:
        """Decode attention: time to read the cache, time to multiply with it."""
        w, r = self.work, self.rates
        flops = batch * at_context(w.decode_flops, pair, context)
        moved = batch * at_context(w.kv_read, pair, context)
        moved = moved * np.where(w.eager[pair], _eager_passes(flops, moved * w.cache_values[pair]), 1.0)
        read = join(moved / (r.kv_bandwidth * w.bandwidth)[pair],
                    moved * w.kv_elements[pair] / operators.CACHE_ELEMENTS_PER_S)
        return read, flops / (r.attention_rate * w.peak_16bit)[pair]

    def elementwise(self, pair: Rows, tokens: Floats) -> Floats:
        """Norms, gates and residuals: passes over the hidden vectors of every layer."""
        w, r = self.work, self.rates
        moved = tokens * w.layers[pair] * w.hidden[pair] * ACTIVATION_BYTES * r.elementwise_passes[pair]
        return np.asarray(moved / (r.weights_bandwidth * w.bandwidth)[pair])

    def _host(self, pair: Rows) -> Floats:
        return np.asarray(self.rates.host_kernel_s[pair] * EAGER_KERNELS * self.work.eager_units[pair])

    def _messages(self, pair: Rows, tokens: Floats) -> Floats:
        """All-reduces of tensor parallelism, tokens gathered for experts elsewhere and scattered back.

        A ring all-reduce moves 2(n-1)/n of the message over each link (Thakur et al. 2005).
        """
        w, r = self.work, self.rates
        message = tokens * w.hidden[pair] * ACTIVATION_BYTES
        link = np.maximum((r.link_rate * w.link)[pair], 1.0)
        tp, dp = w.tp[pair], w.dp[pair]
        inside = tp if w.network is None else np.minimum(tp, w.network.each[pair])
        if not (w.gpus > 1).any():
            return np.zeros_like(tokens)

        def exchange(volume: Floats) -> Floats:
            ramp = operators.RAMP_S * volume / (volume + operators.RAMP_BYTES)
            return np.asarray(r.link_latency_s[pair] + volume / link + ramp)

        reduce = np.where(inside > 1, exchange(2 * (inside - 1) / inside * message), 0.0)
        swap = 2 * exchange((dp - 1) * message)
        hops = np.zeros_like(message)
        if w.network is not None:
            reduce = reduce + w.network.reduce(pair, message)
            swap = swap + 2 * w.network.swap(pair, (dp - 1) * message)
            hops = w.network.hops(pair, message)
        reduced = np.where(tp > 1, w.reductions[pair] * reduce, 0.0)
        return np.asarray(reduced + np.where(dp > 1, w.expert_layers[pair] * swap, 0.0) + hops)


def clock(work: Work, rates: Rates) -> Clock:
    """Tabulate the pairs."""
    return Clock(work, rates, tables(work, rates))
