"""The commands as a person types them: answers on standard output, one sentence per error, exit codes."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core import __version__
from core.__main__ import main
from core.basics.places import ROOT
from tests.conftest import PATIENCE_S, free_port, wait_until_healthy


def run(capsys, *arguments):
    try:
        code = main([*arguments])
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_short_name_says_which_model_it_is_taken_as(capsys):
    _, out, _ = run(capsys, "plan", "--model", "llama3-8b", "--offline")
    assert "'llama3-8b' is taken as meta-llama/Meta-Llama-3-8B." in out


def test_the_defaults_plan_without_a_word(capsys):
    code, out, err = run(capsys, "plan", "--offline")
    assert code == 0 and err == "" and out.startswith("Deploy Llama-3.1-8B with ")


def test_plan_as_json_with_files(capsys, tmp_path):
    best, grid = tmp_path / "plan.csv", tmp_path / "sweep.csv"
    code, out, _ = run(capsys, "plan", "--model", "Qwen/Qwen3-32B", "--gpu", "L40S", "--concurrency", "8",
                       "--tpot-ms", "60", "--json", "--offline", "--csv", str(best), "--sweep", str(grid))
    document = json.loads(out)
    assert code == 0 and document["model"]["name"] == "Qwen/Qwen3-32B" and document["workload"]["tpot_slo_ms"] == 60
    assert best.read_text(encoding="utf-8").startswith("role,") and len(grid.read_text(encoding="utf-8")) > 100_000


def test_launch_prints_the_command_alone(capsys):
    code, out, _ = run(capsys, "plan", "--gpu", "H100", "--offline", "--launch", "vllm")
    assert code == 0 and out.startswith("vllm serve meta-llama/Llama-3.1-8B") and out.count("\n") == 1


def test_every_file_and_the_report_are_written(capsys, tmp_path):
    """--launch names the engine of the plan as well."""
    code, out, err = run(capsys, "plan", "--gpu", "H100", "--offline", "--launch", "trtllm",
                         "--files", str(tmp_path / "a" / "b"), "--report", str(tmp_path / "plan.html"))
    written = {path.name for path in (tmp_path / "a" / "b").iterdir()}
    assert code == 0 and "trtllm-serve" in out
    assert written == {"launch.sh", "compose.yaml", "deployment.yaml", "inferenceservice.yaml", "quantize.sh"}
    assert "No file for Ray Serve: Ray Serve LLM runs vLLM" in err and f"{tmp_path}/a/b/launch.sh: sh launch.sh" in err
    assert (tmp_path / "plan.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_folder_that_cannot_be_made_is_said_so(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run(capsys, "plan", "--gpu", "H100", "--offline", "--files", str(tmp_path / "file" / "x"))
    assert code == 2 and "Cannot make the folder" in err and err.count("\n") == 1


def test_a_card_typed_in_is_planned(capsys):
    code, out, _ = run(capsys, "plan", "--memory", "96", "--bandwidth", "3000", "--tflops", "500",
                       "--fp8-tflops", "1000", "--compute-capability", "8.9", "--gpus", "1", "--json", "--offline")
    best = json.loads(out)["best"]
    assert code == 0 and (best["gpu"], best["gpus"]) == ("GPU typed in", 1)


@pytest.mark.parametrize("asked, gpu, most", [
    ("2x H100", "H100 SXM5 80GB", 2), ("g6e.xlarge", "L40S", 1), ("p5.48xlarge", "H100 SXM5 80GB", 8),
])
def test_a_count_or_a_machine_limits_the_gpus(capsys, asked, gpu, most):
    """AWS: a g6e.xlarge has one L40S, a p5.48xlarge eight H100s."""
    code, out, err = run(capsys, "plan", "--model", "meta-llama/Llama-3.1-405B", "--gpu", asked, "--json", "--offline")
    document = json.loads(out)
    shown = document["best"] or document["nearest"]
    assert code == 0 and (shown["gpu"], shown["gpus"]) == (gpu, most)
    assert f"as '{asked}' has: --gpus asks for others." in err


def test_gpus_asked_for_go_before_the_count_of_a_name(capsys):
    _, out, _ = run(capsys, "plan", "--gpu", "2x H100", "--gpus", "4", "--json", "--offline")
    assert json.loads(out)["best"]["gpus"] == 4


def test_resolve_answers_one_object_a_name(capsys):
    code, out, err = run(capsys, "resolve", "gpu", "8x H100", "p5.48xlarge", "RTX 6000", "--json", "--offline")
    count, machine, unclear = json.loads(out)
    assert code == 0 and err == ""
    assert set(count) == {"asked", "name", "count", "note", "suggestions"}
    assert count == {"asked": "8x H100", "name": "H100 SXM5 80GB", "count": 8, "note": "", "suggestions": []}
    assert (machine["name"], machine["count"]) == ("H100 SXM5 80GB", 8) and "3,200 Gbit/s" in machine["note"]
    assert unclear["name"] is None and "RTX 6000 Ada" in unclear["suggestions"] and "say which" in unclear["note"]
    _, out, _ = run(capsys, "resolve", "model", "gpt-oss", "DeepSeek-V5", "--json", "--offline")
    known, unknown = json.loads(out)
    assert (known["name"], known["count"]) == ("openai/gpt-oss-20b", 1)
    assert unknown["name"] is None and len(unknown["suggestions"]) == 3


def test_help_lists_every_command(capsys):
    _, out, _ = run(capsys, "--help")
    listed = out.partition("\n")[0].split(" ", 3)[3] + out
    for command in ("app", "plan", "estimate", "probe", "quality", "doctor", "resolve", "models", "gpus"):
        assert f"{command} " in listed


def test_estimate_takes_a_count_that_agrees_and_says_which_does_not(capsys, tmp_path):
    cases, out = tmp_path / "cases.csv", tmp_path / "out.csv"
    cases.write_text("case,model,gpu,tp\n1,meta-llama/Llama-3.1-8B,2x H100,2\n2,meta-llama/Llama-3.1-8B,8x H100,2\n")
    run(capsys, "estimate", str(cases), "--out", str(out), "--offline")
    first, second = csv.DictReader(out.open())
    assert first["error"] == ""
    assert float(first["weights_gib_per_gpu"]) == pytest.approx(7.48, rel=0.01)    # 8.03e9 x 2 B over 2 GPUs
    assert second["error"].startswith("'8x H100' is 8 x H100 SXM5 80GB, but tp x pp x dp is 2")


def test_models_and_gpus(capsys):
    _, out, _ = run(capsys, "models", "llama-3.1", "8b", "--json")
    assert any(card["name"] == "meta-llama/Llama-3.1-8B" for card in json.loads(out))
    _, out, _ = run(capsys, "gpus", "l40")
    assert "L40S" in out
    code, out, err = run(capsys, "gpus", "zzzz")
    assert code == 0 and out == "" and "match" in err


def test_estimate_counts_what_it_could_not_answer(capsys, tmp_path):
    cases, out = tmp_path / "cases.csv", tmp_path / "out.csv"
    cases.write_text("case,model,gpu\n1,meta-llama/Llama-3.1-8B,H100\n2,meta-llama/Llama-3.1-8B,nope\n")
    code, text, _ = run(capsys, "estimate", str(cases), "--out", str(out), "--offline")
    assert code == 0 and text.startswith("2 rows, 1 refused or not answered")
    code, text, _ = run(capsys, "estimate", str(cases), "--out", str(out), "--offline", "--json")
    assert json.loads(text)["failed"] == 1


@pytest.mark.parametrize("arguments, said", [
    (("plan", "--model", "no/such", "--offline"), "no/such"),
    (("plan", "--gpu", "H1000"), "H1000"),
    (("plan", "--concurrency", "many"), "--concurrency"),
    (("plan", "--concurrency", "0"), "concurrency"),
    (("plan", "--ttft-ms", "nan"), "ttft"),
    (("plan", "--gpus", "0"), "0"),
    (("plan", "--memory", "96", "--tflops", "500"), "--bandwidth is missing"),
    (("plan", "--memory", "0", "--bandwidth", "1000", "--tflops", "500"), "1 to 8192 GiB"),
    (("plan", "--memory", "96", "--bandwidth", "x", "--tflops", "500"), "--bandwidth"),
    (("plan", "--memory", "9", "--bandwidth", "99", "--tflops", "5", "--vendor", "Me"), "maker 'Me'"),
    (("plan", "--engine", "nope"), "nope"),
    (("plan", "--csv", "/no/such/folder/x.csv"), "/no/such/folder"),
    (("estimate", "/no/such/cases.csv", "--out", "x"), "/no/such/cases.csv"),
    (("nonsense",), "nonsense"),
    ((), "required"),
])
def test_errors_are_one_sentence_and_exit_code_two(capsys, arguments, said):
    code, out, err = run(capsys, *arguments)
    assert code == 2 and out == "" and said in err
    assert len(err.strip().splitlines()) == 1 and "Traceback" not in err


def test_as_a_module_without_torch_or_streamlit():
    """Planning must not pay for the libraries of probing and of the pages."""
    code = ("import sys; from core.__main__ import main; main(['plan', '--offline', '--gpu', 'H100']);"
            "sys.exit(10 * ('torch' in sys.modules or 'streamlit' in sys.modules))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Deploy ")


def test_a_reader_that_leaves_early_is_no_error():
    done = subprocess.run(f"'{sys.executable}' -m core models --json | head -n 1", shell=True, cwd=ROOT,
                          capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout == "[\n" and done.stderr == ""


def test_the_command_says_its_version():
    """As it is installed by `make run` and `make test`."""
    command = Path(sys.executable).with_name("sweetspot")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout == f"sweetspot {__version__}\n", done.stderr


def test_the_command_opens_the_app_from_any_folder(tmp_path):
    """A folder named as ours in the current one is not taken for it; a signal ends the server itself."""
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "__init__.py").write_text("raise ImportError('somebody else')")
    port = free_port()
    server = subprocess.Popen(
        [Path(sys.executable).with_name("sweetspot"), "app", "--port", str(port), "--address", "127.0.0.1"],
        cwd=tmp_path, env=os.environ | {"STREAMLIT_SERVER_HEADLESS": "true"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", server)
    finally:
        server.terminate()
        assert server.wait(timeout=PATIENCE_S) in (0, -signal.SIGTERM)
