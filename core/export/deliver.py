"""Everything that can be taken away of a deployment, and why the rest cannot."""

from collections.abc import Mapping
from typing import Final

from core.errors import InputError
from core.export.compose import compose
from core.export.kubernetes import deployment, kserve, llm_d
from core.export.launch import Launch, Order, command
from core.export.manifests import Maker, Manifest
from core.export.ollama import ollama
from core.export.ray import ray_serve

MAKERS: Final[Mapping[str, Maker]] = {
    "Docker Compose": compose, "Kubernetes": deployment, "KServe": kserve, "llm-d": llm_d, "Ray Serve": ray_serve,
    "Ollama": ollama,
}


def script(ordered: Order) -> Manifest:
    """The command as a script. Raises InputError for an engine without one."""
    made: Launch = command(ordered)
    return Manifest("Command", "launch.sh", "bash", f"#!/bin/sh\nset -eu\n{made.text()}\n", "sh launch.sh", made.notes)


def manifests(ordered: Order) -> tuple[tuple[Manifest, ...], dict[str, str]]:
    """The files that can be made, the command first; and for the others, by label, why not."""
    made: list[Manifest] = []
    why_not: dict[str, str] = {}
    for label, make in {"Command": script, **MAKERS}.items():
        try:
            made.append(make(ordered))
        except InputError as error:
            why_not[label] = str(error)
    return tuple(made), why_not
