"""Runs in the engines' environment: SGLang's own parsers on every command of a list.

In: JSON, a list of commands. Out: a line a command, "@" before its JSON: the command, the error or null.
"""

import argparse
import importlib.abc
import importlib.machinery
import json
import sys
from unittest.mock import MagicMock

from asking import complaint

# Imported where SGLang starts, and used by no parser.
_UNINSTALLED = {"torchvision", "torchcodec", "datasets", "gguf", "IPython", "sgl_kernel", "decord", "sglang_kernel"}


class _Missing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for libraries that are not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in _UNINSTALLED:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__spec__, module.__path__, module.__name__ = spec, [], spec.name
        return module

    def exec_module(self, module):
        pass


def _server():
    from sglang.srt.server_args import ServerArgs

    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    return parser.parse_args


def _benchmark():
    """The benchmark builds its parser where it runs: the words are read up to where it would start."""
    from sglang.benchmark import serving

    serving.run_benchmark = lambda read: read

    def read(words):
        sys.argv = ["bench_serving", *words]
        serving.cli_main()

    return read


PARSERS = {"sglang.launch_server": _server, "sglang.bench_serving": _benchmark}


def main():
    """Ask about every command of standard input."""
    from transformers import AutoProcessor, AutoTokenizer  # noqa: F401  as installed, before anything stands in

    sys.meta_path.append(_Missing())
    made = {}
    for command in json.load(sys.stdin):
        assert command[:2] == ["python", "-m"], command
        name = command[2]
        read = made[name] if name in made else made.setdefault(name, PARSERS[name]())
        print("@" + json.dumps({"command": command, "error": complaint(read, command[3:])}))


if __name__ == "__main__":
    main()
