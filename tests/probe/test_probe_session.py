"""A real probe of a tiny model on the processor: measured, cancelled, starved, killed, out of time."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from core.__main__ import main
from core.basics.errors import ProbeError
from core.basics.units import GIB
from core.machinery.jobs import Jobs, State
from core.probe.devices import is_allowed
from core.probe.kernel import why
from core.probe.measurement import Quantity, from_json, to_json
from core.probe.order import Task, _all_reduces, order
from core.probe.session import probe
from core.reading import catalogue
from tests.conftest import wait_for, workers

WORKER = "core.probe.worker"
SPEC = catalogue.load("Qwen/Qwen3-0.6B")
MOE = catalogue.load("Qwen/Qwen3-30B-A3B")


def small(*quantities, seconds=60.0, **changes):
    """The first point of each quantity and format; time enough on a busy machine."""
    whole = order(SPEC, "cpu", seconds, 8 * GIB)
    chosen = {(task.quantity, task.format): task for task in reversed(whole.tasks) if task.quantity in quantities}
    return replace(whole, **{"tasks": tuple(chosen.values()), **changes})


def silent(share, note, point):
    """No progress is shown."""


def endless(seconds=60.0):
    """More points than there is time for."""
    one = Task(Quantity.COPY, "bytes", {"size": 2**20}, 2.0**21)
    return replace(order(SPEC, "cpu", seconds, 8 * GIB), tasks=(one,) * 5000)


def ranks():
    """Command lines of ranks that still run; torchrun starts them in sessions of their own."""
    lines = [folder / "cmdline" for folder in Path("/proc").glob("[0-9]*")]
    return [line for line in lines if line.exists() and b"core.probe.all_reduce" in line.read_bytes()]


def test_a_probe_measures_and_travels():
    wanted = {Quantity.COPY, Quantity.READ, Quantity.LINEAR, Quantity.ATTENTION, Quantity.HEAD, Quantity.BLOCK}
    shares = []
    found = probe(small(*wanted), lambda share, note, point: shares.append(share))
    assert {p.quantity for p in found.points} == wanted, found.lost
    assert {p.format for p in found.points if p.quantity is Quantity.LINEAR} >= {"bf16", "int8", "w8a8-int8", "int4"}
    assert found.is_cpu and found.gpu == "" and "torch" in found.versions
    assert all(p.timing.p10_s <= p.timing.median_s <= p.timing.p90_s and p.timing.samples >= 8 for p in found.points)
    copy = next(p for p in found.points if p.quantity is Quantity.COPY)
    assert 1e8 < copy.bytes_per_s < 1e12          # a processor's memory
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert from_json(to_json(found)) == found


def test_a_mixture_of_experts_is_measured_grouped():
    whole = order(MOE, "cpu", 60.0, 8 * GIB)
    task = next(t for t in whole.tasks if t.quantity is Quantity.EXPERTS)
    few = replace(task, shape={**task.shape, "experts": 16, "K": 64, "N": 64})
    found = probe(replace(whole, tasks=(few,)), silent)
    assert found.points[0].kernel.endswith("grouped_mm")


def test_results_are_summed_over_ranks():
    """Two processes over gloo take the way that as many GPUs take over NCCL; a size that is none loses itself alone."""
    sizes = _all_reduces(2)
    wrong = replace(sizes[0], shape={"size": -2, "gpus": 2})
    found = probe(replace(small(Quantity.COPY), ranks=2, all_reduces=(sizes[0], wrong, sizes[1])), silent)
    sums = [p for p in found.points if p.quantity is Quantity.ALL_REDUCE]
    assert [p.shape for p in sums] == [{"size": 2**14, "gpus": 2}, {"size": 2**17, "gpus": 2}], found.lost
    assert all(p.kernel.endswith("gloo all_reduce") and p.bytes == p.shape["size"] for p in sums)
    assert len(found.lost) == 1 and "all-reduce bf16 size=-2" in found.lost[0]
    assert from_json(to_json(found)) == found
    wait_for(lambda: not ranks(), limit_s=10.0)


def test_after_a_fault_the_rest_is_measured_by_torch_alone(monkeypatch):
    """The stand-in faults at its third point unless it is told to use torch's kernels alone."""
    monkeypatch.setattr("core.probe.session.WORKER", "tests.faulty_worker")
    found = probe(endless(), silent)
    assert len(found.points) == 2 + 4997
    assert "The GPU reported a fault after 2 points" in found.lost[1]
    assert "torch's own kernels alone" in found.lost[1]


