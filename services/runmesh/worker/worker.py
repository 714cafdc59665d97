"""One process's worker: pulls, and sees every task through from its delivery to its acknowledgement."""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from runmesh import logs, subjects
from runmesh.bus import Bus, Message, Pump
from runmesh.claims import Stopping
from runmesh.clock import clock
from runmesh.dead import bury
from runmesh.errors import BusError, Invalid, NotPermitted, NotProvisioned
from runmesh.events import OUTCOME, Cause
from runmesh.executor import Executor, ExecutorConfig
from runmesh.settings import Settings
from runmesh.worker import outcome
from runmesh.worker.beat import Beat
from runmesh.worker.cancels import Cancels
from runmesh.worker.claims import Claims, OwnershipLost
from runmesh.worker.intake import TRIES, Intake
from runmesh.worker.jobs import HandOver, Job, utc
from runmesh.worker.lease import Lease, LeaseLost
from runmesh.worker.logs import Logs
from runmesh.worker.observer import Observer
from runmesh.worker.platform import Platform
from runmesh.worker.reaper import Reaper
from runmesh.worker.report import Reporter
from runmesh.worker.station import Station
from runmesh.worker.submitting import Submitter
from runmesh.worker.throttle import Throttle
from runmesh.worker.verdict import Verdict
from runmesh.worker.watching import Watcher

log = structlog.get_logger(__name__)

SLOTS: Final = 32
"""Submissions in flight, unless the settings say otherwise. Jobs that live in their worker: one for each core."""
MOST_HELD: Final = 20_000
MOST_BYTES: Final = 64 * 2**20
"""Of the commands held: in memory they take some times as much."""
LAST_WORDS: Final = 60.0
"""Seconds beside the grace period that a draining worker takes at most."""
_RETRY: Final = 1.0


