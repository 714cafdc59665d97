"""Workers on a real NATS server and a scripted platform: what the tests of the worker have in common."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

from runmesh import cloudevents, subjects
from runmesh.bus import Bus, connect
from runmesh.claims import Claim
from runmesh.events import FINAL_TASK_STATES, ExecuteTask, TaskFact
from runmesh.executor import ExecutorConfig
from runmesh.settings import Settings
from runmesh.worker import Worker
from tests.conftest import ACK_WAIT, Address
from tests.eventually import eventually
from tests.executors.scripted import Config, Platform, ScriptedExecutor

TYPE, POOL, PROJECT, RUN = "k8s", "default", "shop", "run-1"


@dataclass(eq=False)
class Process:
    """One worker, as if it were a process of its own."""

    worker_id: str
    worker: Worker
    executor: ScriptedExecutor
    bus: Bus
    task: asyncio.Task[None]

    async def kill(self) -> None:
        """End it as SIGKILL would: nothing is handed over, nothing is said."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def drain(self) -> None:
        """End it as SIGTERM does."""
        self.worker.drain()
        async with asyncio.timeout(60):
            await self.task


class Mesh:
    """A mesh with hand-made commands, and as many workers as a test starts."""

    def __init__(self, bus: Bus, address: Address) -> None:
        self.bus = bus
        self.processes: list[Process] = []
        self._address = address
        self._claims = bus.bucket(subjects.CLAIMS)
        self._runs = bus.bucket(subjects.RUNS)

    async def start(
        self,
        platform: Platform,
        kind: type[ScriptedExecutor] = ScriptedExecutor,
        *,
        config_model: type[ExecutorConfig] = Config,
        **settings: Any,
    ) -> Process:
        """Start a worker and wait until it beats."""
        worker_id = f"worker-{len(self.processes)}"
        ready: asyncio.Future[tuple[Worker, ScriptedExecutor, Bus]] = asyncio.get_running_loop().create_future()

        async def live() -> None:
            async with connect(self._address.url, name=worker_id, token=self._address.token) as bus:
                executor = kind(platform)
                worker = Worker(
                    bus,
                    executor,
                    executor_type=TYPE,
                    config_model=config_model,
                    settings=Settings(**{"ack_wait": ACK_WAIT, **settings}),
                    worker_id=worker_id,
                )
                ready.set_result((worker, executor, bus))
                await worker.run()

        task = asyncio.create_task(live())
        worker, executor, bus = await ready
        process = Process(worker_id, worker, executor, bus, task)
        self.processes.append(process)
        await eventually(lambda: self.record(worker_id))
        return process

    async def record(self, worker_id: str) -> dict[str, Any] | None:
        """What a worker says of itself."""
        entry = await self.bus.bucket(subjects.WORKERS).get(subjects.worker(TYPE, POOL, worker_id))
        return from_json(entry.value) if entry else None

    def command(self, block: str = "load", **fields: Any) -> ExecuteTask:
        """A command of the resolver's."""
        run, attempt, resubmission = fields.pop("run", RUN), fields.pop("attempt", 1), fields.pop("resubmission", 0)
        values: dict[str, Any] = {
            "key": subjects.task_key(run, block, attempt, resubmission),
            "project": PROJECT,
            "revision": "r1",
            "pipeline": "orders",
            "executor_type": TYPE,
            "pool": POOL,
            "config": {},
            "command": ("true",),
            "start_timeout": 60.0,
            **fields,
        }
        return ExecuteTask(run=run, block=block, attempt=attempt, resubmission=resubmission, **values)

    async def order(self, block: str = "load", *, known: bool = True, **fields: Any) -> ExecuteTask:
        """Publish a command, of a run that is known."""
        event = self.command(block, **fields)
        if known:
            await self._runs.put(subjects.run_state(event.run), b'{"state": "running"}')
        await self.publish(event)
        return event

    async def publish(self, event: ExecuteTask, **headers: str) -> None:
        """Publish a command."""
        written = cloudevents.headers_for(event, event_id=event.key, source="/test")
        await self.publish_raw(event.block, event.to_json(), run=event.run, headers={**written, **headers})

    async def publish_raw(
        self, block: str, data: bytes, *, run: str = RUN, headers: dict[str, str] | None = None
    ) -> None:
        """Publish whatever on a command's subject."""
        await self.bus.publish(subjects.execute(TYPE, POOL, PROJECT, run, block), data, headers=headers)

    async def cancel(self, *keys: str, run: str = RUN) -> None:
        """Write what the resolver writes to stop tasks; all of them, unless some are named."""
        value = to_json({"keys": list(keys) or "all", "reason": "asked", "cause": "cancelled"})
        await self._runs.put(subjects.cancelling(run), value)

    async def claim(self, event: ExecuteTask) -> Claim | None:
        """The claim of a task."""
        entry = await self._claims.get(subjects.claim(TYPE, POOL, event.key))
        return Claim.decode(entry.value) if entry else None

    async def write_claim(self, event: ExecuteTask, claim: Claim) -> None:
        """Leave a claim as another worker would."""
        await self._claims.put(subjects.claim(TYPE, POOL, event.key), claim.encode())

    async def facts(self, event: ExecuteTask) -> list[TaskFact]:
        """What was told of a task."""
        stored = [message async for message in self.bus.replay(subjects.FACTS, "mesh.task.>")]
        facts = [TaskFact.model_validate_json(message.data) for message in stored]
        return [fact for fact in facts if fact.key == event.key]

    async def states(self, event: ExecuteTask) -> list[str]:
        """The states that were told of a task."""
        return [str(fact.state) for fact in await self.facts(event)]

    async def ended(self, event: ExecuteTask, within: float = 60.0) -> TaskFact:
        """The terminal fact of a task, which is the only one."""

        async def terminal() -> list[TaskFact]:
            return [fact for fact in await self.facts(event) if fact.state in FINAL_TASK_STATES]

        (fact,) = await eventually(terminal, within=within, every=0.05)
        return fact

    async def submitted(self, event: ExecuteTask) -> Claim:
        """The claim of a task as soon as it has a job."""

        async def claim() -> Claim | None:
            found = await self.claim(event)
            return found if found and found.handle else None

        found = await eventually(claim)
        assert found is not None
        return found

    async def settled(self) -> None:
        """Wait until no command is left."""

        async def empty() -> bool:
            return (await self.bus.stream_info(subjects.execute_stream(TYPE))).messages == 0

        await eventually(empty)

    async def dead(self) -> list[dict[str, Any]]:
        """The dead letters."""
        return [from_json(message.data) async for message in self.bus.replay(subjects.DEAD, "mesh.dead.>")]


@asynccontextmanager
async def mesh_on(bus: Bus, address: Address) -> AsyncIterator[Mesh]:
    """A mesh whose workers are gone afterwards."""
    mesh = Mesh(bus, address)
    try:
        yield mesh
    finally:
        for process in mesh.processes:
            process.task.cancel()
        await asyncio.gather(*(process.task for process in mesh.processes), return_exceptions=True)
        await asyncio.gather(*(process.executor.platform.close() for process in mesh.processes))
