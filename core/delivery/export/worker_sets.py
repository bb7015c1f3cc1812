"""A LeaderWorkerSet: one server over several machines of a Kubernetes cluster, one pod on each."""

from collections.abc import Mapping
from typing import Any, Final

from core.basics.errors import InputError
from core.delivery.export.kubernetes import configs, notes_of, service
from core.delivery.export.launch import PORT
from core.delivery.export.manifests import Container, Manifest, container, slug, to_yaml
from core.delivery.export.nodes import FIRST_MACHINE, HEADLESS
from core.delivery.export.order import Order
from core.delivery.export.pod import claim, pod
from core.physics.network import hosts
from core.products.engines import find as find_engine

# What the controller sets in every pod of a group (LeaderWorkerSet v1, docs/reference/labels-annotations-and-
# environment-variables); Kubernetes puts their values into a container's words.
_LEADER: Final = "$(LWS_LEADER_ADDRESS)"
_OWN_NUMBER: Final = "$(LWS_WORKER_INDEX)"
# What the other machines' command has besides, by the launcher that an engine's row names.
_HEADLESS: Final[Mapping[str, tuple[str, ...]]] = {"vllm serve": (HEADLESS,), "sglang.launch_server": ()}
_OF_A_SERVER: Final = ("ports", "startupProbe", "readinessProbe", "livenessProbe")


def leader_worker_set(ordered: Order) -> Manifest:
    """leaderworkerset.x-k8s.io/v1 with its Service. Raises InputError where one machine holds a server."""
    servers, name = ordered.servers, slug(ordered.spec.name)
    one = ordered.one_of(servers)
    machines = hosts(one.deployment)
    if machines == 1:
        raise InputError("One server fits into one machine: use the Kubernetes Deployment.")
    engine = find_engine(ordered.engine)
    if engine.launcher not in _HEADLESS:
        raise InputError(f"{engine.label} starts over several machines under MPI: use the command.")
    made = container(one, PORT)
    labels = {"app": name, "role": "leader"}
    leader = _placed(pod(one, made, name, PORT, pods=machines))
    document = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "metadata": {"name": name},
        "spec": {"replicas": servers, "leaderWorkerTemplate": {
            "size": machines, "restartPolicy": "RecreateGroupOnPodRestart",
            "leaderTemplate": {"metadata": {"labels": labels}, "spec": leader},
            "workerTemplate": {"spec": _worker(one, made, name, machines)},
        }},
    }
    documents = (*configs(name, made), claim(one, name, servers * machines), document, service(name, labels))
    notes = (*(note for note in notes_of(one, made, servers * machines) if FIRST_MACHINE not in note),
             "NCCL reaches other machines over TCP unless the pods ask for the cluster's RDMA devices: add them.")
    return Manifest("LeaderWorkerSet", "leader-worker-set.yaml", "yaml", to_yaml(*documents, notes=notes),
                    "kubectl apply -f leader-worker-set.yaml", notes)


def _worker(one: Order, made: Container, name: str, machines: int) -> dict[str, Any]:
    """The same server's part on the other machines, which answer nobody."""
    spec = _placed(pod(one, made, name, PORT, pods=machines))
    (server,) = spec["containers"]
    kept = {key: value for key, value in server.items() if key not in _OF_A_SERVER}
    return {**spec, "containers": [{**kept, "args": [*kept["args"], *_HEADLESS[find_engine(one.engine).launcher]]}]}


def _placed(spec: dict[str, Any]) -> dict[str, Any]:
    """A pod whose server knows its own number and where the first one is."""
    (server,) = spec["containers"]
    words = [word.replace(FIRST_MACHINE, _LEADER) for word in server["args"]]
    words[words.index("--node-rank") + 1] = _OWN_NUMBER
    return {**spec, "containers": [{**server, "args": words}]}
