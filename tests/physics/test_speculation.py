"""Speculative decoding against its law and against published speed-ups."""

from dataclasses import replace

import numpy as np
import pytest

from core.basics.errors import InputError
from core.physics import drafter, memory
from core.physics.ask import Load, desk
from core.products import drafters, formats, gpus
from core.products.drafters import Drafter
from core.reading import catalogue
from core.terms import Deployment

LLAMA = "meta-llama/Llama-3.1-8B"


def deployment(gpu="H100 SXM5 80GB", weights="bf16", kv="bf16", **more):
    return Deployment(gpus.find(gpu), formats.find(weights), formats.find_kv(kv), **more)


def speed_up(name, plain, way, tokens, kept, batches, lengths=(1024, 1024)):
    """TPOT without drafts over TPOT with them, by batch."""
    spec, batches = catalogue.load(name), np.array(batches, float)
    found = desk([(spec, plain), (spec, replace(plain, drafter=way))])
    rows = np.repeat([0, 1], len(batches))
    tpot = found.predict(Load(False, np.tile(batches, 2), *lengths, spec_tokens=tokens, spec_acceptance=kept), rows)
    return np.divide(*np.split(tpot.tpot_s.value, 2))


@pytest.mark.parametrize("way", [Drafter.EAGLE3, Drafter.DRAFT, Drafter.NGRAM])
def test_drafts_that_are_never_kept_only_cost(way):
    assert (speed_up(LLAMA, deployment(), way, 3, 0.0, [1, 16, 256]) < 1).all()


def test_drafts_that_are_always_kept_yield_all_of_them_at_one_request():
    """k + 1 tokens a step, less what drafting and checking take: n-grams draft for nothing."""
    for tokens in (1, 3, 7):
        assert 0.8 * (tokens + 1) < speed_up(LLAMA, deployment(), Drafter.NGRAM, tokens, 1.0, [1])[0] < tokens + 1


def test_speculation_stops_paying_as_the_batch_grows():
    """Long contexts keep it paying: the cache is read once for all tokens of a check."""
    short, long = (speed_up(LLAMA, deployment(), Drafter.EAGLE3, 3, 0.4, [1, 16, 64, 256, 512], (length, 128))
                   for length in (16, 4096))
    assert short[0] > 1.4 and short[-1] < 1
    assert long[3] > short[3]


@pytest.mark.parametrize(("method", "tokens", "kept", "requests", "published"), [
    (Drafter.MTP, 3, 0.4197, 4, 1.864), (Drafter.MTP, 3, 0.4055, 32, 1.3304), (Drafter.MTP, 3, 0.3859, 64, 1.1126),
])
def test_published_speed_ups_of_multi_token_prediction(method, tokens, kept, requests, published):
    """DeepSeek-V4-Pro on 8 x MI355X, 922 + 922 tokens: ROCm/ATOM benchmark dashboard, nightly medians, 2026."""
    plain = deployment("MI355X", "mxfp4", tp=8, engine="atom")
    gain = speed_up("deepseek-ai/DeepSeek-V4-Pro", plain, method, tokens, kept, [requests], (922, 922))[0]
    assert gain == pytest.approx(published, rel=0.25)


def test_a_drafter_takes_memory_and_a_layer_of_cache():
    spec = catalogue.load(LLAMA)
    plain, drafting = (memory.footprint(spec, deployment(drafter=way)) for way in (Drafter.NONE, Drafter.EAGLE3))
    assert 0.7e9 < drafting.term("drafter").bytes < 1.1e9          # EAGLE3-LLaMA3.1-Instruct-8B: 0.85 GB in 16 bits
    assert drafting.kv_bytes_per_token / plain.kv_bytes_per_token == pytest.approx(33 / 32, rel=1e-3)


def test_a_model_without_a_head_is_told_so():
    assert "no head" in drafter.missing(catalogue.load(LLAMA), deployment(drafter=Drafter.MTP))
    assert drafter.missing(catalogue.load("deepseek-ai/DeepSeek-R1"), deployment(drafter=Drafter.MTP)) is None
    assert "not known to draft with eagle3" in drafter.missing(
        catalogue.load(LLAMA), deployment(engine="llamacpp", drafter=Drafter.EAGLE3))


@pytest.mark.parametrize(("rate", "drafted", "tokens"), [(0.0, 3, 1.0), (0.5, 1, 1.5), (0.8, 5, 3.68928)])
def test_a_check_yields_a_geometric_sum_of_tokens(rate, drafted, tokens):
    """Leviathan et al. 2023, equation 1: 1 + a + ... + a^g."""
    assert drafters.rate_of(tokens, drafted) == pytest.approx(rate, abs=1e-5)


@pytest.mark.parametrize(("text", "way", "tokens"), [
    ("", Drafter.NONE, None), ("mtp3", Drafter.MTP, 3), ("mtp/eagle 3 steps 4 draft tokens", Drafter.MTP, None),
    ("EAGLE3", Drafter.EAGLE3, None), ("draft:JackFram/llama-68m", Drafter.DRAFT, None), ("ngram", Drafter.NGRAM, None),
    ("mtp1 (on in the serve script)", Drafter.MTP, 1), ("draft_model", Drafter.DRAFT, None),
])
def test_ways_to_draft_are_read_as_people_write_them(text, way, tokens):
    assert drafters.read(text) == (way, tokens)


def test_an_unknown_way_to_draft_is_refused():
    with pytest.raises(InputError, match=r"'lookahead', no way to draft: use one of none, mtp"):
        drafters.read("lookahead")
