"""The Probe page as a script: off by default, a file opened, its figures shown and used in the plan."""

import json
import shlex

import pytest

from core.probe.measurement import Conditions, Measurement, Point, Quantity, to_json
from core.probe.recorded import recorded
from core.probe.timing import Stop, Timing
from core.products import gpus

GPU = gpus.find(gpus.DEFAULT_GPU)


def point(quantity, fmt, seconds, *, moved=0.0, flops=0.0, **shape):
    timing = Timing(seconds, seconds, seconds, 32, 0.001, Stop.SETTLED)
    return Point(quantity, fmt, "torch", shape, timing, moved, flops)


def made_up(share=0.5):
    """A card at `share` of its data sheet: no real card, so that the plan must move."""
    bandwidth = share * GPU.bandwidth_bytes_per_s
    sizes = [2**power for power in range(20, 31, 2)]
    points = [point(Quantity.COPY, "bytes", 4e-6 + 2 * s / bandwidth, moved=2.0 * s, size=s) for s in sizes]
    K, N = 4096, 28672
    # bytes of a weight, speed of arithmetic
    formats = {"bf16": (2.0, 1.0), "awq-int4": (0.53, 0.8), "fp8": (1.0, 1.9)}
    for fmt, (size, speed) in formats.items():
        for M in (1, 4, 16, 64, 256, 1024):
            compute = 2.0 * M * N * K / (0.7 * GPU.flops["bf16"]) / speed
            seconds = 3e-6 + ((size * K * N / bandwidth) ** 3 + compute**3) ** (1 / 3)
            moved = size * K * N
            points.append(point(Quantity.LINEAR, fmt, seconds, moved=moved, flops=2.0 * M * N * K, M=M, N=N, K=K))
        for batch in (1, 16, 64, 256):
            weights, cache = 218e6 * size / bandwidth, batch * 1024 * 4096 / bandwidth
            layer = 2e-5 + max(weights, 2.0 * batch * 218e6 / (0.5 * GPU.flops["bf16"]) / speed) + cache
            for layers, bend in ((2, 1.0), (4, 1.01), (8, 1.0)):
                points.append(point(
                    Quantity.BLOCK, fmt, bend * layers * layer, layers=layers, batch=batch, context=1024,
                ))
    for batch in (1, 16, 64, 256):
        points.append(point(Quantity.HEAD, "bf16", 5e-4, batch=batch, N=128256, K=4096))
    for kv, size in (("bf16", 2.0), ("fp8", 1.0)):
        moved = 32 * 2048 * 8 * 256 * size
        points.append(point(Quantity.ATTENTION, kv, moved / bandwidth / 0.9, moved=moved, batch=32, context=2048,
                            heads=32, kv_heads=8, head_dim=128))
    for size in (2**14, 2**20, 2**26):
        points.append(point(Quantity.ALL_REDUCE, "bf16", 8e-6 + size / 200e9, moved=float(size), size=size, gpus=2))
    return Measurement(
        device="NVIDIA H100 80GB HBM3", gpu=GPU.name, model="meta-llama/Llama-3.1-8B", driver="580.1",
        versions={"torch": "2.13.0"}, date="2026-11-24T12:00:00+00:00", seconds=41.0,
        conditions=Conditions(True), points=tuple(points),
    )


@pytest.fixture
def app(first_visit):
    return first_visit


def on_probe(app):
    app.run()
    return app.switch_page("probe/probe.py").run()


def way(app, name):
    app.segmented_control(key="way").set_value(name).run()
    assert not app.exception


def upload(app, text):
    app.get("file_uploader")[0].set_value(("probe.json", text.encode(), "application/json"))
    return app.run()


def test_without_a_gpu_it_is_off_and_says_how_to_go_on(app):
    on_probe(app)
    assert not app.exception
    assert "No engine is started from this server" in app.info[0].value
    words = shlex.split(app.code[0].value)
    assert words[:3] == ["sweetspot", "measure", "engine"] and ["--gpu", GPU.name] == words[5:7]
    assert len(app.dataframe[0].value) == 8
    way(app, "Server")
    assert "Servers are not asked from here" in app.info[0].value and "measure server --endpoint" in app.code[0].value
    way(app, "Kernels")
    assert "Measuring is off" in app.info[0].value
    assert any("sweetspot probe --model" in code.value for code in app.code)
    assert any("Nothing is measured" in caption.value for caption in app.caption)
    assert not [button for button in app.button if button.key == "measure"]


