"""Local GPUs through the real `pynvml`, over a shared library of our own (tests/nvml_library.py)."""

import sys

import pynvml
import pytest

from core.products.gpus import detect, detection, find
from core.products.gpus.cuda_driver import cuda_reading
from tests.nvml_library import CudaLibrary, NvmlLibrary, Slice, h100, rtx4090

MIB, GIB = 2**20, 2**30


def no_cuda(pci_bus_id):
    return None


@pytest.fixture
def machine(monkeypatch):
    """Puts cards under pynvml and detects them."""

    def detected(*cards, cuda=no_cuda, **library):
        loaded = NvmlLibrary(list(cards), **library)
        monkeypatch.setattr(pynvml, "nvmlLib", loaded)
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        found = detection(cuda=cuda)
        if not library.get("init_code"):
            assert loaded.shut_down == 1
        return found

    return detected


def test_without_a_driver_there_is_no_gpu_and_a_reason(monkeypatch):
    """The real path of a machine without libnvidia-ml.so.1."""

    def absent(path):
        raise OSError(f"{path}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.setattr(pynvml, "CDLL", absent)
    assert detection().gpus == ()
    assert detection().reason == "No NVIDIA driver on this machine: pick a GPU from the catalogue."
    assert detect() == ()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "installed but not running"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "restart this machine"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "may not talk to the NVIDIA driver"),
        (pynvml.NVML_ERROR_UNKNOWN, "does not answer (Unknown Error)"),
    ],
)
def test_a_driver_that_refuses_is_explained(machine, code, says):
    found = machine(init_code=code)
    assert found.gpus == ()
    assert says in found.reason


def test_without_the_package_nothing_is_looked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "install nvidia-ml-py" in detection().reason


def test_a_driver_without_gpus(machine):
    assert "shows no GPU" in machine().reason


def test_an_h100_is_the_sxm_card_with_its_own_memory(machine):
    """nvidia-smi prints 81559 MiB and 81007 free at rest: total less 551 reserved."""
    (gpu,) = machine(h100()).gpus
    assert gpu.catalogue_name == gpu.spec.name == "H100 SXM5 80GB"
    assert gpu.spec.memory_bytes == (81559 - 551) * MIB
    assert gpu.spec.memory_basis == "measured"
    assert gpu.in_use_bytes == 0
    assert gpu.spec.flops == find("H100 SXM5 80GB").flops
    assert gpu.spec.link == "NVLink 4 900 GB/s"
    assert gpu.spec.pcie_bytes_per_s == pytest.approx(63.0e9, rel=0.001)
    assert "ECC is on" in gpu.spec.notes
    assert (gpu.uuid, gpu.index) == ("GPU-1", 0)


def test_a_consumer_card_that_supports_few_calls(machine):
    """GeForce: MIG, ECC and NVLink calls answer NOT_SUPPORTED."""
    (gpu,) = machine(rtx4090()).gpus
    assert gpu.spec.name == "GeForce RTX 4090"
    assert gpu.spec.memory_bytes == (24564 - 500) * MIB
    assert gpu.in_use_bytes == 500 * MIB
    assert gpu.notes == ()


def test_the_rated_boost_is_kept_not_the_highest_clock(machine):
    """NVML shows 3105 MHz where the peak is rated at 2520."""
    (gpu,) = machine(rtx4090()).gpus
    assert gpu.spec.flops["fp16"] == 165.2e12


def test_a_48_gb_rtx_4090_keeps_its_rates_and_has_its_own_memory(machine):
    """Aftermarket boards: same name, 49140 MiB."""
    (gpu,) = machine(rtx4090(total_mib=49140)).gpus
    assert gpu.catalogue_name == "GeForce RTX 4090"
    assert gpu.spec.name == "GeForce RTX 4090 (48 GiB board)"
    assert gpu.spec.memory_bytes == (49140 - 500) * MIB
    assert gpu.spec.flops == find("RTX 4090").flops
    assert "48 GiB where the catalogue lists 24" in gpu.notes[0]


@pytest.mark.parametrize(
    ("name", "total_mib", "row"),
    [
        ("NVIDIA GeForce RTX 4060 Ti", 8188, "GeForce RTX 4060 Ti 8GB"),
        ("NVIDIA GeForce RTX 4060 Ti", 16380, "GeForce RTX 4060 Ti 16GB"),
        ("NVIDIA GeForce RTX 3080", 10240, "GeForce RTX 3080 10GB"),
        ("NVIDIA GeForce RTX 3080", 12288, "GeForce RTX 3080 12GB"),
        ("NVIDIA GeForce RTX 5060 Ti", 8151, "GeForce RTX 5060 Ti 8GB"),
        ("Orin", 7607, "Jetson Orin Nano Super 8GB"),
        ("Orin", 15389, "Jetson Orin NX 16GB"),
        ("Orin", 62841, "Jetson AGX Orin 64GB"),
    ],
)
def test_cards_of_one_name_are_told_apart_by_their_memory(machine, name, total_mib, row):
    (gpu,) = machine(rtx4090(name=name, total_mib=total_mib)).gpus
    assert gpu.spec.name == row


