"""The process between a worker and its jobs: whatever becomes of the worker, no job outlives it.

It imports little more than the standard library: it starts fast, stays small, has one thread (so that it may
fork, which it does ahead: `child.py`), and goes on when the worker is stopped, killed or cut off. One socket
joins it to the worker; both sides write one JSON object per line::

    worker      {"do": "start", "key", "command", "environment", "directory", "stdout", "stderr", "grace"}
                {"do": "stop", "key"}
                {"do": "beat", "until", "lease"}     times are those of `runmesh.clock`, in seconds
    supervisor  {"key", "pid", "start"}              started
                {"key", "stage", "errno", "error"}   could not be started
                {"key", "code", "why"}               ended, with all that it had started

A job is a session of its own. When its first process has ended, what it left is killed, and only then is its
end reported. A process that left the session is still found: the supervisor is the subreaper of all below
it, so an orphan becomes its child, and the job's key in its environment says whose it was. (One that has also
emptied its environment dies with the last job.)

The end of the socket, or a lease that ran out, stops every job: TERM, and KILL after the job's grace, but never
later than a third of the lease after its end, when others may begin to take the worker's tasks over. If the
supervisor itself is killed, the kernel kills the jobs (PR_SET_PDEATHSIG), and the worker what they had started.
That alone outlives a SIGKILL of both at the same moment. Where there is no Linux, process groups are all there is.
"""

import json
import os
import select
import signal
import socket
from contextlib import suppress
from math import ceil, inf
from typing import Any, Final

from runmesh.clock import clock
from runmesh.executors.local.child import Child
from runmesh.executors.local.processes import (
    PR_SET_CHILD_SUBREAPER,
    carries,
    children,
    ended_children,
    kill_all_children,
    prctl,
    send_signal,
    start_time,
)

KILL_AGAIN: Final = 1.0
"""Seconds after which a KILL is repeated for what had not shown itself yet."""
LONGEST_WAIT: Final = 60.0
DEAF_TO: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ)
"""A terminal or an init system may tell everybody to stop; the jobs' end is the worker's decision.

They get a handler that does nothing: unlike "ignore", it is not inherited by the jobs.
"""

Message = dict[str, Any]


class Job:
    """One job, from its fork until all that it started is gone."""

    __slots__ = ("code", "grace", "key", "kill_at", "pid", "starting", "why")

    def __init__(self, key: str, pid: int, starting: int, grace: float) -> None:
        self.key, self.pid, self.grace = key, pid, grace
        self.starting: int | None = starting
        """Until the command runs: where the child writes why it can't."""
        self.code: int | None = None
        self.why: str | None = None
        self.kill_at = inf


