"""Jobs, each with its execution: started or not, then run as a local process, and cancelled or deleted.

What Google may do to an execution beside that is asked for by tests: `evict`.
"""

import asyncio
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from google.cloud import run_v2

from tests.emulators.containers import Container, Lives

_STEP: Final = 0.02
"""Seconds that a state lasts which is on the way."""
_CANCELLED: Final = "The execution was cancelled."

Job, Execution, Task = run_v2.Job.pb(), run_v2.Execution.pb(), run_v2.Task.pb()
Status = run_v2.ExecutionReference.CompletionStatus
State = run_v2.Condition.State
Reason = run_v2.Condition.ExecutionReason


class Run:
    """One job, its execution and its task, as they are told of, and its process."""

    def __init__(self, name: str, asked: Any) -> None:
        self.job = Job()
        self.job.CopyFrom(asked)
        self.job.name = name
        self.job.create_time.GetCurrentTime()
        self.job.terminal_condition.type_ = "Ready"
        self.job.terminal_condition.state = State.CONDITION_PENDING
        self.execution: Any = None
        self.task = Task(name=f"{name}/executions/{self.id}/tasks/{self.id}-task0")
        self.container: Container | None = None
        self.stopping = asyncio.Event()
        self.deleted = asyncio.Event()
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """With which a hollow execution ends."""
        self.said = ""
        """What Google says of its end, instead of the usual."""

    @property
    def id(self) -> str:
        """The execution's id."""
        return f"{self.job.name.rpartition('/')[2]}-{self.job.start_execution_token}"

    @property
    def command(self) -> list[str]:
        """What is run."""
        return list(self.job.template.template.containers[0].command)

    @property
    def ended(self) -> bool:
        """Whether its execution is over."""
        return bool(self.job.latest_created_execution.HasField("completion_time"))

    def state(self, status: Any) -> None:
        """Go on to a state."""
        self.job.latest_created_execution.completion_status = status
        self.execution.running_count = int(status == Status.EXECUTION_RUNNING)

    def create_execution(self) -> None:
        """Make the execution."""
        self.execution = Execution(name=f"{self.job.name}/executions/{self.id}", job=self.job.name.rpartition("/")[2])
        self.execution.template.CopyFrom(self.job.template.template)
        self.execution.create_time.GetCurrentTime()
        self.execution.conditions.add(type_="Completed", state=State.CONDITION_RECONCILING)
        self.job.latest_created_execution.name = self.execution.name.rpartition("/")[2]
        self.job.terminal_condition.state = State.CONDITION_SUCCEEDED
        self.state(Status.EXECUTION_PENDING)

    def break_off(self, reason: Any, message: str) -> None:
        """Say that no execution could be started."""
        condition = self.job.terminal_condition
        condition.state, condition.reason, condition.message = State.CONDITION_FAILED, reason, message

    def end(self, code: int) -> None:
        """Say how it has ended."""
        condition, result = self.execution.conditions[0], self.task.last_attempt_result
        status, condition.state = Status.EXECUTION_FAILED, State.CONDITION_FAILED
        if self.stopping.is_set():
            status, condition.execution_reason = Status.EXECUTION_CANCELLED, Reason.CANCELLED
            condition.message = _CANCELLED
        elif code == 0:
            status, condition.state = Status.EXECUTION_SUCCEEDED, State.CONDITION_SUCCEEDED
        elif self.said:
            condition.message = self.said
        else:
            condition.execution_reason = Reason.NON_ZERO_EXIT_CODE
            condition.message = f"Task {self.id}-task0 failed with message: The container exited with an error."
            result.exit_code, result.term_signal = (0, code - 128) if code in (137, 139, 143) else (code, 0)
        self.state(status)
        self.execution.completion_time.GetCurrentTime()
        self.job.latest_created_execution.completion_time.GetCurrentTime()


class Agent:
    """Runs executions on this machine."""

    def __init__(
        self,
        directory: Path,
        inherited: Mapping[str, str],
        printed: Callable[[Run, str, bytes], None],
        *,
        hollow: bool,
    ) -> None:
        self.room = asyncio.Event()
        """Until it is set, no execution is made."""
        self.room.set()
        self.grace = 1.0
        """Seconds between TERM and KILL."""
        self.slow_delete = 0.0
        self._directory, self._inherited, self._printed, self._hollow = directory, inherited, printed, hollow
        self._lives = Lives("agent")

    def begin(self, run: Run, gone: Callable[[], None]) -> None:
        """Begin a job's life."""
        if self.room.is_set() and "missing" not in run.job.template.template.containers[0].image:
            run.create_execution()
        self._lives.begin(self._live(run, gone))

    def cancel(self, run: Run) -> None:
        """Cancel its execution."""
        if not run.stopping.is_set() and not run.ended:
            run.stopping.set()
            self._lives.begin(self._terminate(run))

    def evict(self, run: Run, said: str) -> None:
        """Take its machine away."""
        run.said = said
        if run.container:
            run.container.kill()

    async def close(self) -> None:
        """Stop everything."""
        await self._lives.close()

    async def _live(self, run: Run, gone: Callable[[], None]) -> None:
        if run.execution is None:
            await self._wait_for_room(run)
        if run.execution is not None:
            await asyncio.sleep(_STEP)
            run.end(await self._run(run))
        await run.deleted.wait()
        await asyncio.sleep(self.slow_delete)
        gone()

    async def _wait_for_room(self, run: Run) -> None:
        image = run.job.template.template.containers[0].image
        if "missing" in image:
            run.break_off(run_v2.Condition.CommonReason.CONTAINER_MISSING, f"Image '{image}' not found.")
            return
        waits = [asyncio.ensure_future(event.wait()) for event in (self.room, run.deleted)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not run.deleted.is_set():
            run.create_execution()

    async def _run(self, run: Run) -> int:
        if run.stopping.is_set():
            return 143
        try:
            if not self._hollow:
                run.container = await self._started(run)
        except OSError:
            run.said = f"Application exec likely failed: {run.command[0]}"
            return 127
        run.state(Status.EXECUTION_RUNNING)
        run.execution.start_time.GetCurrentTime()
        if run.stopping.is_set() and run.container:
            run.container.signal(signal.SIGTERM)
        try:
            return await (run.container.end() if run.container else run.code)
        finally:
            if run.container:
                run.container.kill()

    async def _started(self, run: Run) -> Container:
        container = run.job.template.template.containers[0]
        variables = {**self._inherited, **{each.name: each.value for each in container.env}}
        streams = [lambda line, stream=stream: self._printed(run, stream, line) for stream in ("stdout", "stderr")]
        return await self._lives.start(run.command, variables, self._directory, *streams)

    async def _terminate(self, run: Run) -> None:
        if not run.code.done() and self._hollow:
            run.code.set_result(143)
        if run.container:
            run.container.signal(signal.SIGTERM)
            await asyncio.sleep(self.grace)
            run.container.kill()
