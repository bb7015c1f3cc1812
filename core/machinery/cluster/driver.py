"""The process that speaks to Ray: connects, hands out calls, says what it hears, ends with its parent.

A process of its own, because Ray ends the one it runs in when its cluster dies, and holds one connection
a process. Lines: {"nodes": ...} once it is connected, {"heard": ...} for each word of a call,
{"refused": ...} when the cluster cannot be used, {"done": true} last.
"""

import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from core.basics.errors import ClusterError
from core.basics.places import ROOT
from core.machinery.cluster.calls import Call, Node, packed, unpacked
from core.machinery.cluster.errand import GPU_TYPE, Errand
from core.machinery.worker import say, told

SHIPPED: Final = ("core", "assets")         # what nodes need of this folder, and may see
KNOCK_S: Final = 5.0
STORE_BYTES: Final = 200 * 2**20        # of shared memory for the embedded cluster
SILENT: Final = "The Ray cluster does not answer: check the address in SWEETSPOT_RAY, and that its head is running."
REFUSED: Final = (
    "The Ray cluster refuses the token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's own, where "
    "Sweetspot runs."
)


def main() -> int:
    """Runs the order; the exit code."""
    order, out = told()
    calls: Sequence[Call] = unpacked(order["calls"])
    try:
        ray = _connected(order["address"])
        nodes = _nodes(ray)
        say(out, nodes=packed(nodes))
        if calls:
            Errand(ray, calls, order["wait_s"], nodes, lambda heard: say(out, heard=heard)).run()
    except ClusterError as error:
        traceback.print_exception(error)
        say(out, refused=str(error), explained=error.__cause__ is None)
        return 0
    say(out, done=True)
    return 0


# -- the connection -----------------------------------------------------------------------------------


def _connected(address: str | None) -> Any:
    """Ray, connected to the cluster at that address, or to one that lives and dies with this process.

    Raises ClusterError in one sentence.
    """
    import ray

    try:
        if address is None:
            ray.init("local", include_dashboard=False, object_store_memory=STORE_BYTES, log_to_driver=False)
        else:
            _knock(address.removeprefix("ray://"))
            with tempfile.TemporaryDirectory() as folder:
                for name in SHIPPED:
                    shutil.copytree(ROOT / name, Path(folder) / name, ignore=shutil.ignore_patterns("__pycache__"))
                try:
                    ray.init(address, runtime_env={"working_dir": folder}, log_to_driver=False)
                except ConnectionAbortedError:      # a busy head, whose process for us took longer than Ray waits
                    ray.init(address, runtime_env={"working_dir": folder}, log_to_driver=False)
    except ClusterError:
        raise
    except Exception as error:
        raise ClusterError(_why_not(error)) from error
    return ray


def _knock(host_and_port: str) -> None:
    """One call without retries: Ray itself asks for half a minute whether a wrong token has become right."""
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated.ray_client_pb2 import ClusterInfoRequest, ClusterInfoType
    from ray.core.generated.ray_client_pb2_grpc import RayletDriverStub

    request = ClusterInfoRequest(type=ClusterInfoType.PING)
    try:
        with init_grpc_channel(host_and_port) as channel:
            RayletDriverStub(channel).ClusterInfo(request, timeout=KNOCK_S, metadata=[("client_id", "knock")])
    except grpc.RpcError as error:
        refused = error.code() in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
        raise ClusterError(REFUSED if refused else SILENT) from None


def _why_not(error: Exception) -> str:
    """The reason there is no connection, in words of ours: Ray's may hold what is secret."""
    text = str(error).lower()
    if "version" in text:
        return "The Ray cluster runs another version: install the same Ray and the same Python on both sides."
    if "token" in text or "authenticat" in text:
        return REFUSED
    if "runtime_env" in text or "working_dir" in text:
        return "The Ray cluster could not take this version of Sweetspot: see the logs of its head."
    return SILENT if isinstance(error, ConnectionError) else \
        "Ray could not start here: see the server's log, and whether memory and disk are free."


def _nodes(ray: Any) -> list[Node]:
    """The machines that are alive, those with GPUs first."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    hosts = Counter(node["NodeManagerHostname"] for node in alive)
    found = []
    for node in alive:
        number, host, has = node["NodeID"], node["NodeManagerHostname"], node["Resources"]
        kinds = [name.removeprefix(GPU_TYPE) for name in has if name.startswith(GPU_TYPE)]
        found.append(Node(
            number, host, host if hosts[host] == 1 else f"{host} {number[:6]}", int(has.get("CPU", 0)),
            int(has.get("GPU", 0)), ", ".join(sorted(kinds)),
        ))
    return sorted(found, key=lambda node: (node.gpus == 0, node.host, node.gpu_type, node.id))


if __name__ == "__main__":
    sys.exit(main())
