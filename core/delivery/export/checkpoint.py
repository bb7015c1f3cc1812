"""How to make the weights that a plan asks for and the model's repository does not hold."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from core.basics.errors import InputError
from core.delivery.export.manifests import Manifest
from core.delivery.export.order import (
    QUANTISERS,
    Order,
    checkpoint_folder,
    gguf_file,
    is_gguf,
    own_checkpoint,
    quantiser,
)
from core.delivery.export.ready import ready_made
from core.products.engines import find as find_engine
from core.products.versions import requirement

_READY_SHOWN: Final = 3
_WHOLE: Final = ("bf16", "f16", "f32")      # what llama.cpp's converter writes by itself
_SAMPLES, _SAMPLE_TOKENS = 512, 2048        # llm-compressor's own defaults for calibration


@dataclass(frozen=True, slots=True)
class _Recipe:
    """Modifiers of llm-compressor: what is imported, what is built, whether it needs text to calibrate on."""

    imports: tuple[str, ...]
    modifiers: str             # with {scheme} for the preset of compressed-tensors
    calibrated: bool = True


_IMPORT: Final = "from llmcompressor.modifiers"
_ROUND: Final = f"{_IMPORT}.quantization import QuantizationModifier"
_GPTQ: Final = f"{_IMPORT}.gptq import GPTQModifier"
_REST: Final = 'scheme="{scheme}", targets="Linear", ignore=["lm_head", "re:.*mlp.gate$"]'
# By the rule that a format's row names before its scheme; README and modifiers of llm-compressor.
_RECIPES: Final[Mapping[str, _Recipe]] = {
    "round": _Recipe((_ROUND,), f"QuantizationModifier({_REST})", calibrated=False),
    "scale": _Recipe((_ROUND,), f"QuantizationModifier({_REST})"),
    "gptq": _Recipe((_GPTQ,), f"GPTQModifier({_REST})"),
    "smooth": _Recipe(
        (f"{_IMPORT}.transform import SmoothQuantModifier", _GPTQ),
        f"[\n    SmoothQuantModifier(smoothing_strength=0.8),\n    GPTQModifier({_REST}),\n]",
    ),
    "awq": _Recipe(
        (_ROUND, f"{_IMPORT}.transform import AWQModifier"),
        f"[\n    AWQModifier(),\n    QuantizationModifier({_REST}),\n]",
    ),
}


def is_needed(ordered: Order) -> bool:
    """Whether the weights to be loaded have to be made before."""
    return not is_gguf(ordered) if "gguf" in find_engine(ordered.engine).containers else own_checkpoint(ordered)


def checkpoint(ordered: Order) -> Manifest:
    """A script that makes the weights. Raises InputError where no way is known."""
    fmt, tool = ordered.deployment.weights, quantiser(ordered)
    if tool is None:
        raise InputError(f"No way to make {fmt.label} weights for {find_engine(ordered.engine).label} is known here: "
                         "name an existing checkpoint.")
    return _MAKERS[tool](ordered, fmt.recipe(tool) or "")


def _ready_note(ordered: Order) -> tuple[str, ...]:
    known = ready_made(ordered.spec.name, ordered.deployment.weights.name, ordered.engine)
    if not known:
        return ()
    names = ", ".join(known[:_READY_SHOWN])
    return (f"Ready ones, not verified on the Hub: {names}. Name one in place of the folder.",)


def _by_compressor(ordered: Order, recipe: str) -> Manifest:
    """llm-compressor writes what vLLM and SGLang load without an option."""
    rule, _, scheme = recipe.partition(":")
    made = _RECIPES[rule]
    text = f'    dataset="open_platypus", num_calibration_samples={_SAMPLES}, max_seq_length={_SAMPLE_TOKENS},'
    label, install = ordered.deployment.weights.label, f"pip install {requirement('llmcompressor')}"
    lines = [
        f'"""Makes {label} weights: {install}; takes a GPU, or patience."""',
        "",
        "from llmcompressor import oneshot",
        *made.imports,
        "",
        f"recipe = {made.modifiers.format(scheme=scheme)}",
        "oneshot(",
        f"    model={ordered.spec.name!r}, recipe=recipe,",
        f"    output_dir={checkpoint_folder(ordered)!r},",
        *([text] if made.calibrated else []),
        ")",
    ]
    file = QUANTISERS["llm-compressor"].script
    return Manifest("Checkpoint", file, "python", "\n".join(lines) + "\n", f"python {file}", _ready_note(ordered))


def _by_modelopt(ordered: Order, recipe: str) -> Manifest:
    """ModelOpt writes what TensorRT-LLM loads. NVIDIA/Model-Optimizer examples/hf_ptq/README.md: --qformat."""
    make = shlex.join((
        "python", "Model-Optimizer/examples/hf_ptq/hf_ptq.py", "--pyt_ckpt_path", ordered.spec.name,
        "--qformat", recipe, "--export_path", checkpoint_folder(ordered),
    ))
    return _shell("modelopt", ordered, "git clone --depth 1 https://github.com/NVIDIA/Model-Optimizer",
                  "pip install 'nvidia-modelopt[hf]'", make)


def _by_quark(ordered: Order, recipe: str) -> Manifest:
    """AMD Quark writes what vLLM loads. amd-quark, quark/experimental/cli/torch_llm_ptq.py."""
    # It changes its folder before it writes.
    out = '"$PWD"/' + shlex.quote(checkpoint_folder(ordered).removeprefix("./"))
    make = shlex.join(("quark-cli", "torch-llm-ptq", f"--model_dir={ordered.spec.name}", "--quant_scheme", recipe))
    return _shell("quark", ordered, f"pip install {shlex.quote(requirement('amd-quark', '[cli]'))}",
                  f"{make} --skip_evaluation --output_dir {out}")


def _by_llamacpp(ordered: Order, recipe: str) -> Manifest:
    """llama.cpp's own tools write GGUF files: the converter itself what has 16 or 32 bits."""
    file = gguf_file(ordered)
    full = file if recipe in _WHOLE else "model.gguf"
    steps: list[tuple[str, ...]] = [("hf", "download", ordered.spec.name, "--local-dir", "model")]
    steps.append(("python", "llama.cpp/convert_hf_to_gguf.py", "model",
                  "--outtype", recipe if recipe in _WHOLE else "bf16", "--outfile", full))
    if recipe not in _WHOLE:
        steps.append(("llama-quantize", full, file, recipe))
    return _shell("llama-quantize", ordered, "git clone --depth 1 https://github.com/ggml-org/llama.cpp",
                  "pip install -r llama.cpp/requirements.txt", *map(shlex.join, steps))


# By the quantiser that an engine's row names, told how the format's row says.
_MAKERS: Final[Mapping[str, Callable[[Order, str], Manifest]]] = {
    "llm-compressor": _by_compressor, "modelopt": _by_modelopt, "quark": _by_quark, "llama-quantize": _by_llamacpp,
}


def _shell(tool: str, ordered: Order, *lines: str) -> Manifest:
    file = QUANTISERS[tool].script
    text = "\n".join(("#!/bin/sh", "set -eu", *lines)) + "\n"
    return Manifest("Checkpoint", file, "bash", text, f"sh {file}", _ready_note(ordered))
