"""Checks of small models on the processor: scored, saved, cancelled, starved, killed, refused; each in a worker."""

import json
import os
import signal
import threading

import pytest
import yaml

from core.__main__ import main
from core.basics.errors import InputError, ModelError, QualityError, SweetspotError
from core.basics.places import ROOT
from core.basics.units import MIB
from core.losses.measured import from_json
from core.machinery.jobs import Jobs, State
from core.quality import Order, check, is_allowed
from tests.conftest import NO_HUB, wait_for, workers
from tests.hub_server import HubServer, Repo
from tests.small_model import smollm2, tiny

WORKER = "core.quality.worker"
MODIFIERS = {"AWQModifier", "GPTQModifier", "QuantizationModifier", "SmoothQuantModifier"}      # that it knows
DATA = ROOT / "tests" / "data"
PROSE = tuple((DATA / "prose.txt").read_text(encoding="utf-8").split("\n---\n"))


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Other tests run beside this one, and threads that wait for a busy core take ten times as long as one alone."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of random weights that a worker loads in an instant."""
    return tiny(tmp_path_factory.mktemp("tiny"))


def order(model, *variants, **changes):
    pieces = tuple(text[:160] for text in PROSE[:8])
    return Order(**{"model": str(model), "prompts": pieces, "variants": variants, "seconds": 1800.0,
                    "sequences": 4, "sequence_tokens": 64, **changes})


def silent(share, note, score):
    """No progress is shown."""


def test_a_real_model_strays_in_the_published_order():
    """SmolLM2-135M-Instruct, 32-bit reference from its Q4_1 GGUF; facts measured before on 1,408 other tokens of prose.

    KL then: BF16 .0011, INT8 .0033, NF4 .283, INT4 of groups of 32, 64, 128 .294, .343, .388.
    """
    shares = []
    wanted = ("int8-rtn-g128", "bnb-int8", "fp8", "int4-rtn-g32", "kv-int8")
    found = check(order(smollm2(), *wanted, prompts=PROSE[:4]), lambda share, note, score: shares.append(share))
    assert found.lost == () and [score.variant for score in found.scores] == ["bf16", *wanted]
    assert found.reference == "float32" and found.tokens > 400 and shares == sorted(shares)
    by_name = {score.variant: score for score in found.scores}
    kl = {name: score.kl for name, score in by_name.items()}
    for name, before in (("bf16", 0.0011), ("int8-rtn-g128", 0.0033), ("int4-rtn-g32", 0.294)):
        assert kl[name].value == pytest.approx(before, rel=0.35), name
        assert 0 < kl[name].standard_error < 0.3 * kl[name].value
    ranked = ("bf16", "int8-rtn-g128", "bnb-int8", "fp8", "int4-rtn-g32")
    assert sorted(ranked, key=lambda name: kl[name].value) == list(ranked)
    assert kl["bf16"].value < kl["kv-int8"].value
    agreement = {name: score.agreement.value for name, score in by_name.items()}
    assert agreement["bf16"] > 0.93 and 0.55 < agreement["int4-rtn-g32"] < 0.8
    assert abs(by_name["bf16"].loss.value) < 0.02 < by_name["int4-rtn-g32"].loss.value
    worst = by_name["int4-rtn-g32"].worst
    assert worst[0].kl >= worst[-1].kl and PROSE[worst[0].index].startswith(worst[0].text)
    assert all("|" in pair for pair in worst[0].tokens)


