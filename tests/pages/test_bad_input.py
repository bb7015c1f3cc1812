"""Bad input on a running server: one clear sentence, nothing lost, and a way on that works."""

import json

import pytest

from tests.conftest import serve
from tests.hub_server import HubServer, Repo, Trouble, llama
from tests.visitor import Visitor, finish, opened

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


def ways_on(visitor):
    """Labels of the buttons that lead out of an error."""
    return [button.button.label for button in visitor.found("button")
            if button.button.label.startswith(("Plan meta-llama", "Use H100"))]


def met(address, query):
    """The one sentence that a link ends in, and the ways on."""
    visitor = opened(address, f"/?{query}")
    (sentence,) = visitor.sentences()
    assert not visitor.found("exception") and "Traceback" not in sentence
    return sentence.replace("\\", ""), ways_on(visitor)           # as it reads when Markdown is drawn


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
def test_a_bad_model_is_one_sentence(bad_app, model, says):
    sentence, ways = met(bad_app, f"model={model}")
    assert says.lower() in sentence.lower()
    assert len(sentence) < 300
    assert [label for label in ways if label.startswith("Plan meta-llama")]


@pytest.mark.parametrize(
    ("query", "says", "way_on"),
    [
        ("model=nobody/no-such-model", "Hub", "Plan meta-llama"),
        ("gpu=Custom+GPU&gpu_gib=0", "memory", "Use H100"),
        ("gpu=Custom+GPU&gpu_gib=1e30", "memory", "Use H100"),
        ("model=../../etc/passwd", "passwd", "Plan meta-llama"),
    ],
)
def test_a_bad_link_ends_in_one_sentence_and_a_way_on(bad_app, query, says, way_on):
    sentence, ways = met(bad_app, query)
    assert says.lower() in sentence.lower()
    assert [label for label in ways if label.startswith(way_on)]


@pytest.mark.parametrize("model", ["bad/deep", "bad/down"])
def test_the_way_on_loses_nothing(bad_app, model):
    async def goes_on():
        async with Visitor(bad_app, f"/?model={model}&users=48&gpu=L40S") as visitor:
            await visitor.run()
            (way_on,) = ways_on(visitor)
            await visitor.press(way_on)
            return visitor

    visitor = finish(goes_on())
    assert "Llama-3.1-8B" in visitor.verdict and "L40S" in visitor.verdict
    (users,) = visitor.found("number_input", "Requests in flight")
    assert (users.number_input.value if users.number_input.set_value else users.number_input.default) == 48
