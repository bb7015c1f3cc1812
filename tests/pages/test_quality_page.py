"""The Quality page as a script: off on a public host, what is published, a file opened and used in plans, bad input."""

import pytest

from core.losses.measured import QualityMeasurement, Score, Spread, WorstPrompt, to_json, without_text
from core.machinery.store import Kind, Store, database_url, open_engine

MODEL = "meta-llama/Llama-3.1-8B"


def score(variant, weights, kl, loss, label="", kv=""):
    worst = (WorstPrompt(3, 2 * kl, "the night train", ("late|early", " was|,")),)
    return Score(variant, label or variant, weights, kv, "llmcompressor 0.14.0", 7 * (1 + loss), Spread(loss, 0.001),
                 Spread(kl, kl / 10), Spread(1 - kl, 0.01), 20.0, worst)


def check(digest="a" * 64, awq=0.005, date="2026-11-25T12:00:00+00:00"):
    scores = (score("bf16", "", 0.001, 0.0001, "BF16, the noise floor"),
              score("awq-g128", "awq-int4", 0.02, awq, "AWQ INT4, groups of 128"),
              score("int4-rtn-g128", "int4", 0.2, 0.12, "INT4 round to nearest, groups of 128"))
    return QualityMeasurement(
        model=MODEL, revision="", device="CPU: x", versions=(("torch", "2.13.0"),), date=date,
        seconds=300.0, prompts=12, tokens=1408, prompts_digest=digest, calibration="16 x 256 tokens", perplexity=7.0,
        reference="float32", scores=scores, lost=("NF4 of bitsandbytes: not enough memory.",),
    )


@pytest.fixture
def app(first_visit):
    return first_visit


def on_quality(app, model="Qwen/Qwen3-0.6B"):
    """The page for a model, with all the time there is: how long a check takes depends on this machine."""
    app.run()
    app.selectbox(key="model").set_value(model)
    app.switch_page("quality/quality.py").run()
    return app.slider(key="minutes").set_value(240).run() if app.slider(key="loss") and starts(app) else app


def upload(app, text, key="import_quality", name="check.json"):
    next(box for box in app.get("file_uploader") if box.key == key).set_value((name, text, "application/json"))
    return app.run()


def starts(app):
    return [button for button in app.button if button.key == "start_check"]


def table(app, column):
    return next(frame.value for frame in app.dataframe if column in frame.value.columns)


def test_what_is_published_is_shown_before_anything_is_measured(app):
    on_quality(app)
    assert not app.exception
    rows = table(app, "80 % range").set_index(["Format", "Method"])
    assert 1 < rows.loc[("AWQ INT4", "AWQ"), "Loss, %"] < 20
    assert "estimated" in rows.loc[("AWQ INT4", "AWQ"), "80 % range"]
    assert rows.loc[("MXFP4 experts", ""), "80 % range"] == "no published figure"
    assert "Measured, %" not in rows.columns
    assert any("6 prompts. Estimated:" in caption.value for caption in app.caption)
    assert any("AWQ INT4, groups of 128 → AWQ INT4" in caption.value for caption in app.caption)


def test_on_a_public_host_it_is_off_and_says_how_to_go_on(app, monkeypatch):
    monkeypatch.setenv("SWEETSPOT_PUBLIC", "1")
    on_quality(app)
    assert not app.exception and not starts(app)
    assert "SWEETSPOT_QUALITY=1" in app.info[0].value
    assert any("sweetspot quality --model Qwen/Qwen3-0.6B --prompts" in code.value for code in app.code)
    upload(app, to_json(check()).encode())
    assert not app.error and any("Llama-3.1-8B, 12 prompts" in markdown.value for markdown in app.markdown)


def test_the_administrator_can_turn_it_on(app, monkeypatch):
    monkeypatch.setenv("SWEETSPOT_PUBLIC", "1")
    monkeypatch.setenv("SWEETSPOT_QUALITY", "1")
    on_quality(app)
    assert len(starts(app)) == 1
    assert not [box for box in app.text_input if box.key == "save_folder"]      # nobody's folder on a public host


def test_packages_that_are_missing_are_named_with_the_target_that_installs_them(app, monkeypatch):
    monkeypatch.setattr("core.quality.variants.find_spec", lambda name: None)
    on_quality(app)
    assert "llmcompressor" in app.warning[0].value and "make quality" in app.warning[0].value
    assert starts(app)[0].disabled


