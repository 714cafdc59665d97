"""What every executor must do: the contract of `runmesh.executor`, as cases that each backend inherits.

A backend's test module subclasses `ExecutorConformance`, says how an executor is made (`connect`), builds its tasks
(`task`) and looks behind the executor's back (`is_alive`, `leftovers`). Where a platform can't do something, a class
attribute says so.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

import pytest

from runmesh.errors import Rejected
from runmesh.events import Cause
from runmesh.executor import ENDED, GONE, Handle, LogLine, Observation, Phase, Position, Task
from tests.eventually import eventually

AWKWARD = (
    ("", " ", "two words", "tab\tand\nnewline"),
    ("'single'", '"double"', "$HOME `id` $(id)", "back\\slash", "*", "--flag=x y", ";|&<>"),
    ("grüße", "日本", "🌊", "e\u0301", "%41", '{"json": [1, "two"]}'),
)


class Platform:
    """A platform under test: what a subclass provides, and what tests of any executor do with it."""

    within: ClassVar[float] = 45.0
    """Seconds that the platform may take for anything, on a busy machine; less than what hangs in a test does."""
    burst: ClassVar[int] = 50
    streams_logs: ClassVar[bool] = True
    separates_streams: ClassVar[bool] = True
    """stdout and stderr are told apart."""
    exit_codes: ClassVar[bool] = True
    """The platform reports exit codes."""
    refuses_missing_command: ClassVar[bool] = True
    """The platform knows at submission that a command does not exist."""
    stop_notice: ClassVar[bool] = True
    """A cancelled job's observation names the cancellation."""
    keeps_stopped: ClassVar[bool] = True
    """A cancelled job is still known until it is removed."""

    # --- what a subclass provides -------------------------------------------------------------------

    def connect(self) -> AbstractAsyncContextManager[Any]:
        """Return an executor of this type that nobody has entered yet."""
        raise NotImplementedError

    def task(self, key: str, *command: str, **environment: str) -> Task[Any]:
        """Return a task that runs this command on the platform."""
        raise NotImplementedError

    async def is_alive(self, handle: Handle) -> bool:
        """Ask the platform itself whether the job's processes are there."""
        raise NotImplementedError

    async def leftovers(self) -> list[str]:
        """Return what the executor keeps on the platform or on disk for jobs."""
        raise NotImplementedError

    # --- tools --------------------------------------------------------------------------------------

    @pytest.fixture
    async def executor(self) -> AsyncIterator[Any]:
        async with self.connect() as executor:
            yield executor

    def shell(self, key: str, script: str, *arguments: str, **environment: str) -> Task[Any]:
        return self.task(key, "sh", "-c", script, "sh", *arguments, **environment)

    def sleeping(self, key: str) -> Task[Any]:
        return self.task(key, "sleep", "300")

    async def observed(self, executor: Any, handle: Handle) -> Observation:
        answer: Observation = (await executor.observe([handle]))[handle]
        return answer

    async def ended(self, executor: Any, handle: Handle) -> Observation:
        async def end() -> Observation | None:
            observation = await self.observed(executor, handle)
            return observation if observation.phase in ENDED else None

        observation = await eventually(end, within=self.within)
        assert observation is not None
        return observation

    async def stopped(self, executor: Any, handle: Handle) -> None:
        """Wait until a cancelled job is no more, and check that it says so."""
        if self.keeps_stopped:
            end = await self.ended(executor, handle)
            assert end.phase is Phase.FAILED
            assert not self.stop_notice or end.cause is Cause.CANCELLED
        else:
            await self.gone(executor, handle)

    async def gone(self, executor: Any, handle: Handle) -> None:
        async def is_gone() -> bool:
            return await self.observed(executor, handle) == GONE

        await eventually(is_gone, within=self.within)

    async def stale_handle(self, executor: Any) -> Handle:
        """Return a handle of a job that was removed."""
        handle: Handle = await executor.submit(self.task("stale", "true"))
        await self.ended(executor, handle)
        await self.remove(executor, handle)
        return handle

    def needs_logs(self) -> None:
        if not self.streams_logs:
            pytest.skip("this platform gives no output")

    async def remove(self, executor: Any, handle: Handle) -> None:
        """Remove an ended job. A platform that lets nobody do that, but forgets by itself, does so here at once."""
        await executor.remove(handle)

    async def running(self, executor: Any, handle: Handle) -> None:
        async def is_running() -> bool:
            return (await self.observed(executor, handle)).phase is Phase.RUNNING

        await eventually(is_running, within=self.within)

    async def listed(self, executor: Any) -> dict[str, Handle]:
        return {key: handle async for key, handle in executor.jobs()}

    async def output(self, executor: Any, handle: Handle, since: Position | None = None) -> list[LogLine]:
        async with asyncio.timeout(self.within):
            return [line async for line in executor.logs(handle, since=since or Position())]


