"""The footprint of a deployment, term by term, each with the rule it follows."""

from dataclasses import dataclass

import numpy as np

from core.engines import find as find_engine
from core.memory.weights import weight_bytes_per_gpu
from core.models import ModelSpec, Tokens
from core.terms import Basis, Deployment
from core.units import GIB


@dataclass(frozen=True, slots=True)
class Term:
    """One named part of the memory of a GPU."""

    name: str
    bytes: float
    rule: str
    source: str
    basis: Basis
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Footprint:
    """GPU memory of a deployment: what it takes, and the KV cache that is left."""

    terms: tuple[Term, ...]        # everything but the KV cache
    reported_bytes: float          # what the driver reports
    usable_bytes: float            # what the engine may use
    kv_cache_bytes: float          # the pool, >= 0
    kv_tokens: float               # tokens the engine reports for it; inf without any cache
    kv_bytes_per_token: float      # pool bytes of one such token
    overflow_bytes: float          # > 0 when it does not fit
    _sequence: tuple[ModelSpec, Deployment]

    @property
    def fits(self) -> bool:
        """Weights and overheads leave room for at least one token of cache."""
        return self.overflow_bytes <= 0

    def term(self, name: str) -> Term:
        """The term of that name; KeyError if there is none."""
        return {term.name: term for term in self.terms}[name]

    def max_concurrency(self, context: Tokens) -> Tokens:
        """Sequences of `context` tokens that the KV pool of one replica holds."""
        need = np.maximum(sequence_bytes(*self._sequence, context), 1e-9)
        return self.kv_cache_bytes / need


def kv_bytes_per_token_per_gpu(spec: ModelSpec, deployment: Deployment) -> float:
    """Bytes of KV cache a token of a long context takes on one GPU [B/token]."""
    long = float(spec.max_context or 8192)
    return float(spec.kv_bytes(long, deployment.kv_cache, deployment.tp)) / long / deployment.pp


def sequence_bytes(spec: ModelSpec, deployment: Deployment, context: Tokens) -> Tokens:
    """KV cache and state of one sequence of `context` tokens on one GPU [B]."""
    kv = spec.kv_bytes(context, deployment.kv_cache, deployment.tp)
    return (kv + spec.state_bytes(2.0, deployment.tp)) / deployment.pp


def footprint(spec: ModelSpec, deployment: Deployment) -> Footprint:
    """What a deployment holds on its fullest GPU."""
    engine = find_engine(deployment.engine)
    reported = float(deployment.gpu.memory_bytes)
    usable = reported * deployment.memory_fraction
    weights = weight_bytes_per_gpu(spec, deployment)
    seqs = deployment.max_num_seqs or engine.max_num_seqs
    peak = 14.5 * seqs * spec.vocab_size
    context = 0.25 * GIB
    terms = (
        Term("weights", weights, "matrices in the format, the rest 16-bit", "", Basis.ESTIMATED, weights, weights),
        Term("activations", peak, "logits of max_num_seqs", "", Basis.ESTIMATED, peak / 2, peak * 2),
        Term("context", context, "CUDA context", "", Basis.ESTIMATED, context / 2, context * 2),
    )
    left = usable - sum(term.bytes for term in terms)
    per_token = kv_bytes_per_token_per_gpu(spec, deployment)
    pool = max(0.0, left)
    tokens = pool / per_token if per_token else float("inf")
    return Footprint(terms, reported, usable, pool, tokens, per_token, max(0.0, -left), (spec, deployment))
