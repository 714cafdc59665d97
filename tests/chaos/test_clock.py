"""Wall clocks that are set by an hour in the middle of runs: only waits know of it, and by no more than that.

Leases, timeouts of jobs and every wait inside a process go by a clock that nobody sets. What a run waits for is stored
as wall time, so that any resolver can hold it: a clock that is set forward may end such a wait early, one that is set
back makes it begin anew, once (`runmesh.resolver.reach`).
"""

from pathlib import Path

import pytest

from runmesh import subjects
from runmesh.events import TaskFact
from tests.chaos.jumping import jump, jumps
from tests.chaos.matrix import LONG
from tests.chaos.mesh import ChaosMesh, working
from tests.chaos.service import REMOTE
from tests.chaos.test_gaps import WITHIN, delivered, mesh_in, publish, request, told, well
from tests.emulators.platform import Faults, misbehave
from tests.eventually import eventually
from tests.shop import ask, commands

HOUR = 3600.0
TYPES = ("local_python", REMOTE)
BOTH = ("resolver", "worker")
JUMPS = pytest.mark.parametrize("by", [HOUR, -HOUR])


class Clocks:
    """A mesh whose resolver and workers have each a clock of their own, to be set."""

    def __init__(self, mesh: ChaosMesh) -> None:
        self._mesh = mesh
        self._files = {kind: mesh.folder.path / f"{kind}.clock" for kind in BOTH}
        again = {"retry_config": {"retries": 1, "delay": 3, "max_delay": 3}}
        flaky = {"uuid": "work", "command": mesh.folder.script("[ $RUNMESH_ATTEMPT -gt 1 ]"), **again}
        let_go = f'until [ -e "{mesh.folder.path}/go" ]; do sleep 0.05; done'
        half_an_hour = {"uuid": "work", "command": mesh.folder.script(let_go), "timeout": HOUR / 2}
        mesh.folder.write_pipeline("flaky", [flaky])
        mesh.folder.write_pipeline("timed", [half_an_hour])
        mesh.keep("resolver", **jumps(self._files["resolver"]))
        for kind in TYPES:
            mesh.keep("worker", kind, **jumps(self._files["worker"]))

    async def ready(self) -> None:
        for kind in TYPES:
            await working(self._mesh, 1, kind)

    def jump(self, by: float, *whose: str) -> None:
        for kind in whose:
            jump(self._files[kind], by)


@pytest.mark.parametrize("whose", [BOTH, BOTH[:1], BOTH[1:]] if LONG else [BOTH], ids=" and ".join)
@JUMPS
async def test_a_clock_that_is_set_loses_doubles_and_times_out_nothing(
    tmp_path: Path, by: float, whose: tuple[str, ...]
) -> None:
    async with mesh_in(tmp_path) as mesh:
        clocks = Clocks(mesh)
        await clocks.ready()
        for kind in TYPES:
            await request(mesh, f"timed-{kind}", "timed", kind)
            await told(mesh, f"timed-{kind}", "running")
        await misbehave(mesh.folder.socket, Faults(throttle=1.0, only=("submit",)))
        await request(mesh, "refused", "short", REMOTE)
        await told(mesh, "refused", "queued")
        await request(mesh, "flaky", "flaky", "local_python")
        await told(mesh, "flaky", "retrying")
        clocks.jump(by, *whose)
        await request(mesh, "after", "short", "local_python")
        await told(mesh, "flaky", "completed")
        await misbehave(mesh.folder.socket, Faults())
        (mesh.folder.path / "go").touch()
        runs = [*(f"timed-{kind}" for kind in TYPES), "refused", "flaky", "after"]
        facts = await well(mesh, dict.fromkeys(runs, "completed"))
        tasks = {run: [fact for fact in facts[run] if isinstance(fact, TaskFact)] for run in runs}
        assert {(fact.epoch, fact.resubmission) for run in runs for fact in tasks[run]} == {(0, 0)}
        assert {run for run in runs for fact in tasks[run] if fact.state == "failed"} == {"flaky"}


@pytest.mark.parametrize("dying", [["resolver"], []] if LONG else [["resolver"]])
async def test_a_clock_that_is_set_back_keeps_no_run_waiting(tmp_path: Path, dying: list[str]) -> None:
    """Neither where the resolver lives that knows how long it is, nor where another one finds the time in the state."""
    async with mesh_in(tmp_path) as mesh:
        clocks = Clocks(mesh)
        await clocks.ready()
        await ask(mesh.bus, "run", {"id": "limited", "pipeline": "endless", "executor_type": REMOTE, "timeout": 5})
        await told(mesh, "limited", "running")
        await request(mesh, "flaky", "flaky", REMOTE)
        await told(mesh, "flaky", "retrying")
        clocks.jump(-HOUR, *BOTH)
        for kind in dying:
            mesh.kill(kind)
        await well(mesh, {"limited": "failed", "flaky": "completed"})


@pytest.mark.parametrize("kind", TYPES)
async def test_a_server_whose_clock_is_set_forward_has_nothing_taken_over(tmp_path: Path, kind: str) -> None:
    """Then all workers' records are too old at once, and every command seems to be given back; nobody is dead."""
    async with mesh_in(tmp_path) as mesh:
        mesh.keep("resolver")
        await request(mesh, "held", "held", kind)
        (command,) = await eventually(lambda: commands(mesh.bus, kind), within=WITHIN)
        for _ in range(3):
            mesh.keep("worker", kind)
        await working(mesh, 3, kind)
        await told(mesh, "held", "running")
        await expire_workers(mesh)
        for _ in range(6):
            await publish(mesh, command)
        await delivered(mesh, kind, 7)
        (mesh.folder.path / "go").touch()
        facts = await well(mesh, {"held": "completed"})
        assert {fact.epoch for fact in facts["held"] if isinstance(fact, TaskFact)} == {0}


async def expire_workers(mesh: ChaosMesh) -> None:
    await mesh.bus.api(f"STREAM.PURGE.KV_{subjects.WORKERS}")
