"""Several machines: what of a deployment's messages leaves one, and what that takes."""

import numpy as np
import pytest

from core.answers.advice import recommend, sentences
from core.answers.sweep import layouts
from core.basics.units import GB
from core.delivery import export
from core.physics.ask import Load, desk
from core.physics.network import hosts, spans
from core.products import formats, gpus
from core.reading import catalogue
from core.terms import Deployment, Workload

H100, H200 = gpus.find("H100 SXM5 80GB"), gpus.find("H200 SXM 141GB")
R1 = "deepseek-ai/DeepSeek-R1"


def deployed(gpu, tp, pp=1, dp=1, ep=1, **how):
    return Deployment(gpu, formats.find("fp8"), formats.find_kv("bf16"), tp=tp, pp=pp, dp=dp, ep=ep, **how)


def tpot(deployment):
    return desk([(catalogue.load(R1), deployment)]).predict(Load(False, 1.0, 512.0, 512.0)).tpot_s


@pytest.mark.parametrize("deployment, machines, tensor, pipeline, replicas", [
    (deployed(H100, 8), 1, 1, 1, 1),
    (deployed(H100, 16), 2, 2, 1, 1),                          # more than a machine of eight holds
    (deployed(H100, 8, nodes=2), 2, 2, 1, 1),                  # two of four
    (deployed(H100, 4, pp=2, nodes=2), 2, 1, 2, 1),
    (deployed(H100, 8, dp=2, ep=16), 2, 1, 1, 2),
    (deployed(H100, 8, pp=2, dp=2, ep=16), 4, 1, 2, 2),
    (deployed(gpus.find("GB200"), 8, nodes=2), 1, 1, 1, 1),    # two trays in one NVLink domain of 72
    (deployed(gpus.find("DGX Spark GB10"), 2, nodes=2), 1, 1, 1, 1),    # joined by their own ConnectX-7
    (deployed(gpus.find("A100 PCIe 80GB"), 8), 1, 1, 1, 1),    # bridges join pairs, PCIe the machine
])
def test_groups_fill_a_machine_before_they_reach_over_several(deployment, machines, tensor, pipeline, replicas):
    found = spans(deployment)
    assert (found.machines, found.tensor, found.pipeline, found.replicas) == (machines, tensor, pipeline, replicas)


@pytest.mark.parametrize("gpu, count, machines", [
    ("DGX Spark GB10", 2, 2), ("GB200", 8, 2), ("GB200", 4, 1), ("H200", 8, 1),
])
def test_a_server_is_started_on_every_machine_whatever_joins_them(gpu, count, machines):
    """One GPU a DGX Spark; four a tray of NVIDIA's GB200 NVL72; eight an HGX H200."""
    assert hosts(deployed(gpus.find(gpu), count)) == machines


@pytest.mark.parametrize("gpu, gbit, rate, is_rdma", [
    (H100, 0, 3200 / 8, True),             # NVIDIA DGX H100: eight ConnectX-7 of 400 Gbit/s
    (H100, 10, 10 / 8, False),
    (gpus.find("L40S"), 0, 25 / 8, False),
])
def test_a_machines_network_is_as_stated_or_as_usual(gpu, gbit, rate, is_rdma):
    found = spans(deployed(gpu, 16, nodes=2, network_gbit_per_s=gbit))
    assert (found.bytes_per_s, found.is_rdma) == (rate * GB, is_rdma)


@pytest.mark.parametrize("engine, measured_ms", [("sglang", 53), ("vllm", 33), ("trtllm", 44)])
def test_deepseek_r1_over_two_machines_takes_what_people_saw(engine, measured_ms):
    """tp 16 on 2 × 8 H100, one request: SGLang issue 3656 (19 and 30 tokens/s), TensorRT-LLM issue 2786 (44 ms)."""
    found = tpot(deployed(H100, 16, engine=engine, engine_version="2025-02"))
    assert found.low[0] * 1000 < measured_ms < found.high[0] * 1000
    assert found.value[0] * 1000 == pytest.approx(measured_ms, rel=0.25)


def test_a_slower_network_and_more_of_it_take_longer():
    """The same eight GPUs in one machine, in two, in two joined by 10 Gbit/s; layers over two cost two hops a step."""
    inside, apart = (float(tpot(deployed(H200, 8, nodes=n)).value[0]) for n in (1, 2))
    slow = float(tpot(deployed(H200, 8, nodes=2, network_gbit_per_s=10)).value[0])
    staged = float(tpot(deployed(H200, 4, pp=2, nodes=2)).value[0])
    at_home = float(tpot(deployed(H200, 4, pp=2)).value[0])
    assert inside < apart < slow
    assert staged - at_home == pytest.approx(2 * 30e-6, rel=0.1)


def test_ranges_are_wider_where_messages_leave_the_machine():
    one, two = (tpot(deployed(H200, 8, nodes=n)) for n in (1, 2))
    widths = [float(np.log(found.high[0] / found.value[0])) for found in (one, two)]
    assert widths[1] == pytest.approx(np.hypot(widths[0], 0.4), rel=1e-6)


def test_layouts_keep_tensors_inside_a_machine_or_spread_them():
    """Eight GPUs on two machines of four: tensors over all, stages between, experts between."""
    found = layouts(catalogue.load(R1), H200, formats=["fp8"], kv_formats=["bf16"], tps=(8,), asked=Workload(nodes=2))
    assert {(d.tp, d.pp, d.dp, d.ep) for d in found.deployments} == {(8, 1, 1, 1), (4, 2, 1, 1), (4, 1, 2, 8)}
    assert all(d.nodes == 2 for d in found.deployments)


@pytest.mark.parametrize("gpu, engine, count, nodes, reason", [
    ("H100 SXM5 80GB", "llamacpp", 8, 2, "llama.cpp does not join machines, and one has at most 8"),
    ("H100 SXM5 80GB", "llamacpp", 16, 1, "llama.cpp does not join machines, and one has at most 8"),
    ("H100 SXM5 80GB", "vllm", 8, 3, "8 GPUs do not spread evenly over 3 machines."),
    ("M4 Max", "llamacpp", 4, 1, "llama.cpp does not join machines, and each has one"),
])
def test_machines_that_cannot_work_together_are_refused(gpu, engine, count, nodes, reason):
    fmt = "gguf-Q4_K_M" if engine == "llamacpp" else "bf16"
    found = layouts(catalogue.load("Qwen/Qwen3-32B"), gpus.find(gpu), engine, formats=[fmt], tps=(count,),
                    asked=Workload(nodes=nodes))
    assert not found.deployments
    assert reason in found.refusals[0].reason


@pytest.mark.parametrize("engine, words", [
    ("vllm", ("--nnodes 2 --node-rank 0 --master-addr first-machine", "with --node-rank 1 and --headless")),
    ("sglang", ("--nnodes 2 --node-rank 0 --dist-init-addr first-machine:20000", "on the second with --node-rank 1")),
    ("trtllm", ("srun --nodes 2 --ntasks 8 --mpi pmix trtllm-llmapi-launch trtllm-serve",)),
])
def test_commands_of_several_machines_say_how_they_find_each_other(engine, words):
    plan = recommend(catalogue.load("meta-llama/Llama-3.3-70B-Instruct"), H100, Workload(nodes=2), engine=engine,
                     formats=["bf16"], tps=(8,))
    text = export.launch(plan, engine).text()
    assert all(word in text for word in words)
    assert "on 2 machines" in sentences.hardware(plan.best.deployment)