def test_memory_that_nvml_cannot_read_comes_from_cuda_or_the_catalogue(machine):
    """GB10: both memory calls answer NOT_SUPPORTED; CUDA shows 122570 to 124621 MiB."""
    spark = rtx4090(
        name="NVIDIA GB10", total_mib=None, capability=(12, 1), cores=6144, memory_mhz=8533, bus_bits=256,
        power_limit_w=None, power_default_w=None, pcie=None,
    )
    library = CudaLibrary(clock_khz=2418_000, total_mib=124621)
    (gpu,) = machine(spark, cuda=lambda bus: cuda_reading(bus, library)).gpus
    assert gpu.spec.memory_bytes == 124621 * MIB
    assert gpu.spec.bandwidth_bytes_per_s == 273e9      # not 546, which its reported clock would give
    (gpu,) = machine(spark).gpus
    assert gpu.spec.memory_bytes == find("GB10").memory_bytes
    assert gpu.in_use_bytes is None


def test_an_orin_module_is_known_by_the_memory_cuda_shows(machine):
    """All modules report the name "Orin"; NVML cannot read their memory."""
    module = rtx4090(name="Orin", total_mib=None, capability=(8, 7), cores=1024, pcie=None)
    library = CudaLibrary(clock_khz=918_000, total_mib=15389)
    (gpu,) = machine(module, cuda=lambda bus: cuda_reading(bus, library)).gpus
    assert gpu.spec.name == "Jetson Orin NX 16GB"
    assert gpu.spec.memory_bytes == 15389 * MIB


def test_a_driver_before_510_does_not_tell_the_reserved_memory(machine):
    (gpu,) = machine(rtx4090(), missing=["nvmlDeviceGetMemoryInfo_v2"]).gpus
    assert gpu.spec.memory_bytes == (24564 - 551) * MIB


