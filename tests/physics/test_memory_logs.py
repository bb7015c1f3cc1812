"""Footprints against what engines printed when they started; a source a row in data/memory_logs.csv."""

import csv
from dataclasses import replace
from statistics import median

import pytest

from core.basics.places import ROOT
from core.basics.units import GIB
from core.physics import memory
from core.physics.memory.footprint import cache_of
from core.products import formats, gpus
from core.reading import catalogue
from core.terms import Deployment

LOGS = list(csv.DictReader((ROOT / "tests" / "data" / "memory_logs.csv").open(encoding="utf-8")))


def number(text, kind):
    return kind(text) if text else None


def deployment(log):
    gpu = gpus.find(log["gpu"])
    if log["reported_gib"]:
        gpu = replace(gpu, memory_bytes=int(float(log["reported_gib"]) * GIB))
    return Deployment(
        gpu, formats.find(log["weights"]), formats.find_kv(log["kv_cache"]), tp=int(log["tp"]), pp=int(log["pp"]),
        engine=log["engine"], engine_version=log["version"], memory_fraction=number(log["memory_fraction"], float),
        max_model_len=number(log["max_model_len"], int), max_num_batched_tokens=number(log["batched_tokens"], int),
        max_num_seqs=number(log["seqs"], int),
    )


def pairs(column):
    for log in LOGS:
        if log[column]:
            spec = catalogue.load(log["model"])
            assert spec is not None, log["model"]
            yield log, spec, deployment(log)


def errors(column, estimate):
    return [(abs(estimate(spec, d) / float(log[column]) - 1), log["model"]) for log, spec, d in pairs(column)]


def test_weights_are_what_the_engine_says_it_loaded():
    """Median within 0.5 %, nine in ten within 3 %; a repository that keeps its attention in 16 bits is the rest."""
    found = sorted(errors("weights_gib", lambda spec, d: memory.weight_bytes_per_gpu(spec, d) / GIB))
    assert median(error for error, _ in found) < 0.005
    assert found[int(0.9 * len(found))][0] < 0.03, found[-6:]


def test_a_pool_of_the_printed_size_holds_the_printed_tokens():
    """Blocks, pages, layer groups, replicated heads and latents: exact up to the two decimals of the log.

    Left out: pipeline stages (the log prints the first rank's pool, the tokens of the tightest) and a
    Qwen3.6-27B that runs with a draft model.
    """
    for log, spec, d in pairs("pool_gib"):
        if not log["kv_tokens"] or d.pp > 1 or log["model"] == "Qwen/Qwen3.6-27B":
            continue
        pool = float(log["pool_gib"])
        tokens = cache_of(spec, d).tokens(pool * GIB)
        tolerance = 0.012 if "LMCache" in log["source"] or "21348" in log["source"] else 0.006 / pool + 1e-3
        assert tokens == pytest.approx(float(log["kv_tokens"]), rel=tolerance), (log["model"], log["tp"])


def test_the_pool_is_found_from_the_gpu_alone():
    """vLLM 0.19 on H100 with every setting stated: tokens within 3 %, most within 0.5 %."""
    found = sorted(
        (abs(memory.footprint(spec, d).kv_tokens / float(log["kv_tokens"]) - 1), log["model"])
        for log, spec, d in pairs("kv_tokens") if log["version"] == "0.19.0" and log["seqs"]
    )
    assert len(found) >= 25
    assert median(error for error, _ in found) < 0.005
    assert found[-1][0] < 0.03, found[-4:]


def test_sglang_leaves_the_rest_of_its_static_fraction():
    """SGLang pull request 4760: 442,750 tokens of Llama-3.1-8B on an 80 GB H100; issue 21348: 367,404 at 0.93."""
    for log, spec, d in pairs("kv_tokens"):
        if log["engine"] == "sglang":
            assert memory.footprint(spec, d).kv_tokens == pytest.approx(float(log["kv_tokens"]), rel=0.01)

@pytest.mark.parametrize("model, gpu, tp, version, weights, pool_gib", [
    ("Qwen/Qwen2.5-Coder-32B-Instruct", "H100 SXM5 80GB", 1, "0.11", "bf16", 4.46),    # stored-file:15038081344
    ("Qwen/Qwen3-235B-A22B-FP8", "H100 SXM5 80GB", 4, "2025-07", "fp8", 8.11),         # vllm issue 21348
    ("openai/gpt-oss-120b", "H100 SXM5 80GB", 1, "0.10.1", "mxfp4", -2.14),       # vllm issue 23278: does not start
])
def test_a_sampler_that_sorts_takes_gigabytes(model, gpu, tp, version, weights, pool_gib):
    """vLLM 0.8 to 0.16 sorts the logits of 1,024 sequences in its profile run: 3.2 to 4.4 GiB more than 0.19."""
    d = Deployment(gpus.find(gpu), formats.find(weights), formats.find_kv("bf16"), tp=tp, engine_version=version)
    found = memory.footprint(catalogue.load(model), d)
    assert (found.kv_cache_bytes - found.overflow_bytes) / GIB == pytest.approx(pool_gib, abs=0.15)


@pytest.mark.parametrize("tp, tokens", [(1, 4928), (4, 42880)])
def test_an_engine_that_folds_latents_keeps_a_wide_row_of_every_head(tp, tokens):
    """GLM-4.7-Flash AWQ on V100 32GB, LMDeploy 0.12: issues 4366 and 4367; 54 kB a token would be 235,000 tokens."""
    d = Deployment(gpus.find("V100 SXM2 32GB"), formats.find("awq-int4"), formats.find_kv("fp16"), tp=tp,
                   engine="lmdeploy", engine_version="0.12")
    assert memory.footprint(catalogue.load("zai-org/GLM-4.7-Flash"), d).kv_tokens == pytest.approx(tokens, rel=0.12)


def test_of_a_memory_that_the_system_uses_too_an_engine_takes_what_is_free():
    """DGX Spark: vLLM runs at 0.82 of 121.69 GiB and refuses 0.85 to 0.92; Devstral Small 2 at 0.7 has 56.13 GiB."""
    spark, spec = gpus.find("DGX Spark GB10"), catalogue.load("mistralai/Devstral-Small-2-24B-Instruct-2512")
    d = Deployment(spark, formats.find("fp8"), formats.find_kv("bf16"), engine_version="0.13")
    assert memory.footprint(spec, d).usable_bytes / GIB == pytest.approx(0.82 * 121.69, rel=1e-3)
    assert memory.unreachable(replace(d, memory_fraction=0.83)) is None
    assert "refuses to take 85%" in (memory.unreachable(replace(d, memory_fraction=0.85)) or "")
    at_70 = memory.footprint(spec, replace(d, memory_fraction=0.7))
    assert at_70.kv_cache_bytes / GIB == pytest.approx(56.13, rel=0.03)
    assert memory.unreachable(replace(d, engine="sglang", memory_fraction=0.9)) is None
