"""Every text-generating class of the installed transformers, built on the meta device, against what we read.

`make architectures` prints one line a class: its parameters and ours, and the cause where they differ. A class is
built in a process of its own, with a bound on memory and time: no weight is ever allocated.
"""

import contextlib
import json
import multiprocessing
import resource
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

import torch
import transformers
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from core.basics.errors import ModelError
from core.reading.configs import read_config

TASKS: Final = ("CAUSAL_LM", "IMAGE_TEXT_TO_TEXT", "SPEECH_SEQ_2_SEQ", "SEQ_TO_SEQ_CAUSAL_LM")
MEMORY_BYTES: Final = 12 * 2**30   # address space of one build
SECONDS: Final = 120               # of one build


@dataclass(frozen=True, slots=True)
class Built:
    """A class as transformers builds it with the defaults of its configuration."""

    config: str             # its config.json
    params: int | None      # tied weights once; None where it cannot be built
    cause: str = ""


def classes() -> Iterator[tuple[str, str]]:
    """(model_type, class) of the four tasks that write text."""
    seen = set()
    for task in TASKS:
        for family, said in getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING_NAMES").items():
            for name in (said,) if isinstance(said, str) else said:
                if (family, name) not in seen:
                    seen.add((family, name))
                    yield family, name


def _build(family: str, name: str, answer: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    warnings.simplefilter("ignore")
    config = ""
    try:
        made = CONFIG_MAPPING[family]()
        made.architectures = [name]
        config = made.to_json_string(use_diff=False)
        with torch.device("meta"):
            model = getattr(transformers, name)(made)
        answer.send(Built(config, sum(weight.numel() for weight in model.parameters())))
    except Exception as error:  # whatever transformers raises on its own defaults
        answer.send(Built(config, None, f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"))


def built(family: str, name: str) -> Built:
    """The class with its default configuration, or why it could not be built."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_build, args=(family, name, there))
    process.start()
    there.close()
    found = Built("", None, f"not built within {SECONDS} s")
    if here.poll(SECONDS):
        with contextlib.suppress(EOFError):
            found = here.recv()
    process.kill()
    process.join()
    return found


def verdict(found: Built, name: str) -> tuple[str, str]:
    """(exact, noted, refused, wrong or not built; what is off) of what we read."""
    if found.params is None:
        return "not built", found.cause
    try:
        spec = read_config(json.loads(found.config), name=name)
    except ModelError as error:
        return "refused", str(error)
    if spec.total_params == found.params:
        return "exact", ""
    off = f"{spec.total_params - found.params:+,} ({spec.total_params / found.params - 1:+.2%})"
    return ("noted" if spec.notes else "wrong"), " ".join((off, *spec.notes))


def main() -> None:
    """Print the table; classes named on the command line, or all."""
    transformers.logging.set_verbosity_error()
    counts: Counter[str] = Counter()
    for family, name in classes():
        if sys.argv[1:] and name not in sys.argv[1:] and family not in sys.argv[1:]:
            continue
        found = built(family, name)
        said, cause = verdict(found, name)
        counts[said] += 1
        print(f"{said:10} {family:26} {name:48} {found.params or 0:>16,}  {cause[:160]}", flush=True)
    print(", ".join(f"{counts[said]} {said}" for said in sorted(counts)), f"of transformers {transformers.__version__}")


if __name__ == "__main__":
    main()
