"""The catalogue: what circulates wrongly, what engines see of the memory, names, prices, speed."""


import pytest

from core.products.gpus import DEFAULT_GPU, catalogue, find, quotes
from core.products.gpus.prices import all_quotes, reference_price
from core.products.gpus.tables import gpu_rows, name_rows
from core.products.gpus.visible_memory import engine_memory_mib

TERA = 1e12


def tflops(dtype):
    return lambda spec: spec.flops[dtype] / TERA


def gb_per_s(spec):
    return spec.bandwidth_bytes_per_s / 1e9


def nominal_gib(spec):
    return spec.nominal_memory_gib


def l2_mib(spec):
    return spec.l2_bytes / 2**20


def tdp_w(spec):
    return spec.tdp_w


def sms(spec):
    return spec.sm_count


# One block per value that circulates wrongly: what we carry, and why not the other figures.
DISPUTED = [
    ("H100 SXM5 80GB", tflops("bf16"), 989.4, "dense: 132 SM x 1830 MHz x 4096; 1979 is sparse"),
    ("H100 SXM5 80GB", tflops("fp8"), 1978.9, "dense; 3958 is sparse"),
    ("H100 NVL 94GB", tflops("bf16"), 835.5, "per GPU; 1978.8 is the pair, 978 a burst below the power limit"),
    ("H200 SXM 141GB", tflops("bf16"), 989.4, "same die as the H100; 1979 is the sparse column"),
    ("H200 SXM 141GB", tflops("fp8"), 1978.9, "same die as the H100; 3958 is the sparse column"),
    ("H200 NVL 141GB", tflops("bf16"), 835.5, "1671 is sparse"),
    ("H200 NVL 141GB", tflops("fp8"), 1670.5, "3341 is sparse"),
    ("GH200 96GB", tflops("bf16"), 989.4, "1979 is sparse"),
    ("GH200 144GB", nominal_gib, 144, "the device calls itself 144G HBM3e; 141 is listed too"),
    ("GH200 144GB", gb_per_s, 4900, "4800 belongs to the 141 GB listing"),
    ("B100 SXM", tflops("bf16"), 1750, "3500 is BF16 sparse, or FP8 dense"),
    ("B100 SXM", nominal_gib, 192, "80 GB is a slip"),
    ("GB200 (per GPU) 186GB", tflops("bf16"), 2500, "4500 is a sparse or FP8 figure"),
    ("GB200 (per GPU) 186GB", sms, 152, "148 is assumed from B200; occupancy measured on 152"),
    ("GB300 (per GPU) 288GB", sms, 152, "as GB200"),
    ("B200 SXM 180GB", nominal_gib, 180, "192 are fitted, 90 is one of two dies"),
    ("B200 SXM 180GB", gb_per_s, 8000, "4.1 TB/s is one die; clocks give 8184; HGX sheets say 7.7"),
    ("B200 SXM 180GB", l2_mib, 126, "read from the device; 50 circulates"),
    ("B300 SXM 288GB", tflops("fp4"), 13500, "1.5 x B200, as GB300 to GB200; 12600 and 14000 circulate"),
    ("B300 SXM 288GB", tflops("int8"), 153.5, "INT8 tensor path nearly removed; 4500 is wrong"),
    ("GB300 (per GPU) 288GB", tflops("int8"), 165, "as B300; 5000 is wrong"),
    ("B300 SXM 288GB", nominal_gib, 288, "144 is one of two dies"),
    ("A100 SXM4 80GB", tflops("bf16"), 312, "108 x 1410 MHz x 2048; 77.97 is the CUDA-core rate"),
    ("A100 SXM4 40GB", gb_per_s, 1555, "1600 is rounded"),
    ("A100 PCIe 80GB", l2_mib, 40, "read from the device; 80 circulates"),
    ("A10G", tflops("bf16"), 70, "80 SM at half rate; 125 is the A10"),
    ("A10G", tflops("int8"), 140, "half rate as well"),
    ("A40", tflops("bf16"), 149.7, "37.4 is shader FP32"),
    ("RTX A6000", tflops("bf16"), 154.8, "38.7 is shader FP32"),
    ("GeForce RTX 3090", tflops("bf16"), 71.2, "35.6 is shader FP32"),
    ("GeForce RTX 4090", tflops("bf16"), 165.2, "82.6 is shader FP32"),
    ("GeForce RTX 3080 10GB", tflops("bf16"), 59.5, "29.8 is shader FP32"),
    ("L40", tflops("bf16"), 181, "capped at half of the L40S; the formula gives 362"),
    ("L40S", tflops("int4"), 733, "as the datasheet prints; 1466 is twice INT8"),
    ("L40S", l2_mib, 96, "deviceQuery; 48 circulates"),
    ("L40S", tdp_w, 350, "300 circulates"),
    ("L4", sms, 58, "deviceQuery; 58 x 2040 x 1024 is the datasheet's 121"),
    ("H20 96GB", tflops("bf16"), 147, "export part: NVIDIA prints 148; the formula gives 633"),
    ("L20", tflops("bf16"), 119.5, "export part: the formula gives 237"),
    ("L2", tflops("bf16"), 97, "export part"),
    ("GeForce RTX 5090 D", tflops("bf16"), 209.5, "export part: 16-bit rate kept"),
    ("GeForce RTX 4090", tflops("fp16"), 165.2, "FP32 accumulation; 330 is FP16 accumulation"),
    ("GeForce RTX 4090", tflops("fp8"), 330.3, "dense at FP32 accumulation; 660 and 1321 circulate"),
    ("GeForce RTX 5090", tflops("fp16"), 209.5, "FP32 accumulation; 419 is FP16 accumulation"),
    ("GeForce RTX 5090", tflops("fp4"), 1676, "3352 is sparse"),
    ("RTX PRO 6000 Blackwell Server Edition", tflops("bf16"), 467.8, "459 measured: full rate, not half"),
    ("RTX PRO 5000 Blackwell 48GB", tflops("bf16"), 267.7, "same rates as the measured PRO 6000; 147 is half rate"),
    ("RTX 4000 Ada", tflops("fp8"), 213.8, "as every other Ada professional card; 163.8 unconfirmed"),
    ("DGX Spark GB10", tflops("fp4"), 500, "1 PFLOPS is sparse"),
    ("DGX Spark GB10", l2_mib, 24, "deviceQuery; 50 circulates"),
    ("T4", gb_per_s, 320, "5001 MHz x 256 bit; 300 circulates"),
    ("V100 PCIe 16GB", tdp_w, 250, "swapped with the SXM2 card in one database"),
    ("V100 SXM2 16GB", tdp_w, 300, "swapped with the PCIe card in one database"),
    ("MI300X", gb_per_s, 5300, "10300 counts both directions"),
    ("MI325X", gb_per_s, 6000, "10300 is wrong here too"),
    ("MI325X", nominal_gib, 256, "288 was announced"),
    ("MI300X", tflops("fp16"), 1307.4, "304 CU x 2100 MHz x 2048; 383 and 653.7 are not matrix rates"),
    ("MI210", tflops("int8"), 181, "INT8 at the FP16 rate; 362 is wrong"),
    ("MI250X", tflops("int8"), 191.5, "one of two dies, INT8 at the FP16 rate"),
    ("MI355X", tflops("bf16"), 2516.6, "2300 is the MI350X"),
    ("Gaudi3", tflops("bf16"), 1678, "parts run at 1600 MHz; 1835 assumes 1750"),
    ("TPU v6e (Trillium)", tflops("bf16"), 918, "926 circulates"),
    ("AWS Trainium1", tflops("int8"), 380, "current documentation; 420 was printed before"),
    ("AWS Inferentia2", tflops("int8"), 380, "current documentation; 420 was printed before"),
    ("GeForce RTX 5060", gb_per_s, 448, "28 Gbit/s x 128 bit; 256 circulates"),
    ("Radeon RX 9070", gb_per_s, 640, "20 Gbit/s x 256 bit; 488 circulates"),
    ("Radeon RX 9070 XT", gb_per_s, 640, "20 Gbit/s x 256 bit; 624 and 644.6 circulate"),
    ("Radeon 8060S (Ryzen AI MAX+ 395)", tflops("fp16"), 59.4, "matrix rate; 29.7 is the shader rate"),
    ("Apple M3 Ultra", gb_per_s, 800, "819 is printed; not confirmed"),
    ("Apple M2 Ultra", tflops("fp16"), 27.2, "FP16 at the FP32 rate: 20 TFLOPS measured; doubled figures circulate"),
    ("Arc A770 16GB", gb_per_s, 560, "17.5 Gbit/s x 256 bit; 512 is the 8 GB card"),
    ("A10", nominal_gib, 24, "28 is a slip"),
    ("A40", nominal_gib, 48, "45 is what the driver shows"),
    ("V100 SXM2 16GB", nominal_gib, 16, "32 is the other card"),
]


