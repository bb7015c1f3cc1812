"""A card that a visitor typed in: what follows from its figures, and which are refused."""

import math

import pytest

from core.basics.errors import HardwareError, InputError
from core.products.formats import FORMATS
from core.products.gpus import GpuSpec, custom
from core.products.kernels import pointless, unsupported


def test_a_card_typed_in():
    card = custom("Lab card", 96, 3000, 500, fp8_tflops=1000, compute_capability="8.9", price_usd_per_hour=2.5)
    assert isinstance(card, GpuSpec)
    assert card.memory_bytes == 96 * 2**30
    assert card.flops == {"fp16": 500e12, "bf16": 500e12, "fp8": 1000e12}
    assert (card.architecture, card.basis, card.source) == ("Ada Lovelace", "estimated", "typed in")
    assert "bf16" not in custom("Old card", 16, 900, 112, compute_capability="7.0").flops


@pytest.mark.parametrize(
    ("peaks", "architecture", "runs_fp8"),
    [({}, "Ampere", False), ({"fp8_tflops": 200}, "Ada Lovelace", True), ({"fp4_tflops": 400}, "Blackwell", True)],
)
def test_a_card_typed_in_without_its_generation_counts_as_the_oldest_with_its_peaks(peaks, architecture, runs_fp8):
    card = custom("Card", 24, 900, 100, **peaks)
    assert card.architecture == architecture
    assert (pointless(FORMATS["fp8"], card, "vllm") is None) is runs_fp8
    assert unsupported(FORMATS["awq-int4"], card, "vllm") is None


def test_a_card_of_another_maker_has_no_compute_capability():
    card = custom("Lab card", 48, 900, 100, vendor="AMD")
    assert (card.vendor, card.compute_capability, card.architecture) == ("AMD", "", "")
    assert unsupported(FORMATS["bf16"], card, "vllm") is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"memory_gib": 0}, "memory of 0 GiB is outside 1 to 8192 GiB"),
        ({"memory_gib": 10**9}, "memory of 1e+09 GiB"),
        ({"bandwidth_gb_s": -1}, "memory bandwidth of -1 GB/s"),
        ({"fp16_tflops": math.nan}, "FP16 peak of nan TFLOPS"),
        ({"fp8_tflops": math.inf}, "FP8 peak of inf TFLOPS"),
        ({"link_gb_s": 0}, "link of 0 GB/s"),
        ({"price_usd_per_hour": -2}, "price of -2 USD per hour"),
        ({"vendor": "Acme"}, "maker 'Acme' is not one of NVIDIA, AMD"),
        ({"compute_capability": "99"}, "Compute capability '99' is not one of 6.0"),
        ({"name": "  "}, "name of 1 to 80"),
        ({"name": "a\nb"}, "printable"),
    ],
)
def test_figures_out_of_range_are_named_with_their_range(change, says):
    figures = {"name": "Card", "memory_gib": 24, "bandwidth_gb_s": 900, "fp16_tflops": 100} | change
    with pytest.raises(InputError) as error:
        custom(**figures)
    assert says in str(error.value)


@pytest.mark.parametrize("memory", [None, math.nan])
def test_a_card_without_a_memory_figure_is_refused(memory):
    with pytest.raises(HardwareError, match="no memory figure for 'Card': type in its memory"):
        custom("Card", memory, 900, 100)