def test_a_fault_before_the_first_point_is_one_sentence(monkeypatch):
    monkeypatch.setattr("core.probe.session.WORKER", "tests.faulty_worker")
    whole = endless()
    with pytest.raises(ProbeError, match=r"fault after 0 points, CUDA fault \(.*\): check the card") as raised:
        probe(replace(whole, model="at once"), silent)
    assert "\n" not in str(raised.value)


def test_a_point_without_memory_is_lost_alone():
    """The worker may allocate 512 MiB; one point asks for 4 GiB."""
    greedy = Task(Quantity.COPY, "bytes", {"size": 4 * GIB}, 8.0 * GIB)
    tasks = small(Quantity.COPY).tasks
    found = probe(small(Quantity.COPY, tasks=(tasks[0], greedy, tasks[0]), memory_bytes=GIB / 2), silent)
    assert len(found.points) == 2
    assert len(found.lost) == 1 and "not enough memory" in found.lost[0]


def test_nothing_measured_is_an_error():
    impossible = Task(Quantity.LINEAR, "awq-int4", {"M": 1, "N": 64, "K": 128}, 1.0)
    with pytest.raises(ProbeError, match=r"Nothing could be measured: .*no kernel for awq-int4 on processors"):
        probe(small(Quantity.COPY, tasks=(impossible,)), silent)


def test_cancelling_kills_the_worker_at_once():
    jobs = Jobs()
    job = jobs.submit("gpu", "me", "probe", lambda job: probe(endless(), job.report))
    wait_for(lambda: job.parts)
    assert workers(WORKER)
    job.cancel()
    wait_for(lambda: job.ended)
    assert job.state is State.CANCELLED
    assert not workers(WORKER)


