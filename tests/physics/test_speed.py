"""Speed: the textbook example, the speed of light, and how times must move with load and hardware."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.models import ModelSpec
from core.physics import speed
from core.physics.ask import Load, desk
from core.physics.speed.anchors import Anchors
from core.physics.speed.matmuls import BLOCK
from core.products import formats, gpus
from core.reading import catalogue
from core.terms import Bound, Deployment
from tests import pinned

LLAMA = "meta-llama/Llama-2-7b-hf"
H100 = "H100 SXM5 80GB"


def model(name: str = LLAMA) -> ModelSpec:
    spec = catalogue.load(name)
    assert spec is not None
    return spec


def deployment(gpu: str = H100, weights: str = "fp16", *, engine: str = "vllm", tp: int = 1) -> Deployment:
    return Deployment(gpus.find(gpu), formats.find(weights), formats.find_kv("fp16"), tp=tp, engine=engine)


def predict(d, batch, inputs, outputs, *, spec=None, static=True, anchors=None):
    """One deployment under columns of load, memory left aside."""
    rows = np.zeros(np.broadcast(batch, inputs, outputs).size, np.intp)
    load = Load(static, batch, inputs, outputs)
    return desk([(spec or model(), d)]).predict(load, rows, endless=True, anchors=anchors)


def tpot(d, batch=1.0, context=128.0, **how):
    return predict(d, batch, context, 128.0, **how).tpot_s.value


def test_textbook_flops_and_intensity_of_decode():
    """A 7B model: 2 FLOP a parameter and token, 14 GFLOP; 16-bit weights read for one token: 1 FLOP/B."""
    operators = speed.breakdown(model(), deployment(), "decode", 1, 128)
    assert sum(o.flops for o in operators) / 1e9 == pytest.approx(13.3, rel=0.05)     # 6.74 B less the embedding
    matmul = next(o for o in operators if o.name == "gate_up_proj")
    assert matmul.intensity == pytest.approx(1.0, abs=0.01)
    assert matmul.bound is Bound.MEMORY
    gpu = gpus.find(H100)
    assert gpu.flops["fp16"] / gpu.bandwidth_bytes_per_s > 200                        # the ridge


def test_batching_amortises_the_weights():
    """128 sequences cost far less than 128 steps of one, until the cache of long contexts is what is read."""
    short = tpot(deployment(), np.array([1.0, 128.0]), 128.0)
    long = tpot(deployment(), np.array([1.0, 128.0]), 4096.0)
    assert short[1] < 4 * short[0]
    assert long[1] > 10 * long[0]


def test_int4_pays_at_batch_one_and_less_and_less_with_the_batch():
    """Weight-only kernels on Ada: 3.6x at M=1, about 1 at 512 (aiconfigurator-core 0.12, L40S)."""
    batch = np.array([1.0, 16, 64, 128, 256, 512])
    gain = tpot(deployment("L40S"), batch) / tpot(deployment("L40S", "awq-int4"), batch)
    assert 2.0 < gain[0] < 3.6
    assert np.all(np.diff(gain) < 0.02)
    assert gain[-1] < 1.2


def test_long_prefill_is_compute_bound_and_decode_memory_bound():
    found = predict(deployment(), 1, 4096, 128)
    assert found.prefill_bound[0] is Bound.COMPUTE
    assert found.decode_bound[0] is Bound.MEMORY


@pytest.mark.parametrize("weights, tokens_per_s", [("bf16", 104.9), ("int8", 155.58), ("int4-g32", 196.8)])
def test_batch_one_decode_on_a100(weights, tokens_per_s):
    """gpt-fast README at 32971d3, Llama-2-7B, A100-80GB limited to 330 W, 5-token prompt."""
    found = predict(deployment("A100 SXM4 80GB", weights, engine="torch-compile"), 1, 5, 200)
    assert 1 / found.tpot_s.value[0] == pytest.approx(tokens_per_s, rel=0.15)
    assert 1 / found.tpot_s.high[0] < tokens_per_s < 1 / found.tpot_s.low[0]


NAMES = (
    "H100 SXM5 80GB", "GeForce RTX 5090", "MI300X", "L4", "Apple M4 Max (40-core)", "T4", "Tesla P40", "B200 SXM 180GB",
)


@pytest.mark.parametrize("gpu", NAMES)
@pytest.mark.parametrize("weights", ["fp16", "fp8", "awq-int4", "gguf-Q4_K_M", "nvfp4"])
def test_nothing_beats_the_speed_of_light(gpu, weights):
    """Every byte of weights once a step over the peak bandwidth; every FLOP of a prompt over the fastest peak."""
    d, spec = deployment(gpu, weights), model()
    stored = spec.text_params - spec.embedding_params - spec.head.params
    assert tpot(d)[0] > stored * d.weights.bytes_per_weight / d.gpu.bandwidth_bytes_per_s
    peak = max(*d.gpu.flops.values(), d.gpu.fp16_accumulate_flops or 0.0)
    assert predict(d, 1, 4096, 2).ttft_s.value[0] > 2 * stored * 4096 / peak


def test_no_published_case_is_estimated_beyond_the_speed_of_light():
    """The same over every deployment of the calibration table, tensor and expert parallel ones too."""
    from core.calibration.published import published
    cases = published().cases
    found = speed.predict(cases)
    pairs = [cases.pairs[i] for i in cases.which]
    dense = np.array([not spec.is_moe for spec, _ in pairs])
    floor = np.array([
        (spec.text_params - spec.embedding_params - spec.head.params - spec.lookup_params) * d.weights.bytes_per_weight
        / d.tp / d.gpu.bandwidth_bytes_per_s for spec, d in pairs
    ])
    decoding = np.isfinite(found.tpot_s.value) & dense
    assert decoding.sum() > 1000
    assert np.all(found.tpot_s.value[decoding] > floor[decoding])


@settings(max_examples=60)
@given(
    gpu=st.sampled_from(NAMES), weights=st.sampled_from(["fp16", "fp8", "awq-int4"]),
    batch=st.integers(1, 512), context=st.integers(16, 32768), more=st.floats(1.05, 4.0),
)
def test_times_grow_with_batch_context_and_prompt(gpu, weights, batch, context, more):
    d = deployment(gpu, weights)
    base, wider, longer = (
        predict(d, b, c, 64) for b, c in ((batch, context), (batch * more, context), (batch, context * more))
    )
    for grown in (wider, longer):
        assert grown.tpot_s.value[0] >= base.tpot_s.value[0] * (1 - 1e-9)
        assert grown.ttft_s.value[0] >= base.ttft_s.value[0] * (1 - 1e-9)


@settings(max_examples=30)
@given(gpu=st.sampled_from(NAMES), batch=st.integers(1, 256), more=st.floats(1.01, 3.0))
def test_more_bandwidth_is_never_slower(gpu, batch, more):
    d = deployment(gpu)
    faster = replace(d, gpu=replace(d.gpu, bandwidth_bytes_per_s=d.gpu.bandwidth_bytes_per_s * more))
    assert tpot(faster, batch)[0] <= tpot(d, batch)[0]


def test_throughput_saturates():
    """Each doubling of the batch adds relatively less output."""
    batch = 2.0 ** np.arange(0, 11)
    rate = predict(deployment(), batch, 512, 128).output_tokens_per_s_per_gpu.value
    gain = rate[1:] / rate[:-1]
    assert np.all(np.diff(gain) < 0.03)
    assert gain[-1] < 1.1


@pytest.mark.parametrize("gpu", [H100, "B200 SXM 180GB", "A100 SXM4 80GB"])
def test_more_gpus_prefill_faster_over_nvlink(gpu):
    times = [predict(deployment(gpu, tp=tp), 4, 4096, 2).ttft_s.value[0] for tp in (1, 2, 4, 8)]
    assert times == sorted(times, reverse=True)


def test_ranges_hold_the_value_and_widen_for_the_unseen():
    known, unknown = (predict(deployment(gpu), 8, 1024, 128) for gpu in (H100, "Gaudi3"))
    for found in (known, unknown):
        for figure in (found.ttft_s, found.tpot_s, found.output_tokens_per_s_per_gpu):
            assert figure.low[0] < figure.value[0] < figure.high[0]
    assert unknown.tpot_s.high[0] / unknown.tpot_s.value[0] > known.tpot_s.high[0] / known.tpot_s.value[0]
    assert "none was published" in speed.why_wide(model(), deployment("Gaudi3"), "tpot")
    assert speed.why_wide(model(), deployment(), "tpot").startswith("80 % of published runs")


def test_breakdown_adds_up_to_the_step():
    """Operators one by one against the tabulated step: a percent of interpolation apart."""
    for phase, batch, context in (("decode", 16, 1024), ("prefill", 1, 2048)):
        operators = speed.breakdown(model(), deployment(), phase, batch, context)
        found = predict(deployment(), batch, context - 64 if phase == "decode" else context, 128)
        whole = found.tpot_s if phase == "decode" else found.ttft_s
        assert sum(o.seconds for o in operators) == pytest.approx(whole.value[0], rel=0.03)


def test_recurrent_state_is_read_in_time():
    """Qwen3-Next keeps states beside its cache: bytes of attention and state stay under the bandwidth roof."""
    d = deployment(tp=4)
    attention = next(o for o in speed.breakdown(model("Qwen/Qwen3-Next-80B-A3B-Instruct"), d, "decode", 32, 1024)
                     if o.name == "attention")
    assert attention.bytes / attention.seconds < d.gpu.bandwidth_bytes_per_s


def test_breakdown_names_each_operator_once():
    names = [o.name for o in speed.breakdown(model("deepseek-ai/DeepSeek-V3"), deployment(tp=8), "decode", 8, 1024)]
    assert len(names) == len(set(names))


def test_no_cases_no_answers():
    assert len(desk([]).predict(Load(True, 1, 128, 128)).tpot_s.value) == 0


def test_decode_turns_compute_bound_only_where_the_cache_is_small():
    batch = speed.compute_bound_batch(model("meta-llama/Llama-3.1-8B"), deployment(), 128)
    assert batch is not None
    assert 80 < batch < 500
    assert speed.compute_bound_batch(model("meta-llama/Llama-3.1-8B"), deployment(), 32768) is None


def test_an_anchor_pulls_its_neighbours_and_leaves_others_alone():
    batch = np.array([1.0, 8.0, 64.0])
    plain = predict(deployment(), batch, 1024, 256, static=False)
    seen = desk([(model(), deployment())]).cases(Load(False, 8, 1024, 256), endless=True)
    nothing = np.array([np.nan])
    anchor = Anchors(seen, nothing, plain.tpot_s.value[1:2] * 1.3, nothing)
    moved = predict(deployment(), batch, 1024, 256, static=False, anchors=anchor)
    ratio = moved.tpot_s.value / plain.tpot_s.value
    assert ratio[1] == pytest.approx(1.3, rel=0.02)
    assert 1.0 < ratio[2] < 1.3
    assert np.all(moved.tpot_s.high / moved.tpot_s.low < plain.tpot_s.high / plain.tpot_s.low)
    other = predict(deployment("L40S"), batch, 1024, 256, static=False, anchors=anchor)
    assert np.array_equal(other.tpot_s.value, predict(deployment("L40S"), batch, 1024, 256, static=False).tpot_s.value)


def test_a_measured_tpot_speaks_for_the_throughput():
    """Output tokens/s of a request = O / (TTFT + (O - 1) TPOT): a slower step is a lower rate."""
    plain = predict(deployment(), 8, 1024, 256, static=False)
    seen = desk([(model(), deployment())]).cases(Load(False, 8, 1024, 256), endless=True)
    nothing = np.array([np.nan])
    anchor = Anchors(seen, nothing, plain.tpot_s.value * 1.3, nothing)
    moved = predict(deployment(), 8, 1024, 256, static=False, anchors=anchor)
    rate = moved.output_tokens_per_s_per_gpu.value / plain.output_tokens_per_s_per_gpu.value
    assert rate[0] == pytest.approx(1 / 1.3, rel=0.08)
    assert moved.ttft_s.value[0] > plain.ttft_s.value[0]


def test_bitsandbytes_unpacks_to_memory_for_more_than_one_row():
    """bitsandbytes README: Qwen2.5-14B in NF4 on a 4090 decodes in 21-26 ms alone, in 70-72 ms for eight."""
    step = tpot(deployment("GeForce RTX 4090", "bnb-nf4", engine="hf-eager"), np.array([1.0, 8.0]), 64.0,
                spec=model("Qwen/Qwen2.5-14B-Instruct"))
    assert 2.5 < step[1] / step[0] < 5


def test_engines_that_unpack_first_prefill_at_the_rate_of_16_bits():
    """Eight prompts of 512 tokens, 13B on an A100, transformers 4.37: GPTQ by ExLlamaV2 in 685 ms, FP16 in 656 ms."""
    spec = model("meta-llama/Llama-2-13b-chat-hf")
    ttft = [predict(deployment("A100 SXM4 80GB", weights, engine="hf-eager"), 8, 512, 1, spec=spec).ttft_s.value[0]
            for weights in ("gptq-int4", "fp16")]
    assert ttft[0] / ttft[1] == pytest.approx(685 / 656, rel=0.1)


@pytest.fixture(scope="module")
def odd():
    return drawn(0)


def drawn(seed):
    """Every kind of model, GPU, format, engine and load, drawn at random."""
    rng = np.random.default_rng(seed)
    pairs = tuple(
        (model(str(rng.choice(pinned.MODELS))), Deployment(
            gpus.find(str(rng.choice(pinned.GPUS))), formats.find(str(rng.choice(pinned.FORMATS))),
            formats.find_kv("fp16"), tp=int(rng.choice([1, 2, 4, 8])), engine=str(rng.choice(pinned.ENGINES)),
        ))
        for _ in range(150)
    )
    rows, which = 3000, np.arange(3000) % 150
    load = [2.0 ** rng.integers(0, 11, rows), 2.0 ** rng.integers(0, 16, rows), 2.0 ** rng.integers(1, 12, rows)]
    cases = desk(pairs).cases(Load(rng.random(rows) < 0.5, *load), which)
    return replace(cases, held=10.0 ** rng.uniform(0, 4, rows))


def test_pairs_are_tabulated_alike_alone_in_blocks_and_before(odd):
    assert len(odd.pairs) > BLOCK
    together, before = speed.predict(odd), speed.predict(odd, known=speed.timed(odd.pairs))
    for metric in ("ttft_s", "tpot_s", "output_tokens_per_s_per_gpu"):
        assert np.array_equal(getattr(before, metric).high, getattr(together, metric).high, equal_nan=True)
    for row in (0, BLOCK - 1, BLOCK, len(odd.pairs) - 1):       # rows go round the pairs
        one = slice(row, row + 1)
        alone = speed.predict(replace(
            odd, pairs=(odd.pairs[row],), which=np.zeros(1, np.intp), static=odd.static[one],
            concurrency=odd.concurrency[one], input_tokens=odd.input_tokens[one],
            output_tokens=odd.output_tokens[one], found_tokens=odd.found_tokens[one], held=odd.held[one],
            drafted=odd.drafted[one], gained=odd.gained[one],
        ))
        assert alone.ttft_s.value == pytest.approx(together.ttft_s.value[one], rel=1e-12)
        low = together.output_tokens_per_s_per_gpu.low[one]
        assert alone.output_tokens_per_s_per_gpu.low == pytest.approx(low, rel=1e-12)


def latency_s(cases, found):
    """Of a whole request."""
    return found.ttft_s.value + (cases.output_tokens - 1) * found.tpot_s.value


# The bounds of the next two tests hold over 120 draws from the whole catalogue and 60 from the pinned lists, 3,000
# rows each. Only the step between tokens gives way, and only for answers of a few tokens: what is gained before the
# first token is lost in part after it, as requests that wait less decode beside more others.


def test_more_requests_are_never_quicker(odd):
    """Half as many again: TTFT fell by 3.3 % at most, the whole request by 4.6 %, each for answers below 32 tokens."""
    few, many = speed.predict(odd), speed.predict(replace(odd, concurrency=odd.concurrency * 1.5))
    long = odd.output_tokens >= 32
    assert np.all(many.ttft_s.value > few.ttft_s.value * 0.965)
    assert np.all(latency_s(odd, many) > latency_s(odd, few) * 0.95)
    assert np.all(many.tpot_s.value[long] > few.tpot_s.value[long] * (1 - 1e-6))


def test_more_bandwidth_never_slows_an_odd_deployment(odd):
    """Half as much again: whole requests, TTFT and throughput lost 1.0 % at most; TPOT 2.7 %, or 9.5 % below 32 tokens.

    A quicker step hides less of the prompts and, on eager engines, of the host.
    """
    pairs = tuple((spec, replace(d, gpu=replace(d.gpu, bandwidth_bytes_per_s=d.gpu.bandwidth_bytes_per_s * 1.5)))
                  for spec, d in odd.pairs)
    slow, fast = speed.predict(odd), speed.predict(replace(odd, pairs=pairs))
    assert np.all(latency_s(odd, fast) < latency_s(odd, slow) * 1.015)
    assert np.all(fast.ttft_s.value < slow.ttft_s.value * 1.015)
    assert np.all(fast.output_tokens_per_s_per_gpu.value > slow.output_tokens_per_s_per_gpu.value * 0.985)
    assert np.all(fast.tpot_s.value < slow.tpot_s.value * np.where(odd.output_tokens >= 32, 1.03, 1.10))


def test_no_odd_deployment_gets_an_absurd_answer(odd):
    """Finite, ordered, never wider than five times."""
    found = speed.predict(odd)
    for figure in (found.ttft_s, found.tpot_s, found.output_tokens_per_s_per_gpu):
        assert np.all(np.isfinite(figure.value) & (figure.low > 0) & (figure.low < figure.value))
        assert np.all((figure.value < figure.high) & (figure.high / figure.low < 60))
