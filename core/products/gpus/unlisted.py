"""A card that is in no table, from what its drivers say of it."""

from typing import Final

from core.basics.units import GB, GIB
from core.products.gpus.catalogue import normalised
from core.products.gpus.cuda_driver import CudaReading
from core.products.gpus.derive import ARCHITECTURE, fp16_accumulate_peak, memory_bandwidth, peak_flops, refusal
from core.products.gpus.nvml import NVLINK_GB_PER_S, NVLINK_GENERATION, Reading
from core.products.gpus.spec import GpuSpec, pcie_bytes_per_s

# Spread of derived peaks: sheets of Hopper and Blackwell rate up to 8 % below the driver's clock.
SPREAD: Final = 0.10
# NVML's highest clock over the rated boost: 1.00 on data-centre cards, up to 1.26 on GeForce.
NVML_CLOCK_OVER_BOOST: Final = 1.26
GEFORCE_BRAND: Final = 5        # NVML_BRAND_GEFORCE


def derived(
    reading: Reading, from_cuda: CudaReading | None, memory: int | None
) -> tuple[GpuSpec, tuple[str, ...]] | str:
    """An unlisted card by the formula of `derive`, or a sentence on what is missing for it."""
    capability = reading.compute_capability
    why = refusal(normalised(reading.name), capability)
    if why:
        return f"{reading.name} is not in the catalogue and its peaks cannot be derived, as {why}: type its figures in."
    clock_mhz, spread = _clock(reading, from_cuda)
    sms, bus_bits, memory_mhz = reading.sm_count, reading.bus_bits, reading.memory_mhz
    if not (memory and sms and clock_mhz and bus_bits and memory_mhz):
        figures = {
            "memory": memory, "SM count": sms, "clock": clock_mhz, "memory bus": bus_bits, "memory clock": memory_mhz,
        }
        missing = ", ".join(what for what, value in figures.items() if not value)
        return (
            f"{reading.name} is not in the catalogue and the driver does not tell its {missing}: type its figures in."
        )
    geforce = reading.brand == GEFORCE_BRAND
    peaks = peak_flops(capability, geforce, sms, clock_mhz)
    link, link_rate = _nvlink(reading)
    spec = GpuSpec(
        name=reading.name.removeprefix("NVIDIA "),
        vendor="NVIDIA",
        architecture=ARCHITECTURE[capability],
        compute_capability=capability,
        memory_bytes=memory,
        bandwidth_bytes_per_s=memory_bandwidth(bus_bits, memory_mhz),
        flops=peaks,
        fp16_accumulate_flops=fp16_accumulate_peak(capability, geforce, peaks),
        l2_bytes=from_cuda.l2_bytes or None if from_cuda else None,
        sm_count=sms,
        link_bytes_per_s=link_rate,
        link=link,
        tdp_w=reading.power_default_w,
        release_year=None,
        price_usd_per_hour=None,
        price_source="",
        basis="estimated",
        source="derived from what the NVIDIA driver reports: SMs, clock, memory bus",
        memory_basis="measured",
        nominal_memory_gib=round(memory / GIB),
        flops_range={dtype: (peak * (1 - spread), peak * (1 + spread)) for dtype, peak in peaks.items()},
        boost_mhz=clock_mhz,
    )
    return spec, (f"Not in the catalogue: peaks derived from its SMs and clock, ±{spread:.0%}.",)


def _clock(reading: Reading, from_cuda: CudaReading | None) -> tuple[float | None, float]:
    """The rated boost clock [MHz] and the spread of peaks derived from it.

    CUDA states the rated clock; NVML only the highest, which lies between the rated one and 1.26
    times it, so the middle of that span stands in.
    """
    if from_cuda and from_cuda.clock_mhz:
        return from_cuda.clock_mhz, SPREAD
    if not reading.sm_mhz:
        return None, SPREAD
    middle = reading.sm_mhz * (1 + 1 / NVML_CLOCK_OVER_BOOST) / 2
    return middle, SPREAD + (reading.sm_mhz / middle - 1)


def _nvlink(reading: Reading) -> tuple[str, float]:
    """Label and one-way bytes per second of the NVLinks that are up; PCIe 3.0 x16 stands in for nothing known."""
    if not reading.nvlinks or reading.nvlink_version not in NVLINK_GENERATION:
        return "PCIe 3.0 x16", pcie_bytes_per_s(3, 16)
    each = reading.nvlink_mb_per_s / 1000 if reading.nvlink_mb_per_s else NVLINK_GB_PER_S[reading.nvlink_version]
    one_way = reading.nvlinks * each
    return f"NVLink {NVLINK_GENERATION[reading.nvlink_version]} {2 * one_way:.0f} GB/s", one_way * GB