def test_mig_slices_get_their_share(machine):
    """H100 80 GB: 1g.10gb has 16 of 132 SMs and one of eight memory slices; 3g.40gb 60 and four."""
    slices = [
        Slice("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 16, 9984), Slice("NVIDIA H100 80GB HBM3 MIG 3g.40gb", 60, 40448),
    ]
    small, large = machine(h100(mig=True, slices=slices)).gpus
    whole = find("H100")
    assert small.spec.name == "H100 SXM5 80GB MIG 1g.10gb"
    assert small.spec.memory_bytes == 9984 * MIB
    assert small.spec.flops["bf16"] == pytest.approx(989.4e12 * 16 / 132)
    assert small.spec.bandwidth_bytes_per_s == whole.bandwidth_bytes_per_s / 8
    assert small.spec.price_usd_per_hour is None
    assert small.spec.link_gpus == 1
    assert large.spec.bandwidth_bytes_per_s == whole.bandwidth_bytes_per_s / 2
    assert large.spec.sm_count == 60
    assert large.spec.basis == "estimated"


def test_mig_mode_without_instances(machine):
    found = machine(h100(mig=True))
    assert found.gpus == ()
    assert "MIG mode without instances" in found.reason


def test_a_lowered_power_limit_scales_the_peaks_as_a_range(machine):
    """The A100 80GB of gpt-fast's table ran at 330 W of 400."""
    a100 = h100(name="NVIDIA A100-SXM4-80GB", total_mib=81920, power_limit_w=330, power_default_w=400)
    (gpu,) = machine(a100).gpus
    low, high = gpu.spec.flops_range["bf16"]
    assert low == pytest.approx(312e12 * 0.825)
    assert high == pytest.approx(312e12 * 0.825 ** (1 / 3))
    assert low < gpu.spec.flops["bf16"] < high
    assert gpu.spec.bandwidth_bytes_per_s == find("A100").bandwidth_bytes_per_s
    assert gpu.spec.tdp_w == 330
    assert "330 W, 82% of the default" in gpu.notes[0]


def test_a_bridge_that_is_not_there_is_not_counted_on(machine):
    ampere = rtx4090(name="NVIDIA RTX A6000", total_mib=49140, capability=(8, 6))
    (gpu,) = machine(ampere).gpus
    assert gpu.spec.link == "PCIe 4.0 x16"
    assert "No NVLink is up" in gpu.notes[0]
    (gpu,) = machine(rtx4090(name="NVIDIA RTX A6000", total_mib=49140, nvlinks=4, nvlink_version=5)).gpus
    assert gpu.spec.link == "NVLink 3 bridge 112.5 GB/s"


def laptop(**changes):
    """A card no table lists, with the name of one the driver does not know: Ada, 76 SMs, 256-bit GDDR6 at 9001 MHz."""
    return rtx4090(**{
        "name": "NVIDIA Graphics Device", "total_mib": 16376, "cores": 9728, "bus_bits": 256,
        "memory_mhz": 9001, "sm_mhz": 2595, "power_default_w": 150, "power_limit_w": 150,
    } | changes)


def test_an_unlisted_card_is_derived_from_its_sms_and_rated_clock(machine):
    library = CudaLibrary(clock_khz=2040_000, total_mib=15943, l2_bytes=64 * MIB)
    (gpu,) = machine(laptop(), cuda=lambda bus: cuda_reading(bus, library)).gpus
    spec = gpu.spec
    assert gpu.catalogue_name is None
    assert spec.name == "Graphics Device"
    assert spec.flops["fp16"] == pytest.approx(76 * 2040e6 * 512)       # GeForce: half of 1024
    assert spec.flops["int8"] == pytest.approx(76 * 2040e6 * 2048)
    assert spec.flops_range["fp8"] == pytest.approx((0.9 * 76 * 2040e6 * 1024, 1.1 * 76 * 2040e6 * 1024))
    assert spec.fp16_accumulate_flops == 2 * spec.flops["fp16"]
    assert spec.bandwidth_bytes_per_s == pytest.approx(576e9, rel=0.001)
    assert spec.memory_bytes == (16376 - 500) * MIB                     # less than the 15943 CUDA shows
    assert (spec.basis, spec.architecture, spec.l2_bytes) == ("estimated", "Ada Lovelace", 64 * MIB)
    assert "±10%" in gpu.notes[0]


def test_without_cuda_the_clock_is_less_certain_and_says_so(machine):
    (gpu,) = machine(laptop()).gpus
    low, high = gpu.spec.flops_range["fp16"]
    assert low < 76 * 2595e6 / 1.26 * 512 < 76 * 2595e6 * 512 < high
    assert "±22%" in gpu.notes[0]


def test_a_device_hidden_from_cuda_is_read_through_nvml_alone(machine):
    library = CudaLibrary(clock_khz=2040_000, total_mib=15943, hidden=True)
    (gpu,) = machine(laptop(), cuda=lambda bus: cuda_reading(bus, library)).gpus
    assert "±22%" in gpu.notes[0]


def test_an_unlisted_data_centre_card_with_nvlink(machine):
    """A100 64 GB of Leonardo: not in the catalogue; 12 links of 25 GB/s."""
    card = h100(name="NVIDIA A100-SXM-64GB", total_mib=65536, capability=(8, 0), cores=7936, bus_bits=4096,
                memory_mhz=1593, sm_mhz=1395, nvlinks=12, nvlink_version=4)
    library = CudaLibrary(clock_khz=1395_000, total_mib=65000)
    (gpu,) = machine(card, cuda=lambda bus: cuda_reading(bus, library)).gpus
    assert gpu.spec.flops["bf16"] == pytest.approx(124 * 1395e6 * 2048)
    assert gpu.spec.link == "NVLink 3 600 GB/s"
    assert gpu.spec.link_bytes_per_s == 300e9
    card.nvlink_mb_per_s, card.nvlinks = 14062, 4       # as an RTX 3090 reports
    (gpu,) = machine(card, cuda=lambda bus: cuda_reading(bus, library)).gpus
    assert gpu.spec.link_bytes_per_s == pytest.approx(56.25e9, rel=0.001)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "NVIDIA RTX 6000D", "capability": (12, 0)}, "export part"),
        ({"name": "NVIDIA GeForce RTX 5090 D v2", "capability": (12, 0)}, "export part"),
        ({"name": "NVIDIA Thor X", "capability": (11, 0)}, "power mode"),
        ({"name": "NVIDIA GeForce RTX 9999", "capability": (15, 0)}, "compute capability 15.0 has no known"),
        ({"name": "NVIDIA Mystery", "capability": None}, "compute capability unknown"),
        ({"cores": None}, "does not tell its SM count"),
        ({"bus_bits": None, "sm_mhz": None}, "does not tell its clock, memory bus"),
        ({"total_mib": None}, "does not tell its memory"),
    ],
)
def test_what_cannot_be_derived_is_refused_in_one_sentence(machine, changes, says):
    found = machine(laptop(**changes))
    assert found.gpus == ()
    assert says in found.reason
    assert found.reason.endswith("type its figures in.")


def test_one_lost_card_does_not_hide_the_others(machine):
    found = machine(rtx4090(lost=True), h100())
    assert [gpu.spec.name for gpu in found.gpus] == ["H100 SXM5 80GB"]
    assert found.gpus[0].index == 1
    assert "GPU 0 does not answer (GPU is lost)" in found.reason


def test_cuda_is_not_loaded_for_a_listed_card(machine):
    def called(pci_bus_id):
        raise AssertionError("libcuda is for unlisted cards and systems on a chip")

    assert machine(h100(), cuda=called).gpus


def test_a_machine_without_libcuda(monkeypatch):
    def absent(path):
        raise OSError(path)

    monkeypatch.setattr("core.products.gpus.cuda_driver.ctypes.CDLL", absent)
    assert cuda_reading("0000:3b:00.0") is None
