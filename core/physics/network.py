"""Machines that a deployment spans and the network between them: what of its messages leaves a machine."""

from dataclasses import dataclass
from math import ceil
from typing import Final

from core.basics.units import GB
from core.products.gpus import GpuSpec
from core.terms import Deployment

_USUAL_GPUS: Final = 8           # of one machine, where the GPUs are joined in pairs at most
_OF_A_TRAY: Final = {72: 4, 32: 2}   # GPUs of one machine of an NVLink domain: NVIDIA GB200 NVL72, GH200 NVL32
# Network links that machines have per GPU [Gbit/s]: NVIDIA DGX data sheets (V100 to B200), AMD MI300X platforms.
_PER_GPU: Final = {
    "7.0": 50.0, "8.0": 200.0, "9.0": 400.0, "10.0": 400.0, "10.3": 800.0, "gfx942": 400.0, "gfx950": 400.0,
}
_OTHERS_PER_GPU: Final = 100.0
_OTHERS_PER_MACHINE: Final = 25.0    # Ethernet of machines with cards in PCIe slots
_RDMA_FROM: Final = 100.0            # Gbit/s of a machine: slower ones are taken for Ethernet over TCP


@dataclass(frozen=True, slots=True)
class Spans:
    """How many machines a deployment's groups of GPUs reach over, and what lies between."""

    machines: int
    gpus_each: int               # GPUs in one machine
    tensor: int                  # machines of one tensor-parallel group
    pipeline: int                # of the stages of one replica
    replicas: int                # of the replicas that exchange tokens for their experts
    bytes_per_s: float           # of one machine, one direction
    is_rdma: bool                # InfiniBand or RoCE; else Ethernet through the processors


def gpus_of_a_machine(gpu: GpuSpec) -> int:
    """GPUs that one machine holds at most, or one NVLink domain where that is larger.

    Links between machines (DGX Spark, Macs) are the GPU's own: those stay together as if in one.
    """
    return max(_USUAL_GPUS, gpu.link_gpus) if "bridge" in gpu.link else gpu.link_gpus


def spans(d: Deployment) -> Spans:
    """Tensor parallelism fills a machine first, then stages, then replicas."""
    machines = max(d.nodes, ceil(d.gpus / gpus_of_a_machine(d.gpu)))
    one_domain = d.gpu.link_gpus > _USUAL_GPUS or "between machines" in d.gpu.link
    if one_domain and d.gpus <= d.gpu.link_gpus:      # what joins the GPUs joins machines too
        machines = 1
    each = ceil(d.gpus / machines)
    rate = d.network_gbit_per_s or usual_gbit_per_s(d.gpu, each)
    tensor, stages = ceil(d.tp / each), ceil(d.tp * d.pp / each)
    return Spans(machines, each, tensor, ceil(stages / tensor), ceil(machines / stages), rate / 8 * GB,
                 rate >= _RDMA_FROM)


def usual_gbit_per_s(gpu: GpuSpec, gpus: int) -> float:
    """Network of a machine with that many of these GPUs, where nobody says [Gbit/s]."""
    joined = gpu.link_gpus >= _USUAL_GPUS and not gpu.link.startswith("PCIe")
    return _PER_GPU.get(gpu.compute_capability, _OTHERS_PER_GPU) * gpus if joined else _OTHERS_PER_MACHINE


def hosts(d: Deployment) -> int:
    """Machines on which processes are started: as many as a network joins, and those that the GPUs' own link joins."""
    if "between machines" in d.gpu.link:
        return d.gpus
    tray = _OF_A_TRAY.get(d.gpu.link_gpus)
    return max(spans(d).machines, d.nodes, ceil(d.gpus / tray) if tray else 1)


def local(d: Deployment) -> int:
    """GPUs of one machine that exchange the messages of a step."""
    group = d.tp * d.dp
    return min(group, spans(d).gpus_each) if group > 1 else 1
