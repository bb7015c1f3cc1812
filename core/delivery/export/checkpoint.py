"""How to make the weights that a plan asks for and the model's repository does not hold."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from core.basics.errors import InputError
from core.delivery.export.manifests import Maker, Manifest
from core.delivery.export.order import Order, checkpoint_folder, gguf_file, is_gguf, own_checkpoint
from core.delivery.export.ready import ready_made
from core.products.engines import find as find_engine

_COMPRESSOR: Final = "llmcompressor==0.14.0.1"
_READY_SHOWN: Final = 3
_WHOLE: Final = {"BF16": "bf16", "FP16": "f16", "FP32": "f32"}      # what llama.cpp's converter writes by itself
_SAMPLES, _SAMPLE_TOKENS = 512, 2048        # llm-compressor's own defaults for calibration


@dataclass(frozen=True, slots=True)
class _Recipe:
    """Modifiers of llm-compressor: what is imported, what is built, whether it needs text to calibrate on."""

    imports: tuple[str, ...]
    modifiers: str
    calibrated: bool


_IMPORT: Final = "from llmcompressor.modifiers"
_ROUND: Final = (f"{_IMPORT}.quantization import QuantizationModifier",)
_GPTQ: Final = (f"{_IMPORT}.gptq import GPTQModifier",)
_REST: Final = 'targets="Linear", ignore=["lm_head", "re:.*mlp.gate$"]'


def _gptq(scheme: str) -> _Recipe:
    return _Recipe(_GPTQ, f'GPTQModifier(scheme="{scheme}", {_REST})', True)


# llm-compressor 0.14 README and modifiers; the schemes are those of compressed-tensors 0.20, quant_scheme.py.
_RECIPES: Final[Mapping[str, _Recipe]] = {
    "fp8": _Recipe(_ROUND, f'QuantizationModifier(scheme="FP8_DYNAMIC", {_REST})', False),
    "mxfp8": _Recipe(_ROUND, f'QuantizationModifier(scheme="MXFP8", {_REST})', False),
    "nvfp4": _Recipe(_ROUND, f'QuantizationModifier(scheme="NVFP4", {_REST})', True),
    "int8": _gptq("W8A16"),
    "gptq-int8": _gptq("W8A16"),
    "int4": _gptq("W4A16"),
    "gptq-int4": _gptq("W4A16"),
    "w8a8-int8": _Recipe(
        (f"{_IMPORT}.transform import SmoothQuantModifier", *_GPTQ),
        f'[\n    SmoothQuantModifier(smoothing_strength=0.8),\n    GPTQModifier(scheme="W8A8", {_REST}),\n]', True,
    ),
    "awq-int4": _Recipe(
        (*_ROUND, f"{_IMPORT}.transform import AWQModifier"),
        f'[\n    AWQModifier(),\n    QuantizationModifier(scheme="W4A16_ASYM", {_REST}),\n]', True,
    ),
}
# NVIDIA/Model-Optimizer examples/hf_ptq/README.md: --qformat.
_MODELOPT: Final[Mapping[str, str]] = {
    "fp8": "fp8", "nvfp4": "nvfp4", "awq-int4": "int4_awq", "int4": "int4_awq", "w4a8": "w4a8_awq",
}


def is_needed(ordered: Order) -> bool:
    """Whether the weights to be loaded have to be made before."""
    return not is_gguf(ordered) if "gguf" in find_engine(ordered.engine).containers else own_checkpoint(ordered)


def checkpoint(ordered: Order) -> Manifest:
    """A script that makes the weights. Raises InputError where no way is known."""
    engine = find_engine(ordered.engine)
    if engine.quantiser not in _QUANTISERS:
        raise InputError(f"No way to make {ordered.deployment.weights.label} weights for {engine.label} is known here: "
                         "name an existing checkpoint.")
    return _QUANTISERS[engine.quantiser](ordered)


def _ready_note(ordered: Order) -> tuple[str, ...]:
    known = ready_made(ordered.spec.name, ordered.deployment.weights.name, ordered.engine)
    return (f"Ready ones: {', '.join(known[:_READY_SHOWN])}. Name one in place of the folder.",) if known else ()


def _by_compressor(ordered: Order) -> Manifest:
    """llm-compressor writes what vLLM and SGLang load without an option."""
    fmt = ordered.deployment.weights
    recipe = _RECIPES.get(fmt.name)
    if recipe is None:
        raise InputError(f"No recipe for {fmt.label} weights is known here: name an existing checkpoint.")
    text = f'    dataset="open_platypus", num_calibration_samples={_SAMPLES}, max_seq_length={_SAMPLE_TOKENS},'
    lines = [
        f'"""Makes {fmt.label} weights: pip install {_COMPRESSOR}; takes a GPU, or patience."""',
        "",
        "from llmcompressor import oneshot",
        *recipe.imports,
        "",
        f"recipe = {recipe.modifiers}",
        "oneshot(",
        f"    model={ordered.spec.name!r}, recipe=recipe,",
        f"    output_dir={checkpoint_folder(ordered)!r},",
        *([text] if recipe.calibrated else []),
        ")",
    ]
    return Manifest("Checkpoint", "quantize.py", "python", "\n".join(lines) + "\n", "python quantize.py",
                    _ready_note(ordered))


def _by_modelopt(ordered: Order) -> Manifest:
    """ModelOpt writes what TensorRT-LLM loads."""
    fmt = ordered.deployment.weights
    if fmt.name not in _MODELOPT:
        raise InputError(f"ModelOpt makes no {fmt.label} weights for TensorRT-LLM's PyTorch backend: choose FP8, NVFP4 "
                         "or AWQ.")
    make = shlex.join((
        "python", "Model-Optimizer/examples/hf_ptq/hf_ptq.py", "--pyt_ckpt_path", ordered.spec.name,
        "--qformat", _MODELOPT[fmt.name], "--export_path", checkpoint_folder(ordered),
    ))
    return _shell(("git clone --depth 1 https://github.com/NVIDIA/Model-Optimizer", "pip install 'nvidia-modelopt[hf]'",
                   make), _ready_note(ordered))


def _converted(ordered: Order) -> Manifest:
    """llama.cpp's own tools write GGUF files."""
    file = gguf_file(ordered)
    kind = ordered.deployment.weights.name.removeprefix("gguf-").upper()
    steps: list[tuple[str, ...]] = [("hf", "download", ordered.spec.name, "--local-dir", "model")]
    whole = _WHOLE.get(kind)
    full = file if whole else "model.gguf"
    steps.append(
        ("python", "llama.cpp/convert_hf_to_gguf.py", "model", "--outtype", whole or "bf16", "--outfile", full)
    )
    if not whole:
        steps.append(("llama-quantize", full, file, kind))
    return _shell(("git clone --depth 1 https://github.com/ggml-org/llama.cpp",
                   "pip install -r llama.cpp/requirements.txt", *map(shlex.join, steps)), _ready_note(ordered))


# By the quantiser that an engine's row names.
_QUANTISERS: Final[Mapping[str, Maker]] = {
    "llm-compressor": _by_compressor, "modelopt": _by_modelopt, "llama-quantize": _converted,
}


def _shell(lines: tuple[str, ...], notes: tuple[str, ...]) -> Manifest:
    text = "\n".join(("#!/bin/sh", "set -eu", *lines)) + "\n"
    return Manifest("Checkpoint", "quantize.sh", "bash", text, "sh quantize.sh", notes)
