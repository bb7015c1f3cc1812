"""Terms whose exact size the published figures leave open: changing one here is a change somebody has to mean."""

from dataclasses import replace

import numpy as np
import pytest

from core.answers.advice import remedies
from core.basics.units import GIB, MIB
from core.physics import memory, speed
from core.physics.memory.cache import Group, LayerCache, Layout, flat_sequence_bytes, layer_caches, paged
from core.physics.memory.footprint import cache_of
from core.physics.memory.gguf import Stack, _more_bits, tensor_bits
from core.physics.memory.identity import SpecKey
from core.physics.memory.reserve import graph_bytes, library_bytes, sampler_bytes, vllm_activation_bytes
from core.physics.memory.settings import settings, sglang_static_fraction
from core.physics.speed.cases import OperatorCost
from core.physics.speed.regime import _clock, _merged
from core.products import gpus
from core.products.formats import FORMATS, KV_FORMATS
from core.reading import catalogue
from core.terms import Bound, Deployment


def deployed(model, engine, gpu="H100 SXM5 80GB", weights="bf16", **more):
    spec = catalogue.load(model)
    return spec, Deployment(gpus.find(gpu), FORMATS[weights], KV_FORMATS["bf16"], engine=engine, **more)


# Memory: what a cache takes


def test_a_window_holds_what_a_step_adds_to_it():
    """vLLM SlidingWindowSpec: window - 1 tokens and those of the step, rounded up to blocks, and one block more."""
    layout = Layout(1.0, (Group(1, 16, 1024, 0),))
    assert layout.blocks(100_000, 8193) == (1024 - 1 + 8193) / 16 + 1


def test_a_window_without_pages_holds_the_token_being_computed():
    """Four tokens of a window and the one in flight, 2 B each in three layers."""
    assert flat_sequence_bytes((LayerCache(3, 2.0, 4, 0.0),), 100, 1) == 3 * 2 * (4 + 1)


def test_the_fullest_stage_of_a_pipeline_counts():
    """Llama-3.1-8B over three stages: 32 layers are 11, 11 and 10 (vLLM get_pp_indices), 8 KV heads of 128."""
    spec, d = deployed("meta-llama/Llama-3.1-8B", "vllm", pp=3)
    assert memory.kv_bytes_per_token_per_gpu(spec, d) == 11 * 2 * 8 * 128 * 2


def test_states_of_a_32_bit_model_take_32_bits():
    """Jamba config.json: 8,192 inner channels, 3 columns of convolution inputs and 16 state values a channel."""
    spec = replace(catalogue.load("ai21labs/Jamba-v0.1"), dtype="float32")
    (states,) = (c for c in layer_caches(SpecKey(spec), KV_FORMATS["bf16"], 1, 1) if c.state_bytes)
    assert states.state_bytes == 4 * 8192 * (3 + 16)


@pytest.mark.parametrize(("layers", "size"), [((12, 13), 13), ((20, 14), 20), ((21, 14), 14)])
def test_kinds_of_layers_within_half_of_each_other_share_the_larger_group(layers, size):
    """vLLM 0.33 kv_cache_utils: max_num_layers < 1.5 x min_num_layers; gpt-oss-20b with Eagle: 12 and 13 layers."""
    layout = paged((LayerCache(layers[0], 8192, 1024, 0), LayerCache(layers[1], 8192, None, 0)), 16, 1)
    assert layout.block_bytes == size * 16 * 8192


def test_sliding_layers_keep_every_token_before_the_hybrid_manager():
    """Gemma-3-27B under vLLM 0.9: all 62 layers of 16 KV heads of 128, not the ten full ones."""
    spec, d = deployed("google/gemma-3-27b-it", "vllm", engine_version="0.9.2")
    assert memory.kv_bytes_per_token_per_gpu(spec, d) == 62 * 2 * 16 * 128 * 2


@pytest.mark.parametrize(("model", "row", "share"), [
    ("google/gemma-3-27b-it", (10 + 0.8 * 52) * 2 * 16 * 128 * 2, 1.0),
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", 12 * 2 * 2 * 256 * 2, 1 / 1.9),
])
def test_sglang_shares_its_pool_between_kinds_of_layers(model, row, share):
    """SGLang ServerArgs: swa_full_tokens_ratio 0.8; mamba_full_memory_ratio 0.9, the states' part over the cache's."""
    spec, d = deployed(model, "sglang")
    assert cache_of(spec, d).tokens(40 * GIB) == pytest.approx(40 * GIB * share / row, abs=1)


