"""Memory: the textbook example, what ranks share, what a cache takes, and that no model breaks it."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.basics.units import GB, GIB
from core.models import Role, Shipped
from core.physics import memory
from core.physics.memory import gguf
from core.physics.memory.cache import LayerCache, paged
from core.physics.memory.settings import settings as resolve
from core.physics.memory.settings import sglang_static_fraction
from core.products import engines, formats, gpus
from core.reading import catalogue
from core.terms import Deployment
from tests import pinned

H100 = gpus.find("H100 SXM5 80GB")
CARDS = catalogue.models()


def model(name):
    spec = catalogue.load(name)
    assert spec is not None, name
    return spec


def deploy(weights="bf16", kv="bf16", gpu=H100, **fields):
    return Deployment(gpu, formats.find(weights), formats.find_kv(kv), **fields)


def weights_of(spec, weights, **fields):
    return memory.weight_bytes_per_gpu(spec, deploy(weights, engine=fields.pop("engine", "trtllm"), **fields))


# The textbook example


def test_a_7b_model_in_fp16_weighs_14_gb():
    """Llama-2-7B: 6,738,415,616 parameters (Hub safetensors metadata), two bytes each."""
    size = weights_of(model("meta-llama/Llama-2-7b-hf"), "fp16")
    assert size == 2 * 6_738_415_616
    assert size / GB == pytest.approx(14, abs=0.6)


def test_int4_makes_the_matrices_385_times_smaller():
    spec = model("meta-llama/Llama-2-7b-hf")
    matrices = sum(n * linear.matrix_params for linear, n in spec.linears())
    saved = weights_of(spec, "fp16") - weights_of(spec, "awq-int4")
    assert saved == pytest.approx(matrices * 2 * (1 - 1 / 3.85), rel=1e-3)


@pytest.mark.parametrize("mixture, bits", [
    ("Q4_K_M", 4.8944), ("Q4_K_S", 4.6672), ("Q5_K_M", 5.7036), ("Q6_K", 6.5633), ("Q8_0", 8.5008)])
def test_gguf_file_averages(mixture, bits):
    """Llama-3.1-8B: file size over parameters of the published files, four decimals."""
    spec = model("meta-llama/Llama-3.1-8B")
    size = weights_of(spec, f"gguf-{mixture}")
    assert size * 8 / spec.total_params == pytest.approx(bits, abs=5e-5)


def test_gguf_rows_that_are_no_multiple_of_256_fall_back():
    """llama-quant.cpp: Q4_K becomes Q5_0 and Q6_K becomes Q8_0 for a row of 896 (Qwen2-0.5B)."""
    stack = gguf.Stack(24, 7, 0)
    assert gguf.tensor_bits("Q4_K_M", "other", 896, stack) == 5.5
    assert gguf.head_bits("Q4_K_M", 896) == 8.5


def test_llamacpp_looks_tokens_up_in_host_memory():
    """llama.cpp loads token_embd into a host buffer; Gemma-4-12B Q4_K_M: 540 MiB on the host (unsloth issue 10489)."""
    spec = model("meta-llama/Llama-3.1-8B")
    table = spec.embedding_params * 4.5 / 8
    assert weights_of(spec, "gguf-Q4_K_M") - weights_of(spec, "gguf-Q4_K_M", engine="llamacpp") == pytest.approx(table)


# What stays 16-bit


def test_embedding_head_and_router_stay_16_bit():
    """Qwen3-32B-AWQ averages 4.72 bits over all of its 32.76 B parameters (tensor headers)."""
    spec = model("Qwen/Qwen3-32B")
    assert weights_of(spec, "awq-int4") * 8 / spec.total_params == pytest.approx(4.72, abs=0.01)


def test_mxfp4_stores_the_experts_alone():
    """openai/gpt-oss-20b: 5.26 bits a parameter over the whole checkpoint (tensor headers)."""
    spec = model("openai/gpt-oss-20b")
    assert weights_of(spec, "mxfp4") * 8 / spec.total_params == pytest.approx(5.26, abs=0.01)


def test_mxfp4_kernels_pad_the_experts():
    """gpt-oss-20b loads 13.64 GiB at tp 1 (vLLM 0.19), 0.85 more than its file: 2,880 becomes 3,072 by 2,944."""
    spec = model("openai/gpt-oss-20b")
    experts = 24 * 32 * 3 * 2880**2 * 4.25 / 8
    more = weights_of(spec, "mxfp4", engine="vllm") - weights_of(spec, "mxfp4") - 131_072 * 64 * 2
    assert more == pytest.approx(experts * (3072 * 2944 / 2880**2 - 1))
    assert weights_of(spec, "mxfp4", engine="vllm") / GIB == pytest.approx(13.64, rel=0.005)


def test_tensor_headers_are_the_truth():
    """Qwen3-8B-FP8 stores 9.22 bits a parameter; its headers decide, not the format's bits."""
    spec = model("meta-llama/Llama-3.1-8B")
    told = replace(spec, shipped=Shipped("fp8", weight_bytes=9_000_000_000))
    assert weights_of(told, "fp8") == 9_000_000_000
    assert weights_of(told, "fp8", tp=2) == pytest.approx(4_500_000_000, rel=1e-3)
    assert weights_of(told, "awq-int4") == weights_of(spec, "awq-int4")


