"""The commands we hand out against the parsers of the engines themselves, at the releases of assets/versions.csv."""

import pytest

from tests.engines.commands import made
from tests.engines.conftest import refused

LEAST = 100      # commands of an engine


@pytest.fixture(scope="module")
def commands():
    return {engine: list(made(engine)) for engine in ("vllm", "sglang")}


def words(commands, first):
    return sorted({one.words for one in commands if one.words[:len(first)] == first})


def test_vllm_reads_every_command(commands, asked):
    """vLLM's `vllm serve` and `vllm bench serve`: parsed, then checked by each command's own `validate`."""
    given = words([*commands["vllm"], *commands["sglang"]], ("vllm",))
    assert len([one for one in given if one[1] == "serve"]) >= LEAST
    answers = asked("ask_vllm.py", given, parsers="vllm")
    assert len(answers) == len(given)
    assert refused(answers) == []


def test_vllm_refuses_what_it_does_not_know(asked):
    answers = asked("ask_vllm.py", [["vllm", "serve", "x", "--no-such-option", "1"]], parsers="vllm")
    assert "no-such-option" in answers[0]["error"]


def test_sglang_reads_every_command(commands, asked):
    """SGLang's launch_server and bench_serving."""
    given = words(commands["sglang"], ("python",))
    assert len([one for one in given if one[2] == "sglang.launch_server"]) >= LEAST
    answers = asked("ask_sglang.py", given, parsers="sglang")
    assert len(answers) == len(given)
    assert refused(answers) == []


def test_sglang_refuses_what_it_does_not_know(asked):
    question = [["python", "-m", "sglang.launch_server", "--model-path", "x", "--no-such-option", "1"]]
    assert "no-such-option" in asked("ask_sglang.py", question, parsers="sglang")[0]["error"]
