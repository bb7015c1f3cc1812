"""The regime: textbook ridges, batches and contexts by hand, gains from the model, and the pictures."""

import itertools

import altair
import numpy as np
import pytest

from core.answers import regime
from core.answers.advice import recommend
from core.answers.regime.roofline import crossing, weight_stream
from core.delivery import charts
from core.losses import Losses
from core.physics import speed
from core.products import cpus, formats, gpus
from core.products.drafters import Drafter
from core.reading import catalogue
from core.terms import Bound, Deployment, Workload

LLAMA = "meta-llama/Llama-3.1-8B"
LLAMA_2 = "meta-llama/Llama-2-7b-hf"
H100 = "H100 SXM5 80GB"
A100 = "A100 SXM4 80GB"


def deployed(model=LLAMA, gpu=H100, weights="bf16", kv="bf16", **fields):
    d = Deployment(gpus.find(gpu), formats.find(weights), formats.find_kv(kv), **fields)
    return catalogue.load(model), d


def race(model=LLAMA, gpu=H100, margin=0.25, **fields):
    spec, d = deployed(model, gpu, **fields)
    return regime.format_race(spec, d, Workload(), 16, margin=margin)


# -- the roofline -----------------------------------------------------------------------------------


def test_the_ridge_is_the_data_sheet_s():
    """H100 SXM data sheet: 989.4 dense BF16 TFLOP/s, 1,978.9 FP8, 3.35 TB/s."""
    assert regime.roof(*deployed()).ridge_flops_per_byte == pytest.approx(989.4e12 / 3.35e12, rel=1e-3)
    assert regime.roof(*deployed()).ridge_flops_per_byte == pytest.approx(295.3, rel=1e-3)
    assert regime.roof(*deployed(weights="fp8")).ridge_flops_per_byte == pytest.approx(590.7, rel=1e-3)


def test_four_bits_are_multiplied_in_sixteen():
    roof = regime.roof(*deployed(weights="awq-int4"))
    assert roof.ridge_flops_per_byte == pytest.approx(295.3, rel=1e-3)
    assert len(roof.ceilings) == 1


@pytest.mark.parametrize(
    ("gpu", "weights"),
    list(itertools.product([H100, A100, "GeForce RTX 4090", "MI300X", "T4"], ["fp16", "awq-int4", "w8a8-int8"])),
)
def test_nothing_is_above_the_roof(gpu, weights):
    spec, d = deployed(gpu=gpu, weights=weights, kv="fp16")
    roof = regime.roof(spec, d)
    peak = max(ceiling.peak_flops_per_s for ceiling in roof.ceilings)
    assert roof.ceilings[0].achieved_flops_per_s < peak
    assert roof.achieved_bytes_per_s < roof.peak_bytes_per_s
    for phase, batch, context in (("decode", 1, 512), ("decode", 64, 4096), ("prefill", 1, 2048)):
        for cost in speed.breakdown(spec, d, phase, batch, context):
            if cost.intensity and cost.seconds:
                assert cost.flops / cost.seconds <= min(peak, cost.intensity * roof.peak_bytes_per_s), cost.name
    path = regime.decode_path(spec, d, 1024)
    assert (path.flops_per_s <= np.minimum(peak, path.intensity * roof.peak_bytes_per_s)).all()


def test_decode_at_batch_one_does_one_flop_per_byte():
    """Textbook: 2 FLOP a weight of 2 bytes. Llama-2-7B in FP16; attention of MHA does one too."""
    spec, d = deployed(LLAMA_2, A100, weights="fp16", kv="fp16")
    path = regime.decode_path(spec, d, 128, batches=(1, 8))
    assert path.intensity[0] == pytest.approx(1.0, rel=0.02)
    assert path.intensity[1] == pytest.approx(8.0, rel=0.12)       # caches and activations are not shared


def test_weights_stream_without_the_embedding():
    """Llama-3.1-8B: 8,030,261,248 parameters less 128,256 x 4,096 looked up and 266,240 norm weights."""
    streamed, flops = weight_stream(*deployed())
    matrices = 8_030_261_248 - 128_256 * 4096 - 65 * 4096
    assert streamed == 2 * matrices
    assert flops == 2 * matrices


