"""What drafts, followed from the link to the sidebar, the page, the command, its file and its figures."""

import json
from urllib.parse import urlencode

from core.__main__ import main
from tests.conftest import linked

ASKED = ["plan", "--offline", "--model", "meta-llama/Llama-3.1-8B", "--gpu", "H100", "--concurrency", "8", "--json"]


def test_a_link_that_drafts_says_until_when_it_pays(alone):
    app = linked("drafter=eagle3&drafted=5&accepted=50").run()
    load = app.session_state["asked"].workload
    assert (load.spec_method, load.spec_tokens, load.spec_acceptance) == (2, 5, 0.5)
    assert not app.exception
    assert any("Drafting makes answers" in text.value for text in (*app.main.caption, *app.main.markdown))


def test_the_command_plans_launches_and_compares_it(capsys):
    tpot_ms = {}
    for way in ("none", "eagle3"):
        assert main([*ASKED, "--spec-method", way, "--launch", "vllm"]) == 0
        plan = json.loads(capsys.readouterr().out)
        assert plan["workload"]["spec_method"] == way and plan["workload"]["spec_acceptance"] is None
        assert ("speculator.eagle3" in plan["launch"]) == (way == "eagle3") == (plan["speculation"] is not None)
        tpot_ms[way] = plan["best"]["tpot_ms"]["value"]
    assert tpot_ms["eagle3"] < 0.8 * tpot_ms["none"] and plan["speculation"]["speed_up"] > 1.2


def test_a_way_to_draft_that_nobody_knows_is_refused(capsys):
    assert main([*ASKED, "--spec-method", "medusa"]) == 2
    assert "--spec-method is 'medusa': use one of none, mtp" in capsys.readouterr().err


def test_images_and_adapters_reach_the_page_the_command_and_its_figures(alone, tmp_path, capsys):
    """A link that shows two images and serves four adapters; then the same load as a command, with its files."""
    link = {"model": "google/gemma-3-27b-it", "gpu": "H100 SXM5 80GB", "images": "2", "image_w": "896", "loras": "4",
            "lora_on": "attention"}
    app = linked(urlencode(link)).run()
    load = app.session_state["asked"].workload
    assert (load.images, load.image_width, load.loras, load.lora_targets) == (2, 896, 4, 2)
    assert not app.exception
    assert any("256 tokens each, 1,536 tokens a prompt" in text.value for text in app.main.caption)

    files = tmp_path / "plan.csv", tmp_path / "sweep.csv"
    asked = ["plan", "--offline", "--model", link["model"], "--gpu", link["gpu"], "--concurrency", "8", "--json"]
    assert main([*asked, "--images", "2", "--image-width", "896", "--loras", "4", "--lora-targets", "attention",
                 "--launch", "vllm", "--csv", str(files[0]), "--sweep", str(files[1])]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["image_tokens"] == 256 and plan["workload"]["images"] == 2
    assert {"images", "LoRA adapters"} <= {term["name"] for term in plan["best"]["memory"]["terms"]}
    assert plan["best"]["kwh_per_million_output_tokens"]["low"] > 0
    assert '"count": 2, "width": 896' in plan["launch"] and "--max-loras 4" in plan["launch"]
    header, first = (line.split(",") for line in files[0].read_text().splitlines()[:2])
    assert first[header.index("images")] == "2" and first[header.index("lora_targets")] == "attention"
    assert main(asked) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["best"]["ttft_ms"]["value"] < plan["best"]["ttft_ms"]["value"]
    assert any("This plans text alone" in note for note in plain["notes"])
