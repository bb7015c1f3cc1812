"""A Ray cluster on the loopback interface whose nodes claim GPUs that are not there; every call needs a token.

`python -m tests.ray_cluster PORT FOLDER` serves ray:// on that port, prints a line when it is ready, and takes
away a node for each line it reads that names an accelerator; it ends with its standard input.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex
from tempfile import TemporaryDirectory

from tests.conftest import PATIENCE_S, ROOT, free_port

LOOPBACK = {
    "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token",
}
HEAD_CPUS = 2
GPUS = {"H100": 1, "H200": 2}      # a node each
RAYS_PORTS = range(10002, 20000)            # Ray hands these to its own workers


@dataclass(frozen=True, slots=True)
class RayCluster:
    """A running cluster."""

    process: "subprocess.Popen[str]"
    address: str
    token: str

    def settings(self) -> dict[str, str]:
        """The environment of an app that may use it."""
        return {"SWEETSPOT_RAY": self.address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def take_away(self, accelerator: str) -> None:
        """Kills the node that claims these GPUs."""
        self.process.stdin.write(f"{accelerator}\n")
        self.process.stdin.flush()


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    """The cluster, for as long as the block lasts."""
    port, token = next(port for port in iter(free_port, None) if port not in RAYS_PORTS), token_hex(32)
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.ray_cluster", str(port), folder], cwd=ROOT, text=True,
            env=os.environ | LOOPBACK | {"RAY_AUTH_TOKEN": token, "RAY_TMPDIR": folder},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        try:
            assert process.stdout.readline() == "ready\n"
            yield RayCluster(process, f"ray://127.0.0.1:{port}", token)
        finally:
            process.communicate(timeout=PATIENCE_S)


def main() -> None:
    from ray.cluster_utils import Cluster

    out, sys.stdout = sys.stdout, sys.stderr
    port, folder = sys.argv[1:]
    cluster = Cluster()
    cluster.add_node(num_cpus=HEAD_CPUS, include_dashboard=False, ray_client_server_port=int(port))
    nodes = {
        kind: cluster.add_node(
            num_cpus=1, num_gpus=count, resources={f"accelerator_type:{kind}": count}, include_dashboard=False,
            temp_dir=f"{folder}/{kind}", wait=False,        # a folder each, as on machines apart
        )
        for kind, count in GPUS.items()
    }
    cluster.wait_for_nodes()
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        cluster.remove_node(nodes[line.strip()], allow_graceful=False)
    cluster.shutdown()


if __name__ == "__main__":
    main()
