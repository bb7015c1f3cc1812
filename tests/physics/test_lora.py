"""LoRA adapters: their bytes from the layers' shapes, exact, and what they add to a step."""

from dataclasses import replace

import numpy as np
import pytest

from core.answers.advice import recommend
from core.delivery.export.launch import launch
from core.physics import lora, memory, speed
from core.physics.ask import Load, desk
from core.physics.speed import breakdown
from core.products import gpus
from core.products.formats import find, find_kv
from core.reading import catalogue
from core.terms import Adapted, Adapters, Deployment, Images, Workload

H100 = gpus.find("H100 SXM5 80GB")
LLAMA = catalogue.load("meta-llama/Llama-3.1-8B")
PLAIN = Deployment(H100, find("bf16"), find_kv("bf16"))


@pytest.mark.parametrize(("name", "rank", "targets", "params"), [
    # "Trainable parameters = 41,943,040": Unsloth's Llama-3.1 8B notebook, rank 16 on all seven matrices.
    ("meta-llama/Llama-3.1-8B", 16, Adapted.ALL, 41_943_040),
    # PEFT on q, k, v and o: 16 x (4 x 4096 inputs + 4096 + 1024 + 1024 + 4096 outputs) x 32 layers.
    ("meta-llama/Llama-3.1-8B", 16, Adapted.ATTENTION, 13_631_488),
    # QLoRA paper, all linear layers of LLaMA-7B at rank 64: 159,907,840.
    ("meta-llama/Llama-2-7b-hf", 64, Adapted.ALL, 159_907_840),
])
def test_parameters_of_an_adapter(name, rank, targets, params):
    assert lora.adapter_params(catalogue.load(name), rank, targets) == params


def test_a_slot_holds_an_adapter_in_16_bits():
    shown = replace(PLAIN, adapters=Adapters(8, 16))
    footprint = memory.footprint(LLAMA, shown)
    assert footprint.term("LoRA adapters").bytes == 8 * 41_943_040 * 2
    assert footprint.kv_cache_bytes == memory.footprint(LLAMA, PLAIN).kv_cache_bytes - 8 * 41_943_040 * 2


def test_ranks_split_one_factor_each():
    """Columns split the second factor, rows the first; the others are whole on both ranks."""
    taken = lora.slots(LLAMA, replace(PLAIN, tp=2, adapters=Adapters(1, 16)))
    whole = 3 * 4096 + 4096 + 2 * 4096 + 4096               # inputs of columns, outputs of rows
    split = 6144 + 4096 + 28_672 + 14_336
    assert taken.bytes == 2 * 16 * 32 * (whole + split / 2)


def test_vllm_keeps_slots_of_its_own_ranks():
    assert lora.kept_rank(Adapters(1, 24), "vllm") == 32
    assert lora.kept_rank(Adapters(1, 24), "sglang") == 24


def test_routed_experts_have_adapters_of_their_own():
    """128 experts x 48 layers x rank 16 x (2 x 2048 + 1536 and 768 + 2048)."""
    spec = catalogue.load("Qwen/Qwen3-30B-A3B")
    experts = lora.adapter_params(spec, 16) - lora.adapter_params(spec, 16, Adapted.DENSE)
    assert experts == 128 * 48 * 16 * (2 * 2048 + 1536 + 768 + 2048)


def test_adapters_slow_a_step_by_about_two_milliseconds():
    """Punica (arXiv 2310.18547): 2 ms a token more for Llama-2-7B, whatever the number of adapters."""
    spec = catalogue.load("meta-llama/Llama-2-7b-hf")
    pairs = [(spec, PLAIN), *((spec, replace(PLAIN, adapters=Adapters(n, 16))) for n in (1, 8))]
    plain, one, many = desk(pairs).predict(Load(True, 8.0, 512.0, 256.0)).tpot_s.value
    assert 0.5e-3 < one - plain <= many - plain < 2.5e-3


def test_adapters_reach_the_command():
    plan = recommend(LLAMA, H100, Workload(loras=4, lora_rank=24), formats=["bf16"])
    command = launch(plan, "vllm").command
    assert command[command.index("--max-loras") + 1] == "4"
    assert command[command.index("--max-lora-rank") + 1] == "32"
    assert "--enable-lora" in command and "--lora-target-modules" not in command


def test_an_engine_without_adapters_says_so():
    plan = recommend(LLAMA, H100, Workload(loras=1), engine="exllama")
    assert plan.best is None and "not known to serve LoRA adapters" in plan.sentence


@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_the_operators_of_a_step_are_all_of_it(phase):
    """With images and adapters too: what the tables of operators list adds up to the step."""
    spec = catalogue.load("Qwen/Qwen2.5-VL-7B-Instruct")
    shown = replace(PLAIN, images=Images(2, 1024, 768), adapters=Adapters(4, 16))
    costs = {cost.name: cost.seconds for cost in breakdown(spec, shown, phase, 4, 1024)}
    timer, one = speed.timed([(spec, shown)]).clock, np.zeros(1, np.intp)
    step = timer.decode(one, np.array([4.0]), np.array([1024.0])) if phase == "decode" else timer.prefill(
        one, np.array([4.0]), np.array([1024.0]))
    assert sum(costs.values()) == pytest.approx(float(step.seconds[0]), rel=0.02)
    assert costs["LoRA adapters"] > 0 and ("vision tower" in costs) == (phase == "prefill")
