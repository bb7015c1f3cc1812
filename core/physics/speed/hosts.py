"""The host's part of a step: weights it reads from its memory and multiplies, or sends to the GPU for long prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from core.models import ModelSpec
from core.physics import memory
from core.physics.efficiency import loads
from core.physics.efficiency.labels import Pair
from core.physics.speed.cases import Floats, Rows
from core.products.cpus import Host
from core.products.formats import Format
from core.terms import Deployment

PCIE: Final = 16e9               # B/s where a GPU names no link: PCIe 3.0 x16
# How fast a core unpacks a format, against Q4_0 [1]: runs of Llama-3.1-8B on an M2 Max, ik_llama.cpp discussion 164.
_UNPACKED: Final[Mapping[str, float]] = {"IQ1": 0.25, "IQ2": 0.25, "IQ3": 0.25, "Q2": 0.45, "Q3": 0.5, "Q5": 0.8,
                                         "Q6": 0.85}


@dataclass(frozen=True, slots=True)
class Hosts:
    """What hosts do beside the GPUs, arrays [pairs]; a pair without a host has shares of 1 and no bytes."""

    stack_share: Floats
    layers_share: Floats
    head_share: Floats
    crossings: Floats
    dense_bytes: Floats
    expert_bytes: Floats
    routed: Floats               # share of the experts that one token reads
    flops: Floats                # of one token
    bytes_per_s: Floats          # weights read and unpacked
    flops_per_s: Floats
    sends: Floats                # bytes/s to the GPU; 0 without one

    def decode_s(self, pair: Rows, batch: Floats) -> Floats:
        """The host's part of a step of that many sequences [s]."""
        touched = 1 - (1 - self.routed[pair]) ** batch
        read = (self.dense_bytes[pair] + self.expert_bytes[pair] * touched) / self.bytes_per_s[pair]
        return np.cbrt(read**3 + (self.flops[pair] * batch / self.flops_per_s[pair]) ** 3)

    def chunk_s(self, pair: Rows, tokens: Floats) -> Floats:
        """The host's part of a chunk of a prompt: multiplied there, or sent to the GPU if that is faster [s]."""
        multiplied = self.decode_s(pair, tokens)
        whole = self.dense_bytes[pair] + self.expert_bytes[pair]
        sent = np.where(self.sends[pair] > 0, whole / np.maximum(self.sends[pair], 1.0), np.inf)
        return np.minimum(multiplied, sent)

    def attention_s(self, pair: Rows, flops: Floats) -> Floats:
        """Attention of a prompt's layers that are not on the GPU [s]."""
        return np.asarray((1 - self.layers_share[pair]) * flops / self.flops_per_s[pair])


def hosts(pairs: Sequence[Pair]) -> Hosts | None:
    """Columns of the hosts; None where no pair has one."""
    if not any(deployment.host for _, deployment in pairs):
        return None
    return Hosts(*np.array([_row(*pair) for pair in pairs], float).T)


def _row(spec: ModelSpec, d: Deployment) -> tuple[float, ...]:
    held = memory.hosted(spec, d)
    if held is None or d.host is None:
        return (1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0)
    experts = next((linear for linear, _ in spec.linears() if linear.experts), None)
    routed = experts.experts_per_token / experts.experts if experts else 0.0
    sends = 0.0 if not held.placement.gpu_layers else d.gpu.pcie_bytes_per_s or PCIE
    return (
        held.stack_share, held.layers_share, held.head_share, held.crossings, held.dense_bytes, held.expert_bytes,
        routed, held.flops_per_token, bytes_per_s(d.host, d.weights), flops_per_s(d.host), sends,
    )


def bytes_per_s(host: Host, fmt: Format) -> float:
    """Weights of a format that a processor reads and unpacks a second: its memory and its cores, the slower one [B/s].

    Cores help less the more there are; constants fitted on 133 processors (localscore).
    """
    ease = next((share for name, share in _UNPACKED.items() if fmt.name.removeprefix("gguf-").startswith(name)), 1.0)
    memory_rate = host.bandwidth_bytes_per_s * loads.constant(f"host_bandwidth_{host.maker}")
    cores_rate = ease * loads.constant(f"core_{host.kind}") * host.cores ** loads.constant("cores_exponent")
    return float((memory_rate**-3 + cores_rate**-3) ** (-1 / 3))


def flops_per_s(host: Host) -> float:
    """What its cores multiply a second in prompts [FLOP/s]."""
    return loads.constant(f"core_flops_{host.kind}") * host.cores