def test_a_model_that_cannot_fit_is_refused_with_the_reason(app):
    on_quality(app, "meta-llama/Llama-3.1-70B")
    assert any("GiB of memory" in warning.value and "\n" not in warning.value for warning in app.warning)
    assert starts(app)[0].disabled


def test_the_name_of_a_model_of_ones_own_opens_no_folder(app):
    """Its config.json is all there is of it, and anybody may call it /etc."""
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 256, "vocab_size": 1000,
              "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    Store(open_engine(database_url())).save(Kind.MODEL, "/etc", {"config": config})
    on_quality(app, "/etc")
    assert not app.exception and starts(app)[0].disabled
    assert "only the config.json is kept" in app.error[0].value


def test_a_check_from_elsewhere_is_shown_beside_what_is_published_and_turns_the_plan(app):
    app.run()
    app.number_input(key="users").set_value(1).run()
    assert "AWQ" not in app.header[0].value
    on_quality(app, MODEL)
    upload(app, to_json(without_text(check())).encode())
    assert not app.exception
    assert any("AWQ INT4, groups of 128 strays least" in header.value for header in app.header)
    rows = table(app, "KL, nats/token")
    assert rows["Variant"].iloc[0] == "BF16 floor"
    assert rows.loc[1, "Loss, %"] == pytest.approx(0.5) and rows.loc[1, "Published"].endswith("%, estimated)")
    published = table(app, "80 % range").set_index(["Format", "Method"])
    assert published.loc[("AWQ INT4", "AWQ"), "Measured, %"] == "0.50"
    assert any("not enough memory" in caption.value for caption in app.caption)
    assert any("words were not kept" in caption.value for caption in app.caption)
    app.switch_page("plan.py").run()
    assert "AWQ INT4 weights" in app.header[0].value
    assert any("green-badge[quality loss 0.5 %, measured]" in markdown.value for markdown in app.markdown)


def test_a_check_put_aside_leaves_the_plan_alone(app):
    on_quality(app, MODEL)
    upload(app, to_json(check()).encode())
    app.toggle[-1].set_value(False).run()
    app.switch_page("plan.py").run()
    app.number_input(key="users").set_value(1).run()
    assert "AWQ" not in app.header[0].value


def test_two_sets_of_prompts_stand_side_by_side(app):
    on_quality(app, MODEL)
    upload(app, to_json(check()).encode())
    upload(app, to_json(check("b" * 64, awq=0.04, date="2026-11-25T13:00:00+00:00")).encode(), name="other.json")
    assert not app.exception and not app.error and len([toggle for toggle in app.toggle if toggle.value]) == 2
    both = next(frame.value for frame in app.dataframe if frame.value.columns[1].startswith("12 prompts"))
    assert list(both.columns[1:]) == ["12 prompts, 2026-11-25 13:00 UTC", "12 prompts, 2026-11-25 12:00 UTC"]
    assert both["Variant"].iloc[0] == "BF16 floor" and "0.0200 ± 0.0020" in both.iloc[1].to_list()


@pytest.mark.parametrize("text", [b"", b"{", b'{"sweetspot_quality": 1}', b"[" * 50_000, b'"<script>"'])
def test_a_hostile_file_is_one_sentence_and_nothing_is_kept(app, text):
    on_quality(app)
    upload(app, text)
    assert not app.exception and len(app.error) == 1 and "\n" not in app.error[0].value
    assert not app.toggle or all(toggle.key != "keep" for toggle in app.toggle)


@pytest.mark.parametrize("content, name, says", [
    (b"", "empty.txt", "no prompts"), (bytes(range(256)) * 40, "picture.txt", "binary"),
    (b'{"nothing": 3}\n', "rows.jsonl", "neither a text nor a conversation"), (b"a,b\n1,2\n", "table.csv", "columns"),
])
def test_prompts_that_cannot_be_read_are_one_sentence(app, content, name, says):
    on_quality(app)
    app.segmented_control(key="prompts").set_value("Upload").run()
    upload(app, content, key="uploaded_prompts", name=name)
    assert not app.exception and len(app.error) == 1
    assert says in app.error[0].value and "\n" not in app.error[0].value
    assert starts(app)[0].disabled


def test_pasted_prompts_are_counted(app):
    on_quality(app)
    app.segmented_control(key="prompts").set_value("Paste").run()
    assert starts(app)[0].disabled
    app.text_area(key="pasted_prompts").set_value("What is a glacier?\n---\nWhy is the train late?").run()
    assert any("2 prompts. Estimated:" in caption.value for caption in app.caption) and not starts(app)[0].disabled