@pytest.mark.parametrize(
    ("name", "figure", "value", "why"), DISPUTED, ids=[f"{name}: {why[:40]}" for name, _, _, why in DISPUTED]
)
def test_disputed_values_are_the_ones_that_hold(name, figure, value, why):
    assert figure(find(name)) == pytest.approx(value, rel=1e-6), why


def test_a_disputed_peak_without_a_right_answer_is_a_range():
    """GB10: 62 (half rate) to 125 BF16 TFLOPS circulate; SMs x clock x full rate gives 118.9."""
    gb10 = find("DGX Spark GB10")
    assert gb10.flops_range["bf16"] == (62 * TERA, 119 * TERA)
    assert 62 * TERA < gb10.flops["bf16"] < 119 * TERA
    assert gb10.basis == "estimated"
    assert "range" in gb10.notes


def test_b200_and_its_driver_name_agree_with_the_device():
    """182631 MiB in torch logs, 183359 in nvidia-smi."""
    assert find("NVIDIA B200").memory_bytes == 182631 * 2**20
    assert find("NVIDIA B200").memory_basis == "measured"


def test_b300_plans_on_what_the_driver_shows():
    """275040 MiB in nvidia-smi (268.6 GiB), not the 288 GB on the box."""
    assert find("B300").memory_bytes == pytest.approx(275040 * 2**20, rel=0.003)