@pytest.mark.parametrize(("engine", "in_flight"), [("hf-eager", 0), ("llamacpp", 1)])
def test_a_server_keeps_one_token_more_than_a_window(engine, in_flight):
    """Gemma-3-27B: 10 full layers and 52 that slide over 1,024 tokens, 16 KV heads of 128."""
    spec, d = deployed("google/gemma-3-27b-it", engine)
    rows = 10 * 100_000 + 52 * (1024 + in_flight)
    assert memory.sequence_bytes(spec, d, 100_000.0) == rows * 2 * 16 * 128 * 2


# Memory: weights and settings


@pytest.mark.parametrize(("mixture", "tensor", "stack", "bits"), [
    ("Q4_K_M", "attn_v", Stack(32, 4, 8), 8.5),        # Mixtral: eight experts, Q8_0
    ("Q4_K_M", "attn_k", Stack(32, 4, 8), 8.5),
    ("Q4_K_M", "attn_k", Stack(32, 4, 0), 4.5),
    ("Q4_K_M", "attn_output", Stack(32, 4, 8), 5.5),
    ("Q4_K_M", "attn_v", Stack(80, 8, 0), (6.5625 + 5.5) / 2),      # Llama 70B: Q6_K in half of the layers, else Q5_K
    ("Q4_K_M", "attn_v", Stack(40, 8, 0), (6.5625 + 4.5) / 2),
])
def test_llama_cpp_spends_more_on_what_queries_and_experts_share(mixture, tensor, stack, bits):
    """llama.cpp `llama_tensor_get_type`: n_expert == 8, and LLM_TYPE_70B by its 80 layers."""
    assert tensor_bits(mixture, tensor, 4096, stack) == pytest.approx(bits)


def test_a_tied_table_is_held_twice_by_a_pipeline():
    """Gemma-2-2B, 26 equal layers: the last of two stages has 13, the head of 256,000 x 2,304 and the final norm."""
    spec, d = deployed("google/gemma-2-2b", "trtllm")
    one, two = (memory.weight_bytes_per_gpu(spec, replace(d, pp=pp)) for pp in (1, 2))
    assert 2 * two - one == pytest.approx(2 * (256_000 + 1) * 2304, rel=1e-9)


def test_more_ranks_than_experts_share_an_expert():
    """Mixtral-8x7B over 16 ranks: half an expert each, whether or not 16 ways were asked for."""
    spec, whole = deployed("mistralai/Mixtral-8x7B-v0.1", "vllm", tp=16)
    assert memory.weight_bytes_per_gpu(spec, replace(whole, ep=16)) == memory.weight_bytes_per_gpu(spec, whole)


def test_absorbed_matrices_stand_beside_the_latents_projection():
    """DeepSeek-V2-Lite: 27 layers of 16 heads, W_UK and W_UV of 128 x 512 each; a rotary table of 163,840 x 64."""
    spec, d = deployed("deepseek-ai/DeepSeek-V2-Lite", "vllm")
    added = memory.weight_bytes_per_gpu(spec, d) - memory.weight_bytes_per_gpu(spec, replace(d, engine="trtllm"))
    assert added == 2 * (27 * 16 * (128 + 128) * 512 + 163_840 * 64)


def test_a_vision_tower_stays_16_bit_beside_a_gguf_file():
    """mmproj-gemma-3-4b-it-f16.gguf has 851 MB (bartowski/google_gemma-3-4b-it-GGUF), norms in FP32 included."""
    spec, d = deployed("google/gemma-3-4b-it", "llamacpp", weights="gguf-Q4_K_M")
    tower = memory.weight_bytes_per_gpu(spec, d) - memory.weight_bytes_per_gpu(replace(spec, parts=()), d)
    assert tower == pytest.approx(851e6, rel=0.02)


@pytest.mark.parametrize(("max_len", "tokens"), [(32_768, 32_768), (32_769, 2048), (1024, 2048)])
def test_vllm_chunks_prompts_beyond_32k_before_v1(max_len, tokens):
    """vLLM 0.6 EngineArgs: chunked prefill of 2,048 tokens from max_model_len > 32K on, else whole prompts."""
    spec, d = deployed("meta-llama/Llama-3.1-8B", "vllm", engine_version="0.6.5", max_model_len=max_len)
    assert settings(spec, d).max_num_batched_tokens == tokens


