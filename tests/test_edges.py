"""Terms whose exact size the published figures leave open: changing one here is a change somebody has to mean."""

import pytest

from core import catalogue, gpus, memory
from core.advice import remedies
from core.formats import FORMATS, KV_FORMATS
from core.memory.gguf import _more_bits
from core.memory.identity import SpecKey
from core.memory.reserve import sampler_bytes, vllm_activation_bytes
from core.memory.settings import settings
from core.terms import Deployment
from core.units import GIB


def deployed(model, engine, gpu="H100 SXM5 80GB", **more):
    spec = catalogue.load(model)
    return spec, Deployment(gpus.find(gpu), FORMATS["bf16"], KV_FORMATS["bf16"], engine=engine, **more)


@pytest.mark.parametrize(("minor", "per_logit"), [(19, 12.7 + 2), (21, 4 + 2)])
def test_the_sampler_holds_its_copies_of_every_logit(minor, per_logit):
    """vLLM 0.19 logs: FP32 logits, probabilities and sorted copies; from 0.21 on one FP32 copy."""
    assert sampler_bytes(128_256, 256, 2.0, minor) == pytest.approx(256 * 128_256 * per_logit)


def test_a_layers_peak_is_split_over_tensor_parallel_ranks():
    """Three widths of the MLP a token are shared out; hidden states and residual are on every rank."""
    spec, one = deployed("meta-llama/Llama-3.1-70B", "vllm", tp=4, max_num_batched_tokens=65_536, max_num_seqs=1)
    _, two = deployed("meta-llama/Llama-3.1-70B", "vllm", tp=8, max_num_batched_tokens=65_536, max_num_seqs=1)
    key, tokens = SpecKey(spec), 65_536
    peaks = [vllm_activation_bytes(key, d, settings(spec, d)) for d in (one, two)]
    assert peaks[0] - peaks[1] == pytest.approx(tokens * 2 * 3 * 28_672 * (1 / 4 - 1 / 8))


def test_sglang_starts_with_its_context_alone():
    """SGLang pull request 4760: 78.6 of 79.2 GiB are free before loading."""
    spec, d = deployed("meta-llama/Llama-3.1-8B", "sglang")
    assert memory.footprint(spec, d).term("libraries").bytes == pytest.approx(0.6 * GIB)


def test_llama_cpp_computes_a_step_in_fp32():
    """n_ubatch 512 tokens: three widths of the MLP and four of the hidden state; logits of every slot."""
    spec, d = deployed("meta-llama/Llama-3.1-8B", "llamacpp")
    chosen = settings(spec, d)
    step = min(chosen.max_num_batched_tokens, chosen.max_model_len) * 4 * (3 * 14_336 + 4 * 4_096)
    logits = chosen.max_num_seqs * 128_256 * 4
    assert memory.footprint(spec, d).term("activations").bytes == pytest.approx(step + logits)


def test_llama_cpp_gives_more_bits_to_both_ends_and_every_third_layer_between():
    """llama.cpp `use_more_bits`: the first and last eighth, and every third of the rest."""
    assert [layer for layer in range(32) if _more_bits(layer, 32)] == [
        0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31,
    ]


@pytest.mark.parametrize(("seconds", "target"), [(1.9995, 2.0), (0.0501, 0.051), (0.05, 0.051), (float("nan"), 0.0)])
def test_a_proposed_target_is_the_next_whole_millisecond(seconds, target):
    assert remedies._rounded(seconds) == pytest.approx(target)
