"""Calls under way on a cluster: a place is reserved for each, it is started there, and word of it passed on."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from core.basics.errors import ClusterError
from core.machinery.cluster.calls import Call, Loss, Node, packed

HEAD: Final = "node:__internal_head__"      # a resource of the head node alone
GPU_TYPE: Final = "accelerator_type:"       # begins the resource that names a node's accelerators
TICK_S: Final = 0.1
START_S: Final = 120.0                      # for a node to unpack our code and start a process, once it has a place


class Errand:
    """All calls of one order."""

    def __init__(
        self, ray: Any, calls: Sequence[Call], wait_s: float, nodes: Sequence[Node], hear: Callable[[str], None]
    ) -> None:
        self._ray, self._calls, self._wait_s, self._hear = ray, calls, wait_s, hear
        self._nodes = {node.id: node for node in nodes}
        self._waiting = set(range(len(calls)))      # for a place
        self._running: dict[Any, int] = {}          # by Ray's reference
        self._places: Mapping[int, str] = {}        # node of every call that started
        self._due_s: dict[int, float] = {}          # when a running call is given up
        self._moved_s = 0.0                         # when a call found its place or ended last

    def run(self) -> None:
        """Until every call has ended or is lost. Raises ClusterError when the cluster goes away."""
        try:
            self._reserve()
            while self._waiting or self._running:
                self._listen()
                for reference in self._ended():
                    self._end(reference)
                self._give_up_on_the_late()
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            raise ClusterError("The Ray cluster went away while it worked: start it, then try again.") from error

    def _ended(self) -> Sequence[Any]:
        """Calls that ended, after a moment's wait."""
        if not self._running:
            time.sleep(TICK_S)
            return ()
        ended: Sequence[Any] = self._ray.wait(list(self._running), timeout=TICK_S)[0]
        return ended

    def _reserve(self) -> None:
        """Asks for a place for every call. A reservation tells a full cluster from one whose processes start slowly."""
        from core.machinery.cluster.node import Board, perform

        self._board = self._ray.remote(num_cpus=0, resources={HEAD: 0.001})(Board).remote()
        self._perform = self._ray.remote(max_retries=0)(perform)
        for number in sorted(self._waiting):
            if self._calls[number].node not in {"", *self._nodes}:
                self._waiting.discard(number)
                self._hear(packed(Loss(number, "This host is no longer in the cluster: look for its hosts again.")))
        self._ray.get([
            self._board.reserve.remote(number, _needs(self._calls[number]), self._calls[number].node)
            for number in self._waiting
        ])
        self._moved_s = time.monotonic()

    def _listen(self) -> None:
        """Passes on what the calls said, and starts those that found their place."""
        news, places, granted = self._ray.get(self._board.take.remote())
        for number in places.keys() - self._places.keys():
            self._due_s[number] = time.monotonic() + self._calls[number].seconds
        self._places = places
        for word in news:
            self._hear(word)
        for number, group in granted.items():
            self._start(number, group)

    def _start(self, number: int, group: Any) -> None:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        call = self._calls[number]
        self._moved_s = time.monotonic()
        self._waiting.discard(number)
        self._due_s[number] = self._moved_s + START_S
        task = self._perform.options(
            num_cpus=0 if call.gpus else 1, num_gpus=call.gpus,
            scheduling_strategy=PlacementGroupSchedulingStrategy(group),
        )
        self._running[task.remote(self._board, number, packed((call.function, call.arguments)))] = number

    def _end(self, reference: Any) -> None:
        self._listen()          # what it said before it ended
        number = self._running.pop(reference)
        self._moved_s = time.monotonic()
        try:
            self._hear(self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            self._hear(packed(Loss(number, self._why_lost(number, error))))
        self._board.release.remote(number)

    def _why_lost(self, number: int, error: Exception) -> str:
        known = self._ray.exceptions
        node = self._places.get(number, self._calls[number].node)
        where = self._name(node)
        if isinstance(error, known.RuntimeEnvSetupError):
            return f"{where} could not take this version of Sweetspot: see the logs of the node."
        alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        if isinstance(error, known.NodeDiedError) or node not in alive:
            return f"{where} went away before it ended: try again once it is back."
        return f"Its process on {where} was killed, most likely for want of memory: free some, then try again."

    def _give_up_on_the_late(self) -> None:
        now_s = time.monotonic()
        if now_s - self._moved_s > self._wait_s:
            for number in sorted(self._waiting):
                self._lose(number, f"Not started in {self._wait_s:.0f} s, for {self._wanted(number)} not free. "
                                   f"{self._free()}")
            self._waiting.clear()
        for reference, number in list(self._running.items()):
            if now_s > self._due_s[number]:
                self._ray.cancel(reference, force=True)
                del self._running[reference]
                self._lose(number, self._why_late(number))

    def _lose(self, number: int, reason: str) -> None:
        self._board.release.remote(number)
        self._hear(packed(Loss(number, reason)))

    def _why_late(self, number: int) -> str:
        if number not in self._places:
            return f"The node that was to run it did not start a process within {START_S:.0f} s: see its logs."
        where, seconds = self._name(self._places[number]), self._calls[number].seconds
        return f"It did not end within {seconds:.0f} s on {where} and was stopped."

    def _wanted(self, number: int) -> str:
        call = self._calls[number]
        what = "a processor" if not call.gpus else "a GPU" if call.gpus == 1 else f"{call.gpus} GPUs"
        kind = f" of type {call.gpu_type}" if call.gpu_type else ""
        place = f" on {self._name(call.node)}" if call.node else ""
        return f"{what}{kind}{place} {'are' if call.gpus > 1 else 'is'}"

    def _free(self) -> str:
        """What the cluster could run now."""
        free = self._ray.get(self._board.free.remote())
        gpus = [
            f"{free[node.id]} of {node.gpus} {node.gpu_type or 'GPUs'} on {node.name}"
            for node in self._nodes.values() if free.get(node.id)
        ]
        return f"Free now: {', '.join(gpus)}." if gpus else "No GPU is free now."

    def _name(self, node: str) -> str:
        return self._nodes[node].name if node in self._nodes else "a node"


def _needs(call: Call) -> dict[str, float]:
    """The resources a call takes, by Ray's names."""
    needs: dict[str, float] = {"GPU": call.gpus} if call.gpus else {"CPU": 1}
    return needs | ({GPU_TYPE + call.gpu_type: 0.001} if call.gpu_type else {})
