"""Our Triton kernels become machine code for GPUs that are not here: the compiler needs none."""

import os
import subprocess
import sys

import pytest

from tests.conftest import PATIENCE_S, ROOT

COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from core.probe.kernels import decode_attention, weight_only

def compiled(kernel, capability, constants, **arguments):
    signature = arguments | dict.fromkeys(constants, "constexpr")
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]

capability, narrow = int(sys.argv[1]), sys.argv[2]
tiles = dict(GROUP=128, TILE_M=16, TILE_N=128, TILE_K=64)
for bits, awq in ((4, True), (4, False), (8, False)):
    assert compiled(
        weight_only._kernel(), capability, tiles | dict(BITS=bits, PER_WORD=32 // bits, AWQ=awq),
        x="*bf16", qweight="*i32", qzeros="*i32", scales="*fp16", y="*bf16", M="i32", N="i32", K="i32", rows="i32",
    )
read, merge = decode_attention._kernels()
shape = dict(GROUP=4, SIZE=128, WIDE=128)
assert compiled(
    read, capability, shape | dict(ROWS=16, TILE=64), q="*bf16", k=narrow, v=narrow, part="*fp32", weight="*fp32",
    context="i32", tokens="i32", log2_scale="fp32", parts="i32",
)
assert compiled(merge, capability, shape | dict(PARTS=16), part="*fp32", weight="*fp32", out="*bf16", parts="i32")
"""


@pytest.mark.parametrize(("capability", "cache"), [(80, "*bf16"), (90, "*fp8e4nv")])
def test_kernels_compile_for_a_gpu(tmp_path, capability, cache):
    """A100 has no 8-bit floats: there the cache is of 16 bits."""
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(capability), cache], cwd=ROOT, env=environment, capture_output=True,
        text=True, timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr[-2000:]
