"""Everything that can be taken away of a deployment, and why the rest cannot."""

from collections.abc import Mapping
from typing import Final

from core.basics.errors import InputError
from core.delivery.export.checkpoint import checkpoint, is_needed
from core.delivery.export.compose import compose
from core.delivery.export.kubernetes import deployment, kserve, llm_d
from core.delivery.export.launch import Launch, command
from core.delivery.export.manifests import Maker, Manifest
from core.delivery.export.ollama import ollama
from core.delivery.export.order import Order
from core.delivery.export.ray import ray_serve
from core.delivery.export.worker_sets import leader_worker_set
from core.physics.network import hosts

MAKERS: Final[Mapping[str, Maker]] = {
    "Docker Compose": compose, "Kubernetes": deployment, "KServe": kserve, "llm-d": llm_d, "Ray Serve": ray_serve,
    "Ollama": ollama,
}
CHECKPOINT: Final = "Checkpoint"
WORKERS: Final = "LeaderWorkerSet"       # of use where one server is on several machines


def script(ordered: Order) -> Manifest:
    """The command as a script. Raises InputError for an engine without one."""
    made: Launch = command(ordered)
    return Manifest("Command", "launch.sh", "bash", f"#!/bin/sh\nset -eu\n{made.text()}\n", "sh launch.sh", made.notes)


def manifests(ordered: Order) -> tuple[tuple[Manifest, ...], dict[str, str]]:
    """The files that can be made, the command first; and for the others, by label, why not."""
    made: list[Manifest] = []
    why_not: dict[str, str] = {}
    makers = {"Command": script, **MAKERS} | ({CHECKPOINT: checkpoint} if is_needed(ordered) else {})
    makers |= {WORKERS: leader_worker_set} if hosts(ordered.one_of(ordered.servers).deployment) > 1 else {}
    for label, make in makers.items():
        try:
            made.append(make(ordered))
        except InputError as error:
            why_not[label] = str(error)
    return tuple(made), why_not