def test_roles_that_a_repository_keeps_apart():
    """Llama-3.1-405B-Instruct-FP8 keeps attention in BF16: 462 GiB where pure FP8 takes 378 (vllm issue 6746)."""
    spec = model("meta-llama/Llama-3.1-8B")
    kept = replace(spec, shipped=Shipped("fp8", role_formats=((Role.ATTENTION, "bf16"),)))
    attention = sum(n * linear.matrix_params for linear, n in spec.linears() if linear.role is Role.ATTENTION)
    fp8 = formats.find("fp8").bytes_per_weight
    assert weights_of(kept, "fp8") - weights_of(spec, "fp8") == pytest.approx(attention * (2 - fp8))


# What ranks share


def test_key_and_value_heads_replicate_once_ranks_outnumber_them():
    """Llama-3.1-8B has 8 KV heads: tp 16 holds one whole head a rank, as tp 8 does."""
    spec = model("meta-llama/Llama-3.1-8B")
    assert memory.kv_bytes_per_token_per_gpu(spec, deploy(tp=8)) == 32 * 2 * 1 * 128 * 2
    assert memory.kv_bytes_per_token_per_gpu(spec, deploy(tp=16)) == 32 * 2 * 1 * 128 * 2
    keys_and_values = 32 * 4096 * 2 * 128 * 2
    replicated = weights_of(spec, "bf16", tp=16) - weights_of(spec, "bf16", tp=8) / 2
    assert replicated == pytest.approx(keys_and_values / 2 + 2 * (32 * 2 + 1) * 4096 / 2, rel=1e-6)


def test_latent_cache_is_whole_on_every_rank():
    """DeepSeek-V2-Lite: 31.1 kB a token at tp 1 and at tp 4 (vLLM 0.19 logs): 27 layers of 576 values."""
    spec = model("deepseek-ai/DeepSeek-V2-Lite")
    for tp in (1, 4):
        assert memory.kv_bytes_per_token_per_gpu(spec, deploy(tp=tp)) == pytest.approx(27 * 576 * 2, rel=1e-3)


def test_experts_are_split_over_attention_replicas_too():
    """With dp 8 every GPU holds all attention and an eighth of the experts."""
    spec = model("Qwen/Qwen3-30B-A3B")
    whole, split = weights_of(spec, "bf16"), weights_of(spec, "bf16", dp=8, ep=8)
    assert whole - split == pytest.approx(spec.routed_params * 2 * 7 / 8, rel=1e-9)


