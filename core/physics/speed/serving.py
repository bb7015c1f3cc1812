"""Batches in time: a static batch, and continuous batching in steady state."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from core.physics.speed.cases import Floats, Rows, Times
from core.physics.speed.steps import Clock

ROUNDS: Final = 3            # fixed-point rounds; the mean batch settles within a percent
LARGEST_BATCH: Final = 1e4   # of a static run at maximum load whose cache is not known to be finite


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of each row: requests in flight over the deployment (NaN: maximum), tokens."""

    pair: Rows
    concurrency: Floats
    input_tokens: Floats
    output_tokens: Floats
    held: Floats                 # requests one replica's cache holds
    found_tokens: Floats | float = 0.0   # of the prompt, in the prefix cache
    drafted: Floats | float = 0.0        # tokens that a drafter proposes a step
    gained: Floats | float = 1.0         # tokens that a step yields

    @property
    def new_tokens(self) -> Floats:
        """Tokens of a prompt that have to be computed."""
        return self.input_tokens - self.found_tokens


def capacity(clock: Clock, load: Load) -> Floats:
    """Requests that one replica runs at once: as many as its cache and its engine take."""
    work, full = clock.work, np.isnan(load.concurrency)
    cached = np.where(full, clock.rates.fill[load.pair], 1.0) * load.held
    seats = np.where(full, work.default_seats[load.pair], work.seats[load.pair])
    return np.maximum(1.0, np.minimum(cached, seats))


def static(clock: Clock, load: Load) -> Times:
    """The batch starts together: its prefill, then the mean step while the context grows."""
    dp = clock.work.dp[load.pair]
    fits = np.clip(load.held, 1.0, LARGEST_BATCH)
    asked = np.where(np.isnan(load.concurrency), fits * dp, load.concurrency)
    batch = np.maximum(1.0, asked / dp)
    ttft = clock.prefill(load.pair, batch, load.new_tokens, found=load.found_tokens).seconds
    context = load.input_tokens + load.output_tokens / 2
    tpot = clock.decode(load.pair, batch, context, load.drafted).seconds / load.gained
    whole = ttft + (load.output_tokens - 1) * tpot
    return Times(ttft, tpot, asked * load.output_tokens / whole, asked, batch / fits)


def steady(clock: Clock, load: Load) -> Times:
    """Continuous batching: every step carries the decodes and a share of other prompts' prefill.

    With n requests in flight and O tokens each, every request sees n - 1 other prompts prefilled in its
    life. Those ahead of its own delay its first token, each by as long as its own prefill; the rest, packed
    into chunks, its decode: what waits in one does not wait in the other. Ahead are a share of all, for a
    benchmark's first requests start together, and those that happen to arrive with it, whose number grows
    slowly. A decode step carries one chunk of the rest; where it has to wait for more, those are steps of
    their own, which stream the weights again; some engines always prefill apart. Above
    the KV capacity a request also waits for a seat.
    """
    w, r, pair = clock.work, clock.rates, load.pair
    dp, seats = w.dp[pair], capacity(clock, load)
    asked = np.where(np.isnan(load.concurrency), np.inf, np.maximum(1.0, load.concurrency / dp))
    seated = np.minimum(asked, seats)
    answers, new = np.maximum(load.output_tokens, 1.0), load.new_tokens
    context = load.input_tokens + load.output_tokens / 2
    own = clock.prefill(pair, np.ones_like(seated), new, found=load.found_tokens).seconds
    alone = clock.decode(pair, np.ones_like(seated), context, load.drafted).seconds
    others = seated - 1
    ahead = np.minimum(r.synchronised_share[pair] * others + r.wave[pair] * np.log1p(others), others)

    def steps(prompts: Floats | float) -> Floats:
        return np.maximum(1.0, prompts * new / w.chunk[pair])

    decoding = seated
    for _ in range(ROUNDS):
        batch = np.maximum(1.0, decoding)
        step = clock.decode(pair, batch, context, load.drafted).seconds
        packed = np.maximum(1.0, np.minimum(batch / answers, w.chunk[pair] / new))
        prefills = (others - ahead) / answers / packed
        riding = np.where(w.prefills_apart[pair], 0.0, 1 / np.maximum(1.0, prefills * steps(packed)))
        beside = clock.prefill(pair, packed, new, batch, load.found_tokens).seconds
        between = clock.prefill(pair, packed, new, found=load.found_tokens).seconds
        tpot = step / load.gained + r.interference[pair] * prefills * (riding * beside + (1 - riding) * between)
        waited = r.wait_steps[pair] * load.gained * tpot
        first = r.request_s[pair] + waited + (1 + ahead) * own + steps(1.0) * (step - alone)
        decoding = seated * answers * tpot / (first + answers * tpot)
    latency = first + (answers - 1) * tpot
    waiting = np.where(np.isfinite(asked), np.maximum(0.0, asked - seated), 0.0)
    queue = waiting / seated * latency
    rate = seated * dp * load.output_tokens / latency
    crowding = np.where(np.isfinite(asked), asked / seats, 1.0)
    return Times(first + queue, tpot, rate, seated * dp, crowding)