@pytest.mark.parametrize(("tp", "pp", "reserved"), [
    (1, 1, 512 + 1.5 * 8192 + 2 * 256 + 128), (4, 2, 512 + 1.5 * 8192 + 2 * 512 + 128 * 8),
])
def test_sglang_reserves_for_every_rank(tp, pp, reserved):
    """SGLang 0.5 ServerArgs on 80 GB: 8,192 tokens a chunk, graphs of 256 requests (512 from tp 4), 128 a rank."""
    assert sglang_static_fraction(81_079 * MIB, tp, pp, 99) == pytest.approx((81_079 - reserved) / 81_079)


@pytest.mark.parametrize(("tp", "fraction"), [(1, 0.88), (2, 0.87), (4, 0.86), (8, 0.85), (16, 0.85)])
def test_sglang_took_a_fraction_by_ranks_once(tp, fraction):
    """SGLang before 0.4.8 ServerArgs: mem_fraction_static by tp_size alone."""
    assert sglang_static_fraction(80 * GIB, tp, 1, 4.07) == fraction


# Memory: what an engine keeps


@pytest.mark.parametrize(("gpu", "tp", "gib"), [
    ("H100 SXM5 80GB", 1, 0.20), ("H100 SXM5 80GB", 2, 2.06), ("GeForce RTX 4090", 2, 0.74), ("MI300X", 1, 2.3),
])
def test_libraries_take_what_the_logs_leave(gpu, tp, gib):
    """vLLM 0.19 logs on H100; a pair of RTX cards over PCIe (club-3090); Gemma-4-E2B's log on MI300X."""
    _, d = deployed("meta-llama/Llama-3.1-8B", "vllm", gpu=gpu, tp=tp)
    assert library_bytes(d) == pytest.approx(gib * GIB)
    terms = memory.footprint(*deployed("meta-llama/Llama-3.1-8B", "trtllm", gpu=gpu, tp=tp))
    assert terms.term("libraries").bytes == pytest.approx(2 * gib * GIB)


@pytest.mark.parametrize(("model", "seqs", "mib"), [
    ("meta-llama/Llama-3.1-8B", 1024, 0.3 * 1024 + 32 * 18),
    ("meta-llama/Llama-3.1-8B", 256, (0.3 * 1024 + 32 * 18) * 51 / 83),
    ("Qwen/Qwen3-30B-A3B", 1024, (0.3 * 1024 + 48 * 18) * 1.5),
])
def test_graphs_grow_with_layers_sizes_and_experts(model, seqs, mib):
    """vLLM 0.19 logs, 0.5 to 1.85 GiB: 83 captured sizes up to 1,024 sequences, 51 up to 256."""
    spec, d = deployed(model, "vllm", max_num_seqs=seqs)
    assert graph_bytes(SpecKey(spec), settings(spec, d), 1) == pytest.approx(mib * MIB)


def test_experts_of_16_bits_leave_a_workspace_and_those_of_mxfp4_none():
    """Qwen3-30B-A3B, 8,192 tokens to 8 experts: hidden states of 2,048 and an expert's width of 768, 2 B each."""
    spec, plain = deployed("Qwen/Qwen3-30B-A3B", "vllm")
    peaks = [vllm_activation_bytes(SpecKey(spec), d, settings(spec, d))
             for d in (plain, replace(plain, weights=FORMATS["mxfp4"]))]
    assert peaks[0] - peaks[1] == 8192 * 8 * (2048 + 768) * 2


@pytest.mark.parametrize(("minor", "per_logit"), [(11, 35.4 + 2), (19, 12.7 + 2), (21, 4 + 2)])
def test_the_sampler_holds_its_copies_of_every_logit(minor, per_logit):
    """vLLM 0.10 and 0.11 sort them with their indices; 0.19 logs: FP32 copies; from 0.21 on one FP32 copy."""
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


# Speed: what a step does


BESIDE_MATMULS = {"lm_head", "attention", "norms and activations", "overhead", "communication"}