def test_driver_names_are_those_that_occur():
    """Mock-ups of NVML invent others: a T4 never calls itself "NVIDIA T4"."""
    driver = {row.alias: row.gpu for row in name_rows() if row.kind == "driver"}
    assert [alias for alias, gpu in driver.items() if gpu == "T4"] == ["Tesla T4"]
    assert "NVIDIA B200 180GB HBM3e" not in driver


def test_a_hundred_accelerators_each_with_what_a_plan_needs():
    specs = catalogue()
    assert len(specs) >= 100
    assert len({spec.name for spec in specs}) == len(specs)
    for spec in specs:
        assert spec.source, spec.name
        assert spec.memory_bytes > 3 * 2**30, spec.name
        assert 50e9 < spec.bandwidth_bytes_per_s < 30e12, spec.name
        assert spec.link_bytes_per_s >= 5e9, spec.name
        assert spec.link, spec.name
        assert spec.peak("fp16"), spec.name
        assert spec.basis in ("published", "estimated"), spec.name


@pytest.mark.parametrize("row", gpu_rows(), ids=lambda row: row.name)
def test_peaks_keep_their_order_within_a_card(row):
    """Narrower operands are never slower on matrix units, but for INT8 where it was removed (B300)."""
    spec = find(row.name)
    if "fp8" in spec.flops and spec.vendor != "Google":
        assert spec.flops["fp8"] >= 0.99 * (spec.peak("bf16") or 0)
    if "fp4" in spec.flops:
        assert spec.flops["fp4"] >= spec.flops["fp8"] * 0.99
    if spec.fp16_accumulate_flops:
        assert spec.fp16_accumulate_flops == pytest.approx(2 * spec.flops["fp16"], rel=0.005)


def test_specs_can_key_a_cache():
    assert len(dict.fromkeys(catalogue())) == len(catalogue())


def test_cards_without_bfloat16_plan_at_the_fp16_rate():
    for name in ("T4", "V100 SXM2 16GB", "GeForce RTX 2080 Ti"):
        assert "bf16" not in find(name).flops
        assert find(name).peak("bf16") == find(name).flops["fp16"]
    assert find("Tesla P40").peak("fp16") == find("Tesla P40").flops["fp32"] == 11.8 * TERA
    assert find("T4").peak("fp8") is None


def test_ridge_point_of_an_h100_is_above_two_hundred():
    """989.4 TFLOPS over 3.35 TB/s; the textbook's memory-bound decode sits at 1 FLOP per byte."""
    assert find(DEFAULT_GPU).ridge_flops_per_byte("bf16") == pytest.approx(989.4e12 / 3.35e12)
    assert find("T4").ridge_flops_per_byte("fp8") is None


