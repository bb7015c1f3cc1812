"""What starting a server over several machines takes: a Ray cluster, a place in the group, or MPI."""

from typing import Final

from core.physics.network import spans
from core.terms import Deployment

FIRST_MACHINE: Final = "first-machine"     # stands for the name of the one that the others have to find
RENDEZVOUS_PORT: Final = 20000             # as in SGLang's documentation of several nodes


def ray_cluster(d: Deployment) -> tuple[str, ...]:
    """What to do before vLLM is started where its GPUs are on several machines."""
    machines = spans(d).machines
    if machines == 1:
        return ()
    return (f"The {d.gpus} GPUs are on {machines} machines: start a Ray cluster over them first (ray start --head, "
            "ray start --address), then run this on its head.",)


def own_place(d: Deployment) -> dict[str, object]:
    """Which of SGLang's machines this is: the first, which the others are told to find."""
    machines = spans(d).machines
    return {} if machines == 1 else {"nodes": machines, "node": 0, "first_node": f"{FIRST_MACHINE}:{RENDEZVOUS_PORT}"}


def each_machine(d: Deployment) -> tuple[str, ...]:
    """That SGLang's command is run on every machine, each time with its own number."""
    machines = spans(d).machines
    if machines == 1:
        return ()
    others = "the second with --node-rank 1" if machines == 2 else f"the others with --node-rank 1 to {machines - 1}"
    return (f"Run it on each of the {machines} machines, on {others}; {FIRST_MACHINE} is the first one's name.",)


def under_mpi(d: Deployment) -> tuple[str, ...]:
    """What starts TensorRT-LLM with one process a GPU over several machines: its launcher, here under Slurm."""
    machines = spans(d).machines
    if machines == 1:
        return ()
    return ("srun", "--nodes", str(machines), "--ntasks", str(d.gpus), "--mpi", "pmix", "trtllm-llmapi-launch")