def matmul_s(spec, d, rows):
    """Seconds of the stack's matrices at that many rows."""
    return sum(o.seconds for o in speed.breakdown(spec, d, "decode", rows, 1024) if o.name not in BESIDE_MATMULS)


def alone(value):
    return np.array([float(value)])


@pytest.mark.parametrize(("prompt", "beside"), [(64, 64), (1, 1), (768, 256)])
def test_prompts_beside_decodes_add_their_rows_to_a_step_that_runs_anyway(prompt, beside):
    """Chunked prefill, Sarathi-Serve, arXiv 2403.02310: weights streamed, kernels launched and logits made already."""
    spec, d = deployed("meta-llama/Llama-3.1-8B", "vllm")
    timer, one = _clock(spec, d), np.zeros(1, np.intp)
    added = timer.prefill(one, alone(1), alone(prompt), alone(beside))
    rows = matmul_s(spec, d, prompt + beside) - matmul_s(spec, d, beside)
    own = timer.prompt_attention(one, alone(prompt), alone(prompt)) + timer.elementwise(one, alone(prompt))
    own = own + timer.rates.sequence_s[0]
    assert added.seconds[0] == pytest.approx(rows + float(own[0]), rel=0.01)


def test_a_short_prompt_beside_decodes_costs_a_fraction_of_itself_alone():
    """15 tokens beside one decode: 16 GB of weights are read once, not twice."""
    spec, d = deployed("meta-llama/Llama-3.1-8B", "vllm")
    timer, one = _clock(spec, d), np.zeros(1, np.intp)
    whole, added = (timer.prefill(one, alone(1), alone(15), beside).seconds[0] for beside in (None, alone(1)))
    assert 0 < added < 0.15 * whole and whole > 15e9 / d.gpu.bandwidth_bytes_per_s


def test_operators_of_one_name_are_added_up_and_bound_as_the_longer():
    short, long = (OperatorCost("q_proj", *numbers) for numbers in ((1.0, 8.0, 2.0, Bound.MEMORY),
                                                                    (3.0, 16.0, 5.0, Bound.COMPUTE)))
    both = [OperatorCost("q_proj", 4.0, 24.0, 7.0, Bound.COMPUTE)]
    assert _merged([short, long]) == _merged([long, short]) == both


def test_layers_of_two_kinds_are_one_line_of_the_breakdown():
    """DeepSeek-V3: q_a_proj of 7,168 x 1,536 in 3 dense and 58 mixture layers; every line adds up to the step."""
    spec, d = deployed("deepseek-ai/DeepSeek-V3", "vllm", tp=8)
    lines = {o.name: o for o in speed.breakdown(spec, d, "decode", 8, 1024)}
    assert lines["q_a_proj"].flops == 8 * 2 * 61 * 7168 * 1536
    assert lines["q_a_proj"].bytes == 61 * (2 * 7168 * 1536 + 8 * 2 * (7168 + 1536))
    step = _clock(spec, d).decode(np.zeros(1, np.intp), alone(8), alone(1024))
    assert sum(o.seconds for o in lines.values()) == pytest.approx(float(step.seconds[0]), rel=1e-6)


@pytest.mark.parametrize(("model", "phase", "flops", "moved"), [
    # 32 layers of 32 heads of 128: 2 FLOP for q·k and 2 for p·v; keys and values of 2 B
    ("meta-llama/Llama-2-7b-hf", "decode", 8 * 1024 * 32 * 4 * 4096, 8 * 1024 * 32 * 2 * 4096 * 2),
    ("meta-llama/Llama-2-7b-hf", "prefill", 8 * 1024 * 1025 / 2 * 32 * 4 * 4096, 8 * 1024 * 32 * 2 * 4096 * 2),
    # 12 layers of 2 KV heads of 256; 36 of 32 states of 128 x 128 and 3 columns of 8,192 inputs, read and written
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", "decode", None,
     8 * (1024 * 12 * 2 * 2 * 256 * 2 + 2 * 36 * 2 * (32 * 128 * 128 + 3 * 8192))),
])
def test_attention_reads_its_cache_and_reads_and_writes_its_states(model, phase, flops, moved):
    spec, d = deployed(model, "vllm")
    attention = next(o for o in speed.breakdown(spec, d, phase, 8, 1024) if o.name == "attention")
    assert attention.bytes == moved and (flops is None or attention.flops == flops)
