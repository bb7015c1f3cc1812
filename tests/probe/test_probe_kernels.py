"""Our weight-only matmuls against a 32-bit product, in Triton's interpreter; the layouts against published ones."""

import os

os.environ["TRITON_INTERPRET"] = "1"     # read when the kernel is made

import numpy as np
import pytest
import torch

from core.probe.kernels.decode_attention import attention_in_parts
from core.probe.kernels.packing import dequantised, pack_awq, pack_gptq, unpack_awq, unpack_gptq
from core.probe.kernels.weight_only import tile_k, weight_only_matmul


def quantised(K, N, group, bits, seed=0):
    rng = np.random.default_rng(seed)
    groups = -(-K // group)
    return (
        rng.integers(0, 2**bits, (K, N)),
        rng.integers(0, 2**bits, (groups, N)),
        rng.uniform(0.002, 0.02, (groups, N)).astype(np.float16),
    )


SHAPES = [
    (1, 64, 128, 32), (3, 200, 72, 64), (17, 384, 40, 128), (33, 160, 136, 48), (70, 96, 64, 16), (5, 128, 8, 128),
]


@pytest.mark.parametrize("layout", ["gptq 4", "gptq 8", "awq 4"])
@pytest.mark.parametrize(("M", "K", "N", "group"), SHAPES)
def test_weight_only_matmul_agrees_with_a_32_bit_product(layout, M, K, N, group):
    kind, bits = layout.split()
    weights, zeros, scales = quantised(K, N, group, int(bits))
    packed = pack_awq(weights, zeros) if kind == "awq" else pack_gptq(weights, zeros, int(bits))
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((M, K)).astype(np.float16))
    qweight, qzeros = map(torch.from_numpy, packed)
    y = weight_only_matmul(x, qweight, qzeros, torch.from_numpy(scales), bits=int(bits), group=group, awq=kind == "awq")
    row = np.arange(K) // group
    exact = x.numpy().astype(np.float32) @ ((weights - zeros[row]) * scales.astype(np.float32)[row])
    error = np.linalg.norm(y.numpy().astype(np.float32) - exact) / np.linalg.norm(exact)
    assert error < 1e-3, error


def test_a_group_that_no_tile_divides_is_refused():
    with pytest.raises(ValueError, match="multiple of 16"):
        tile_k(40)


@pytest.mark.parametrize("cache", [torch.float16, torch.float8_e4m3fn])
@pytest.mark.parametrize(("group", "size", "context", "parts"), [(4, 64, 130, 3), (1, 96, 64, 1), (7, 128, 200, 2)])
def test_decode_attention_agrees_with_a_32_bit_one(cache, group, size, context, parts):
    """Groups that fill no tile, heads that are no power of two, contexts that end inside a tile and a part."""
    torch.manual_seed(0)
    q = torch.randn((2, 1, group, size), dtype=torch.float16)
    k, v = (torch.randn((2, 1, context, size), dtype=torch.float16).to(cache) for _ in range(2))
    exact = torch.softmax(q.float() @ k.float().transpose(-1, -2) * size**-0.5, dim=-1) @ v.float()
    found = attention_in_parts(q, k, v, parts).float()
    assert float((found - exact).norm() / exact.norm()) < 1e-3


@pytest.mark.parametrize("bits", [4, 8])
def test_gptq_comes_back_as_it_was_packed(bits):
    weights, zeros, _ = quantised(64, 24, 32, bits)
    back, back_zeros = unpack_gptq(*pack_gptq(weights, zeros, bits), bits)
    assert (back == weights).all() and (back_zeros == zeros).all()


def test_awq_comes_back_as_it_was_packed():
    weights, zeros, _ = quantised(64, 24, 32, 4)
    back, back_zeros = unpack_awq(*pack_awq(weights, zeros))
    assert (back == weights).all() and (back_zeros == zeros).all()


def test_gptq_words_hold_eight_rows_of_a_column_and_zeros_less_one():
    """AutoGPTQ qlinear_cuda.pack: qweight |= intweight[i + j] << (bits * j); qzeros of (zeros - 1)."""
    weights = np.arange(8).reshape(8, 1).repeat(8, axis=1)
    qweight, qzeros = pack_gptq(weights, np.full((1, 8), 8), 4)
    assert qweight.shape == (1, 8) and set(qweight.view(np.uint32).ravel()) == {0x76543210}
    assert qzeros.view(np.uint32).tolist() == [[0x77777777]]


def test_awq_words_hold_eight_columns_even_ones_first():
    """AutoAWQ WQLinear_GEMM.from_linear: order_map = [0, 2, 4, 6, 1, 3, 5, 7]."""
    qweight, qzeros = pack_awq(np.arange(8).reshape(1, 8), np.arange(8).reshape(1, 8))
    assert qweight.view(np.uint32).tolist() == qzeros.view(np.uint32).tolist() == [[0x75316420]]


def test_dequantised_takes_the_zero_and_scale_of_the_group():
    weights, zeros = np.array([[8], [10], [3]]), np.array([[8], [1]])
    assert dequantised(weights, zeros, np.array([[0.5], [2.0]])).tolist() == [[0.0], [1.0], [4.0]]