def test_a_killed_worker_is_one_sentence():
    def kill():
        wait_for(lambda: workers(WORKER))
        time.sleep(0.3)
        os.kill(workers(WORKER)[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ProbeError, match=r"killed by the system after .* points") as raised:
        probe(endless(), silent)
    killer.join()
    assert "\n" not in str(raised.value)
    assert not workers(WORKER)


def test_a_probe_out_of_time_keeps_what_it_has():
    found = probe(endless(seconds=1.0), silent)
    assert found.points and "not reached before the deadline" in found.lost[-1]


def test_a_worker_that_hangs_is_stopped(monkeypatch):
    """It would go on for 60 s; the parent's patience ends before torch is imported."""
    monkeypatch.setattr("core.probe.session.GRACE_S", -59.9)
    with pytest.raises(ProbeError, match="was stopped before its first point"):
        probe(endless(), silent)
    assert not workers(WORKER)


def test_what_was_measured_before_a_hang_is_kept(monkeypatch):
    """The parent's patience ends with the first point."""
    def lose_patience(share, note, point):
        if point is not None:
            monkeypatch.setattr("core.probe.session.GRACE_S", -60.0)

    found = probe(endless(), lose_patience)
    assert found.points
    assert "was stopped there" in found.lost[-1]
    assert not workers(WORKER)


@pytest.mark.parametrize(("probing", "public", "allowed"), [
    ("", "", False), ("1", "", True), ("0", "", False), ("", "1", False), ("1", "1", True),
])
def test_without_a_gpu_probing_is_off_unless_switched_on(monkeypatch, probing, public, allowed):
    monkeypatch.setattr("core.products.gpus.detect", lambda: ())
    monkeypatch.setenv("SWEETSPOT_PROBE", probing)
    monkeypatch.setenv("SWEETSPOT_PUBLIC", public)
    assert is_allowed() is allowed


@pytest.mark.parametrize(("arguments", "says"), [
    (["--seconds", "1"], "5 to 300 s"), (["--device", "cuda:9"], "no device 'cuda:9'"),
])
def test_the_command_refuses_in_one_sentence(capsys, arguments, says):
    assert main(["probe", "--offline", *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


def test_every_gpu_point_has_a_shape_its_kernel_takes():
    """K and N of Llama-3.1-8B are multiples of what tinygemm, _scaled_mm, _int_mm and humming ask for."""
    whole = order(catalogue.load("meta-llama/Llama-3.1-8B"), "cuda:0", 50.0, ranks=8)
    linears = [task for task in whole.tasks if task.quantity is Quantity.LINEAR]
    assert {t.format for t in linears} == {
        "bf16", "fp8", "int8", "w8a8-int8", "int4", "awq-int4", "gptq-int4", "bnb-nf4", "bnb-int8",
    }
    assert {t.shape["M"] for t in linears} == {2**power for power in range(12)}
    assert all(t.shape["K"] % 128 == 0 and t.shape["N"] % 64 == 0 for t in linears)
    assert {t.shape["layers"] for t in whole.tasks if t.quantity is Quantity.BLOCK} == {2, 4, 8}
    assert [t.shape["gpus"] for t in whole.all_reduces] == [8] * 5
    assert whole.all_reduces[0].bytes == 2 * 7 / 8 * whole.all_reduces[0].shape["size"]


def test_what_matters_most_is_measured_first_and_ceilings_again_last():
    """Short of time, every format at its key rows and blocks at two depths are there before any other row.

    Bandwidth and large matmuls close it, each as it was measured on a cool card.
    """
    tasks = order(catalogue.load("meta-llama/Llama-3.1-8B"), "cuda:0", 50.0).tasks
    assert [t.rank for t in tasks if not t.closing] == sorted(t.rank for t in tasks if not t.closing)
    closing = [t for t in tasks if t.closing]
    assert closing == list(tasks[-5:])
    assert [(t.quantity, t.format) for t in closing] == [
        ("copy", "bytes"), ("read", "bytes"), ("matmul", "bf16"), ("matmul", "fp8"), ("matmul", "int8"),
    ]
    assert all(replace(t, closing=False) in tasks for t in closing)
    assert {t.shape["M"] for t in closing if t.quantity is Quantity.MATMUL} == {4096}
    first = [t for t in tasks if t.rank == 0]
    assert {t.format for t in first if t.quantity is Quantity.LINEAR} == {t.format for t in tasks
                                                                         if t.quantity is Quantity.LINEAR}
    blocks = [t for t in tasks if t.rank == 1 and t.quantity is Quantity.BLOCK]
    assert {t.shape["layers"] for t in blocks} == {2, 8}


def test_experts_are_asked_for_in_16_and_4_bits():
    tasks = order(MOE, "cuda:0", 50.0).tasks
    for quantity in (Quantity.EXPERTS, Quantity.BLOCK):
        assert {t.format for t in tasks if t.quantity is quantity} == {"bf16", "gptq-int4"}


@pytest.mark.parametrize(("said", "reason"), [
    ("CUDA out of memory. Tried to allocate 20.00 GiB.", "not enough memory"),
    ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "not enough memory"),
    ("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be", "CUDA fault"),
    ("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasLtMatmul`", "CUDA error: CUBLAS"),
    ("CUDA error: operation not permitted when stream is capturing", "CUDA graph"),
])
def test_only_a_fault_ends_a_probe(said, reason):
    """Messages of torch 2.13: c10/cuda/CUDAException.cpp, ATen/cuda/CUDABlas.cpp, CUDACachingAllocator.cpp."""
    found = why(RuntimeError(said))
    assert reason in found
    assert found.startswith("CUDA fault") is ("illegal memory access" in said)