def test_a_file_is_opened_shown_and_used_in_the_plan(app):
    app.run()
    before = next(m.value for m in app.metric if m.label.startswith("TPOT"))
    on_probe(app)
    upload(app, to_json(made_up()))
    assert not app.exception and not app.error
    assert any("NVIDIA H100" in header.value for header in app.header)
    charts = [json.loads(chart.proto.spec) for chart in app.get("vega_lite_chart")]
    assert len(charts) == 5
    assert "data sheet" in json.dumps(charts[0])
    assert "pays to batch" in json.dumps(charts[2])
    assert {metric.label for metric in app.metric} >= {"Copy", "All-reduce, 2 GPUs", "AWQ INT4, batch 1"}
    app.switch_page("plan.py").run()
    after = next(m.value for m in app.metric if m.label.startswith("TPOT"))
    assert after != before
    assert any("come from your probe" in markdown.value for markdown in app.markdown)
    app.switch_page("regime/regime.py").run()
    assert any("come from your probe" in markdown.value for markdown in app.markdown)


def open_recorded(app, index):
    next(one for one in app.selectbox if one.key == "recorded_run").select_index(index).run()
    return next(one for one in app.button if one.key == "open_recorded").click().run()


def kept(app):
    """Names on the shelf, newest first, and whether plans use them."""
    names = [markdown.value.split("**")[1] for markdown in app.markdown if markdown.value.startswith("**NVIDIA")]
    return list(zip(names, [toggle.value for toggle in app.toggle], strict=True))


def test_a_recorded_run_is_opened_used_and_called_what_it_is(app):
    on_probe(app)
    open_recorded(app, 0)
    assert not app.exception and not app.error
    assert any("NVIDIA H100" in header.value for header in app.header)
    for page in ("plan.py", "regime/regime.py"):
        app.switch_page(page).run()
        said = [markdown.value for markdown in app.markdown if "Bandwidth and rates" in markdown.value]
        assert len(said) == 1
        assert "come from the recorded run on NVIDIA H100 80GB HBM3, 2026-11-26: TPOT" in said[0]


def test_the_file_of_a_recorded_run_is_no_probe_of_one_s_own(app):
    on_probe(app)
    upload(app, to_json(next(iter(recorded().values()))))
    app.switch_page("plan.py").run()
    assert any("come from the recorded run" in markdown.value for markdown in app.markdown)


def test_a_run_opened_again_is_kept_once_and_is_the_one_in_use(app):
    on_probe(app)
    for index in (0, 1):
        open_recorded(app, index)
    assert kept(app) == [
        ("NVIDIA H100 80GB HBM3, Qwen3-30B-A3B", True), ("NVIDIA H100 80GB HBM3, Llama-3.1-8B", True),
    ]
    app.toggle[1].set_value(False).run()
    assert [used for _, used in kept(app)] == [False, True]
    open_recorded(app, 0)
    assert kept(app) == [
        ("NVIDIA H100 80GB HBM3, Llama-3.1-8B", True), ("NVIDIA H100 80GB HBM3, Qwen3-30B-A3B", True),
    ]


def test_a_measurement_put_aside_leaves_the_plan_alone(app):
    app.run()
    before = next(m.value for m in app.metric if m.label.startswith("TPOT"))
    on_probe(app)
    upload(app, to_json(made_up()))
    app.toggle[0].set_value(False).run()
    app.switch_page("plan.py").run()
    assert next(m.value for m in app.metric if m.label.startswith("TPOT")) == before


@pytest.mark.parametrize("text", ["", "{", '{"sweetspot_measurement": 1}', "[" * 50_000, '"<script>"'])
def test_a_hostile_file_is_one_sentence_and_nothing_is_kept(app, text):
    on_probe(app)
    upload(app, text)
    assert not app.exception
    assert len(app.error) == 1 and "\n" not in app.error[0].value
    assert any("Nothing is measured" in caption.value for caption in app.caption)
