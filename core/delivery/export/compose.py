"""Docker Compose: the servers on one machine."""

from typing import Any, Final

from core.basics.errors import InputError
from core.delivery.export.launch import PORT
from core.delivery.export.manifests import (
    CACHE,
    CONFIG,
    MODELS,
    SHARED_MEMORY_GIB,
    Container,
    Manifest,
    container,
    slug,
    to_yaml,
)
from core.delivery.export.order import Order
from core.physics.network import gpus_of_a_machine, hosts

FILE: Final = "compose.yaml"


def compose(ordered: Order) -> Manifest:
    """One service a server. Raises InputError where no container is published, or one machine is too few."""
    servers = ordered.servers
    one, d = ordered.one_of(servers), ordered.deployment
    holds = gpus_of_a_machine(d.gpu)
    if servers * one.deployment.gpus > holds or hosts(one.deployment) > 1:
        raise InputError(f"Compose starts servers on one machine, with up to {holds} of these GPUs; this "
                         f"takes {servers * one.deployment.gpus:,}: use Kubernetes or Ray Serve.")
    made = container(one, PORT)
    name = slug(ordered.spec.name)
    services = {
        name if servers == 1 else f"{name}-{n}": _service(one, made, n) for n in range(servers)
    }
    document: dict[str, Any] = {"services": services, "volumes": {"huggingface": None}}
    notes = made.launch.notes
    if servers > 1:
        notes = (*notes, f"Put a load balancer before ports {PORT} to {PORT + servers - 1}.")
    if made.launch.files:
        document["configs"] = {
            slug(file): {"content": _literal(text)} for file, text in made.launch.files.items()
        }
    text = to_yaml(document, notes=notes)
    return Manifest("Docker Compose", FILE, "yaml", text, f"docker compose -f {FILE} up", notes)


def _service(one: Order, made: Container, number: int) -> dict[str, Any]:
    service: dict[str, Any] = {"image": made.image}
    if made.entry:
        service["entrypoint"] = [_literal(word) for word in made.entry]
    service |= {
        "command": [_literal(word) for word in made.args],
        "ports": [f"{PORT + number}:{PORT}"],
        "environment": {"HF_TOKEN": "${HF_TOKEN:-}"},
        "volumes": [f"huggingface:{CACHE}", *([f"./:{MODELS}:ro"] if made.own_checkpoint else [])],
        "shm_size": f"{SHARED_MEMORY_GIB}gb",
        "restart": "unless-stopped",
    }
    if made.launch.files:
        service["configs"] = [{"source": slug(file), "target": f"{CONFIG}/{file}"} for file in made.launch.files]
    return service | _devices(one, number)


def _devices(one: Order, number: int) -> dict[str, Any]:
    """The GPUs of a server: the driver's own for NVIDIA, device files for the others."""
    first, count = number * one.deployment.gpus, one.deployment.gpus
    if one.deployment.gpu.vendor == "NVIDIA":
        ids = [str(device) for device in range(first, first + count)]
        reserved = [{"driver": "nvidia", "device_ids": ids, "capabilities": ["gpu"]}]
        return {"deploy": {"resources": {"reservations": {"devices": reserved}}}}
    devices = {"devices": ["/dev/kfd", "/dev/dri"] if one.deployment.gpu.vendor == "AMD" else ["/dev/dri"]}
    return devices | {"group_add": ["video"]}


def _literal(text: str) -> str:
    """Text in which Compose finds no variable (Compose specification, interpolation: `$$` is a dollar)."""
    return text.replace("$", "$$")
