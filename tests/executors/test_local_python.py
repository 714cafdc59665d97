"""`local_python`: the conformance cases, and what only local processes do."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from runmesh.errors import Rejected, Unavailable
from runmesh.events import Cause
from runmesh.executor import GONE, Handle, NeedsBeats, Phase, Position, SeesChanges, Site, StreamsLogs, Task, load
from runmesh.executors.local_python import Config, Executor
from tests.eventually import eventually
from tests.executors.conformance import ExecutorConformance, Platform
from tests.executors.processes import alive, children_of, parent_of, pid_of, pids_in
from tests.executors.tasks import task_of

FAMILY = """
echo $$ > $PIDS/a.pid
sh -c 'trap "" TERM; echo $$ > $PIDS/b.pid; exec sleep 300' &
setsid sh -c 'trap "" TERM HUP; echo $$ > $PIDS/c.pid; exec sleep 300' &
wait
"""
"""A job, a child of it that ignores TERM, and one that left the process group as well."""

LEAVING = """
sh -c 'echo $$ > $PIDS/a.pid; exec sleep 300' &
setsid sh -c 'echo $$ > $PIDS/b.pid; exec sleep 300' &
while [ ! -s $PIDS/a.pid ] || [ ! -s $PIDS/b.pid ]; do sleep 0.02; done
"""
"""A job that ends, and leaves two processes running."""


class LocalPython(Platform):
    """How the tests reach local processes."""

    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "site"

    def connect(self) -> Executor:
        return Executor(Site("mesh", "default", "worker-1", dict(os.environ), self.directory))

    def task(self, key: str, *command: str, **environment: str) -> Task[Config]:
        return task_of(Config(kill_grace=0.5), *command, key=key, environment=environment)


class TestConformance(LocalPython, ExecutorConformance):
    async def is_alive(self, handle: Handle) -> bool:
        return alive(pid_of(handle))

    async def leftovers(self) -> list[str]:
        return [path.name for path in self.directory.rglob("*") if path.is_file()]


class TestProcesses(LocalPython):
    """What a process is given, and how its end is told."""

    def test_it_has_every_power(self) -> None:
        executor = self.connect()
        assert isinstance(executor, StreamsLogs)
        assert isinstance(executor, SeesChanges)
        assert isinstance(executor, NeedsBeats)
        assert load("local_python") == (Executor, Config)

    async def test_an_end_is_told_without_being_asked(self, executor: Executor) -> None:
        handles = [await executor.submit(self.shell(f"told{i}", "sleep 0.1")) for i in range(3)]
        async with asyncio.timeout(self.within):
            changes = executor.changes()
            told = [await anext(changes) for _ in handles]
        assert sorted(told) == sorted(handles)
        assert {(await self.observed(executor, handle)).phase for handle in told} == {Phase.SUCCEEDED}

    async def test_without_a_project_each_job_has_a_directory_of_its_own_that_is_removed(
        self, executor: Executor
    ) -> None:
        handles = [await executor.submit(self.shell(f"alone{i}", "ls; pwd; mkdir d; touch d/f")) for i in range(2)]
        for handle in handles:
            await self.ended(executor, handle)
        found = [[line.text async for line in executor.logs(handle, since=Position())] for handle in handles]
        places = [Path(place) for (place,) in found]
        assert len(set(places)) == 2
        assert all((place / "d" / "f").exists() for place in places)
        for handle in handles:
            await executor.remove(handle)
        assert not any(place.exists() for place in places)

    async def test_a_signal_is_named(self, executor: Executor) -> None:
        end = await self.ended(executor, await executor.submit(self.shell("segv", "kill -SEGV $$")))
        assert (end.exit_code, end.cause, end.reason) == (139, Cause.USER, "killed by SIGSEGV")

    async def test_a_kill_that_nobody_asked_for_is_likely_the_memory(self, executor: Executor) -> None:
        end = await self.ended(executor, await executor.submit(self.shell("oom", "kill -KILL $$")))
        assert (end.exit_code, end.cause) == (137, Cause.USER)
        assert "out of memory" in str(end.reason)

    async def test_a_process_that_ignores_term_is_killed_after_the_grace(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("stubborn", "trap '' TERM; echo ready; while :; do sleep 0.1; done"))
        async with asyncio.timeout(self.within):
            assert (await anext(executor.logs(handle, since=Position()))).text == "ready"
        await executor.cancel(handle)
        end = await self.ended(executor, handle)
        assert (end.exit_code, end.cause, end.reason) == (137, Cause.CANCELLED, "stopped: killed by SIGKILL")

    async def test_a_process_may_clean_up_when_it_is_stopped(self, executor: Executor) -> None:
        script = "trap 'echo cleaned; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
        handle = await executor.submit(task_of(Config(kill_grace=30), "sh", "-c", script, key="tidy"))
        async with asyncio.timeout(self.within):
            await anext(executor.logs(handle, since=Position()))
        await executor.cancel(handle)
        assert (await self.ended(executor, handle)).exit_code == 5
        assert "cleaned" in [line.text for line in await self.output(executor, handle)]

    async def test_a_missing_directory_is_rejected(self, executor: Executor) -> None:
        with pytest.raises(Rejected, match="/no/such/project"):
            await executor.submit(self.task("nowhere", "runmesh-run", "/no/such/project", "daily"))

    async def test_a_directory_that_cannot_be_looked_at_is_rejected(self, executor: Executor) -> None:
        with pytest.raises(Rejected, match="File name too long"):
            await executor.submit(self.task("long", "runmesh-run", f"/{'x' * 5000}", "daily"))
        assert await self.listed(executor) == {}

    async def test_what_may_not_be_run_is_rejected(self, executor: Executor, tmp_path: Path) -> None:
        plain = tmp_path / "data.txt"
        plain.write_text("no program")
        for key, command in {"plain": (str(plain),), "empty": (), "nul": ("echo", "a\0b"), "lone": ("\ud800",)}.items():
            with pytest.raises(Rejected):
                await executor.submit(self.task(key, *command))
        assert await self.listed(executor) == {}

    async def test_a_handle_of_another_executor_is_gone(self, executor: Executor, tmp_path: Path) -> None:
        task = self.sleeping("mine")
        handle = await executor.submit(task)
        async with Executor(Site("mesh", "default", "worker-2", dict(os.environ), tmp_path / "other")) as other:
            assert await other.observe([handle, Handle("nonsense")]) == {handle: GONE, Handle("nonsense"): GONE}
            assert await other.find(task) is None
            await other.cancel(handle)
            await other.remove(handle)
        assert alive(pid_of(handle))

    async def test_signals_have_their_usual_effect_in_a_job(self, executor: Executor) -> None:
        program = "import signal; print(*(signal.getsignal(n) == 0 for n in (signal.SIGTERM, signal.SIGHUP)))"
        handle = await executor.submit(self.task("signals", "python3", "-c", program))
        assert [line.text for line in await self.output(executor, handle)] == ["True True"]

    async def test_a_job_reads_nothing_and_holds_no_descriptor_of_ours(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("closed", "cat; ls /proc/self/fd | wc -l"))
        assert [line.text.strip() for line in await self.output(executor, handle)] == ["4"]

    async def test_leaving_stops_what_still_runs_and_deletes_its_files(self) -> None:
        async with self.connect() as executor:
            handle = await executor.submit(self.sleeping("left"))
        assert not alive(pid_of(handle))
        assert [path for path in self.directory.rglob("*") if path.is_file()] == []

    def test_it_runs_under_uvloop(self) -> None:
        async def end() -> Phase:
            async with self.connect() as executor:
                handle = await executor.submit(self.shell("uvloop", "echo hello"))
                assert [line.text for line in await self.output(executor, handle)] == ["hello"]
                return (await self.ended(executor, handle)).phase

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            assert runner.run(end()) is Phase.SUCCEEDED

    async def test_a_spare_child_that_was_killed_is_replaced(self, executor: Executor) -> None:
        first = await executor.submit(self.sleeping("first"))
        supervisor = parent_of(pid_of(first))
        [spare] = await eventually(lambda: children_of(supervisor) - {pid_of(first)})
        os.kill(spare, signal.SIGKILL)
        await eventually(lambda: not alive(spare))
        second = await executor.submit(self.task("second", "true"))
        assert (await self.ended(executor, second)).phase is Phase.SUCCEEDED
        assert alive(pid_of(first))

    async def test_a_spare_child_is_no_orphan_of_a_job(self, executor: Executor) -> None:
        first = await executor.submit(self.shell("first", "sleep 0.2"))
        [spare] = await eventually(lambda: children_of(parent_of(pid_of(first))) - {pid_of(first)})
        assert (await self.ended(executor, first)).phase is Phase.SUCCEEDED
        assert pid_of(await executor.submit(self.task("second", "true"))) == spare

    async def test_a_job_is_given_an_environment_larger_than_a_pipe(self, executor: Executor) -> None:
        large = {f"LARGE_{number}": "x" * 100_000 for number in range(5)}
        handle = await executor.submit(self.shell("large", "printenv LARGE_4 | wc -c", **large))
        assert [line.text.strip() for line in await self.output(executor, handle)] == ["100001"]

    async def test_removing_a_running_job_stops_it(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("running"))
        await executor.remove(handle)

        async def is_gone() -> bool:
            return await self.observed(executor, handle) == GONE

        await eventually(is_gone)
        assert not alive(pid_of(handle))
        assert await self.listed(executor) == {}


class TestOutput(LocalPython):
    """Output that is binary, large or odd."""

    async def test_binary_output_is_replaced_where_it_is_no_text(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("binary", r"printf 'a\377\000b\nc\303\nd'"))
        assert [line.text for line in await self.output(executor, handle)] == ["a\ufffd\0b", "c\ufffd", "d"]

    async def test_five_megabytes_in_one_line_come_in_parts(self, executor: Executor) -> None:
        program = "import sys; sys.stdout.write('é' * 2_500_000)"
        lines = await self.output(
            executor, await executor.submit(self.task("wide", "python3", "-X", "utf8", "-c", program))
        )
        assert "".join(line.text for line in lines) == "é" * 2_500_000
        assert max(len(line.text.encode()) for line in lines) <= 64 * 1024

    async def test_a_million_lines_are_all_there(self, executor: Executor) -> None:
        handle = await executor.submit(self.task("long", "seq", "1000000"))
        count = 0
        async for line in executor.logs(handle, since=Position()):
            count += 1
            assert line.number == count
        assert count == 1_000_000

    async def test_a_job_never_waits_for_a_reader(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("unread", "head -c 5000000 /dev/zero"))
        assert (await self.ended(executor, handle)).phase is Phase.SUCCEEDED

    async def test_the_last_lines_show_errors_below_output(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("mixed", "seq 100; echo broken >&2; exit 1"))
        end = await self.ended(executor, handle)
        assert len(end.log_tail) == 20
        assert end.log_tail[-2:] == ("100", "broken")

    async def test_output_that_cant_be_read_stops_no_other_job(self, executor: Executor) -> None:
        other = await executor.submit(self.sleeping("other"))
        spoil = 'for fd in 1 2; do file=$(readlink /proc/$$/fd/$fd); rm "$file"; mkdir "$file"; done; exit 1'
        handle = await executor.submit(self.shell("spoilt", spoil))
        assert (await self.ended(executor, handle)).log_tail == ()
        assert await self.observed(executor, other) != GONE


class TestNothingOutlives(LocalPython):
    """Whoever dies, the jobs and all they started die as well."""

    async def spawned(self, executor: Executor, key: str, script: str, count: int) -> tuple[Handle, list[int]]:
        """Submit a job that starts processes, and return their pids once they run."""
        pids = self.directory / key
        pids.mkdir()
        handle = await executor.submit(self.shell(key, script, PIDS=str(pids)))
        return handle, await eventually(lambda: pids_in(pids, count))

    async def test_a_grandchild_dies_with_a_cancelled_job(self, executor: Executor) -> None:
        handle, pids = await self.spawned(executor, "family", FAMILY, 3)
        await executor.cancel(handle)
        await self.ended(executor, handle)
        assert not any(map(alive, pids))

    async def test_what_a_job_leaves_behind_dies_at_its_end(self, executor: Executor) -> None:
        handle, pids = await self.spawned(executor, "parent", LEAVING, 2)
        end = await self.ended(executor, handle)
        assert end.phase is Phase.SUCCEEDED
        assert not any(map(alive, pids))

    async def test_the_orphans_of_another_job_live_on(self, executor: Executor) -> None:
        orphaning = "(setsid sh -c 'echo $$ > $PIDS/a.pid; exec sleep 300' &) ; exec sleep 300"
        _, [orphan] = await self.spawned(executor, "stays", orphaning, 1)
        leaving, pids = await self.spawned(executor, "leaves", LEAVING, 2)
        await self.ended(executor, leaving)
        assert not any(map(alive, pids))
        assert alive(orphan)

    async def test_a_killed_supervisor_takes_the_jobs_along(self, executor: Executor) -> None:
        handle, pids = await self.spawned(executor, "orphaned", FAMILY, 3)
        os.kill(parent_of(pid_of(handle)), signal.SIGKILL)

        async def is_gone() -> bool:
            return await self.observed(executor, handle) == GONE

        await eventually(is_gone)
        await eventually(lambda: not any(map(alive, pids)))
        async with asyncio.timeout(self.within):
            assert await anext(executor.changes()) == handle
        assert await executor.find(self.sleeping("orphaned")) is None
        again = await executor.submit(self.task("orphaned", "true"))
        assert (await self.ended(executor, again)).phase is Phase.SUCCEEDED

    async def test_a_killed_supervisor_takes_no_job_of_another_along(self, executor: Executor, tmp_path: Path) -> None:
        handle = await executor.submit(self.sleeping("same-key"))
        async with Executor(Site("mesh", "default", "worker-1", dict(os.environ), tmp_path / "other")) as other:
            theirs = await other.submit(self.sleeping("same-key"))
            os.kill(parent_of(pid_of(theirs)), signal.SIGKILL)
            await eventually(lambda: not alive(pid_of(theirs)))
        assert alive(pid_of(handle))

    async def test_a_lease_that_ran_out_stops_the_jobs(self, executor: Executor) -> None:
        await executor.beat(30)
        handle, pids = await self.spawned(executor, "leased", FAMILY, 3)
        await executor.beat(0.2)
        end = await self.ended(executor, handle)
        assert end.cause is Cause.INFRASTRUCTURE
        assert not any(map(alive, pids))
        with pytest.raises(Unavailable, match="lease"):
            await executor.submit(self.sleeping("late"))
        await executor.beat(30)
        assert await executor.submit(self.sleeping("late"))

    async def test_beats_keep_a_job_running_beyond_the_first_lease(self, executor: Executor) -> None:
        await executor.beat(2)
        handle = await executor.submit(self.task("kept", "sleep", "3"))
        while (end := await self.observed(executor, handle)).phase is Phase.RUNNING:
            await executor.beat(2)
            await asyncio.sleep(0.05)
        assert end.phase is Phase.SUCCEEDED

    async def test_a_new_supervisor_knows_the_lease(self, executor: Executor) -> None:
        first = await executor.submit(self.sleeping("first"))
        await executor.beat(0.5)
        os.kill(parent_of(pid_of(first)), signal.SIGKILL)
        await eventually(lambda: not alive(pid_of(first)))

        async def is_refused() -> bool:
            try:
                handle = await executor.submit(self.sleeping("second"))
            except Unavailable:
                return True
            except ConnectionError:  # the first one's death was noticed only now
                return False
            return (await self.ended(executor, handle)).cause is Cause.INFRASTRUCTURE

        await eventually(is_refused)


class TestKilledWorker:
    """A worker in a process of its own, which is killed or stopped."""

    @pytest.fixture
    async def worker(self, tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[tuple[Process, list[int]]]]]:
        processes: list[Process] = []

        async def start(lease: float, grace: float) -> tuple[Process, list[int]]:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.executors.worker_to_kill"),
                *(str(tmp_path), str(lease), str(grace), FAMILY),
            )
            processes.append(process)
            return process, await eventually(lambda: pids_in(tmp_path, 3))

        yield start
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def test_a_killed_worker_leaves_nothing_running(self, worker: Any) -> None:
        process, pids = await worker(lease=0, grace=0.5)
        supervisor = parent_of(pids[0])
        process.kill()
        await eventually(lambda: not any(map(alive, [*pids, supervisor])))

    async def test_a_killed_workers_jobs_have_no_grace_beyond_its_lease(self, worker: Any) -> None:
        process, pids = await worker(lease=3, grace=300)
        process.kill()
        await eventually(lambda: not any(map(alive, pids)))

    async def test_a_worker_that_is_stopped_for_longer_than_its_lease_leaves_nothing_running(self, worker: Any) -> None:
        process, pids = await worker(lease=3, grace=300)
        process.send_signal(signal.SIGSTOP)
        await eventually(lambda: not any(map(alive, pids)))
        assert process.returncode is None

    async def test_the_jobs_die_when_worker_and_supervisor_are_killed_at_once(self, worker: Any) -> None:
        process, pids = await worker(lease=0, grace=300)
        supervisor = parent_of(pids[0])
        os.kill(supervisor, signal.SIGSTOP)
        process.kill()
        os.kill(supervisor, signal.SIGKILL)
        await eventually(lambda: not alive(pids[0]))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
