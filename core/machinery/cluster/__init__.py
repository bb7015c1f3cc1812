"""Work on the machines of a Ray cluster: the one SWEETSPOT_RAY names, else one embedded in this machine.

Ray is loaded by `driver` and `node` alone, in processes of their own.
"""

from core.machinery.cluster.calls import Call, Heard, Loss, News, Node, Result, Tell
from core.machinery.cluster.session import address, is_installed, nodes, run

__all__ = [
    "Call", "Heard", "Loss", "News", "Node", "Result", "Tell", "address", "is_installed", "nodes", "run",
]
