"""What people and drivers call a card, and which one is meant."""

import pytest

from core.basics.errors import HardwareError
from core.products.gpus import catalogue, find, search
from core.products.gpus.catalogue import normalised, same_name


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("H100", "H100 SXM5 80GB"),
        ("h100 sxm", "H100 SXM5 80GB"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM5 80GB"),
        ("NVIDIA-H100-80GB-HBM3", "H100 SXM5 80GB"),             # label of the Kubernetes device plugin
        ("nvidia-h100-80gb", "H100 SXM5 80GB"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "H100 SXM5 80GB"),
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


def test_every_catalogue_name_finds_itself_and_every_alias_one_card():
    for spec in catalogue():
        assert find(spec.name) is spec
        for alias in spec.aliases:
            assert spec in same_name()[normalised(alias)], alias
    shared = {key for key, specs in same_name().items() if len(specs) > 1}
    assert shared == {"rtx3080", "rtx4060ti", "rtx5060ti", "orin", "mi250xmi250"}


@pytest.mark.parametrize("asked", ["RTX 4000 SFF Ada", "L4 0S x", "H100 SXM9", "B200 180GB HBM3e PCIe", "GTX"])
def test_a_near_miss_is_never_taken_for_another_card(asked):
    with pytest.raises(HardwareError, match="No figures for a GPU named"):
        find(asked)


@pytest.mark.parametrize(("asked", "says"), [
    ("Arc A770/B580", "names Arc A770 16GB and Arc B580 12GB: pick one"),
    ("H100 96GB", "No H100 of 96 GB is known: pick .*H100 NVL 94GB"),
    ("Jetson Orin", "Did you mean Jetson Orin Nano"),
    ("Gaudi", "Did you mean Gaudi2 or Gaudi3"),
    ("RTX 4090 Laptop GPU", "No figures for"),              # another chip than the desktop card's
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
        ("apple", "Apple M1 Max"),
        ("hopper nvl", "H100 NVL 94GB"),
    ],
)
def test_search_puts_the_likeliest_first(query, first):
    assert search(query)[0].name == first


def test_search_without_words_lists_all_and_with_nonsense_nothing():
    assert search("") == catalogue()
    assert search("zzz") == ()
    assert len(search("a100")) >= 4
