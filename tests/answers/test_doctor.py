"""Logs, errors and command lines as engines print them: what was understood, what is wrong, what helps."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.answers.doctor import diagnose
from core.basics.places import ROOT
from core.reading import hub

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def asked(text):
    return diagnose(text, lambda name: hub.resolve(name, offline=True))


# -- start-up logs ----------------------------------------------------------------------------------


def test_a_vllm_log_that_ends_in_too_long_a_context():
    """vLLM 0.10 v1/core/kv_cache_utils.py; 16 GiB are 131,072 tokens x 32 layers x 8 heads x 128 x 2 x 2 bytes."""
    found = asked(f"""INFO 08-12 [api_server.py:1805] vLLM API server version 0.10.1
INFO [utils.py:326] non-default args: {{'model': '{LLAMA}', 'max_model_len': 131072, 'gpu_memory_utilization': 0.85}}
\x1b[1;36m(EngineCore_0 pid=123)\x1b[0;0m INFO Model loading took 14.9889 GiB and 5.2 seconds
(EngineCore_0 pid=123) ValueError: To serve at least one request with the models's max seq len (131072), (16.00 GiB KV
""".replace("KV\n", "KV cache is needed, which is larger than the available KV cache memory (3.53 GiB). Based on the "
            "available memory, the estimated maximum model length is 28912. Try increasing `gpu_memory_utilization`.\n")
        + "| 0  NVIDIA GeForce RTX 4090        Off |")
    assert (found.understood, found.engine, found.model, found.gpu) == (True, "vllm", LLAMA, "GeForce RTX 4090")
    assert found.problem == ("One request of 131072 tokens needs 16.00 GiB of KV cache; 3.53 GiB are left beside the "
                             "weights.")
    assert found.changes[0] == "Shorten the context: --max-model-len 28912."
    assert "Over 2 GPUs (tensor parallel 2) it fits, at 2 times the price." in found.changes
    assert found.measured == {"weights_gib": 14.9889}


def test_an_old_vllm_log_holds_every_term():
    """vLLM 0.8 worker/worker.py, as printed in pull request 10511."""
    found = asked(f"""Initializing a V1 LLM engine (v0.8.5) with config: model='{LLAMA}', tensor_parallel_size=1
the current vLLM instance can use total_gpu_memory (79.22GiB) x gpu_memory_utilization (0.90) = 71.30GiB
model weights take 14.96GiB; non_torch_memory takes 1.79GiB; PyTorch activation peak memory takes 1.26GiB; the rest of
the memory reserved for KV Cache is 53.29GiB.
# cuda blocks: 27284, # CPU blocks: 2048
Graph capturing finished in 21 secs, took 0.47 GiB""")
    assert found.measured == {"weights_gib": 14.96, "kv_gib": 53.29, "activations_gib": 1.26, "graphs_gib": 0.47,
                              "kv_tokens": 27284 * 16}
    assert found.problem == "It started: the KV cache holds 436,544 tokens."


def test_a_sglang_log():
    """SGLang 0.5 model_runner.py, memory_pool.py."""
    found = asked("""server_args=ServerArgs(model_path='Qwen/Qwen3-8B', tp_size=1, mem_fraction_static=0.88)
Load weight end. type=Qwen3ForCausalLM, dtype=torch.bfloat16, avail mem=63.06 GB, mem usage=15.30 GB.
KV Cache is allocated. #tokens: 380211, K size: 26.11 GB, V size: 26.11 GB
max_total_num_tokens=380211, chunked_prefill_size=8192, max_running_requests=2048, context_len=40960""")
    assert (found.engine, found.model) == ("sglang", "Qwen/Qwen3-8B")
    assert found.measured == {"weights_gib": 15.3, "kv_tokens": 380_211}
    assert "room for 9.3 requests of 40,960" in found.problem


def test_a_llama_cpp_log():
    """llama.cpp b6000 llama-model.cpp, llama-context.cpp, ggml-cuda.cu."""
    found = asked("""ggml_cuda_init: found 1 CUDA devices:
  Device 0: NVIDIA GeForce RTX 4090, compute capability 8.9, VMM: yes
llama_model_loader: loaded meta data with 25 key-value pairs and 291 tensors from /m/qwen3-8b-q4_k_m.gguf (version V3)
load_tensors:        CUDA0 model buffer size =  4455.34 MiB
llama_context: n_ctx         = 40960
llama_kv_cache_unified:      CUDA0 KV buffer size =  5760.00 MiB
llama_context:      CUDA0 compute buffer size =   304.75 MiB""")
    assert (found.engine, found.gpu) == ("llamacpp", "GeForce RTX 4090")
    assert found.measured["kv_gib"] == 5.625 and found.measured["weights_gib"] == pytest.approx(4.351, abs=1e-3)


# -- errors alone -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "engine", "says"), [
    ("ValueError: Total number of attention heads (28) must be divisible by tensor parallel size (8).", "vllm",
     "28 attention heads do not divide by a tensor-parallel size of 8."),
    ("The output_size of gate's and up's weight = 192 is not divisible by weight quantization block_n = 128.", "vllm",
     "no multiple of the 128 that one FP8 scale covers"),
    ("The quantization method fp8 is not supported for the current GPU. Minimum capability: 89. "
     "Current capability: 75.", "vllm", "fp8 needs compute capability 89; this GPU has 75."),
    ("Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has compute "
     "capability 7.5.", "vllm", "Tesla T4 (compute capability 7.5) has no BF16."),
    ("ValueError: Model architectures ['MllamaForConditionalGeneration'] are not supported for now.", "vllm",
     "no implementation of MllamaForConditionalGeneration"),
    ("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`", "vllm",
     "leave no memory for a KV cache"),
    ("Free memory on device (101.3/121.69 GiB) on startup is less than desired GPU memory utilization (0.87, "
     "105.87 GiB).", "vllm", "101.3 of 121.69 GiB were free"),
    ("max_num_seqs (1024) exceeds available Mamba cache blocks (556).", "vllm", "556 state blocks"),
    ("RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.", "sglang", "SGLang's share"),
    ("failed to initialize the context: n_seq_max must be <= 256", "llamacpp", "at most 256 sequences"),
    ("alloc_buffer: allocating 12288.00 MiB on device 0: cudaMalloc failed: out of memory", "llamacpp",
     "no room for a buffer of 12288.00 MiB"),
    ("Error: model requires more system memory (48.2 GiB) than is available (15.1 GiB)", "ollama", "needs 48.2 GiB"),
    ("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.65 GiB of which 1.20 GiB is",
     None, "while 2.00 GiB were asked for"),
    ("RuntimeError: CUDA error: no kernel image is available for execution on the device", None, "no kernels"),
])
def test_an_error_alone_is_explained_with_what_helps(text, engine, says):
    found = asked(text)
    assert found.understood and found.engine == engine
    assert says in found.problem and found.changes


# -- command lines ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "says"), [
    ("vllm serve Qwen/Qwen3-30B-A3B-FP8 --tensor-parallel-size 4",
     "Expert width 768 / 4 = 192 is no multiple of the 128"),
    ("vllm serve google/gemma-3-27b-it -tp 3", "32 attention heads do not divide by 3."),
    ("vllm serve meta-llama/Llama-3.1-8B-Instruct --max-model-len 200000  # NVIDIA H100 80GB HBM3",
     "the model's own is 131,072"),
    ("vllm serve meta-llama/Llama-3.3-70B-Instruct -tp 1  # NVIDIA H100 80GB HBM3", "over the memory by"),
])
def test_a_command_that_cannot_start_is_caught_by_our_own_rules(text, says):
    found = asked(text)
    assert found.engine == "vllm" and says in found.problem


def test_changes_come_with_their_price():
    found = asked("vllm serve meta-llama/Llama-3.3-70B-Instruct -tp 2 --max-model-len 131072   # NVIDIA H100 80GB HBM3")
    assert found.changes[-1] == "Over 4 GPUs (tensor parallel 4) it fits, at 2 times the price."
    assert any("weights fit, at an expected loss of quality of" in change for change in found.changes)


# -- anything else ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "hello", "Traceback (most recent call last):\n  KeyError: 'x'", "\0\ud800",
                                  "a" * 10**6])
def test_other_texts_are_said_not_to_be_understood(text):
    found = asked(text)
    assert not found.understood and "not understood" in found.problem and found.changes == ()


@settings(deadline=None)
@given(st.lists(st.sampled_from(
    ["vllm serve ", "--tensor-parallel-size ", "0", "99999999", "-tp=0 ", "model='", "'", "/", "../..",
     "llama-server -m ", ".gguf", "KV cache size: ", " tokens", "Model loading took 1e999 GiB", "9" * 40, "NVIDIA H100",
     "\n", "{a}", "%s", LLAMA, " --max-model-len ", "--quantization ", "fp8 ", "nonsense "]), max_size=20).map("".join))
def test_no_text_ends_in_a_traceback(text):
    found = asked(text)
    assert found.problem and isinstance(found.understood, bool)


def test_the_command_reads_standard_input():
    done = subprocess.run([sys.executable, "-m", "core", "doctor", "-", "--json", "--offline"], cwd=ROOT, text=True,
                          input="vllm serve google/gemma-3-27b-it -tp 3", capture_output=True, check=True)
    answer = json.loads(done.stdout)
    assert list(answer) == ["understood", "engine", "model", "gpu", "problem", "changes", "measured"]
    assert answer["problem"] == "32 attention heads do not divide by 3."