def test_prefill_climbs_to_the_ridge_with_the_prompt():
    path = regime.prefill_path(*deployed(), 4096)
    assert path.sizes[0] == 16 and path.sizes[-1] == 4096
    assert (np.diff(path.intensity) > 0).all()
    assert path.intensity[-1] > 295


def test_shares_are_the_whole_step():
    costs = speed.breakdown(*deployed(tp=2), "decode", 16, 1024)
    parts = {part.name: part.seconds for part in regime.shares(costs)}
    assert set(parts) <= set(charts.PARTS)
    assert sum(parts.values()) == pytest.approx(sum(cost.seconds for cost in costs))
    assert parts["communication"] == next(c.seconds for c in costs if c.bound is Bound.COMMUNICATION)
    assert parts["KV cache"] == next(c.seconds for c in costs if c.name == regime.ATTENTION)


def test_a_crossing_is_read_between_samples():
    """2^x passes 8 at x = 3; a last sample below means never; above throughout means from the first on."""
    at = np.array([1.0, 2.0, 4.0, 16.0])
    assert crossing(at, at, 8.0) == pytest.approx(8.0)
    assert crossing(at, at, 100.0) is None
    assert crossing(at, at, 0.5) == 1.0


# -- up to which batch is decode memory-bound -------------------------------------------------------


def test_the_textbook_batch_is_the_ridge_for_sixteen_bits():
    """B FLOPs 2P against 2P bytes: B = ridge x bytes / FLOPs = ridge."""
    spec, d = deployed()
    answer = regime.memory_bound(spec, d, 1152, doubt=0.2)
    assert answer.textbook_batch == pytest.approx(295.3, rel=1e-3)
    assert answer.matrices_low < answer.matrices_batch < answer.matrices_high
    assert answer.matrices_batch < answer.textbook_batch      # matmuls miss more of their peak than reads do


def test_a_long_context_keeps_decode_memory_bound():
    """128 KiB per token: at 1,152 tokens 151 MB to read, 2 x 7.5 GFLOP to do; at 16 tokens 2.1 MB."""
    spec, d = deployed()
    long, short = regime.memory_bound(spec, d, 1152, doubt=0.2), regime.memory_bound(spec, d, 16, doubt=0.2)
    assert long.cache_bytes == pytest.approx(1152 * 131_072)
    assert long.batch is None and long.cache_s > long.token_compute_s
    assert short.batch is not None and short.cache_s < short.token_compute_s
    assert 16 < long.free_context < 1152
    assert long.cache_flops_per_byte == pytest.approx(4.0, rel=0.01)   # 32 query heads share 8 KV heads


def test_fewer_bits_turn_earlier_in_the_book():
    """AWQ INT4: 4.16 bits against 16, lm_head stays: between a quarter and a third of the ridge."""
    spec, d = deployed(weights="awq-int4")
    answer = regime.memory_bound(spec, d, 1152, doubt=0.2)
    assert 295 * 4.16 / 16 < answer.textbook_batch < 295 / 3


# -- from which batch INT4 stops paying -------------------------------------------------------------


def test_int4_leads_at_one_and_ends():
    found = race()
    eight, sixteen = found.rivals
    assert found.format.name == "awq-int4"
    assert (eight.format.name, sixteen.format.name) == ("fp8", "bf16")
    assert 1 < eight.at_one < sixteen.at_one < 4       # gpt-fast README, A100: 196.8 / 104.9 = 1.88 x at batch 1
    assert eight.prefill < 0.8                         # FP8 multiplies at twice the rate
    assert 1 < eight.stops < sixteen.stops
    assert found.own.weight_bytes < eight.weight_bytes < sixteen.weight_bytes


def test_the_end_of_the_lead_is_where_the_curve_says():
    eight = race().rivals[0]
    after = np.array(race().batches) > eight.stops
    assert (eight.relative[after] < 1.02 + 1e-9).all()
    assert eight.relative[~after][-1] > 1.02 - 1e-9


