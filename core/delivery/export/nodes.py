"""What starting a server over several machines takes: each machine's place in the group, or MPI."""

from typing import Final

from core.physics.network import hosts
from core.terms import Deployment

FIRST_MACHINE: Final = "first-machine"     # stands for the name of the one that the others have to find
RENDEZVOUS_PORT: Final = 20000             # as in SGLang's documentation of several nodes
HEADLESS: Final = "--headless"             # vLLM on all machines but the first


def own_place(d: Deployment, first: str = FIRST_MACHINE) -> dict[str, object]:
    """Settings of the first machine of several, which the others are told to find; none where there is one."""
    machines = hosts(d)
    return {} if machines == 1 else {"nodes": machines, "node": 0, "first_node": first}


def each_machine(d: Deployment, besides: str = "") -> tuple[str, ...]:
    """That the command is run on every machine, each time with its own number and what `besides` the others take."""
    machines = hosts(d)
    if machines == 1:
        return ()
    others = "the second with --node-rank 1" if machines == 2 else f"the others with --node-rank 1 to {machines - 1}"
    more = f" and {besides}" if besides else ""
    return (f"Run it on each of the {machines} machines, on {others}{more}; {FIRST_MACHINE} is the first one's name.",)


def under_mpi(d: Deployment) -> tuple[str, ...]:
    """What starts TensorRT-LLM with one process a GPU over several machines: its launcher, here under Slurm."""
    machines = hosts(d)
    if machines == 1:
        return ()
    return ("srun", "--nodes", str(machines), "--ntasks", str(d.gpus), "--mpi", "pmix", "trtllm-llmapi-launch")
