"""Kernels of every library that runs on a processor, checked against 32-bit products; and the race between them."""

from functools import partial

import pytest
import torch

from core.probe.attention import decode_attention
from core.probe.bench import Bench
from core.probe.clock import ProcessorClock
from core.probe.kernel import Absent, Candidate, Kernel, Refused, checked, corners, ends, grouped_product, product
from core.probe.kernels import humming
from core.probe.kernels.packing import dequantised, unpack_awq, unpack_gptq
from core.probe.kernels.random import packed
from core.probe.linears import candidates

CPU = torch.device("cpu")


def bench():
    return Bench(ProcessorClock(CPU), compile_s=10.0)


@pytest.mark.parametrize("fmt", ["bf16", "int8", "w8a8-int8", "int4", "bnb-nf4", "bnb-int8"])
@pytest.mark.parametrize("M", [1, 33])
def test_every_processor_kernel_computes_its_format(fmt, M):
    """`checked` compares with the dequantised weights in 32 bits, to 2 % of the norm."""
    for one in candidates(fmt, M, 256, 384, CPU):
        kernel = checked(one.make())
        assert kernel.expected is not None
        assert kernel.run().shape[-1] == 384


def test_fp8_products_are_checked_on_a_processor_too():
    """The same maker as on GPUs; torch multiplies 8-bit floats on a processor, slowly."""
    from core.probe.linears import _fp8

    assert checked(_fp8(torch.randn(3, 64, dtype=torch.bfloat16), 64, 96)).run().shape == (16, 96)


def test_a_wrong_result_is_never_timed():
    wrong = Kernel(lambda: torch.zeros(4, 8), "wrong", lambda: corners(torch.ones(4, 8)))
    with pytest.raises(Refused, match="off by 100"):
        checked(wrong)
    broken = Kernel(lambda: torch.full((4, 8), torch.nan), "broken", lambda: corners(torch.ones(4, 8)))
    with pytest.raises(Refused, match="off by nan"):
        checked(broken)


def a_kernel(name, seconds):
    import time

    return Kernel(lambda: time.sleep(seconds) or torch.ones(1, 1), name, lambda: torch.ones(1, 1))


def refuses(error):
    def make():
        raise error

    return make


def test_the_fastest_that_works_is_taken_and_the_rest_named():
    """A library may raise anything: it is passed over with its reason, one that is not installed in silence."""
    here = bench()
    every = [
        Candidate("slow", lambda: a_kernel("slow", 0.02)), Candidate("fast", lambda: a_kernel("fast", 0.001)),
        Candidate("odd", refuses(AssertionError("K is odd"))),
        Candidate("gone", refuses(Absent("it is not installed"))),
        Candidate("wrong", lambda: Kernel(lambda: torch.zeros(1, 1), "wrong", lambda: torch.ones(1, 1))),
    ]
    assert here.fastest(("linear", "int4", "1"), every, 1e9).name == "fast"
    assert here.passed_over == {("odd", "int4"): "K is odd", ("wrong", "int4"): "its result is off by 100.0%"}


def test_only_absent_libraries_are_absence():
    with pytest.raises(Absent, match="not installed"):
        bench().fastest(("linear", "int4", "1"), [Candidate("gone", refuses(Absent("it is not installed")))], 1.0)
    with pytest.raises(Refused, match="odd"):
        bench().fastest(("linear", "int4", "1"), [Candidate("odd", refuses(ValueError("odd")))], 1.0)


def test_a_fault_of_the_gpu_is_not_passed_over():
    fault = RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal memory access"):
        bench().fastest(("linear", "int4", "1"), [Candidate("bad", refuses(fault))], 1.0)


def test_compilers_stop_when_their_time_is_spent():
    here = Bench(ProcessorClock(CPU), compile_s=0.01)
    def compiler(what):
        return Candidate("compiler", lambda: a_kernel("compiled", 0.05), what)

    assert here.fastest(("linear", "a", "1"), [compiler("one")], 1e9).name == "compiled"
    assert here.fastest(("linear", "a", "2"), [compiler("one")], 1e9).name == "compiled"    # it is compiled already
    with pytest.raises(Refused, match="kept for the next probe"):
        here.fastest(("linear", "a", "3"), [compiler("another")], 1e9)


@pytest.mark.parametrize(("layout", "bits"), [("awq", 4), ("gptq", 4), ("gptq", 8)])
@pytest.mark.parametrize("experts", [None, 3])
def test_the_ends_of_random_weights_are_those_of_all(layout, bits, experts):
    K, N = 256, 192
    weights = packed(layout, bits, K, N, 128, CPU, experts)
    assert weights.shape == (K, N)
    one = None if experts is None else 1
    parts = [t if one is None else t[one] for t in (weights.qweight, weights.qzeros, weights.scales)]
    qweight, qzeros, scales = (part.numpy() for part in parts)
    values, zeros = unpack_awq(qweight, qzeros) if layout == "awq" else unpack_gptq(qweight, qzeros, bits)
    assert layout == "awq" or (zeros == 2 ** (bits - 1)).all()
    whole = torch.from_numpy(dequantised(values, zeros, scales.astype("f8")))
    assert torch.equal(weights.columns(one), ends(whole, 32, 1))


def test_a_product_by_expert_is_each_rows_own():
    x, weights = torch.randn(9, 16), torch.randn(4, 16, 80)
    running_sum = torch.tensor([0, 5, 5, 9], dtype=torch.int32)
    whole = torch.cat([x[:5] @ weights[1], x[5:] @ weights[3]])
    found = grouped_product(x, running_sum, lambda expert: ends(weights[expert], 32, 1))
    assert torch.allclose(found, corners(whole), atol=1e-5)


def test_a_product_has_the_corners_of_the_whole():
    x, weights = torch.randn(9, 16), torch.randn(16, 80)
    assert torch.allclose(product(x, ends(weights, 32, 1)), corners(x @ weights), atol=1e-5)


def test_attention_over_eight_bits_is_that_of_the_widened_cache():
    shape = {"batch": 3, "context": 70, "heads": 8, "kv_heads": 2, "head_dim": 64}
    wide, narrow = (decode_attention(shape, kv, bench()) for kv in ("bf16", "fp8"))
    assert wide.run().shape == narrow.run().shape == (3, 2, 4, 64)
    assert narrow.name.endswith("(fallback)") and not wide.name.endswith("(fallback)")


def test_a_library_that_needs_cuda_is_absent_here():
    with pytest.raises(Absent, match="humming-kernels is not installed"):
        humming.dense(torch.randn(1, 256), packed("awq", 4, 256, 192, 128, CPU))


def test_formats_without_a_kernel_say_so():
    with pytest.raises(Refused, match="no kernel for awq-int4 on processors"):
        candidates("awq-int4", 1, 256, 256, CPU)
    with pytest.raises(Refused, match="no multiples of 128 and 8"):
        partial(candidates("int4", 1, 100, 256, CPU)[0].make)()
