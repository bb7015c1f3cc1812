"""How weights and caches are rounded, against arithmetic done by hand and the library that vLLM's own team keeps."""

from types import SimpleNamespace

import bitsandbytes
import pytest
import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from compressed_tensors.quantization.utils import calculate_qparams

from core.basics.errors import InputError, QualityError
from core.basics.units import GIB, MIB
from core.products.formats import FORMATS, KV_FORMATS
from core.quality import VARIANTS, budget, chosen, estimate_cost, refusal
from core.quality.bnb import _nf4
from core.quality.kv import _fp8, _int8
from core.quality.products import fast_products
from core.quality.rtn import rounded
from core.reading import catalogue


@pytest.mark.parametrize(("bits", "group"), [(4, 32), (4, 64), (8, 128)])
def test_rounding_is_that_of_compressed_tensors(bits, group):
    weight = torch.randn(96, 256, generator=torch.Generator().manual_seed(0))
    grouped = weight.unflatten(1, (-1, group))
    args = QuantizationArgs(num_bits=bits, symmetric=False, strategy="group", group_size=group)
    scale, zero = calculate_qparams(grouped.amin(-1), grouped.amax(-1), args)
    theirs = fake_quantize(weight, scale, zero, args)
    ours = rounded(weight, bits, group)
    assert (ours - theirs).abs().mean() < 0.01 * (weight - theirs).abs().mean()     # ties may fall either way


def test_a_short_last_group_is_rounded_by_itself():
    weight = torch.randn(8, 160, generator=torch.Generator().manual_seed(1))
    whole = rounded(weight, 4, 128)
    assert torch.equal(whole[:, :128], rounded(weight[:, :128], 4, 128))
    assert torch.equal(whole[:, 128:], rounded(weight[:, 128:], 4, 32))


def test_no_weight_moves_more_than_half_a_level():
    weight = torch.randn(16, 128, generator=torch.Generator().manual_seed(2))
    level = (weight.amax(1) - weight.amin(1)) / 15
    moved = (rounded(weight, 4, 128) - weight).abs().amax(1)
    assert (moved <= level * 1.0001).all() and (moved > level * 0.4).all()     # the zero point rounds too
    assert (rounded(torch.tensor([[0.0, 1.5, -1.5, 0.0]]), 4, 4)[0, [0, 3]] == 0).all()
    assert torch.equal(rounded(torch.zeros(2, 8), 4, 8), torch.zeros(2, 8))


@pytest.mark.parametrize("shape", [(64, 128), (48, 80)])
def test_nf4_is_what_the_layer_of_bitsandbytes_multiplies_by(shape):
    torch.manual_seed(3)
    plain = torch.nn.Linear(shape[1], shape[0], bias=False).bfloat16()
    layer = bitsandbytes.nn.Linear4bit(*shape[::-1], False, torch.bfloat16, compress_statistics=False, quant_type="nf4")
    layer.weight = bitsandbytes.nn.Params4bit(
        plain.weight.data.clone(), requires_grad=False, quant_type="nf4", blocksize=64, compress_statistics=False)
    x = torch.randn(7, shape[1], dtype=torch.bfloat16)
    with torch.inference_mode():
        theirs, exact = layer.to("cpu")(x), plain(x)
        assert torch.equal(_nf4(plain)(x), theirs) and not torch.equal(exact, theirs)