class ExecutorConformance(Platform):
    """The cases."""

    # --- ends ---------------------------------------------------------------------------------------

    async def test_a_job_that_works_succeeds(self, executor: Any) -> None:
        handle = await executor.submit(self.task("works", "true"))
        end = await self.ended(executor, handle)
        assert end.phase is Phase.SUCCEEDED
        assert end.cause is None
        assert not self.exit_codes or end.exit_code == 0

    @pytest.mark.parametrize("code", [1, 2, 42, 255])
    async def test_a_job_that_fails_is_the_users_failure_with_its_exit_code(self, executor: Any, code: int) -> None:
        handle = await executor.submit(self.shell(f"fails{code}", f"exit {code}"))
        end = await self.ended(executor, handle)
        assert end.phase is Phase.FAILED
        assert end.cause is Cause.USER
        assert not self.exit_codes or end.exit_code == code

    async def test_an_end_is_the_same_however_often_one_looks(self, executor: Any) -> None:
        handle = await executor.submit(self.shell("same", "exit 3"))
        first = await self.ended(executor, handle)
        assert await self.observed(executor, handle) == first

    async def test_a_failure_shows_the_last_lines(self, executor: Any) -> None:
        handle = await executor.submit(self.shell("tail", "seq 1000 >&2; exit 1"))
        end = await self.ended(executor, handle)
        assert end.log_tail[-2:] == ("999", "1000")
        assert len(end.log_tail) < 100

    # --- stopping -----------------------------------------------------------------------------------

    async def test_a_cancelled_job_is_really_gone(self, executor: Any) -> None:
        handle = await executor.submit(self.sleeping("cancelled"))
        await self.running(executor, handle)
        assert await self.is_alive(handle)
        await executor.cancel(handle)
        await self.stopped(executor, handle)
        assert not await self.is_alive(handle)

    async def test_a_job_may_be_cancelled_twice(self, executor: Any) -> None:
        handle = await executor.submit(self.sleeping("twice"))
        await executor.cancel(handle)
        await executor.cancel(handle)
        await self.stopped(executor, handle)
        await executor.cancel(handle)

    async def test_cancelling_an_ended_job_changes_nothing(self, executor: Any) -> None:
        handle = await executor.submit(self.task("over", "true"))
        end = await self.ended(executor, handle)
        await executor.cancel(handle)
        assert await self.observed(executor, handle) == end

    async def test_cancelling_one_job_leaves_the_others_alone(self, executor: Any) -> None:
        one, other = [await executor.submit(self.sleeping(key)) for key in ("one", "other")]
        await self.running(executor, other)
        await executor.cancel(one)
        await self.stopped(executor, one)
        assert await self.is_alive(other)

    async def test_cancelling_an_unknown_job_is_no_error(self, executor: Any) -> None:
        await executor.cancel(await self.stale_handle(executor))

    # --- identity -----------------------------------------------------------------------------------

    async def test_one_key_is_one_job(self, executor: Any) -> None:
        task = self.sleeping("single")
        handles = await asyncio.gather(*(executor.submit(task) for _ in range(5)))
        assert set(handles) == {await executor.submit(task)}
        assert await self.listed(executor) == {"single": handles[0]}

    async def test_a_key_that_has_ended_is_not_run_again(self, executor: Any) -> None:
        task = self.shell("once", "exit 7")
        handle = await executor.submit(task)
        end = await self.ended(executor, handle)
        assert await executor.submit(task) == handle
        assert await self.observed(executor, handle) == end

    async def test_two_keys_are_two_jobs(self, executor: Any) -> None:
        one, other = [await executor.submit(self.shell(key, f"exit {code}")) for key, code in (("a", 1), ("b", 2))]
        assert one != other
        assert (await self.ended(executor, one)).exit_code == 1
        assert (await self.ended(executor, other)).exit_code == 2

    async def test_a_job_is_found_from_its_submission_to_its_removal(self, executor: Any) -> None:
        task = self.sleeping("found")
        assert await executor.find(task) is None
        handle = await executor.submit(task)
        assert await executor.find(task) == handle
        await executor.cancel(handle)
        await self.stopped(executor, handle)
        assert not self.keeps_stopped or await executor.find(task) == handle
        await self.remove(executor, handle)

        async def is_unknown() -> bool:
            return await executor.find(task) is None

        await eventually(is_unknown, within=self.within)

    async def test_find_never_invents_a_job(self, executor: Any) -> None:
        await executor.submit(self.sleeping("real"))
        assert await executor.find(self.sleeping("rea")) is None
        assert await executor.find(self.sleeping("real2")) is None

    # --- looking ------------------------------------------------------------------------------------

    async def test_every_handle_gets_an_answer(self, executor: Any) -> None:
        works = await executor.submit(self.sleeping("here"))
        stale = await self.stale_handle(executor)
        answers = await executor.observe([works, stale])
        assert set(answers) == {works, stale}
        assert answers[works].phase in {Phase.PENDING, Phase.RUNNING}
        await self.gone(executor, stale)

    async def test_nothing_asked_is_nothing_answered(self, executor: Any) -> None:
        assert await executor.observe([]) == {}

    async def test_jobs_lists_exactly_ours(self, executor: Any) -> None:
        assert await self.listed(executor) == {}
        handles = {key: await executor.submit(self.sleeping(key)) for key in ("a", "b", "c")}
        assert await self.listed(executor) == handles

    # --- removing -----------------------------------------------------------------------------------

    async def test_after_remove_nothing_is_left(self, executor: Any) -> None:
        handle = await executor.submit(self.shell("removed", "echo something"))
        await self.ended(executor, handle)
        assert await self.leftovers()
        await self.remove(executor, handle)

        async def is_clean() -> bool:
            return await self.listed(executor) == {} and await self.leftovers() == []

        await eventually(is_clean, within=self.within)

    async def test_a_job_may_be_removed_twice(self, executor: Any) -> None:
        await self.remove(executor, await self.stale_handle(executor))

    # --- what reaches the job -----------------------------------------------------------------------

    @pytest.mark.parametrize("arguments", AWKWARD)
    async def test_arguments_reach_the_process_untouched(self, executor: Any, arguments: tuple[str, ...]) -> None:
        program = "import json, sys; print(json.dumps(sys.argv[1:]))"
        handle = await executor.submit(self.task("arguments", "python3", "-c", program, *arguments))
        [line] = await self.output(executor, handle)
        assert json.loads(line.text) == list(arguments)

    async def test_the_environment_reaches_the_process(self, executor: Any) -> None:
        value = "a 'quoted' \"value\"\nof two lines, grüße"
        program = 'import json, os; print(json.dumps([os.environ["CITY"], os.environ["RUNMESH_KEY"]]))'
        handle = await executor.submit(self.task("environment", "python3", "-c", program, CITY=value))
        [line] = await self.output(executor, handle)
        assert json.loads(line.text) == [value, "environment"]

    async def test_a_command_that_does_not_exist_is_rejected(self, executor: Any) -> None:
        if not self.refuses_missing_command:
            pytest.skip("found out by the platform only when it starts the job")
        task = self.task("missing", "no-such-command-anywhere")
        with pytest.raises(Rejected, match="no-such-command-anywhere"):
            await executor.submit(task)
        assert await executor.find(task) is None
        assert await self.listed(executor) == {}

    # --- logs ---------------------------------------------------------------------------------------

    async def test_logs_are_complete_and_in_order(self, executor: Any) -> None:
        self.needs_logs()
        script = "for i in $(seq 500); do echo out $i; echo err $i >&2; done; printf last"
        lines = await self.output(executor, await executor.submit(self.shell("logs", script)))
        expected = [f"out {i}" for i in range(1, 501)] + ["last"]
        if not self.separates_streams:
            assert [line.text for line in lines if not line.text.startswith("err")] == expected
            return
        stdout = [line for line in lines if line.stream == "stdout"]
        assert [line.text for line in stdout] == expected
        assert [line.number for line in stdout] == list(range(1, 502))
        assert [line.text for line in lines if line.stream == "stderr"] == [f"err {i}" for i in range(1, 501)]

    async def test_logs_are_followed_while_the_job_runs(self, executor: Any) -> None:
        self.needs_logs()
        handle = await executor.submit(self.shell("live", "echo early; exec sleep 300"))
        async with asyncio.timeout(self.within):
            first = await anext(executor.logs(handle, since=Position()))
        assert first.text == "early"
        assert (await self.observed(executor, handle)).phase is Phase.RUNNING

    async def test_logs_go_on_from_a_position_without_loss_or_doubling(self, executor: Any) -> None:
        self.needs_logs()
        handle = await executor.submit(self.shell("resumed", "seq 50; seq 50 >&2"))
        lines = await self.output(executor, handle)
        assert len(lines) == 100
        for read in (0, 1, 49, 50, 51, 99, 100):
            since = lines[read - 1].position if read else Position()
            rest = await self.output(executor, handle, since)
            assert {(line.stream, line.number, line.text) for line in rest} == {
                (line.stream, line.number, line.text) for line in lines[read:]
            }
            assert len(rest) == 100 - read

    async def test_a_silent_job_has_no_lines(self, executor: Any) -> None:
        self.needs_logs()
        assert await self.output(executor, await executor.submit(self.task("silent", "true"))) == []

    # --- many, and again ----------------------------------------------------------------------------

    async def test_many_jobs_at_once(self, executor: Any) -> None:
        tasks = [self.shell(f"many{i}", f"exit {i % 3}") for i in range(self.burst)]
        handles = await asyncio.gather(*map(executor.submit, tasks))
        ends = [await self.ended(executor, handle) for handle in handles]
        assert [end.phase is Phase.SUCCEEDED for end in ends] == [i % 3 == 0 for i in range(self.burst)]
        await asyncio.gather(*(self.remove(executor, handle) for handle in handles))

        async def is_clean() -> bool:
            return await self.listed(executor) == {}

        await eventually(is_clean, within=self.within)

    async def test_an_executor_may_be_entered_again(self) -> None:
        executor: Any = self.connect()
        for _ in range(2):
            async with executor:
                handle = await executor.submit(self.task("again", "true"))
                assert (await self.ended(executor, handle)).phase is Phase.SUCCEEDED
                await self.remove(executor, handle)
