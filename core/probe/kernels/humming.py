"""Kernels of humming-kernels (vllm-project, checked against the source of 0.1.19): compiled for each shape by NVRTC.

Reads AWQ and GPTQ layouts as checkpoints store them, dense and for experts; needs CUDA.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.probe.kernel import COLUMNS, Absent, Kernel, Refused, ends, grouped_product, product

if TYPE_CHECKING:
    import torch

    from core.probe.kernels.random import Packed

PACKAGE: Final = "humming-kernels"
K_MULTIPLE: Final = 128
N_MULTIPLE: Final = 64
MANY_CORES: Final = 12
ROWS: Final = tuple(2**power for power in range(12))
DENSE: Final = "dense"                  # names of its kinds of product
GROUPED: Final = "grouped_contiguous"


def _name(what: str) -> str:
    try:
        return f"{PACKAGE} {version(PACKAGE)} {what}"
    except PackageNotFoundError:
        raise Absent(f"{PACKAGE} is not installed") from None


def dense(x: torch.Tensor, weights: Packed) -> Kernel:
    """x [M, K] times weights in the AWQ or GPTQ layout."""
    layer = _layer(weights)
    tuning = _tuning(layer, len(x), DENSE)
    return Kernel(
        lambda: layer(x, tuning_config=tuning), _name(f"W{weights.bits}A16 {weights.layout}"),
        lambda: product(x, weights.columns()),
    )


def grouped(x: torch.Tensor, weights: Packed, running_sum: torch.Tensor) -> Kernel:
    """Rows of x [M, K] sorted by expert, each times its expert's weights; `running_sum` [experts] of rows."""
    import torch

    layer = _layer(weights, experts=len(running_sum))
    tuning = _tuning(layer, len(x), GROUPED)
    starts = torch.nn.functional.pad(running_sum, (1, 0)).long()

    def run() -> torch.Tensor:
        out: torch.Tensor = layer(x, tuning_config=tuning, compute_config={"gemm_type": GROUPED}, expert_layout=starts)
        return out

    return Kernel(
        run, _name(f"W{weights.bits}A16 {weights.layout} experts"),
        lambda: grouped_product(x, running_sum, weights.columns),
    )


def fp8(x: torch.Tensor, K: int, N: int) -> Kernel:
    """Both operands in e4m3, one scale a row of x and a column of the weights; x is quantised before the clock runs."""
    import torch

    name = _name("W8A8 fp8")
    _multiples(K, N)
    from humming.forward import may_process_input

    weights = torch.randn((N, K), device=x.device, dtype=torch.bfloat16).to(torch.float8_e4m3fn)
    layer = _made(K, N, {"dtype": "float8e4m3"}, None, {"dtype": "float8e4m3"}, x.device)
    layer.load_from_tensors({
        "weight": weights.view(torch.int32), "weight_scale": torch.ones((N, 1), device=x.device, dtype=torch.bfloat16),
    })
    layer.transform()
    tuning = _tuning(layer, len(x), DENSE)
    narrow, _, scales = may_process_input(layer.humming_config, x)
    return Kernel(
        lambda: layer(narrow, input_scale=scales, tuning_config=tuning), name,
        lambda: product(x, ends(weights.to(torch.bfloat16), COLUMNS, 0).t()),
    )


def _layer(weights: Packed, experts: int | None = None) -> Any:
    """A layer that holds the weights in humming's own order."""
    _name("")
    K, N = weights.shape
    _multiples(K, N)
    config: dict[str, Any] = {"quant_method": weights.layout, "bits": weights.bits, "group_size": weights.group}
    layer = _made(K, N, config, experts, None, weights.qweight.device)
    layer.load_from_tensors({"qweight": weights.qweight, "qzeros": weights.qzeros, "scales": weights.scales})
    layer.transform()
    return layer


def _made(
    K: int, N: int, weights: dict[str, Any], experts: int | None, activations: dict[str, Any] | None,
    device: torch.device,
) -> Any:
    import torch
    from humming.layer import HummingLayer

    _let_the_compiler_find_itself()
    with device:        # its parameters are made without naming one
        return HummingLayer(
            shape_n=N, shape_k=K, weight_config=weights, input_config=activations, num_experts=experts,
            torch_dtype=torch.bfloat16,
        )


@cache
def _let_the_compiler_find_itself() -> None:
    """NVRTC runs in a process of its own, where it looks for its second library by the loader's path alone."""
    from humming.utils.nvrtc import get_nvrtc_library_path

    folder, path = str(Path(get_nvrtc_library_path()).parent), os.environ.get("LD_LIBRARY_PATH")
    os.environ["LD_LIBRARY_PATH"] = f"{folder}:{path}" if path else folder


def _tuning(layer: Any, rows: int, kind: str) -> list[list[Any]]:
    """The library's own choice for this many rows: [more rows than, rows, how], compiled when it is first used.

    One takes about two seconds of one core. With cores to spare those for every power of two are compiled
    together; without being told, the library compiles ninety.
    """
    from humming.tune import get_heuristics_config

    wanted = ROWS if kind == DENSE and _together(rows) else (rows,)
    below = (0, *wanted[:-1])
    return [
        [low, high, get_heuristics_config(layer.humming_config, shape_m=high, gemm_type=kind)]
        for low, high in zip(below, wanted, strict=True)
    ]


def compiled_together(rows: int, K: int, N: int) -> str:
    """A name for what is compiled at once with the kernel for this shape."""
    return f"{K} {N}" if _together(rows) else f"{rows} {K} {N}"


def _together(rows: int) -> bool:
    return rows in ROWS and (os.cpu_count() or 1) >= MANY_CORES


def _multiples(K: int, N: int) -> None:
    if K % K_MULTIPLE or N % N_MULTIPLE:
        raise Refused(f"K = {K} and N = {N} are no multiples of {K_MULTIPLE} and {N_MULTIPLE}")
