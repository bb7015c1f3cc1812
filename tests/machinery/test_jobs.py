"""Jobs queue by lane, report, cancel at once and fail in one sentence."""

import threading
import time

import pytest

from core.basics.errors import InputError, ProbeError
from core.machinery.jobs import Job, Jobs, State
from tests.conftest import wait_for


@pytest.fixture
def jobs():
    return Jobs()


def blocked(job: Job):
    while True:
        job.report(0.5, "half way")
        time.sleep(0.005)


def test_a_job_reports_and_ends_with_its_result(jobs):
    def work(job):
        for i in range(4):
            job.report(i / 4, f"part {i}", part=i * i)
        return "all"

    job = jobs.submit("cpu", "me", "squares", work)
    wait_for(lambda: job.ended)
    assert (job.state, job.result, job.parts, job.fraction) == (State.DONE, "all", [0, 1, 4, 9], 1.0)


def test_a_lane_runs_one_at_a_time_in_order_and_lanes_run_side_by_side(jobs):
    first = jobs.submit("gpu", "me", "first", blocked)
    second = jobs.submit("gpu", "you", "second", blocked)
    other = jobs.submit("cpu", "you", "other", blocked)
    wait_for(lambda: first.state is State.RUNNING and other.state is State.RUNNING)
    assert second.state is State.WAITING
    assert jobs.ahead_of(second) == 1
    first.cancel()
    wait_for(lambda: second.state is State.RUNNING)
    assert first.state is State.CANCELLED
    second.cancel()
    other.cancel()


def test_a_waiting_job_can_be_cancelled_and_never_runs(jobs):
    ran = threading.Event()
    first = jobs.submit("gpu", "me", "first", blocked)
    second = jobs.submit("gpu", "me", "second", lambda job: ran.set())
    second.cancel()
    first.cancel()
    wait_for(lambda: second.state is State.CANCELLED)
    assert not ran.is_set()


def test_failures_are_one_sentence(jobs):
    def on_purpose(job):
        raise ProbeError("The GPU went away: restart the probe.")

    def by_accident(job):
        raise KeyError("secret-token")

    job, bug = jobs.submit("a", "me", "x", on_purpose), jobs.submit("b", "me", "y", by_accident)
    wait_for(lambda: job.ended and bug.ended)
    assert (job.state, job.error) == (State.FAILED, "The GPU went away: restart the probe.")
    assert bug.state is State.FAILED
    assert "secret-token" not in bug.error


def test_a_visitor_cannot_fill_the_queue(jobs):
    running = jobs.submit("gpu", "me", "0", blocked)
    wait_for(lambda: running.state is State.RUNNING)
    waiting = [jobs.submit("gpu", "me", str(i), blocked) for i in (1, 2)]
    with pytest.raises(InputError, match="waiting already"):
        jobs.submit("gpu", "me", "3", blocked)
    for job in [running, *waiting]:
        job.cancel()


def test_old_jobs_are_forgotten(jobs, monkeypatch):
    job = jobs.submit("cpu", "me", "x", lambda job: None)
    wait_for(lambda: job.ended)
    monkeypatch.setattr("core.machinery.jobs.KEEP_S", -1.0)
    jobs.submit("cpu", "me", "y", lambda job: None)
    assert jobs.get(job.id) is None
