"""The prefix cache's hit rate, followed from where it is asked to every place that a load reaches."""

import csv
import json
import re

from core.__main__ import main
from core.answers import compare
from core.answers.advice import recommend
from core.delivery import export
from core.delivery.export.comparison import comparison_rows
from core.delivery.export.report import report
from core.products import gpus
from core.reading import catalogue
from core.terms import Workload
from pages.shared import answers

LLAMA = "meta-llama/Llama-3.1-8B"
MOST_FOUND = Workload(8_000, 256, 16, prefix_hit_rate=0.9)


def test_the_link_fills_the_sidebar_and_traffic_takes_it_from_there(first_visit):
    app = first_visit
    app.query_params["prefix"] = "50"           # as Traffic wrote it when the input was its own
    app.run()
    assert app.session_state["asked"].workload.prefix_hit_rate == 0.5
    assert app.sidebar.number_input(key="prefix").value == 50
    app.switch_page("traffic/traffic.py").run()
    assert not app.exception and not [one for one in app.main.number_input if one.key == "prefix"]


def test_the_command_plans_and_launches_with_it(capsys):
    asked = ["plan", "--offline", "--model", LLAMA, "--gpu", "H100", "--input-tokens", "8000", "--concurrency", "16"]
    ttft_ms = []
    for rate in ("0", "0.9"):
        assert main([*asked, "--prefix-hit-rate", rate, "--launch", "vllm", "--json"]) == 0
        plan = json.loads(capsys.readouterr().out)
        assert plan["workload"]["prefix_hit_rate"] == float(rate)
        assert ("--enable-prefix-caching" in plan["launch"]) == (rate != "0")
        ttft_ms.append(plan["best"]["ttft_ms"]["value"])
    assert ttft_ms[1] < ttft_ms[0] / 2       # each plan with the format that suits it
    assert main([*asked, "--prefix-hit-rate", "95"]) == 2
    assert "--prefix-hit-rate is '95', outside 0 to 1" in capsys.readouterr().err


def test_estimate_reads_its_column(tmp_path):
    cases, out = tmp_path / "cases.csv", tmp_path / "out.csv"
    row = f"{LLAMA},H100,vllm,8,8000,256"
    cases.write_text("model,gpu,engine,concurrency,input_tokens,output_tokens,prefix_hit_rate\n"
                     f"{row},\n{row},0.9\n{row},1.5\n")
    assert main(["estimate", "--offline", str(cases), "--out", str(out)]) == 0
    plain, found, absurd = csv.DictReader(out.open())
    assert float(found["ttft_ms"]) < float(plain["ttft_ms"]) / 3
    assert absurd["error"] == "prefix_hit_rate is '1.5', outside 0 to 1."


def test_every_file_says_it():
    plan = recommend(catalogue.load(LLAMA), gpus.find("H100"), MOST_FOUND)
    kept = export.kept(json.loads(json.dumps(export.keep(plan, {"prefix": 90.0}))))
    assert kept.load.prefix_hit_rate == 0.9 and answers.taken(kept.inputs) == {"prefix": 90.0}
    assert next(csv.DictReader(export.kept_csv([("mine", 0.0, kept)]).splitlines()))["prefix_hit_rate"] == "0.9"
    assert next(csv.DictReader(export.recommendation_csv(plan).splitlines()))["prefix_hit_rate"] == "0.9"
    assert re.search(r"90 % of each prompt found in the prefix cache", report(plan))


def test_a_comparison_says_it():
    field = compare.compare(compare.board(catalogue.load(LLAMA), [gpus.find("H100")], ("vllm",), 0.02), MOST_FOUND)
    assert next(comparison_rows(field, [0], [True]))["prefix_hit_rate"] == 0.9