def test_fast_products_are_rounded_once(monkeypatch):
    """As torch's own kernel, which also adds up in 32 bits: within the rounding of the last of 8 bits."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    torch.manual_seed(4)
    x, linear = torch.randn(5, 256, dtype=torch.bfloat16), torch.nn.Linear(256, 64).bfloat16()
    with torch.inference_mode():
        slow = linear(x)
        with fast_products("cpu"):
            fast, wide, product = linear(x), linear.float()(x.float()), x @ x.T
    assert fast.dtype == product.dtype == torch.bfloat16 and wide.dtype == torch.float32
    assert torch.equal(fast, wide.bfloat16()) and torch.equal(product, (x.float() @ x.float().T).bfloat16())
    assert torch.allclose(fast.float(), slow.float(), rtol=2**-7, atol=0)


def test_a_cache_in_8_bits_keeps_what_8_bits_hold():
    x = torch.linspace(-3, 3, 254)[None]
    assert torch.allclose(_int8(x), x, atol=3 / 127 / 2 + 1e-6)
    assert len(_int8(torch.randn(4096)).unique()) <= 255
    exact = torch.tensor([448.0, -448.0, 0.0, 1.0, 1.125, 0.0625])     # values of float8_e4m3 at scale 1
    assert torch.equal(_fp8(exact), exact)
    assert (_fp8(x) / x - 1).abs().nan_to_num().max() <= 1 / 16 + 1e-6  # 3 bits of mantissa


def test_every_variant_stands_for_a_format_that_is_planned():
    assert all(one.weights in FORMATS or not one.weights for one in VARIANTS.values())
    assert all(one.kv_cache in KV_FORMATS or not one.kv_cache for one in VARIANTS.values())
    assert FORMATS["awq-int4"].group_size == VARIANTS["awq-g128"].group == 128
    assert next(iter(VARIANTS)) == "bf16"
    assert [one.name for one in chosen(("fp8", "bf16", "fp8"))] == ["bf16", "fp8"]
    with pytest.raises(InputError, match=r"'int3' is no variant. Use some of: bf16, "):
        chosen(("int3",))


SMALL, LARGE = catalogue.load("Qwen/Qwen3-0.6B"), catalogue.load("meta-llama/Llama-3.3-70B-Instruct")


def test_the_cost_is_told_before_it_starts(monkeypatch):
    """Two passes of 2 x parameters FLOPs a token at a known rate; 4 bytes a weight; 4 bytes a token and word."""
    monkeypatch.setattr(budget, "flops_per_s", lambda device: 1e11)
    prompts = ("x" * 4000,)
    cost = estimate_cost(SMALL, prompts, chosen(()), "cpu")
    handled = SMALL.total_params * (budget.LOAD_S_PER_WEIGHT + budget.ROUND_S_PER_WEIGHT)
    assert cost.seconds == pytest.approx(budget.START_S + handled + 2 * 2 * SMALL.total_params * 1000 / 1e11)
    assert cost.disk_bytes == 1000 * SMALL.vocab_size * 4
    assert 4 * SMALL.total_params < cost.memory_bytes < 4 * SMALL.total_params + 5 * GIB
    assert cost.low_s < cost.seconds < cost.high_s
    calibrated = estimate_cost(SMALL, prompts, chosen(("awq-g128",)), "cpu")
    assert calibrated.seconds > 3 * cost.seconds
    assert estimate_cost(SMALL, prompts, chosen(("awq-g128",)), "cpu", own_text=False).seconds < calibrated.seconds


def test_what_cannot_fit_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr(budget, "flops_per_s", lambda device: 1e11)
    monkeypatch.setattr(budget, "free_memory_bytes", lambda: 16 * GIB)
    small = estimate_cost(SMALL, ("x" * 4000,), chosen(("int8-rtn-g128",)), "cpu")
    assert refusal(small, "cpu", 900) == ""
    assert "minutes and 0 are allowed" in refusal(small, "cpu", 3)
    monkeypatch.setattr(budget.shutil, "disk_usage", lambda folder: SimpleNamespace(free=100 * MIB))
    assert "need 0.6 GiB of temporary disk and 0.1 GiB are free" in refusal(small, "cpu", 900)
    assert "GiB of memory and 16.0 GiB are free" in refusal(
        estimate_cost(LARGE, ("x",), chosen(()), "cpu"), "cpu", 900)
    with pytest.raises(QualityError, match="no device 'cuda:7'"):
        budget.checked_device("cuda:7")


def test_the_processor_is_timed():
    assert 1e9 < budget.flops_per_s("cpu") < 1e14
