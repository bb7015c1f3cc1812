"""Runs in the engines' environment: vLLM's own command line on every command of a list, as `vllm` itself builds it.

In: JSON, a list of commands. Out: a line a command, "@" before its JSON: the command, the error or null.
"""

import json
import sys

from asking import complaint


def _parser():
    """vllm.entrypoints.cli.main up to where it reads the arguments."""
    from vllm import platforms

    if platforms.current_platform.is_unspecified():
        from vllm.platforms.cpu import CpuPlatform

        platforms.current_platform = CpuPlatform()
    import vllm.entrypoints.cli.benchmark.main
    import vllm.entrypoints.cli.serve
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    sys.argv = ["vllm", "bench"]          # benchmarks are listed for those who ask for one
    parser = FlexibleArgumentParser()
    subparsers = parser.add_subparsers(required=True, dest="subparser")
    commands = {}
    for module in (vllm.entrypoints.cli.serve, vllm.entrypoints.cli.benchmark.main):
        for command in module.cmd_init():
            command.subparser_init(subparsers)
            commands[command.name] = command
    return parser, commands


def _reader(parser, commands):
    def read(words):
        asked = parser.parse_args(words)
        commands[asked.subparser].validate(asked)

    return read


def main():
    """Ask about every command of standard input."""
    read = _reader(*_parser())
    for command in json.load(sys.stdin):
        assert command[0] == "vllm", command
        print("@" + json.dumps({"command": command, "error": complaint(read, command[1:])}))


if __name__ == "__main__":
    main()