def test_a_wider_margin_widens_the_range():
    narrow, wide = race(margin=0.02).rivals[0], race(margin=0.1).rivals[0]
    assert wide.stops_low <= narrow.stops_low <= narrow.stops
    assert wide.stops_high is None or wide.stops_high >= narrow.stops_high >= narrow.stops


def test_without_fp8_units_int8_stands_in_and_it_is_said():
    found = race(gpu=A100)
    assert [rival.format.name for rival in found.rivals] == ["w8a8-int8", "bf16"]
    assert any(refusal.choice == "FP8" and "FP8" in refusal.reason for refusal in found.left_out)


def test_where_int4_does_not_run_there_is_no_race():
    found = race(gpu="TPU v5e")
    assert found.format is None and not found.rivals
    assert "TPU" in found.left_out[0].reason or "Google" in found.left_out[0].reason


# -- from which context the cache outweighs the weights ---------------------------------------------


def test_the_cache_of_one_request_outweighs_the_weights_from_122_532_tokens():
    """Llama-3.1-8B in BF16: 16,060,522,496 B / (2 x 32 layers x 8 heads x 128 x 2 B) = 122,532 tokens."""
    spec, d = deployed()
    assert round(16_060_522_496 / (2 * 32 * 8 * 128 * 2)) == 122_532
    answer = regime.cache_outweighs(spec, d, Workload(), 1)
    assert answer.cache_bytes_per_token == 131_072
    assert answer.context == pytest.approx(122_532, rel=0.005)
    assert regime.cache_outweighs(spec, d, Workload(), 16).context == pytest.approx(122_532 / 16, rel=0.005)


def test_states_alone_never_outweigh_the_weights():
    spec, d = deployed("tiiuae/falcon-mamba-7b")
    answer = regime.cache_outweighs(spec, d, Workload(), 16)
    assert answer.context is None and answer.cache_bytes_per_token == 0


def test_reading_takes_over_at_the_context_the_answer_names():
    spec, d = deployed()
    answer = regime.cache_outweighs(spec, d, Workload(), 16)

    def parts(context):
        costs = speed.breakdown(spec, d, "decode", 16, context)
        cache = sum(c.seconds for c in costs if c.name == regime.ATTENTION)
        return cache / sum(c.seconds for c in costs if c.flops and c.name != regime.ATTENTION)

    assert parts(answer.reading_context) == pytest.approx(1.0, rel=0.01)


# -- what would help --------------------------------------------------------------------------------


def advised(model=LLAMA, gpu=H100, workload=None, **fields):
    spec, d = deployed(model, gpu, **fields)
    return regime.advice(Losses(spec), d, workload or Workload(), 16)


def gains(phase):
    return {gain.label: gain for gain in phase.helps}


def test_gains_are_what_the_model_predicts():
    """The gain of FP8 weights is the plan's TTFT and TPOT against those of the same plan in FP8."""
    spec = catalogue.load(LLAMA)
    plans = [recommend(spec, gpus.find(H100), Workload(), formats=(name,), kv_formats=("bf16",), tps=(1,))
             for name in ("bf16", "fp8")]
    prefill, decode = advised(engine_version=plans[0].best.deployment.engine_version)
    old, new = (plan.best for plan in plans)
    assert gains(prefill)["FP8 weights"].factor == pytest.approx(old.ttft.value / new.ttft.value)
    assert gains(decode)["FP8 weights"].factor == pytest.approx(old.tpot.value / new.tpot.value)


def test_gains_come_largest_first_and_all_are_gains():
    for phase in advised():
        factors = [gain.factor for gain in phase.helps]
        assert factors == sorted(factors, reverse=True) and min(factors) >= 1.02
        for gain in phase.helps:
            assert gain.low < gain.after < gain.high


def test_what_does_not_run_is_left_out_with_its_reason():
    prefill, decode = advised(gpu=A100)
    for phase in (prefill, decode):
        assert "FP8 weights" not in gains(phase)
        assert any(out.choice == "FP8 weights" and "FP8" in out.reason for out in phase.left_out)
        assert all(out.reason.endswith(".") for out in phase.left_out)


