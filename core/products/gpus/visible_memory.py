"""How much of the memory on the box an engine gets to see."""

from typing import Final

# Share of the sold capacity that the driver reports, by kind of memory. Sources: nvidia-smi and
# deviceQuery totals in public logs of the cards in assets/gpus.csv (tests/products/test_gpus.py lists them).
DRIVER_SHARE: Final = {
    "GDDR5 ECC": 15 / 16,       # in-band ECC takes a sixteenth: P40
    "GDDR6 ECC": 15 / 16,       # T4 15360, A10 23028, A40 and L40S 46068 MiB
    "HBM3": 0.995,              # H100 81559, H20 97871 MiB
    "HBM3e": 0.995,             # H200 143771, B200 183359 MiB
    "HBM4": 0.995,
    "GDDR7": 0.995,             # RTX 5090 32607, RTX PRO 6000 97887 MiB
    "LPDDR shared": 0.945,      # Orin 0.93-0.96, Thor 0.96, GB10 0.94: the rest is the system's
    "Apple unified": 0.75,      # Metal's working-set limit: 96 of 128 GiB in public llama.cpp logs
    "Ryzen unified": 0.75,      # up to 96 of 128 GB can be set aside for graphics
}
# Metal leaves small machines less: 10,923 of 16,384 and 21,845 of 32,768 MiB in public llama.cpp logs.
APPLE_SMALL_GIB: Final = 32
APPLE_SMALL_SHARE: Final = 2 / 3
# Share of what the driver reports that is free when an engine starts, where the system lives in the same memory: 101.3
# to 109.3 of 121.7 GiB on GB10, headless with caches dropped. vLLM runs at 0.82 and 0.83 there, 0.85 to 0.92 are
# refused (start-up logs in GLM-5.3-Flash-EXL3-2x-DGX-Sparks issue 47).
FREE_SHARE: Final = {"LPDDR shared": 0.84}
# nvidia-smi total minus CUDA total: median of the 20 cards where both were read, 420 to 882 MiB.
CUDA_RESERVE_MIB: Final = 551.0


def engine_memory_mib(
    vendor: str, kind: str, nominal_gib: float, driver_mib: float | None, engine_mib: float | None
) -> tuple[float, str]:
    """MiB that an engine can see on a device, and whether that was "measured" or is "estimated".

    A figure read on a device comes first; else what the driver reports, or would by `DRIVER_SHARE`,
    less what the CUDA driver keeps for itself.
    """
    if engine_mib is not None:
        return engine_mib, "measured"
    reported = driver_mib if driver_mib is not None else nominal_gib * 1024 * driver_share(vendor, kind, nominal_gib)
    reserve = CUDA_RESERVE_MIB if vendor == "NVIDIA" and "shared" not in kind else 0.0
    return reported - reserve, "estimated"


def driver_share(vendor: str, kind: str, nominal_gib: float) -> float:
    """Share of the sold memory that the driver reports; others than NVIDIA show all of their own memory."""
    if vendor == "Apple" and nominal_gib <= APPLE_SMALL_GIB:
        return APPLE_SMALL_SHARE
    if vendor != "NVIDIA" and "unified" not in kind:
        return 1.0      # MI300X 196592 of 196608 MiB, RX 7900 XTX 24560 of 24576 MiB in public logs
    return DRIVER_SHARE.get(kind, 1.0)