class Supervisor:
    """One loop over the worker's messages, the ends of processes, and what is due."""

    def __init__(self, worker: socket.socket) -> None:
        self.worker = worker
        self.worker_gone = False
        self.inbox = self.outbox = b""
        self.lease_until, self.last_moment, self.lapsed = inf, inf, False
        self.jobs: dict[str, Job] = {}
        self.pids: dict[int, Job] = {}
        self.starting: dict[int, Job] = {}
        self.spare: Child | None = None
        """It waits to become the next job."""
        self.poll = select.poll()
        self.children_ended = _announce_children()
        self.poll.register(self.children_ended, select.POLLIN)
        self.poll.register(worker, select.POLLIN)

    def run(self) -> None:
        """Serve until the worker is gone and nothing of its jobs is left."""
        while self.jobs or not self.worker_gone:
            self._prepare()
            for descriptor, _ in self.poll.poll(self._patience()):
                self._ready(descriptor)
            self._reap()
            self._enforce()
            self._flush()
        kill_all_children()

    def _patience(self) -> int:
        due = min((job.kill_at for job in self.jobs.values()), default=inf)
        due = due if self.lapsed else min(due, self.lease_until)
        return ceil(min(max(0.0, due - clock()), LONGEST_WAIT) * 1000)

    def _ready(self, descriptor: int) -> None:
        if descriptor == self.children_ended:
            os.read(descriptor, 4096)
        elif job := self.starting.get(descriptor):
            self._started(job)
        elif not self.worker_gone:
            self._receive()

    # --- the worker ---------------------------------------------------------------------------------

    def _receive(self) -> None:
        try:
            data = self.worker.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose_worker()
            return
        *lines, self.inbox = (self.inbox + data).split(b"\n")
        for line in lines:
            self._obey(json.loads(line), line)

    def _obey(self, message: Message, line: bytes) -> None:
        match message["do"]:
            case "start":
                self._start(message, line)
            case "stop":
                if job := self.jobs.get(message["key"]):
                    self._stop(job, "stop")
            case "beat":
                self.lease_until = message["until"]
                self.last_moment = self.lease_until + message["lease"] / 3
                self.lapsed = False

    def _lose_worker(self) -> None:
        self.worker_gone = True
        self.poll.unregister(self.worker)
        self._stop_all("orphaned")

    def _tell(self, **message: object) -> None:
        self.outbox += json.dumps(message).encode() + b"\n"

    def _flush(self) -> None:
        """Write without ever waiting: a stopped worker must not stop the supervisor."""
        if self.worker_gone or not self.outbox:
            return
        try:
            self.outbox = self.outbox[self.worker.send(self.outbox) :]
        except BlockingIOError:
            pass
        except OSError:
            self._lose_worker()
            return
        self.poll.modify(self.worker, select.POLLIN | (select.POLLOUT if self.outbox else 0))

    # --- a job begins -------------------------------------------------------------------------------

    def _start(self, message: Message, line: bytes) -> None:
        key = message["key"]
        if self.lapsed or clock() >= self.lease_until:
            self._tell(key=key, stage="lease", errno=None, error="the worker's lease ran out")
            return
        try:
            child = self._child(line)
        except OSError as error:
            self._tell(key=key, stage="fork", errno=error.errno, error=error.strerror)
            return
        job = Job(key, child.pid, child.starting, message["grace"])
        self.jobs[key] = self.pids[child.pid] = self.starting[child.starting] = job
        self.poll.register(child.starting, select.POLLIN)

    def _child(self, line: bytes) -> Child:
        """Return the child that becomes a job: the spare one, or another if there is none, or it was killed."""
        spare, self.spare = self.spare, None
        if spare:
            with suppress(BrokenPipeError):
                spare.become(line)
                return spare
        child = Child()
        child.become(line)
        return child

    def _prepare(self) -> None:
        """Fork ahead, when no job is on its way; one that can't be forked now is forked when it is needed."""
        if self.spare is None and not self.starting and not self.worker_gone and not self.lapsed:
            with suppress(OSError):
                self.spare = Child()

    def _started(self, job: Job) -> None:
        """Read the child's last words before its command: there are none if the command runs."""
        if job.starting is None:
            return
        failure = os.read(job.starting, 4096)
        self.poll.unregister(job.starting)
        os.close(job.starting)
        del self.starting[job.starting]
        job.starting = None
        if failure:
            del self.jobs[job.key], self.pids[job.pid]
            stage, errno, error = json.loads(failure)
            self._tell(key=job.key, stage=stage, errno=errno, error=error)
        else:
            self._tell(key=job.key, pid=job.pid, start=start_time(job.pid))

    # --- a job ends ---------------------------------------------------------------------------------

    def _reap(self) -> None:
        for pid, code in ended_children():
            if job := self.pids.get(pid):
                self._first_process_ended(job, code)
        for job in [job for job in self.jobs.values() if job.code is not None]:
            if not self._left_by(job):
                del self.jobs[job.key]
                self._tell(key=job.key, code=job.code, why=job.why)

    def _first_process_ended(self, job: Job, code: int) -> None:
        self._started(job)
        if self.pids.pop(job.pid, None) is None:
            return
        job.code = code
        if job.why is None:
            self._kill(job)
        else:
            # The group had its TERM, and time until `kill_at`; those outside it hear of the stop only now.
            for pid in self._left_by(job):
                if os.getpgid(pid) != job.pid:
                    send_signal(os.kill, pid, signal.SIGTERM)

    def _stop_all(self, why: str) -> None:
        for job in self.jobs.values():
            self._stop(job, why)

    def _stop(self, job: Job, why: str) -> None:
        latest = inf if why == "stop" else self.last_moment
        job.kill_at = min(job.kill_at, clock() + job.grace, latest)
        if job.why is None and job.code is None:
            job.why = why
            send_signal(os.killpg, job.pid, signal.SIGTERM)

    def _enforce(self) -> None:
        now = clock()
        if now >= self.lease_until and not self.lapsed:
            self.lapsed = True
            self._stop_all("lapsed")
        for job in self.jobs.values():
            if now >= job.kill_at:
                self._kill(job)

    def _kill(self, job: Job) -> None:
        send_signal(os.killpg, job.pid, signal.SIGKILL)
        for pid in self._left_by(job):
            send_signal(os.kill, pid, signal.SIGKILL)
        job.kill_at = clock() + KILL_AGAIN

    def _left_by(self, job: Job) -> list[int]:
        """Return the orphans of a job: children of ours, by the kernel's rule, that we did not start."""
        ours = {*self.pids, self.spare.pid} if self.spare else self.pids
        return [pid for pid in children() if pid not in ours and self._belongs(pid, job)]

    def _belongs(self, pid: int, job: Job) -> bool:
        try:
            return len(self.jobs) == 1 or os.getpgid(pid) == job.pid or carries(pid, f"RUNMESH_KEY={job.key}")
        except ProcessLookupError:
            return False


def _announce_children() -> int:
    """Return a descriptor that becomes readable whenever a child has ended."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _nothing)
    return readable


def _nothing(*_: object) -> None:
    """Hear a signal, and go on."""


def main(descriptor: int) -> None:
    """Supervise for the worker at the other end of an inherited socket."""
    for number in DEAF_TO:
        signal.signal(number, _nothing)
    worker = socket.socket(fileno=descriptor)
    worker.setblocking(False)  # noqa: FBT003 - the socket's own signature
    worker.set_inheritable(False)  # a job that held it would hide our death
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    Supervisor(worker).run()