def test_what_is_in_use_says_what_it_gives():
    prefill, decode = advised(weights="fp8")
    for phase in (prefill, decode):
        used = {gain.label: gain for gain in phase.in_use}
        assert used["FP8 weights"].factor > 1.1


def test_flash_attention_saves_more_the_longer_the_prompt():
    """Scores grow with the square of the prompt, the rest of the prefill with its length."""
    def flash(tokens):
        prefill, _ = advised(workload=Workload(input_tokens=tokens, concurrency=1))
        return next(gain for gain in prefill.in_use if gain.label == "FlashAttention")
    assert 1 < flash(1024).factor < flash(8192).factor < flash(32768).factor
    short, long = flash(8192), flash(32768)
    assert (long.before - long.after) / (short.before - short.after) == pytest.approx(16, rel=0.1)


def test_an_engine_that_writes_the_scores_out_is_told_to_stop():
    """llama.cpp keeps -fa off by default."""
    workload = Workload(input_tokens=16_384, concurrency=1)
    prefill, _ = advised(gpu="GeForce RTX 4090", weights="gguf-Q4_K_M", kv="fp16", engine="llamacpp", workload=workload)
    assert "FlashAttention" in gains(prefill)


def test_many_kv_heads_are_worth_grouping():
    """Llama-2-7B keeps 32 KV heads, Llama-3.1-8B 8."""
    assert "A model with GQA, 8 KV heads" in gains(advised(LLAMA_2)[1])
    assert "A model with GQA, 8 KV heads" not in gains(advised()[1])


def test_a_larger_batch_stays_within_target_and_memory():
    workload = Workload(tpot_slo_s=0.012)
    _, decode = advised(workload=workload)
    larger = [out for out in decode.left_out if out.choice.startswith("Batch")]
    assert any("12 ms" in out.reason for out in larger)
    assert any("The KV cache holds" in out.reason for out in larger)


def test_scales_that_cannot_be_split_are_left_out():
    """EXAONE-4.0-32B-FP8: 27,392 rows over 4 GPUs are no whole number of 128, which one scale covers."""
    _, decode = advised("LGAI-EXAONE/EXAONE-4.0-32B-FP8", weights="fp8")
    assert any("27,392 / 4" in out.reason for out in decode.left_out if "4 GPUs" in out.choice)


# -- pictures ---------------------------------------------------------------------------------------


def drawn(model=LLAMA, gpu=H100, **fields):
    spec, d = deployed(model, gpu, **fields)
    operators = {"decode": speed.breakdown(spec, d, "decode", 16, 1152),
                 "prefill": speed.breakdown(spec, d, "prefill", 1, 1024)}
    decode, prefill = regime.decode_path(spec, d, 1152), regime.prefill_path(spec, d, 1024)
    return charts.roofline(regime.roof(spec, d), operators, decode, prefill, batch=16), decode, operators


def words(spec):
    return " ".join(
        str(row["label"]) for layer in spec["layer"] for row in layer["data"]["values"] if "label" in row
    )


@pytest.mark.parametrize(
    "fields",
    [{}, {"weights": "fp8"}, {"model": "RWKV/rwkv-5-world-3b"}, {"model": "deepseek-ai/DeepSeek-V3", "tp": 8}],
    ids=["BF16", "FP8", "recurrent", "experts"],
)
def test_the_roofline_is_valid_and_holds_everything(fields):
    spec, _, _ = drawn(**fields)
    altair.LayerChart.from_dict(spec, validate=True)
    for layer in spec["layer"]:
        x, y = (layer["encoding"][axis]["scale"]["domain"] for axis in "xy")
        for row in layer["data"]["values"]:
            assert x[0] <= row["x"] <= x[1] * 1.001 and y[0] * 0.999 <= row["y"] <= y[1] * 1.001