class Worker:
    """The worker of one executor type and pool. It enters and exits the executor itself."""

    def __init__(
        self,
        bus: Bus,
        executor: Executor[Any],
        *,
        executor_type: str,
        config_model: type[ExecutorConfig],
        settings: Settings,
        worker_id: str,
    ) -> None:
        lease = Lease(settings.ack_wait)
        platform = Platform(executor, lease)
        self._bus = bus
        self._station = Station(
            bus=bus,
            settings=settings,
            executor_type=executor_type,
            pool=settings.pool,
            worker_id=worker_id,
            config_model=config_model,
            platform=platform,
            lease=lease,
            claims=Claims(bus, lease, executor_type, settings.pool),
        )
        self._draining = asyncio.Event()
        self._pump: Pump | None = None
        self._lives: set[asyncio.Task[None]] = set()
        self._slots = settings.slots or (SLOTS if executor.adoptable else os.cpu_count() or 1)
        throttle = Throttle(getattr(executor, "submit_rate", None), getattr(executor, "submit_burst", 1.0))
        self._logs = Logs(self._station, self._spawn)
        self._observer = Observer(platform)
        self._cancels = Cancels(self._station)
        self._beat = Beat(self._station, throttle, self._slots)
        self._reporter = Reporter(self._station, self._logs)
        self._reaper = Reaper(self._station, self._reporter)
        self._intake = Intake(self._station, self._reporter, self._beat)
        self._submitter = Submitter(self._station, self._reporter, self._cancels, throttle, self._pause)
        self._watcher = Watcher(self._station, self._reporter, self._observer)

    @property
    def pulls(self) -> bool:
        """Whether it has begun: its executor is there, and its first beat confirmed."""
        return self._pump is not None

    def drain(self) -> None:
        """Stop pulling, hand over or finish what is held; `run` returns when that is done."""
        self._draining.set()

    async def run(self) -> None:
        """Work until drained.

        Raises:
            LeaseLost: after dropping all that was held; a new Worker with a new id may start.
            BusError: of a kind that no retry cures (see `Bus.fatal`).
        """
        try:
            async with self._station.platform.executor, asyncio.TaskGroup() as group:
                self._group = group
                all_let_go = await self._work()
        except BaseExceptionGroup as problems:
            raise _first(problems) from problems
        if all_let_go:
            # Not before the executor has left: what still ran in it must not be taken over yet.
            await self._beat.leave()

    async def _work(self) -> bool:
        """Work until drained; return whether all that was held is handed over or ended."""
        await self._beat.first()
        background = [
            self._spawn(service)
            for service in (
                self._station.lease.lost(),
                self._fatal(),
                self._beat.run(),
                self._cancels.scan(),
                self._cancels.listen(),
                self._observer.poll(),
                self._observer.attend(),
                self._observer.listen(),
                self._reaper.run(),
            )
        ]
        await self._pull_until_drained()
        all_let_go = await self._let_go()
        for service in background:
            service.cancel()
        return all_let_go

    async def _pull_until_drained(self) -> None:
        stream = subjects.execute_stream(self._station.executor_type)
        durable = subjects.execute_consumer(self._station.pool)
        async with self._bus.consume(stream, durable, slots=self._slots) as pump:
            self._pump = pump
            pulling = self._spawn(self._pull(pump))
            await self._draining.wait()
            pulling.cancel()
            await asyncio.wait([pulling])

    async def _pull(self, pump: Pump) -> None:
        async for message in pump:
            if len(self._station.jobs) >= MOST_HELD or self._station.jobs.bytes >= MOST_BYTES:
                pump.pause(_RETRY)
            life = self._spawn(self._live(message))
            self._lives.add(life)
            life.add_done_callback(self._lives.discard)

    async def _let_go(self) -> bool:
        """Hand over or end all that is held; return whether that succeeded."""
        settings, platform = self._station.settings, self._station.platform
        self._station.leave_by = clock() + (0.0 if platform.adoptable else settings.grace)
        for job in self._station.jobs:
            job.leave(self._station.leave_by)
        if not self._lives:
            return True
        _, late = await asyncio.wait(self._lives, timeout=settings.grace + LAST_WORDS)
        for life in late:
            life.cancel()
        return not late

    async def _live(self, message: Message) -> None:
        """The life of one delivery. Only a lost lease or a fatal error of NATS leaves here."""
        with logs.task_lines():
            try:
                if job := await self._intake.take(message):
                    await self._see_through(job)
            except (LeaseLost, NotPermitted, NotProvisioned):
                raise
            except Exception as error:
                log.exception("delivery interrupted", action="take", subject=message.subject)
                await self._give_back(message, error)

    async def _see_through(self, job: Job) -> None:
        """The life of one claimed task."""
        try:
            await self._reporter.finish(job, await self._verdict(job))
        except HandOver:
            await self._release(job)
        except OwnershipLost:
            log.warning("task belongs to another worker now", action="hand_over", key=job.event.key)
        except (LeaseLost, NotPermitted, NotProvisioned):
            raise
        except Exception as error:
            # A fault of ours, or NATS is away: the claim says how far it went, and the next delivery goes on.
            log.exception("task interrupted", action="run", key=job.event.key)
            await self._give_back(job.message, error)
        finally:
            self._observer.forget(job)
            self._station.jobs.drop(job)

    async def _verdict(self, job: Job) -> Verdict:
        if job.inherited and job.claim.may_have_job and not self._station.platform.adoptable:
            return await self._died_with_its_owner(job)
        if job.claim.epoch or isinstance(job.task, Invalid):
            # A fresh claim is checked when its submit begins, which saves it a round trip.
            await self._cancels.check(job)
        if job.claim.handle is None and (verdict := await self._submitter.reach_handle(job)):
            return verdict
        if isinstance(job.task, Invalid):
            job.ask_stop(Stopping(cause=Cause.CONFIG, reason=str(job.task)[:2000], at=utc()))
        if self._station.platform.adoptable:
            job.free_slot()
        self._logs.follow(job)
        return await self._watcher.end_of(job)

    async def _died_with_its_owner(self, job: Job) -> Verdict:
        if job.claim.stopping is not None:
            return Verdict.stopped(job.claim.stopping)
        left = await outcome.read_if_possible(job.event.environment.get(OUTCOME))
        return Verdict.left_behind(left)

    async def _release(self, job: Job) -> None:
        """Hand a task over: as if it had never been claimed where nothing was started."""
        hold = job.held
        try:
            if hold.claim.may_have_job:
                await self._station.claims.write(hold, hold.claim.released())
            else:
                await self._station.claims.forget(hold)
            await job.message.nak()
        except (OwnershipLost, BusError) as error:
            log.warning("task not handed over", action="hand_over", key=job.event.key, error=repr(error))
        else:
            log.info("task handed over", action="hand_over", key=job.event.key, handle=hold.claim.handle)

    async def _give_back(self, message: Message, error: Exception) -> None:
        """Have a delivery come again. What breaks us each time is told as a dead letter, and tried on: it may run."""
        self._station.lease.check()
        delay = _RETRY
        try:
            if message.deliveries >= TRIES and not isinstance(error, BusError | TimeoutError):
                delay = self._station.settings.ack_wait
                await bury(self._bus, message, service=self._station.service, reason="poison", error=repr(error))
            await message.nak(delay)
        except BusError as refused:
            message.release()
            log.warning("delivery not given back", action="hand_over", error=str(refused))

    async def _fatal(self) -> None:
        await self._bus.fatal

    def _pause(self, seconds: float) -> None:
        if self._pump is not None:
            self._pump.pause(seconds)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._group.create_task(coroutine)


def _first(problems: BaseExceptionGroup) -> BaseException:
    """Return what ended the worker: a lost lease before anything that followed from it."""
    lost, others = problems.split(LeaseLost)
    leaf: BaseException = lost or others or problems
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf
