"""Real vLLM on the processor, started by our own command on random weights: its KV tokens beside ours.

Configurations are the models' own with fewer layers or experts (tests/data/engine_configs.json), so that they fit a
small machine; what a token takes in a layer, windows, states and groups are as published. A release that cannot start
one of them on a processor says so in its own words, and the test is skipped with them.
"""

import json
import re
import time
from dataclasses import replace

import pytest

from core.answers.advice import recommend
from core.basics.places import ROOT
from core.basics.units import GIB
from core.delivery.export.launch import command
from core.delivery.export.order import order
from core.delivery.export.random_weights import declared, with_random_weights, write_folder
from core.machinery.program import started
from core.measure.session import why
from core.physics import memory
from core.physics.memory.cache import paged
from core.products import gpus
from core.reading import logs
from core.reading.configs import read_config
from core.terms import Workload
from tests.engines.conftest import LIMIT_S, environment

CONFIGS = json.loads((ROOT / "tests" / "data" / "engine_configs.json").read_text(encoding="utf-8"))
POOL_GIB, LENGTH = 2, 2048
BLOCK, MLA_BLOCK = 32, 16           # tokens: the least of vLLM 0.32's CPU_ATTN, and the only one of its CPU MLA
# What a processor lacks, in vLLM's words: no fault of the command or of our arithmetic.
LACKING = re.compile(r"(?i)not (?:supported|implemented|available|compatible)|no valid attention backend|triton"
                     r"|NotImplemented|illegal instruction|unsupported|only support")


@pytest.mark.parametrize("name", CONFIGS)
def test_its_kv_tokens_are_ours(name, python, tmp_path):
    config = CONFIGS[name]
    spec = read_config(config, name=name)
    length = min(LENGTH, spec.max_context or LENGTH)
    card = gpus.custom("made up", 80, 3000, 900)
    ordered = order(recommend(spec, card, Workload(length // 4, length // 8, 4), formats=["bf16"], tps=[1]))
    write_folder(tmp_path / "model", declared(ordered, config))
    launch = with_random_weights(ordered, command(ordered, {"host": "127.0.0.1", "port": 0}), str(tmp_path / "model"))
    words = (*launch.command, "--max-model-len", str(length), "--max-num-batched-tokens", str(length), "--block-size",
             str(BLOCK), "--enforce-eager", "--disable-log-stats")
    said = start(words, python, tmp_path)
    log = logs.read(said)
    if "kv_tokens" not in log.numbers:
        reason = f"{name}: {why(said)}"
        assert LACKING.search(said), reason
        pytest.skip(reason)
    block = MLA_BLOCK if f"requires block_size={MLA_BLOCK}" in said else BLOCK
    d = replace(ordered.deployment, max_model_len=length, max_num_batched_tokens=length)
    ours = of_blocks(memory.footprint(spec, d).cache, block).tokens(POOL_GIB * GIB)
    if (config.get("sliding_window") or 0) >= (spec.max_context or length):
        ours *= length / (length + block)       # a window that never bites is none to us, to vLLM a block a request
    print(f"{name}: vLLM {log.numbers['kv_tokens']:,.0f}, ours {ours:,.0f}, blocks of {block}")
    assert ours == pytest.approx(log.numbers["kv_tokens"], abs=block)


def of_blocks(cache, tokens):
    """The same cache in the blocks of the processor's attention kernels; a GPU's are of 16 tokens."""
    if cache.layout is None:
        return cache
    states = max(group.states for group in cache.layout.groups)
    return replace(cache, layout=paged(cache.layers, tokens, states))


def start(words, python, folder):
    """What vLLM says until its cache is there, or until it gives up."""
    variables = environment(python) | {"VLLM_CPU_KVCACHE_SPACE": str(POOL_GIB)}
    with started(words, folder, variables, "said") as engine:
        until = time.monotonic() + LIMIT_S
        while engine.code is None and "KV cache size" not in engine.said() and time.monotonic() < until:
            time.sleep(0.5)
        return engine.said()