def test_the_roofline_names_its_lines():
    said = words(drawn(weights="fp8")[0])
    for name in ("FP8 peak 1,979", "BF16 peak 989", "3.35 TB/s", "ridge 591", "decode, batch 16", "attention"):
        assert name in said


def test_step_and_gain_charts_are_valid():
    _, path, operators = drawn()
    bars = charts.step_bars({phase: regime.shares(costs) for phase, costs in operators.items()})
    ends = [row["end"] for row in bars["layer"][0]["data"]["values"] if row["step"] == "decode"]
    assert ends[-1] == pytest.approx(1.0)
    for spec in (bars, charts.shares_over_batch(path, chosen=16), charts.gain_bars(advised()[1].helps, charts.DECODE)):
        altair.LayerChart.from_dict(spec, validate=True)


# -- one step of each phase, as the load asks for it --------------------------------------------------


def test_the_headline_says_the_shares_that_the_chart_draws():
    """Percentages of the sentence are those of the bars; arithmetic: 16 requests of Llama-3.1-8B in BF16 on an H100."""
    spec, d = deployed()
    now = regime.steps(spec, d, Workload(), 16)
    shares = regime.spent(now.decode)
    assert sum(shares.values()) == pytest.approx(1.0)
    drawn = {part.name: part.seconds for part in regime.shares(now.decode)}
    memory = sum(drawn.get(name, 0.0) for name in ("weights", "KV cache", "activations")) / sum(drawn.values())
    assert shares["memory traffic"] == pytest.approx(memory)
    assert f"A decode step of 16 requests is {100 * memory:.0f} % memory traffic" in regime.headline(now)


def test_a_prefix_that_is_found_is_not_computed_again():
    """19,000 of 20,000 tokens found: the matrices multiply 1,000, attention still spans all 20,000."""
    spec, d = deployed()
    whole, rest = (regime.steps(spec, d, Workload(input_tokens=20_000, prefix_hit_rate=hit), 16) for hit in (0, 0.95))
    flops = [{o.name: o.flops for o in now.prefill} for now in (whole, rest)]
    assert flops[1]["gate_up_proj"] == pytest.approx(flops[0]["gate_up_proj"] / 20)
    # Causal attention: 20,000^2 / 2 pairs against 20,000^2 / 2 - 19,000^2 / 2.
    assert flops[1]["attention"] / flops[0]["attention"] == pytest.approx(1 - 0.95**2, rel=0.02)


def test_drafts_and_a_host_are_parts_of_the_step():
    """What they take is what the clock of the plan adds for them, so the parts sum up to its step."""
    spec, d = deployed(drafter=Drafter.EAGLE3)
    drafting = regime.steps(spec, d, Workload(spec_method=Drafter.EAGLE3), 16)
    assert drafting.drafted == 3 and regime.spent(drafting.decode)["drafting"] > 0.03
    big, on_host = deployed("meta-llama/Llama-3.3-70B-Instruct", "GeForce RTX 4090", "gguf-Q4_K_M", "fp16",
                            engine="llamacpp", host=cpus.typed(80.0))
    hosted = regime.steps(big, on_host, Workload(), 1)
    # 42 GB of Q4_K_M, some 20 on the card: the rest at 80 GB/s is over a quarter of a second.
    assert regime.spent(hosted.decode)["host memory traffic"] > 0.8
    assert sum(o.seconds for o in hosted.decode) > 0.25


@pytest.mark.parametrize(("fields", "says"), [
    ({}, "Yes, for decode: AWQ INT4 decodes"), ({"weights": "fp8"}, "No: AWQ INT4 decodes"),
    ({"weights": "awq-int4"}, "It is in use"), ({"gpu": "T4", "weights": "fp16", "kv": "fp16"}, "AWQ INT4 decodes"),
])
def test_will_int4_help_is_one_sentence(fields, says):
    spec, d = deployed(**fields)
    race = regime.format_race(spec, d, Workload(), 16, margin=0.25)
    said = regime.will_int4_help(race, d.weights, 16, "2.0 % expected loss of quality")
    assert says in said and said.endswith("loss of quality.")
