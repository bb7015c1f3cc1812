"""The process that speaks to Ray: connects, hands out calls, says what it hears, ends with its parent.

A process of its own, because Ray ends the one it runs in when its cluster dies, and holds one connection
a process. Lines: {"nodes": ...} once it is connected, {"heard": ...} for each word of a call,
{"refused": ...} when the cluster cannot be used, {"done": true} last.
"""

import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from core.cluster.calls import Call, Heard, Loss, Node, packed, unpacked
from core.errors import ClusterError
from core.worker import ROOT, say, told

SHIPPED: Final = ("core", "assets")                            # what nodes need of this folder, and may see
HEAD: Final = "node:__internal_head__"                          # a resource of the head node alone
TYPE: Final = "accelerator_type:"                               # resource that names a node's accelerators
KNOCK_S: Final = 5.0
TICK_S: Final = 0.1
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
            _Errand(ray, calls, order["wait_s"], nodes, lambda heard: say(out, heard=packed(heard))).run()
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
        kinds = [name.removeprefix(TYPE) for name in has if name.startswith(TYPE)]
        found.append(Node(
            number, host, host if hosts[host] == 1 else f"{host} {number[:6]}", int(has.get("CPU", 0)),
            int(has.get("GPU", 0)), ", ".join(sorted(kinds)),
        ))
    return sorted(found, key=lambda node: (node.gpus == 0, node.host, node.gpu_type, node.id))


# -- the calls ----------------------------------------------------------------------------------------


class _Errand:
    """Calls under way."""

    def __init__(
        self, ray: Any, calls: Sequence[Call], wait_s: float, nodes: Sequence[Node], hear: Callable[[Heard], None]
    ) -> None:
        from core.cluster.node import Board, perform

        self._ray, self._calls, self._wait_s, self._hear = ray, calls, wait_s, hear
        self._nodes = {node.id: node for node in nodes}
        self._places: dict[int, str] = {}           # node of every call that started
        self._started_s: dict[int, float] = {}
        self._board = ray.remote(num_cpus=0, resources={HEAD: 0.001})(Board).remote()
        ray.get(self._board.take.remote())          # the cluster has unpacked our code and runs it
        self._moved_s = time.monotonic()            # when a call started or ended last
        function = ray.remote(max_retries=0)(perform)
        self._running = {
            function.options(**self._options(call)).remote(self._board, number, call.function, call.arguments): number
            for number, call in enumerate(calls)
        }

    def _options(self, call: Call) -> dict[str, Any]:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        options: dict[str, Any] = {"num_gpus": call.gpus, "num_cpus": 0 if call.gpus else 1}
        if call.gpu_type:
            options["accelerator_type"] = call.gpu_type
        if call.node:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(call.node, soft=False)
        return options

    def run(self) -> None:
        """Until every call has ended or is lost. Raises ClusterError when the cluster goes away."""
        try:
            while self._running:
                ended, _ = self._ray.wait(list(self._running), timeout=TICK_S)
                self._listen()
                for reference in ended:
                    self._end(reference)
                self._give_up_on_the_late()
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            raise ClusterError("The Ray cluster went away while it worked: start it, then try again.") from error

    def _listen(self) -> None:
        news, self._places = self._ray.get(self._board.take.remote())
        for number in self._places.keys() - self._started_s.keys():
            self._moved_s = self._started_s[number] = time.monotonic()
        for word in news:
            self._hear(word)

    def _end(self, reference: Any) -> None:
        number = self._running.pop(reference)
        self._moved_s = time.monotonic()
        try:
            self._hear(self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            self._hear(Loss(number, self._why_lost(number, error)))

    def _why_lost(self, number: int, error: Exception) -> str:
        known = self._ray.exceptions
        where = self._name(self._places.get(number, self._calls[number].node))
        if isinstance(error, known.RuntimeEnvSetupError):
            return f"{where} could not take this version of Sweetspot: see the logs of the node."
        cause = getattr(error, "cause", None)
        if isinstance(cause, ImportError):
            return f"{where} lacks {cause.name or 'a package'}: install requirements.txt there."
        if isinstance(cause, Exception):
            return f"It failed on {where} with {type(cause).__name__}: see the logs of the node."
        alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        if isinstance(error, known.NodeDiedError | known.TaskUnschedulableError) \
                or self._places.get(number, self._calls[number].node) not in alive:
            return f"{where} went away before it ended: try again once it is back."
        return f"Its process on {where} was killed, most likely for want of memory: free some, then try again."

    def _give_up_on_the_late(self) -> None:
        now_s = time.monotonic()
        for reference, number in list(self._running.items()):
            call, started_s = self._calls[number], self._started_s.get(number)
            if started_s is None and now_s - self._moved_s > self._wait_s:
                reason = f"Not started in {self._wait_s:.0f} s, for {self._wanted(call)} not free. {self._free()}"
            elif started_s is not None and now_s - started_s > call.seconds:
                where = self._name(self._places[number])
                reason = f"It did not end within {call.seconds:.0f} s on {where} and was stopped."
            else:
                continue
            self._ray.cancel(reference, force=True)
            del self._running[reference]
            self._hear(Loss(number, reason))

    def _wanted(self, call: Call) -> str:
        what = "a processor" if not call.gpus else "a GPU" if call.gpus == 1 else f"{call.gpus} GPUs"
        kind = f" of type {call.gpu_type}" if call.gpu_type else ""
        place = f" on {self._name(call.node)}" if call.node else ""
        return f"{what}{kind}{place} {'are' if call.gpus > 1 else 'is'}"

    def _free(self) -> str:
        """What the cluster could run now."""
        free = self._ray.get(self._board.free.remote())
        gpus = [
            f"{free[node.id][0]} of {node.gpus} {node.gpu_type or 'GPUs'} on {node.name}"
            for node in self._nodes.values() if node.gpus and free.get(node.id, (0, 0))[0]
        ]
        return f"Free now: {', '.join(gpus)}." if gpus else "No GPU is free now."

    def _name(self, node: str) -> str:
        return self._nodes[node].name if node in self._nodes else "a node"


if __name__ == "__main__":
    sys.exit(main())