@pytest.mark.parametrize(
    ("name", "gb_per_s", "label"),
    [
        ("H100 SXM5 80GB", 450, "NVLink 4 900 GB/s"),               # stas00/ml-engineering: 450 unidirectional
        ("A100 SXM4 80GB", 300, "NVLink 3 600 GB/s"),
        ("B200 SXM 180GB", 900, "NVLink 5 1800 GB/s"),
        ("MI300X", 448, "Infinity Fabric 896 GB/s"),
        ("GeForce RTX 3090", 56.25, "NVLink 3 bridge 112.5 GB/s"),
        ("L40S", 31.5, "PCIe 4.0 x16"),                             # 16 GT/s x 16 x 128/130 / 8
        ("RTX PRO 6000 Blackwell Server Edition", 63, "PCIe 5.0 x16"),
        ("T4", 15.75, "PCIe 3.0 x16"),
        ("GeForce RTX 4060", 15.75, "PCIe 4.0 x8"),
    ],
)
def test_links_count_one_direction(name, gb_per_s, label):
    assert find(name).link_bytes_per_s / 1e9 == pytest.approx(gb_per_s, rel=0.001)
    assert find(name).link == label


def test_a_bridge_joins_two_and_the_rest_goes_over_pcie():
    a6000 = find("RTX A6000")
    assert a6000.link_bytes_per_s_among(2) == 56.25e9
    assert a6000.link_bytes_per_s_among(4) == pytest.approx(31.5e9, rel=0.001)
    assert find("H100 SXM5 80GB").link_bytes_per_s_among(8) == 450e9


@pytest.mark.parametrize(
    "row", [row for row in gpu_rows() if row.engine_mib and row.driver_mib], ids=lambda row: row.name
)
def test_memory_rule_on_cards_where_both_figures_were_read(row):
    """What CUDA shows, estimated from nvidia-smi's total, against what public logs printed."""
    estimate, basis = engine_memory_mib(row.vendor, row.memory, row.memory_gib, row.driver_mib, None)
    assert basis == "estimated"
    assert estimate == pytest.approx(row.engine_mib, rel=0.009)


@pytest.mark.parametrize(
    "row", [row for row in gpu_rows() if row.driver_mib and row.name not in (
        "B300 SXM 288GB", "GB300 (per GPU) 288GB")], ids=lambda row: row.name
)
def test_driver_total_follows_from_the_kind_of_memory(row):
    """nvidia-smi totals of public logs. B300 and GB300 keep more back than any rule tells."""
    estimate, _ = engine_memory_mib(row.vendor, row.memory, row.memory_gib, None, None)
    assert estimate == pytest.approx(row.driver_mib - 551, rel=0.006)


def test_metal_gives_an_engine_three_quarters_of_the_memory():
    """llama.cpp on a 128 GB M3 Max prints recommendedMaxWorkingSetSize = 103079.22 MB."""
    assert find("Apple M3 Max (40-core)").memory_bytes == pytest.approx(103079.22e6, rel=1e-4)


def test_reference_price_is_the_median_of_providers_lowest_on_demand_prices():
    """aws 6.88, jarvislabs 3.49, lambda 3.99, nebius 2.95, verda 2.29 in skypilot-catalog."""
    price, source = reference_price("H100 SXM5 80GB")
    assert price == 3.49
    assert "skypilot-catalog" in source
    assert "aws 6.88" in source
    assert find("H100").price_usd_per_hour == 3.49


def test_prices_that_are_no_quotes_say_so():
    assert "indicative" in find("L40").price_source
    assert "billed by the second" in find("RTX A5000").price_source
    assert find("GeForce RTX 5090").price_usd_per_hour is None
    assert find("GeForce RTX 5090").price_source == ""


def test_every_price_is_of_a_catalogued_gpu_with_date_and_source():
    names = {spec.name for spec in catalogue()}
    for quote in all_quotes():
        assert quote.gpu in names
        assert quote.source
        assert quote.as_of
        assert 0.1 < quote.usd_per_gpu_hour < 30
    assert {quote.kind for quote in quotes("H100 SXM5 80GB")} >= {"on-demand", "spot", "serverless", "reserved"}
    assert quotes("no such card") == ()
