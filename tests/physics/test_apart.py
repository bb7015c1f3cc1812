"""Prefill and decode on workers of their own: what they must do, and published runs."""

import csv

import pytest

from core.__main__ import main
from core.basics.errors import InputError
from core.physics.apart import Pool, apart, worker
from core.products import formats, gpus
from core.reading import catalogue
from core.terms import Deployment

R1 = "deepseek-ai/DeepSeek-R1"


def base(gpu="H200 SXM 141GB", weights="fp8", engine="sglang"):
    return Deployment(gpus.find(gpu), formats.find(weights), formats.find_kv("fp8"), engine=engine)


def of(concurrency, prefill, decode, lengths=(1024.0, 1024.0)):
    return apart(catalogue.load(R1), base(), prefill, decode, concurrency, *lengths)


def test_more_workers_of_a_kind_shorten_what_that_kind_does():
    one, starters, deciders = (of(512, Pool(8, p), Pool(8, d)) for p, d in ((1, 1), (4, 1), (1, 4)))
    assert starters.ttft_s < one.ttft_s and starters.tpot_s == one.tpot_s
    assert deciders.tpot_s < one.tpot_s
    assert starters.output_tokens_per_s_per_gpu < one.output_tokens_per_s_per_gpu * 16 / 40 * 2


def test_workers_nobody_counts_balance():
    """Longer prompts need more workers that prefill, for the same decode."""
    short, long = (of(512, Pool(8), Pool(8), (length, 1024.0)) for length in (512.0, 8192.0))
    assert long.prefill_workers > short.prefill_workers


def test_the_cache_crosses_the_link_once():
    """DeepSeek-R1 caches 576 values a token and layer: 61 layers of 1,024 tokens in 8 bits."""
    found = of(8, Pool(8), Pool(8))
    link = gpus.find("H200 SXM 141GB").link_bytes_per_s_among(16)
    assert found.transfer_s == pytest.approx(61 * 576 * 1024 / link, rel=1e-6)


def test_a_worker_takes_as_many_gpus_as_hold_the_model():
    assert worker(catalogue.load(R1), base("H100 SXM5 80GB"), 1)[0].gpus == 16
    with pytest.raises(InputError, match="does not fit on one worker of up to 144"):
        worker(catalogue.load(R1), base("Tesla T4", "bf16"), 1)


@pytest.mark.parametrize(("gpu", "engine", "precision", "tp", "requests", "measured_ms"), [
    ("B200 SXM 180GB", "sglang", "fp8", 8, 4, 4.66), ("H200 SXM 141GB", "trtllm", "fp8", 8, 64, 13.9),
    ("GB200 (per GPU) 186GB", "trtllm", "fp4", 8, 24, 4.2),
])
def test_estimate_takes_the_columns_of_published_tables(tmp_path, gpu, engine, precision, tp, requests, measured_ms):
    """aiconfigurator@095f58a silicon_sample.csv, DeepSeek-R1: within the range that is given."""
    cases, out = tmp_path / "cases.csv", tmp_path / "out.csv"
    cases.write_text(
        "model,gpu,engine,engine_version,precision,input_tokens,output_tokens,prefill_tp,prefill_dp,decode_tp,decode_dp,"
        f"concurrency,note\n{R1},{gpu},{engine},0.8.1.post3,{precision},1024,1024,{tp},1,{tp},1,,concurrency={requests}\n")
    assert main(["estimate", "--offline", str(cases), "--out", str(out)]) == 0
    row = next(csv.DictReader(out.open()))
    assert not row["error"] and float(row["output_tokens_per_s_per_gpu"]) > 0
    assert float(row["tpot_low_ms"]) < measured_ms < float(row["tpot_high_ms"])


def test_without_a_load_it_says_what_to_name(tmp_path):
    cases, out = tmp_path / "cases.csv", tmp_path / "out.csv"
    cases.write_text(f"model,gpu,engine,input_tokens,output_tokens,prefill_tp,decode_tp\n{R1},H200,sglang,1,1,8,8\n")
    assert main(["estimate", "--offline", str(cases), "--out", str(out)]) == 0
    assert "Name the concurrency" in next(csv.DictReader(out.open()))["error"]
