"""Kernels of humming-kernels (vllm-project, checked against the source of 0.1.19): compiled for each shape by NVRTC.

Reads AWQ and GPTQ layouts as checkpoints store them, dense and for experts; needs CUDA.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.probe.kernel import Absent, Kernel, Refused, grouped_product, product
from core.probe.kernels.random import Packed, packed
from core.probe.order import GROUP

if TYPE_CHECKING:
    import torch

PACKAGE: Final = "humming-kernels"
K_MULTIPLE: Final = 128
N_MULTIPLE: Final = 64
GROUPED: Final = {"gemm_type": "grouped_contiguous"}     # rows sorted by expert
CORE_S: Final = 4.0                     # of one core, for one kernel (measured on an H200's host, 2026-11-26)


@dataclass(frozen=True, slots=True)
class Product:
    """What one kernel multiplies: `rows` of activations by weights [K, N], of so many `experts` where that is given."""

    layout: str
    bits: int
    K: int
    N: int
    rows: int
    experts: int | None = None


def _name(what: str) -> str:
    try:
        return f"{PACKAGE} {version(PACKAGE)} {what}"
    except PackageNotFoundError:
        raise Absent(f"{PACKAGE} is not installed") from None


def dense(x: torch.Tensor, weights: Packed) -> Kernel:
    """x [M, K] times weights in the AWQ or GPTQ layout."""
    layer = _layer(weights)
    tuning = _tuning(layer.humming_config, len(x), {})
    return Kernel(
        lambda: layer(x, tuning_config=tuning), _name(f"W{weights.bits}A16 {weights.layout}"),
        lambda: product(x, weights.columns()),
    )


def grouped(x: torch.Tensor, weights: Packed, running_sum: torch.Tensor) -> Kernel:
    """Rows of x [M, K] sorted by expert, each times its expert's weights; `running_sum` [experts] of rows."""
    import torch

    layer = _layer(weights, experts=len(running_sum))
    tuning = _tuning(layer.humming_config, len(x), GROUPED)
    starts = torch.nn.functional.pad(running_sum, (1, 0)).long()

    def run() -> torch.Tensor:
        out: torch.Tensor = layer(x, tuning_config=tuning, compute_config=GROUPED, expert_layout=starts)
        return out

    return Kernel(
        run, _name(f"W{weights.bits}A16 {weights.layout} experts"),
        lambda: grouped_product(x, running_sum, weights.columns),
    )


def _layer(weights: Packed, experts: int | None = None) -> Any:
    """A layer that holds the weights in humming's own order."""
    _name("")
    K, N = weights.shape
    _multiples(K, N)
    config: dict[str, Any] = {"quant_method": weights.layout, "bits": weights.bits, "group_size": weights.group}
    layer = _made(K, N, config, experts, weights.qweight.device)
    layer.load_from_tensors({"qweight": weights.qweight, "qzeros": weights.qzeros, "scales": weights.scales})
    layer.transform()
    return layer


def _made(K: int, N: int, weights: dict[str, Any], experts: int | None, device: torch.device) -> Any:
    import torch
    from humming.layer import HummingLayer

    _let_the_compiler_find_itself()
    with device:        # its parameters are made without naming one
        return HummingLayer(
            shape_n=N, shape_k=K, weight_config=weights, num_experts=experts, torch_dtype=torch.bfloat16
        )


@cache
def _let_the_compiler_find_itself() -> None:
    """NVRTC runs in a process of its own, where it looks for its second library by the loader's path alone."""
    from humming.utils.nvrtc import get_nvrtc_library_path

    folder, path = str(Path(get_nvrtc_library_path()).parent), os.environ.get("LD_LIBRARY_PATH")
    os.environ["LD_LIBRARY_PATH"] = f"{folder}:{path}" if path else folder


def _tuning(config: Any, rows: int, kind: dict[str, str]) -> list[list[Any]]:
    """The library's own choice for this many rows: [more rows than, rows, how], compiled when it is first used.

    Without being told, the library compiles ninety.
    """
    from humming.tune import get_heuristics_config

    return [[0, rows, get_heuristics_config(config, shape_m=rows, **kind)]]


def compile_ahead(products: Sequence[Product], seconds: float, device: torch.device) -> list[Product]:
    """Compiles for the first of the products, a kernel a core, as many as `seconds` allow; which those were.

    Products of several sizes may share a kernel. Raises whatever the library raises.
    """
    from humming.kernel.humming import HummingKernel

    room = int((os.cpu_count() or 1) * seconds / CORE_S)
    configs: dict[Product, Any] = {}        # a matrix is packed once, for however many rows
    kernels: dict[str, dict[str, Any]] = {}
    done = []
    for one in products:
        matrix = replace(one, rows=0)
        if matrix not in configs:
            weights = packed(one.layout, one.bits, one.K, one.N, GROUP, device, one.experts)
            configs[matrix] = _layer(weights, one.experts).humming_config
        kernel = _kernel(one, configs[matrix], device)
        if str(kernel) in kernels or len(kernels) < room:
            kernels[str(kernel)] = kernel
            done.append(one)
    HummingKernel.compile_many([(HummingKernel, kernel) for kernel in kernels.values()], device.index)
    return done


def _kernel(one: Product, config: Any, device: torch.device) -> dict[str, Any]:
    """What the library compiles for a product of a layer with this configuration, in its own words."""
    from humming.kernel.humming import HummingKernel

    kind = GROUPED if one.experts else {}
    asked = (json.dumps(kind), json.dumps(_tuning(config, one.rows, kind)))
    of_layer, of_kind, tuned = HummingKernel._resolve_configs(config.to_str(), *asked, device.index)
    kernel: dict[str, Any] = of_layer | of_kind | tuned[0][-1]
    kernel.pop("num_sms", None)     # told when it is launched
    return kernel


def _multiples(K: int, N: int) -> None:
    if K % K_MULTIPLE or N % N_MULTIPLE:
        raise Refused(f"K = {K} and N = {N} are no multiples of {K_MULTIPLE} and {N_MULTIPLE}")
