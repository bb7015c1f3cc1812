"""Messages that leave a machine, in seconds: all-reduces over several, tokens for experts elsewhere, stages."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.physics import network as machines
from core.physics.efficiency import loads
from core.physics.network import Spans
from core.physics.speed.cases import Floats, Rows
from core.terms import Deployment


@dataclass(frozen=True, slots=True)
class Network:
    """What lies between the machines of every deployment, arrays [pairs]; 1 machine: nothing leaves it."""

    each: Floats                 # GPUs of one machine
    tensor: Floats               # machines of one tensor-parallel group
    pipeline: Floats             # of one replica's stages
    replicas: Floats             # of the replicas that exchange tokens
    bytes_per_s: Floats          # of one machine, one direction
    reduce_s: Floats
    swap_s: Floats
    hop_s: Floats

    def reduce(self, pair: Rows, message: Floats) -> Floats:
        """An all-reduce's part between machines: each ends with the sum of its own, 2(m-1)/m of it is moved [s].

        Ring over machines (Thakur et al. 2005), every network link of a machine carrying its share.
        """
        m = self.tensor[pair]
        moved = 2 * (m - 1) / m * message / self.bytes_per_s[pair]
        return np.asarray(np.where(m > 1, self.reduce_s[pair] + moved, 0.0))

    def swap(self, pair: Rows, volume: Floats) -> Floats:
        """What one GPU sends to experts elsewhere: all but its own machine's share leaves it [s]."""
        m = self.replicas[pair]
        moved = (m - 1) / m * volume * self.each[pair] / self.bytes_per_s[pair]
        return np.asarray(np.where(m > 1, self.swap_s[pair] + moved, 0.0))

    def hops(self, pair: Rows, message: Floats) -> Floats:
        """A step's way through the stages and back to the first machine, which samples [s]."""
        m = self.pipeline[pair]
        return np.asarray(np.where(m > 1, m * (self.hop_s[pair] + message / self.bytes_per_s[pair]), 0.0))


def network(deployments: Sequence[Deployment]) -> Network | None:
    """What is between the machines of each deployment; None where all stay in one."""
    found = [machines.spans(d) for d in deployments]
    if all(one.machines == 1 for one in found):
        return None

    def of(name: str) -> Floats:
        return np.array([getattr(one, name) for one in found], float)

    def latency(name: str) -> Floats:
        return np.array([loads.constant(_kind(name, one)) for one in found])

    return Network(of("gpus_each"), of("tensor"), of("pipeline"), of("replicas"), of("bytes_per_s"),
                   latency("reduce"), latency("swap"), latency("hop"))


def _kind(name: str, spans: Spans) -> str:
    return f"network_{name}_s" if spans.is_rdma else f"network_{name}_tcp_s"