def test_rotary_tables_are_resident():
    """Llama-4-Scout at tp 4 loads 53.12 GiB (vLLM 0.19): 2.5 GiB of it is one table of 10,485,760 x 128 values."""
    spec = model("meta-llama/Llama-4-Scout-17B-16E-Instruct")
    table = weights_of(spec, "bf16", tp=4, engine="vllm") - weights_of(spec, "bf16", tp=4)
    assert table == 10_485_760 * 128 * 2
    assert weights_of(spec, "bf16", tp=4, engine="vllm") / GIB == pytest.approx(53.12, rel=0.01)


# What a cache takes


def test_gemma4_pages_and_groups():
    """64.68 GiB hold 626,949 tokens of Gemma-4-31B at 262,144 a request (configiq issue 112, H200).

    Ten full layers of 8,192 B a token share their page with fifty sliding ones of 16,384 B: six groups of ten.
    """
    caches = (LayerCache(50, 16384, 1024, 0), LayerCache(10, 8192, None, 0))
    layout = paged(caches, 16, 2)
    blocks = int(64.68 * GIB // layout.block_bytes)
    tokens = blocks / layout.blocks(262_144.0, 8192) * 262_144
    assert tokens == pytest.approx(626_949, rel=2e-4)


def test_states_fill_blocks_of_attention():
    """Qwen3.6-35B-A3B, tp 2, FP8 cache: 4.55 GiB are 3.45 requests of 262,144 tokens (club-3090, vLLM 0.26)."""
    state = (32 * 128 * 128 * 4 + 3 * (2 * 16 * 128 + 32 * 128) * 2) / 2
    layout = paged((LayerCache(10, 512, None, 0), LayerCache(30, 0, None, state)), 16, 2)
    assert 4.55 * GIB // layout.block_bytes / layout.blocks(262_144.0, 8192) == pytest.approx(3.45, abs=0.01)


def test_attention_blocks_grow_to_the_size_of_a_state():
    """Qwen3.5-35B-A3B-FP8 on GB10: blocks of 1,056 tokens, 55.72 GiB = 729,696 tokens, 10.85 requests of 262,144
    (start-up log of vLLM 0.18.1, guardkit repository)."""
    state = 32 * 128 * 128 * 4 + 3 * (2 * 16 * 128 + 32 * 128) * 2
    layout = paged((LayerCache(10, 2048, None, 0), LayerCache(30, 0, None, state)), 16, 2)
    blocks = 55.72 * GIB // layout.block_bytes
    assert layout.block_tokens == 1056
    assert blocks // 4 * 1056 == 729_696
    assert blocks / layout.blocks(262_144.0, 2048) == pytest.approx(10.85, abs=0.005)


def test_padding_layers():
    """Gemma-3-27B: 62 layers become 7 groups of 10, so 70 layers' worth of pages (vLLM 0.11 log)."""
    layout = paged((LayerCache(52, 8192, 1024, 0), LayerCache(10, 8192, None, 0)), 16, 1)
    assert sum(group.groups for group in layout.groups) == 7
    assert layout.block_bytes == 10 * 16 * 8192


def test_a_short_request_fits_more_often_than_a_long_one():
    spec = model("meta-llama/Llama-3.1-8B")
    held = memory.footprint(spec, deploy()).max_concurrency(np.array([512.0, 8192.0, 131072.0]))
    assert held[0] == pytest.approx(16 * held[1]) and held[1] == pytest.approx(16 * held[2])


def test_sglang_static_fraction():
    """ServerArgs of SGLang 0.5 on an 80 GB H100: 13,440 MiB for activations and graphs at tp 1."""
    mib = 81_079
    assert sglang_static_fraction(mib * 2**20, 1, 1, 99) == pytest.approx((mib - 512 - 8192 * 1.5 - 512 - 128) / mib)
    assert sglang_static_fraction(mib * 2**20, 1, 1, 4.07) == 0.88


@pytest.mark.parametrize("gpu, version, tokens, seqs", [
    ("H100 SXM5 80GB", "", 8192, 1024), ("A100 SXM4 80GB", "", 2048, 256), ("L40S", "", 2048, 256),
    ("H100 SXM5 80GB", "0.6.5", 2048, 256)])
def test_vllm_batch_defaults(gpu, version, tokens, seqs):
    """vLLM EngineArgs.get_batch_defaults: larger steps from 70 GiB on, A100 excepted; 2,048 before V1."""
    found = resolve(model("meta-llama/Llama-3.1-8B"), deploy(gpu=gpus.find(gpu), engine_version=version))
    assert (found.max_num_batched_tokens, found.max_num_seqs) == (tokens, seqs)


def test_graphs_count_since_021():
    """vLLM 0.21 release notes: CUDA graph memory is profiled and deducted by default."""
    spec = model("meta-llama/Llama-3.1-8B")
    before = memory.footprint(spec, deploy(engine_version="0.20.0"))
    since = memory.footprint(spec, deploy(engine_version="0.21.0"))
    assert not before.term("CUDA graphs").inside_budget and since.term("CUDA graphs").inside_budget


def test_what_does_not_fit_says_by_how_much():
    spec = model("meta-llama/Llama-3.1-70B")
    tight = memory.footprint(spec, deploy())
    assert not tight.fits and tight.kv_cache_bytes == 0 and tight.kv_tokens == 0
    assert tight.overflow_bytes == pytest.approx(141.1e9 - 0.9 * H100.memory_bytes, rel=0.08)
    assert memory.footprint(spec, deploy(tp=4)).fits


# Whatever the model, engine and layout


@pytest.mark.parametrize("card", CARDS, ids=[card.name for card in CARDS])
def test_no_model_breaks_a_footprint(card):
    """All engines, two layouts: terms are finite and add up to what the GPU holds."""
    spec = model(card.name)
    for engine in engines.ENGINES:
        for tp, pp in ((1, 1), (8, 2)):
            found = memory.footprint(spec, deploy(engine=engine, tp=tp, pp=pp))
            assert all(0 <= term.low <= term.bytes <= term.high < inf for term in found.terms)
            assert all(term.rule and term.source for term in found.terms)
            assert found.kv_tokens >= 0 and 0 <= found.kv_bytes_per_token < inf
            assert found.fits or found.kv_cache_bytes == 0
            assert np.all(np.diff(memory.sequence_bytes(spec, deploy(engine=engine), np.array([1e3, 1e4, 1e5]))) >= 0)


@settings(max_examples=60)
@given(
    name=st.sampled_from(pinned.MODELS), tp=st.sampled_from([1, 2, 4]),
    engine=st.sampled_from(["vllm", "sglang", "trtllm"]),
)
def test_more_ranks_and_fewer_bits_never_weigh_more(name, tp, engine):
    spec = model(name)
    sizes = [memory.weight_bytes_per_gpu(spec, deploy(weights, tp=tp, engine=engine))
             for weights in ("fp32", "bf16", "fp8", "awq-int4")]
    assert sizes == sorted(sizes, reverse=True)
    assert memory.weight_bytes_per_gpu(spec, deploy(tp=2 * tp, engine=engine)) <= sizes[1]
    assert memory.weight_bytes_per_gpu(spec, deploy(tp=tp, engine=engine)) * tp >= sizes[1]


@settings(max_examples=60)
@given(name=st.sampled_from(pinned.MODELS), context=st.integers(1, 200_000))
def test_a_smaller_cache_format_never_takes_more(name, context):
    spec = model(name)
    sizes = [float(memory.sequence_bytes(spec, deploy(kv=kv, engine="trtllm"), float(context)))
             for kv in ("fp32", "bf16", "fp8")]
    assert sizes == sorted(sizes, reverse=True)


def test_models_without_a_cache_have_no_limit_of_tokens():
    """Mamba keeps a state a sequence and nothing a token."""
    found = memory.footprint(model("tiiuae/falcon-mamba-7b"), deploy())
    assert found.kv_tokens == inf
    assert 0 < found.max_concurrency(1e5) == found.max_concurrency(1.0) < inf
