"""A delivery: read it, and claim its task, or answer it.

Every way out of here is a claim of ours, an ack, a nak or a term. A message is acknowledged only where a
terminal claim says that all is told, and never because somebody else seems to be working on it: it may be
the only message left.

A third party's `Config` is foreign code. One that breaks gets a few deliveries, perhaps to another worker; then its
task fails as if the configuration were wrong, and a dead letter keeps the command.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import structlog
from pydantic import ValidationError

from runmesh import cloudevents, logs, subjects
from runmesh.bus import Message
from runmesh.claims import Claim, ClaimPhase
from runmesh.cloudevents import UnknownVersion
from runmesh.dead import bury
from runmesh.errors import Invalid, Problem, RunmeshError, Undecodable, nearest
from runmesh.events import ATTEMPT, RESUBMISSION, Cause, ExecuteTask, TaskFact, TaskState
from runmesh.executor import ExecutorConfig, Task
from runmesh.flaws import fields_at
from runmesh.tracing import TRACING
from runmesh.worker.beat import Beat
from runmesh.worker.jobs import Job, utc
from runmesh.worker.report import Reporter
from runmesh.worker.station import Station

log = structlog.get_logger(__name__)

UPGRADE: Final = 10.0
"""How long, in ack waits, a message of an unknown version waits for a worker that knows it (10 minutes)."""
TRIES: Final = 5
"""Deliveries after which what breaks its handler is a dead letter."""
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SWAPS: Final = 5


class Intake:
    """Turns deliveries into claimed jobs."""

    def __init__(self, station: Station, reporter: Reporter, beat: Beat) -> None:
        self._station = station
        self._reporter = reporter
        self._beat = beat

    async def take(self, message: Message) -> Job | None:
        """Return the job of a delivery once its claim is ours; None if the delivery is answered."""
        try:
            event = self._read(message)
            logs.about(event)
        except UnknownVersion as error:
            await self._wait_for_upgrade(message, error)
            return None
        except (Invalid, Undecodable) as error:
            await self._bury(message, error)
            return None
        if held := self._station.jobs.get(event.key):
            held.redelivered(message)
            return None
        # Held from here on, before anything is awaited: a copy must find it.
        task, poison = self._task(event, message)
        job = Job(message, event, task, self._station.leave_by)
        self._station.jobs.add(job)
        claimed = False
        try:
            ours = await self._claim(job)
            if ours and poison:
                await bury(
                    self._station.bus, message, service=self._station.service, reason="poison", error=repr(poison)
                )
            claimed = ours
        finally:
            if not claimed:
                self._station.jobs.drop(job)
        return job if claimed else None

    def _read(self, message: Message) -> ExecuteTask:
        event = cloudevents.decode(ExecuteTask, message.headers, message.data)
        if event.executor_type != self._station.executor_type or event.pool != self._station.pool:
            raise Undecodable(f"for {event.executor_type}/{event.pool}, on the subject of another")
        if not _KEY.fullmatch(event.key):
            raise Undecodable(f"{event.key!r} is no task's key")
        return event

    def _task(self, event: ExecuteTask, message: Message) -> tuple[Task[Any] | Invalid, Exception | None]:
        """Return the executor's view of a command; after enough deliveries also if `Config` breaks, and why it does."""
        try:
            trace = TRACING.of_task(message.headers, event)
            return _task(event, self._station.config_model, trace), None
        except Exception as error:
            if message.deliveries < TRIES:
                raise
            log.exception("configuration breaks its model", action="take", key=event.key)
            return Invalid(Problem("config", f"breaks the executor's Config: {error!r}"[:2000])), error

    async def _claim(self, job: Job) -> bool:
        me = self._station.worker_id
        fresh = Claim(owner=me, claimed_at=utc())
        for _ in range(_SWAPS):
            hold, ours = await self._station.claims.create(job.event.key, fresh)
            claim = hold.claim
            if claim.phase is ClaimPhase.TERMINAL:
                await self._reporter.finish_again(job, claim)
                return False
            if ours:
                job.hold = hold
                return True
            if not await self._free(claim):
                break
            if await self._station.claims.take_over(hold, me):
                job.hold, job.inherited = hold, claim.owner != me
                log.info("task taken over", action="take", key=job.event.key, owner=claim.owner, epoch=job.claim.epoch)
                return True
        await job.message.nak(self._station.settings.ack_wait)
        return False

    async def _free(self, claim: Claim) -> bool:
        """Whether nobody works on a claim: it was released, its owner is gone, or it is we who forgot it."""
        if claim.phase is ClaimPhase.RELEASED or claim.owner == self._station.worker_id:
            return True
        return not await self._beat.is_alive(claim.owner)

    async def _wait_for_upgrade(self, message: Message, error: UnknownVersion) -> None:
        # Counted in deliveries: the clock that stamped the message is another one than ours.
        if message.deliveries <= 2 * UPGRADE:
            await message.nak(self._station.settings.ack_wait / 2)
        else:
            await self._bury(message, error)

    async def _bury(self, message: Message, error: RunmeshError) -> None:
        """Keep what can't be read as a dead letter, and end its task; not while another worker has it, who could."""
        fact = unreadable(message, str(error), self._station.worker_id)
        if fact is not None:
            claim = Claim(owner=self._station.worker_id, claimed_at=fact.at).finished(fact)
            hold, _ = await self._station.claims.create(fact.key, claim)
            if hold.claim.phase is not ClaimPhase.TERMINAL and not await self._free(hold.claim):
                await message.nak(self._station.settings.ack_wait)
                return
            fact = hold.claim.fact
        await bury(self._station.bus, message, service=self._station.service, reason="undecodable", error=str(error))
        if fact is not None:
            await self._reporter.tell(fact, message)
        await message.term(str(error)[:200])


def unreadable(message: Message, reason: str, worker_id: str) -> TaskFact | None:
    """Return the terminal fact of a command that can't be read, from its subject and headers."""
    if not message.subject.startswith(subjects.ANY_COMMAND):  # delivered here on a detour
        return None
    try:
        address = subjects.task_address(message.subject)
        attempt = int(message.headers.get(ATTEMPT, "1"))
        resubmission = int(message.headers.get(RESUBMISSION, "0"))
        return TaskFact(
            run=address.run,
            block=address.block,
            attempt=attempt,
            resubmission=resubmission,
            key=subjects.task_key(address.run, address.block, attempt, resubmission),
            state=TaskState.FAILED,
            n=1,
            executor_type=address.executor_type,
            pool=address.pool,
            worker=worker_id,
            cause=Cause.CONFIG,
            reason=f"the command can't be read: {reason}",
            at=utc(),
        )
    except ValueError:
        return None


def _task(event: ExecuteTask, config_model: type[ExecutorConfig], trace: Mapping[str, str]) -> Task[Any] | Invalid:
    try:
        config = config_model.model_validate(event.config)
    except ValidationError as error:
        return Invalid(
            *(
                Problem(
                    ".".join(("config", *map(str, detail["loc"]))),
                    detail["msg"],
                    nearest(detail["loc"][-1], fields_at(config_model, detail["loc"]))
                    if detail["type"] == "extra_forbidden"
                    else None,
                )
                for detail in error.errors(include_url=False)
            )
        )
    return Task(
        key=event.key,
        run=event.run,
        block=event.block,
        attempt=event.attempt,
        resubmission=event.resubmission,
        project=event.project,
        pipeline=event.pipeline,
        command=event.command,
        environment={**event.environment, **{name.upper(): value for name, value in trace.items()}},
        config=config,
        timeout=event.timeout,
        labels=event.labels,
    )