def test_checkpoints_are_saved_and_read_back(folder, tmp_path, capsys):
    """GPTQ, AWQ, W8A8 and FP8 of llm-compressor without an accelerator, through the command, recipes and all."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join(json.dumps({"prompt": text[:160]}) for text in PROSE[:8]), encoding="utf-8")
    calibration = tmp_path / "calibration.txt"
    calibration.write_text(PROSE[9], encoding="utf-8")
    out, made = tmp_path / "out", {"awq-g32": 4, "gptq-g64": 4, "fp8": 8, "w8a8-smooth": 8}
    assert main([
        "quality", "--model", str(folder), "--prompts", str(prompts), "--formats",
        "awq-g32,gptq-g64,fp8,w8a8-smooth,awq-g32",
        "--calibration", str(calibration), "--save", str(out), "--device", "cpu", "--json", "--offline",
    ]) == 0
    found = from_json(capsys.readouterr().out)
    assert [score.variant for score in found.scores] == ["bf16", *made], found.lost
    assert found.calibration.endswith("of given text") and found.prompts == 8
    assert all(prompt.text == "" and prompt.tokens == () for score in found.scores for prompt in score.worst)
    assert sorted(path.name for path in out.iterdir()) == sorted(made)
    for score, bits in zip(found.scores[1:], made.values(), strict=True):
        assert score.method.startswith("llmcompressor 0.14.0") and "saved and read back" in score.method
        config = json.loads((out / score.variant / "config.json").read_text())
        assert config["quantization_config"]["quant_method"] == "compressed-tensors"
        assert config["quantization_config"]["config_groups"]["group_0"]["weights"]["num_bits"] == bits
        assert {"model.safetensors", "tokenizer.json"} <= {file.name for file in (out / score.variant).iterdir()}
        recipe = yaml.safe_load((out / score.variant / "recipe.yaml").read_text())      # as llm-compressor reads it
        assert recipe["default_stage"]["default_modifiers"].keys() <= MODIFIERS
    with pytest.raises(QualityError, match="exists already"):
        check(order(folder, "fp8", save=str(out)), silent)


def test_a_variant_that_cannot_be_made_is_lost_alone(tmp_path):
    """Groups of 64 do not divide 96 inputs; a check without any other variant still shows the floor."""
    model = tiny(tmp_path / "odd", hidden_size=96, num_attention_heads=4, num_key_value_heads=4)
    found = check(order(model, "gptq-g64", "w8a8-smooth", "bnb-nf4"), silent)
    assert [score.variant for score in found.scores] == ["bf16", "w8a8-smooth", "bnb-nf4"]
    assert found.lost == ("GPTQ INT4 act-order, groups of 64: groups of 64 do not divide the 96 inputs of "
                          "model.layers.0.self_attn.q_proj.",)
    assert "own continuations of held-out prompts" in found.calibration and found.prompts == 6


def test_cancelling_ends_it_at_once_and_leaves_nothing(folder, tmp_path):
    jobs = Jobs()
    asked = order(folder, "awq-g32", save=str(tmp_path / "out"), sequences=64, sequence_tokens=256)
    job = jobs.submit("quality", "me", "check", lambda job: check(asked, job.report))
    wait_for(lambda: job.fraction > 0)
    (tmp_path / "out" / "awq-g32.partial").mkdir(parents=True)      # as if it had begun to write
    job.cancel()
    wait_for(lambda: job.ended)
    assert job.state is State.CANCELLED
    assert not workers(WORKER) and list((tmp_path / "out").iterdir()) == []


def test_out_of_memory_is_one_sentence(tmp_path):
    """Weights of 400 MB in 32 bits, and logits of 400 MB for each prompt, where 400 MiB may be taken."""
    large = tiny(tmp_path, vocab_size=200_000)
    with pytest.raises(QualityError, match="not enough memory") as raised:
        check(order(large, "int8-rtn-g32", memory_bytes=400.0 * MIB), silent)
    assert "\n" not in str(raised.value) and not workers(WORKER)


def test_a_worker_killed_half_way_keeps_what_was_scored(folder):
    """The system's memory killer strikes after the first variant."""
    def strike(share, note, score):
        if score is not None and score.variant == "int8-rtn-g32":
            os.kill(workers(WORKER)[0], signal.SIGKILL)

    found = check(order(folder, "int8-rtn-g32", "awq-g32", "int4-rtn-g32", sequences=64), strike)
    assert [score.variant for score in found.scores] == ["bf16", "int8-rtn-g32"]
    assert "killed by the system after 2 variants" in found.lost[0]
    assert found.lost[1] == "Not reached: AWQ INT4, groups of 32, INT4 round to nearest, groups of 32."


