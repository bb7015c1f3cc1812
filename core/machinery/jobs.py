"""Work that outlasts a page run: queued by lane, watched, cancelled, forgotten when old.

A lane runs one job at a time (two probes of one GPU would spoil each other); further jobs wait in
order. A job's work is a function that is handed its `Job`, reports to it and looks whether it was
cancelled. Whatever it raises ends as one sentence.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from uuid import uuid4

from core.basics.errors import InputError, SweetspotError

KEEP_S: Final = 3600.0              # a finished job can be looked at this long
MAX_WAITING_PER_OWNER: Final = 2    # a visitor cannot fill the queue
MAX_WAITING: Final = 20             # nor can many, or one who comes as many
_log = logging.getLogger(__name__)


class State(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Cancelled(SweetspotError):
    """Raised inside a job's work by `Job.report` and `Job.check` once it was cancelled."""


@dataclass(slots=True)
class Job:
    """One piece of work. Its fields may be read at any time from any thread."""

    lane: str
    owner: str
    title: str
    work: Callable[["Job"], Any]
    id: str = field(default_factory=lambda: uuid4().hex)
    state: State = State.WAITING
    fraction: float = 0.0           # 0..1 of the work done
    note: str = ""                  # what it does now
    parts: list[Any] = field(default_factory=list)   # partial results in order
    result: Any = None
    error: str = ""                 # one sentence when it failed
    ended_s: float | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def ended(self) -> bool:
        """Whether the work is over: done, failed or cancelled."""
        return self.state in {State.DONE, State.FAILED, State.CANCELLED}

    def report(self, fraction: float, note: str = "", part: Any = None) -> None:
        """Reports how far the work has come; raises Cancelled when it should stop."""
        self.fraction, self.note = min(max(fraction, 0.0), 1.0), note
        if part is not None:
            self.parts.append(part)
        self.check()

    def check(self) -> None:
        """Raises Cancelled when the work should stop."""
        if self._stop.is_set():
            raise Cancelled("Cancelled.")

    def cancel(self) -> None:
        """Asks the work to stop; a waiting job ends at once."""
        self._stop.set()


class Jobs:
    """All jobs of one server. Keep one instance (`st.cache_resource`, or a module of the CLI)."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._queues: dict[str, deque[Job]] = {}

    def submit(self, lane: str, owner: str, title: str, work: Callable[[Job], Any]) -> Job:
        """Queues work on a lane. Raises InputError when this owner, or everybody, has too many waiting already."""
        job = Job(lane, owner, title, work)
        with self._lock:
            self._forget_old()
            waiting = sum(j.owner == owner and j.state is State.WAITING for j in self._jobs.values())
            if waiting >= MAX_WAITING_PER_OWNER:
                raise InputError(f"{waiting} of your jobs are waiting already: let one end or cancel it first.")
            if sum(j.state is State.WAITING for j in self._jobs.values()) >= MAX_WAITING:
                raise InputError(f"{MAX_WAITING} jobs of other visitors are waiting already: try again later.")
            self._jobs[job.id] = job
            if lane not in self._queues:
                self._queues[lane] = deque()
                threading.Thread(target=self._run_lane, args=(lane,), name=f"lane {lane}", daemon=True).start()
            self._queues[lane].append(job)
            self._lock.notify_all()
        return job

    def get(self, job_id: str) -> Job | None:
        """A job by its id; None once it is forgotten."""
        return self._jobs.get(job_id)

    def ahead_of(self, job: Job) -> int:
        """How many jobs run or wait before this one on its lane."""
        with self._lock:
            if job.state is not State.WAITING:
                return 0
            running = any(j.lane == job.lane and j.state is State.RUNNING for j in self._jobs.values())
            queue = [j for j in self._queues[job.lane] if not j._stop.is_set()]
            return running + (queue.index(job) if job in queue else 0)

    def _run_lane(self, lane: str) -> None:
        while True:
            with self._lock:
                while not self._queues[lane]:
                    self._lock.wait()
                job = self._queues[lane].popleft()
            _run(job)

    def _forget_old(self) -> None:
        old = [j.id for j in self._jobs.values() if j.ended_s is not None and time.monotonic() - j.ended_s > KEEP_S]
        for job_id in old:
            del self._jobs[job_id]


def _run(job: Job) -> None:
    """Runs one job to its end, whatever happens in it."""
    try:
        job.check()
        job.state = State.RUNNING
        job.result = job.work(job)
        job.fraction, state = 1.0, State.DONE
    except Cancelled:
        state = State.CANCELLED
    except SweetspotError as error:
        job.error, state = str(error), State.FAILED
    except MemoryError:
        job.error, state = "The machine ran out of memory: try a smaller model or fewer points.", State.FAILED
    except Exception:
        _log.exception("job %s failed", job.title)
        job.error, state = "It stopped on an error of ours, which is in the server's log: try again.", State.FAILED
    job.ended_s = time.monotonic()
    job.state = state
