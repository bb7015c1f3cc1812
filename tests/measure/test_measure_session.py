"""A measurement from start to end, with programs in the engine's place that say what it says: what is kept, what is
said, and what is left behind, which is nothing. The engine itself is measured in tests/engines."""

import stat
import tempfile
from pathlib import Path

import pytest

from core.answers.advice import recommend
from core.basics.errors import InputError, ProbeError
from core.delivery.export.order import order
from core.machinery.jobs import Cancelled
from core.measure.loads import chosen
from core.measure.record import from_json, to_json
from core.measure.session import Asked, Server, measure
from core.products import gpus
from core.reading import catalogue
from core.terms import Mode, Workload
from tests.machinery.test_program import alive

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 300}
LOG = "(EngineCore pid=7) INFO KV cache size: 93,184 tokens, Maximum concurrency for 2,048 tokens per request: 45.50x"

# vLLM's own words on starting, then an answer to /health; and a client that says what it was asked.
VLLM = """#!/usr/bin/env python3
import http.server, json, os, sys
words = sys.argv[1:]
said = {a: b for a, b in zip(words, words[1:]) if a.startswith("--")}
if words[0] == "bench":
    FAIL
    n, c = int(said["--num-prompts"]), int(said["--max-concurrency"])
    with open("result.json", "w") as file:
        json.dump({"completed": n, "max_concurrency": c, "median_ttft_ms": 50.0, "median_tpot_ms": 10.0,
                   "output_throughput": 90.0 * c, "total_input_tokens": n * int(said["--random-input-len"]),
                   "total_output_tokens": n * int(said["--random-output-len"])}, file)
    sys.exit()
open(MARK, "w").write(f"{os.getpid()} {os.environ['TMPDIR']} {said['--port']}")
print("vLLM API server version 0.33.0", flush=True)
START
print(LINE, flush=True)
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(said["--port"])), Health).serve_forever()
"""


@pytest.fixture
def ordered():
    card = gpus.custom("made up", 80, 3000, 900)
    plan = recommend(catalogue.load("meta-llama/Llama-3.1-8B"), card, Workload(), formats=["bf16"], tps=[1])
    return order(plan)


@pytest.fixture
def engine(tmp_path):
    """Writes the program; returns where it says who it is."""
    def write(start="", fail=""):
        mark = tmp_path / "mark"
        text = VLLM.replace("MARK", repr(str(mark))).replace("LINE", repr(LOG)).replace("START", start)
        program = tmp_path / "vllm"
        program.write_text(text.replace("FAIL", fail or "pass"))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return mark

    return write


def asked(ordered, folder, **more):
    return Asked(ordered, chosen(ordered, 2, 600.0, Mode.SERVING), CONFIG, programs=str(folder), **more)


def quiet(share, note):
    """A report that goes on."""
    assert 0 <= share <= 1 and note


def folders():
    return set(Path(tempfile.gettempdir()).glob("sweetspot-*"))


def left_behind(mark):
    number, temporary, _ = mark.read_text().split()
    return alive(int(number)) or Path(temporary).parent.exists()


def test_log_and_loads_become_a_run(ordered, engine, tmp_path):
    mark = engine()
    run = measure(asked(ordered, tmp_path), quiet)
    assert run.memory["kv_tokens"] == 93_184 and run.versions["vllm"] == "0.33.0" and run.weights_are == "random"
    assert len(run.cells) == 2 and not run.lost and run.tool == "vllm bench serve"
    for cells, expected in zip(run.cells, run.predicted, strict=True):
        assert (cells["measured_ttft_ms"], cells["measured_tpot_ms"]) == (50.0, pytest.approx(10.0))
        assert (cells["model"], cells["gpu"], cells["engine_version"]) == (ordered.spec.name, "made up", "0.33.0")
        assert expected["tpot_ms"] > 0
    assert run.command[:4] == ("vllm", "serve", "./model", "--dtype") and "dummy" in run.command
    assert not left_behind(mark)
    assert from_json(to_json(run)) == run


def test_an_engine_that_cannot_start_says_why(ordered, engine, tmp_path):
    mark = engine("sys.exit('torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.')")
    with pytest.raises(ProbeError, match=r"The engine did not start: .*memory"):
        measure(asked(ordered, tmp_path), quiet)
    assert not left_behind(mark)


def test_one_that_never_answers_is_stopped(ordered, engine, tmp_path):
    mark = engine("import time; time.sleep(600)")
    with pytest.raises(ProbeError, match="did not answer within 3 s"):
        measure(asked(ordered, tmp_path, limit_s=3.0), quiet)
    assert not left_behind(mark)


def test_a_cancellation_leaves_nothing_behind(ordered, engine, tmp_path):
    mark = engine()

    def cancel(share, note):
        if mark.exists() and "load" in note:
            raise Cancelled("Cancelled.")

    before = folders()
    with pytest.raises(Cancelled):
        measure(asked(ordered, tmp_path), cancel)
    assert not left_behind(mark)
    assert folders() <= before


def test_a_load_that_fails_is_lost_and_the_rest_kept(ordered, engine, tmp_path):
    once = f"""
    import pathlib; seen = pathlib.Path({str(tmp_path / "once")!r})
    if not seen.exists():
        seen.touch(); sys.exit("ValueError: the tokenizer is missing")"""
    engine(fail=once.strip())
    run = measure(asked(ordered, tmp_path), quiet)
    assert len(run.cells) == 1 and len(run.lost) == 1 and "the tokenizer is missing" in run.lost[0]


def test_failed_requests_are_no_measurement(ordered, engine, tmp_path):
    engine(fail="""json.dump({"completed": 1, "failed": 3, "median_ttft_ms": 1.0, "output_throughput": 1.0},
              open("result.json", "w")); sys.exit()""")
    with pytest.raises(ProbeError, match="3 requests of this benchmark failed"):
        measure(asked(ordered, tmp_path), quiet)


def test_what_is_not_here_is_said(ordered, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="`vllm` is not installed here"):
        measure(asked(ordered, tmp_path), quiet)
    planned = order(recommend(catalogue.load("meta-llama/Llama-3.1-8B"), gpus.find("H100 SXM5 80GB"), Workload()))
    with pytest.raises(InputError, match="The plan is for H100 SXM5 80GB"):
        measure(asked(planned, tmp_path), quiet)


def test_a_server_that_runs_is_asked_and_its_token_kept_nowhere(ordered, engine, tmp_path):
    engine(fail="""assert os.environ["OPENAI_API_KEY"] == "hush" and "hush" not in str(words); print(words)""")
    server = Server("http://127.0.0.1:9", "mine", "tokens", "hush")
    run = measure(Asked(ordered, chosen(ordered, 2, 600.0, Mode.SERVING, 200), server=server, programs=str(tmp_path)),
                  quiet)
    assert len(run.cells) == 2 and run.weights_are == "real"
    assert "hush" not in to_json(run) and "hush" not in repr(server)
