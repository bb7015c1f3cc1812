"""A server's pod: what it asks of a node, where its files lie, how long it may take to start."""

import re
from math import ceil
from typing import Any, Final

from core.basics.units import GIB
from core.delivery.export.manifests import (
    CACHE,
    CONFIG,
    MODELS,
    SHARED_MEMORY_GIB,
    Container,
    resources,
    slug,
    weights_gib,
)
from core.delivery.export.order import Order, host_cache_bytes
from core.products import gpus

SECRET: Final = "hf-token"           # holds HF_TOKEN
# A download at 1 Gbit/s, and reading from the claim is no slower; then compiling kernels and recording graphs.
DOWNLOAD_BYTES_PER_S: Final = 125e6
_COMPILE_S: Final = 900
_PERIOD_S: Final = 10
_LOST_AFTER: Final = 6               # failed checks: a step of a long prompt answers late, a dead server never
_CPUS: Final = 2                     # beside one a GPU: vLLM docs, Optimization, CPU Resources for GPU Deployments
_PROCESS_GIB: Final = 8              # Python, CUDA's host side and pinned buffers, for each GPU's process
# GPU Feature Discovery labels a node with the driver's name of its cards, dashes for spaces
# (NVIDIA/k8s-device-plugin, docs/gpu-feature-discovery).
_PRODUCT_LABEL: Final = {"NVIDIA": "nvidia.com/gpu.product"}
_LABEL_VALUE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")     # Kubernetes, Labels


def pod(one: Order, made: Container, name: str, port: int, container_name: str = "server", pods: int = 1
        ) -> dict[str, Any]:
    """A PodSpec with one server, or with its part in one of several machines."""
    volumes, mounts = _volumes(made, name)
    server: dict[str, Any] = {"name": container_name, "image": made.image}
    if made.entry:
        server["command"] = [argument(word) for word in made.entry]
    server |= {
        "args": [argument(word) for word in made.args],
        "ports": [{"containerPort": port, "protocol": "TCP"}],
        "env": [{"name": "HF_TOKEN", "valueFrom": {
            "secretKeyRef": {"name": SECRET, "key": "HF_TOKEN", "optional": True}}}],
        "resources": asked_of_a_node(one, pods),
        **_probes(one, port),
        # The engines' images run as root and write below /root: no more than that is left to them.
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
                            "seccompProfile": {"type": "RuntimeDefault"}},
        "volumeMounts": mounts,
    }
    return {**affinity(one), "automountServiceAccountToken": False, "containers": [server], "volumes": volumes}


def claim(one: Order, name: str, servers: int) -> dict[str, Any]:
    """The PersistentVolumeClaim that keeps what was downloaded; several servers share it."""
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": f"{name}-weights"},
        "spec": {
            "accessModes": ["ReadWriteOnce" if servers == 1 else "ReadWriteMany"],
            "resources": {"requests": {"storage": f"{weights_gib(one)}Gi"}},
        },
    }


def asked_of_a_node(one: Order, pods: int = 1) -> dict[str, Any]:
    """GPUs, processor cores and memory of one pod; memory is asked for without a limit, as loading maps files."""
    gpu, count = resources(one, pods)
    return {
        "limits": {gpu: str(count)},
        "requests": {gpu: str(count), "cpu": str(_CPUS + count), "memory": f"{host_memory_gib(one, count)}Gi"},
    }


def host_memory_gib(one: Order, gpus_there: int) -> int:
    """Memory that a server takes of a node with so many of its GPUs [GiB]: processes, exchange, caches kept there."""
    kept = ceil(host_cache_bytes(one) * gpus_there / one.deployment.gpus / GIB) if one.options.offload else 0
    return _PROCESS_GIB * (1 + gpus_there) + SHARED_MEMORY_GIB + kept


def affinity(one: Order) -> dict[str, Any]:
    """Nodes with the planned card, by the names its driver reports; empty where no label is known for it."""
    label = _PRODUCT_LABEL.get(one.deployment.gpu.vendor)
    reported = {name.replace(" ", "-") for name in gpus.reported_as(one.deployment.gpu.name)}
    names = sorted(name for name in reported if _LABEL_VALUE.fullmatch(name))
    if label is None or not names:
        return {}
    term = {"matchExpressions": [{"key": label, "operator": "In", "values": names}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": required}}


def startup_s(one: Order) -> int:
    """Longest start that is no failure [s]: the download at a stated rate, then compiling."""
    return _COMPILE_S + ceil(weights_gib(one) * GIB / DOWNLOAD_BYTES_PER_S)


def _probes(one: Order, port: int) -> dict[str, Any]:
    health = {"httpGet": {"path": "/health", "port": port}, "periodSeconds": _PERIOD_S, "timeoutSeconds": 5}
    return {
        "startupProbe": {**health, "failureThreshold": ceil(startup_s(one) / _PERIOD_S)},
        "readinessProbe": health,
        "livenessProbe": {**health, "failureThreshold": _LOST_AFTER},
    }


def _volumes(made: Container, name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes of the pod and where the server sees them."""
    mounts = [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "cache", "mountPath": CACHE}]
    volumes: list[dict[str, Any]] = [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{SHARED_MEMORY_GIB}Gi"}},
        {"name": "cache", "persistentVolumeClaim": {"claimName": f"{name}-weights"}},
    ]
    if made.own_checkpoint:
        mounts.append({"name": "models", "mountPath": MODELS})
        volumes.append({"name": "models", "persistentVolumeClaim": {"claimName": "models"}})
    for file in made.launch.files:
        mounts.append({"name": f"config-{slug(file)}", "mountPath": f"{CONFIG}/{file}", "subPath": file})
        volumes.append({"name": f"config-{slug(file)}", "configMap": {"name": f"{name}-config"}})
    return volumes, mounts


def argument(text: str) -> str:
    """A word in which Kubernetes finds no variable (container args: `$$(` is a plain `$(`)."""
    return text.replace("$(", "$$(")
