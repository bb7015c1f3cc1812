"""Images and LoRA adapters in the words of each engine: how many may be shown and served at once."""

import json
from typing import Final

from core.basics.words import counted
from core.delivery.export.order import Order
from core.physics import lora
from core.terms import Adapted

# What adapters call the matrices of a layer (PEFT on Llama's kin), and TensorRT-LLM's own names for them.
_ATTENTION: Final = ("q_proj", "k_proj", "v_proj", "o_proj")
_MLP: Final = ("gate_proj", "up_proj", "down_proj")
_TRTLLM: Final = ("attn_q", "attn_k", "attn_v", "attn_dense", "mlp_gate", "mlp_h_to_4h", "mlp_4h_to_h")
_ALL: Final = ("all",)


def vllm_shown(ordered: Order) -> dict[str, object]:
    """Images are profiled at the size named (vllm/config/multimodal.py); slots for adapters (vllm/config/lora.py)."""
    d = ordered.deployment
    options: dict[str, object] = {}
    if d.images:
        size = {"count": d.images.count, "width": d.images.width, "height": d.images.height}
        options["images"] = json.dumps({"image": size})
    if d.adapters:
        options |= {"lora": True, "loras": d.adapters.count, "lora_rank": lora.kept_rank(d.adapters, d.engine),
                    "lora_targets": None if d.adapters.targets is Adapted.ALL else _modules(d.adapters.targets)}
    return options


def sglang_shown(ordered: Order) -> dict[str, object]:
    """SGLang 0.5 ServerArgs: a request without an adapter takes a place of the batch's adapters too."""
    d = ordered.deployment
    options: dict[str, object] = {}
    if d.images:
        options["images"] = json.dumps({"image": d.images.count})
    if d.adapters:
        targets = _ALL if d.adapters.targets is Adapted.ALL else _modules(d.adapters.targets)
        options |= {"lora": True, "loras": d.adapters.count, "lora_rank": d.adapters.rank, "lora_targets": targets}
    return options


def trtllm_shown(ordered: Order) -> dict[str, object]:
    """TensorRT-LLM 1.0: LoraConfig of the LLM API."""
    adapters = ordered.deployment.adapters
    if adapters is None:
        return {}
    modules = _TRTLLM[:4] if adapters.targets is Adapted.ATTENTION else _TRTLLM
    return {"lora_config": {"lora_target_modules": list(modules), "max_lora_rank": adapters.rank,
                            "max_loras": adapters.count, "max_cpu_loras": adapters.count}}


def llamacpp_shown(ordered: Order) -> dict[str, object]:
    """llama-server reads a vision tower from a file of its own."""
    return {"images": _tower_file(ordered)} if ordered.deployment.images else {}


def _modules(targets: Adapted) -> tuple[str, ...]:
    return _ATTENTION if targets is Adapted.ATTENTION else (*_ATTENTION, *_MLP)


def _tower_file(ordered: Order) -> str:
    return f"mmproj-{ordered.spec.name.split('/')[-1]}.gguf"


# How a server is given the adapters themselves, which only the one who trained them can name.
VLLM_GIVEN: Final = "name each with --lora-modules NAME=PATH, or load it later (VLLM_ALLOW_RUNTIME_LORA_UPDATING=1)"
SGLANG_GIVEN: Final = "name each with --lora-paths NAME=PATH, or load it later with POST /load_lora_adapter"
TRTLLM_GIVEN: Final = "name one in each request, as lora_request"
LLAMACPP_GIVEN: Final = "name each GGUF file with --lora FILE"
MLX_GIVEN: Final = "name one with --adapter-path PATH"


def adapter_notes(ordered: Order, given: str) -> tuple[str, ...]:
    """How the server comes by its adapters."""
    adapters = ordered.deployment.adapters
    return (f"There is room for {counted(adapters.count, 'LoRA adapter')} at once: {given}.",) if adapters else ()


def tower_notes(ordered: Order) -> tuple[str, ...]:
    """Where the file of the vision tower comes from."""
    tower = f"{_tower_file(ordered)} holds the model's vision tower: download it."
    return (tower,) if ordered.deployment.images else ()
