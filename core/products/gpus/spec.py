"""What a planner knows about one accelerator."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from core.basics.units import GB

# PCI-SIG: transfer rate per lane [GT/s] and the share of it that carries data (128b/130b coding; FLIT for 6.0).
PCIE_GT_PER_S: Final = {3: 8.0, 4: 16.0, 5: 32.0, 6: 64.0}
PCIE_PAYLOAD: Final = {3: 128 / 130, 4: 128 / 130, 5: 128 / 130, 6: 236 / 256}

# Where a card has no unit for a dtype, the rate at which the same operands are multiplied after an
# exact or customary widening. No entry: the product cannot be formed in that dtype at all.
FALLBACK: Final[Mapping[str, tuple[str, ...]]] = {
    "bf16": ("fp16", "fp32"),   # Volta and Turing: checkpoints are cast to FP16
    "fp16": ("bf16", "fp32"),   # TPUs and Gaudi 3 publish BF16 only; Pascal multiplies in FP32
}


def pcie_bytes_per_s(generation: int, lanes: int) -> float:
    """Bytes per second over a PCIe link, one direction (PCI-SIG base specifications 3.0 to 6.0)."""
    return PCIE_GT_PER_S[generation] * PCIE_PAYLOAD[generation] * lanes / 8 * GB


@dataclass(frozen=True, slots=True)
class GpuSpec:
    """One accelerator as an engine sees it: a card, or one of the devices a card shows.

    Peaks are dense, at FP32 accumulation. `flops_range` holds the dtypes whose peak is not one
    published number: (low, high), with `flops` carrying the middle.
    """

    name: str
    vendor: str
    architecture: str                       # "Hopper", "Ada Lovelace", ...
    compute_capability: str                 # "9.0", "gfx942"; empty for other vendors
    memory_bytes: int                       # what the driver lets an engine see
    bandwidth_bytes_per_s: float
    flops: Mapping[str, float] = field(hash=False)  # dtype -> dense FLOP/s: fp32 fp16 bf16 fp8 int8 fp4 int4
    fp16_accumulate_flops: float | None     # GeForce: twice the FP32-accumulate rate
    l2_bytes: int | None
    sm_count: int | None
    link_bytes_per_s: float                 # GPU to GPU, one direction: NVLink, Infinity Fabric, else PCIe
    link: str                               # "NVLink 4 900 GB/s", "PCIe 4.0 x16"
    tdp_w: float | None
    release_year: int | None
    price_usd_per_hour: float | None        # reference on-demand price of one GPU
    price_source: str
    basis: str                              # of the peaks: published | estimated (by formula) | measured
    source: str
    notes: str = ""
    aliases: tuple[str, ...] = field(default=())
    memory_basis: str = "estimated"         # measured (read from a device) | estimated
    nominal_memory_gib: float | None = None     # as sold: "80GB"
    free_share: float = 1.0                     # of that memory, when an engine starts; less where the system uses it
    flops_range: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)
    link_gpus: int = 8                      # GPUs that `link` joins; beyond it traffic takes PCIe
    pcie_bytes_per_s: float | None = None   # one direction; None where the device has no PCIe link
    boost_mhz: float | None = None
    announced: bool = False                 # not shipping yet
    row: str = ""                           # of the catalogue, where the name says which memory or how many cores
    measured: Mapping[str, float] = field(default_factory=dict, hash=False)  # by a probe; see efficiency.measured

    def peak(self, dtype: str) -> float | None:
        """Dense FLOP/s in `dtype`, or of the dtype its operands are widened to (`FALLBACK`); else None."""
        for name in (dtype, *FALLBACK.get(dtype, ())):
            if name in self.flops:
                return self.flops[name]
        return None

    def ridge_flops_per_byte(self, dtype: str) -> float | None:
        """The roofline's ridge point [FLOP/B]: below it memory bounds, above it compute.

        Source: Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009: peak rate / peak bandwidth.
        """
        peak = self.peak(dtype)
        return None if peak is None else peak / self.bandwidth_bytes_per_s

    def link_bytes_per_s_among(self, gpus: int) -> float:
        """Bytes per second, one direction, between GPUs of a group: the link, or PCIe beyond its reach."""
        if gpus <= self.link_gpus or self.pcie_bytes_per_s is None:
            return self.link_bytes_per_s
        return self.pcie_bytes_per_s