def test_a_worker_killed_at_once_is_one_sentence(folder):
    def kill():
        wait_for(lambda: workers(WORKER))
        os.kill(workers(WORKER)[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(QualityError, match="killed by the system after 0 variants") as raised:
        check(order(folder, "int8-rtn-g32"), silent)
    killer.join()
    assert "\n" not in str(raised.value)


def with_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def refused(model, **changes):
    from core.quality.load import load, located

    with pytest.raises(SweetspotError) as raised:
        load(located(order(model, **changes)), "cpu")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_model_that_is_none_to_score_is_refused_in_one_sentence(tmp_path):
    """Before a weight is read: no causal head, code of its own, pickled weights, quantised already, unknown."""
    headless = with_config(tiny(tmp_path / "headless"), model_type="bert", architectures=["BertForMaskedLM"])
    assert "no head that predicts the next token" in refused(headless)
    coded = with_config(tiny(tmp_path / "coded"), model_type="mine", auto_map={"AutoConfig": "mine.Config"})
    (coded / "mine.py").write_text("raise SystemExit('ran')")
    assert "code of its own" in refused(coded)
    quantised = with_config(tiny(tmp_path / "quantised"), quantization_config={"quant_method": "fp8"})
    assert "quantised already" in refused(quantised)
    assert "does not know the model type 'mine'" in refused(with_config(tiny(tmp_path / "unknown"), model_type="mine"))
    pickled = tiny(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    assert "pickled ones are never loaded" in refused(pickled)
    cut = tiny(tmp_path / "cut")
    (cut / "model.safetensors").write_bytes(b"\0" * 100)
    assert "cannot load" in refused(cut)
    (tmp_path / "empty").mkdir()
    assert "neither config.json nor a .gguf" in refused(tmp_path / "empty")
    assert "no '/nowhere'" in refused("/nowhere")
    assert "is not on this machine" in refused("nobody/nothing", offline=True)


def test_a_model_of_the_hub_is_fetched_by_its_commit(tmp_path, monkeypatch):
    """From a loopback stand-in; gated, unknown and pickled ones in the words the planner has for them."""
    from huggingface_hub import constants

    from core.quality.load import load, located

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    files = {file.name: file.read_bytes() for file in tiny(tmp_path / "tiny").iterdir()}
    pickled = {"config.json": files["config.json"], "pytorch_model.bin": b"\x80"}
    with HubServer({
        "org/tiny": Repo(files=files), "org/gated": Repo(files=files, gated=True), "org/pickled": Repo(files=pickled),
    }) as server:
        asked = order("org/tiny", endpoint=server.url)
        source = located(asked)
        assert source.revision == server.repos["org/tiny"].sha and load(source, "cpu").context == 512
        assert located(order("org/tiny", offline=True)) == source
        assert "is gated" in refused("org/gated", endpoint=server.url)
        assert "No model 'org/none'" in refused("org/none", endpoint=server.url)
        assert "pickled ones are never loaded" in refused("org/pickled", endpoint=server.url)
        assert not any(path.endswith("pytorch_model.bin") for _, path, _ in server.requests)
    assert "could not be fetched" in refused("org/other", endpoint=NO_HUB)


def test_a_refusal_of_the_worker_is_one_sentence(folder):
    with pytest.raises(QualityError, match=r"Prompt 2 has 600 tokens and the model reads 512 at most: shorten it"):
        check(order(folder, "int8-rtn-g32", prompts=("short", "x" * 600)), silent)


def test_prompts_of_a_single_token_are_left_out(folder):
    from core.quality.calibrate import tokenised
    from core.quality.load import load, located

    loaded = load(located(order(folder)), "cpu")
    with pytest.raises(InputError, match="Every prompt is a single token"):
        tokenised(loaded, ("a", "b"), hold_out=False)
    texts = tokenised(loaded, ("a", "bc", "def"), hold_out=False)
    assert [len(ids) for ids in texts.scored] == [2, 3] and texts.origin == (1, 2)
    assert texts.remarks == ("Left out: 1 of 3 prompts, a single token each.",)
    few = tokenised(loaded, ("abcdefgh",), hold_out=True)
    assert (len(few.scored[0]), len(few.held_out[0])) == (6, 2)
    many = tokenised(loaded, ("aaaa",) * 9, hold_out=True)
    assert (len(many.scored), len(many.held_out), many.origin[:4]) == (7, 2, (0, 1, 2, 4))


@pytest.mark.parametrize(("changes", "says"), [
    ({"prompts": ()}, "no prompts"), ({"seconds": 1.0}, "30 to 14,400 s"),
    ({"variants": ("int3",)}, "no variant"),
])
def test_a_bad_order_is_refused_before_anything_runs(folder, changes, says):
    with pytest.raises(InputError, match=says):
        check(order(folder, **changes), silent)


def test_what_is_not_installed_is_named(folder, monkeypatch):
    monkeypatch.setattr("core.quality.variants.find_spec", lambda name: None if name == "llmcompressor" else name)
    with pytest.raises(QualityError, match="needs llmcompressor, not installed here: run `make quality`"):
        check(order(folder, "awq-g32"), silent)


def test_paths_are_not_read_on_a_public_host(folder, monkeypatch):
    monkeypatch.setenv("SWEETSPOT_PUBLIC", "1")
    from core.quality.load import located

    with pytest.raises(ModelError, match="Paths are not read here"):
        located(order(folder))


@pytest.mark.parametrize(("said", "public", "allowed"), [
    ("", "", True), ("0", "", False), ("", "1", False), ("1", "1", True), ("off", "1", False),
])
def test_it_is_off_where_strangers_come_unless_turned_on(monkeypatch, said, public, allowed):
    monkeypatch.setenv("SWEETSPOT_QUALITY", said)
    monkeypatch.setenv("SWEETSPOT_PUBLIC", public)
    assert is_allowed() is allowed


@pytest.mark.parametrize(("arguments", "says"), [
    (["--prompts", "/nowhere.txt"], "cannot be read"), (["--prompts", __file__, "--device", "cuda:9"], "no device"),
    (["--prompts", __file__, "--formats", "int3"], "no variant"),
    (["--prompts", __file__, "--model", "meta-llama/Llama-3.1-405B"], "GiB of memory"),
])
def test_the_command_refuses_in_one_sentence(capsys, arguments, says):
    assert main(["quality", "--offline", *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
