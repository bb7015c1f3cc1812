"""Real engines, in an environment of their own: `make engines-test` makes it and names it in SWEETSPOT_ENGINES."""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from core.basics.places import ROOT

HERE = ROOT / "tests" / "engines"
FOLDER = os.environ.get("SWEETSPOT_ENGINES", "")
LIMIT_S = 900.0

collect_ignore_glob = [] if FOLDER else ["test_*.py"]


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter that has the engines."""
    found = Path(FOLDER).absolute() / "bin" / "python"
    assert found.exists(), f"{found} is missing: run make engines-test"
    return found


@pytest.fixture(scope="session")
def asked(python) -> Callable[[str, object], list[dict]]:
    """Runs a script of this folder in the engines' environment: JSON in, a line of JSON for each answer out.

    `parsers`: the release whose Python files go before the installed ones.
    """
    def ask(script: str, question: object, parsers: str = "", limit_s: float = LIMIT_S) -> list[dict]:
        paths = [str(Path(FOLDER).absolute() / "parsers" / parsers)] if parsers else []
        ran = subprocess.run(
            [str(python), str(HERE / script)], input=json.dumps(question), capture_output=True, text=True,
            timeout=limit_s, env=environment(python) | {"PYTHONPATH": os.pathsep.join(paths)},
        )
        assert ran.returncode == 0, ran.stderr[-4000:]
        return [json.loads(line[1:]) for line in ran.stdout.splitlines() if line.startswith("@")]

    return ask


def environment(python: Path) -> dict[str, str]:
    """What an engine is started with: its own programs first, and nothing asked of the network."""
    return os.environ | {
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }


def refused(answers: Sequence[dict]) -> list[str]:
    """What a parser refused, with its words."""
    return [f"{' '.join(a['command'])}: {a['error']}" for a in answers if a["error"]]
