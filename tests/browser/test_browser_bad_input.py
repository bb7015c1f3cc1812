"""Bad input in a real Chromium: one clear sentence, nothing lost, and a way on that works."""

import json

import pytest
from playwright.sync_api import expect

from tests.browser.test_browser_plan import sentence, verdict
from tests.conftest import PATIENCE_MS, serve
from tests.hub_server import HubServer, Repo, Trouble, llama

MIB = 2**20


def hostile():
    """Repositories whose config.json is wrong, each in its own way."""
    def raw(body):
        return Repo(files={"config.json": body})

    return {
        "bad/cut-off": raw(b'{"model_type": "llama", "hidden_size": '),
        "bad/not-json": raw(b"\x00\xff\xfe<html>502 Bad Gateway</html>"),
        "bad/a-list": raw(b"[1, 2, 3]"),
        "bad/huge": raw(b'{"model_type": "llama", "x": "' + b"a" * (50 * MIB) + b'"}'),
        "bad/deep": raw(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        "bad/nan": raw(json.dumps(llama(hidden=2048, layers=16) | {"hidden_size": float("nan")}).encode()),
        "bad/keys-missing": Repo({"model_type": "llama"}),
        "bad/negative": Repo(llama(hidden=-2048, layers=16)),
        "bad/zero-heads": Repo(llama(hidden=2048, layers=16) | {"num_attention_heads": 0}),
        "bad/absurd": Repo(llama(hidden=2048, layers=10**12)),
        "bad/words": Repo(llama(hidden=2048, layers=16) | {"hidden_size": "four thousand"}),
        "bad/unknown-family": Repo({"model_type": "quantum_brain", "architectures": ["QuantumBrainForCausalLM"]}),
        "bad/no-config": Repo(files={"README.md": b"hello"}),
        "bad/gated": Repo(llama(hidden=2048, layers=16), gated="manual", tokens=("hf_demo",)),
        "bad/down": Repo(llama(hidden=2048, layers=16)),
    }


@pytest.fixture(scope="module")
def bad_app(tmp_path_factory):
    """One app over one Hub that holds all of them, and answers 503 for one."""
    with (
        HubServer(hostile(), Trouble(status=503, on="bad/down")) as hub,
        serve(SWEETSPOT_HUB_ENDPOINT=hub.url, SWEETSPOT_DATA=str(tmp_path_factory.mktemp("bad"))) as app,
    ):
        yield app.url


@pytest.fixture(scope="module")
def visitor(chromium):
    """One visitor for all of them: the app's own files load once."""
    context = chromium.new_context(viewport={"width": 1440, "height": 1000})
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("bad/cut-off", "config.json"),
        ("bad/not-json", "config.json"),
        ("bad/a-list", "config.json"),
        ("bad/huge", "MB"),
        ("bad/deep", "nested"),
        ("bad/nan", "hidden_size"),
        ("bad/keys-missing", "hidden_size"),
        ("bad/negative", "-2048"),
        ("bad/zero-heads", "num_attention_heads"),
        ("bad/absurd", "num_hidden_layers"),
        ("bad/words", "hidden_size"),
        ("bad/unknown-family", "quantum_brain"),
        ("bad/no-config", "config.json"),
        ("bad/gated", "token"),
        ("bad/down", "Hub"),
        ("bad/nowhere-to-be-found", "bad/nowhere-to-be-found"),
    ],
)
def test_a_bad_model_is_one_sentence(visitor, bad_app, model, says):
    visitor.goto(f"{bad_app}/?model={model}")
    text = sentence(visitor)
    assert says.lower() in text.lower()
    assert len(text) < 300
    expect(visitor.get_by_role("button", name="Plan meta-llama")).to_be_visible()


@pytest.mark.parametrize("model", ["bad/deep", "bad/down"])
def test_the_way_on_loses_nothing(visitor, bad_app, model):
    visitor.goto(f"{bad_app}/?model={model}&users=48&gpu=L40S")
    sentence(visitor)
    visitor.get_by_role("button", name="Plan meta-llama").click()
    assert "Llama-3.1-8B" in verdict(visitor) and "L40S" in verdict(visitor)
    expect(visitor.get_by_role("spinbutton", name="Requests in flight")).to_have_value("48")
