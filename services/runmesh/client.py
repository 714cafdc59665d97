"""`Mesh`: the mesh for Python programs. The command line is built on it.

A client holds no state and talks to no service: it publishes requests, and reads what is stored. A run can
therefore be followed from anywhere, at any time, also when it is long over.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, TypeVar, cast

from ulid import ULID

from runmesh import cloudevents, filters, local, subjects, tracing
from runmesh.asking import Sent, check_run_id, command, names
from runmesh.bus import Bus, Message, connect
from runmesh.bus.refusals import Refused
from runmesh.errors import Invalid, Problem, Undecodable
from runmesh.events import (
    FINAL_RUN_STATES,
    CancelRequest,
    Command,
    DeadLetter,
    Event,
    LogLines,
    RetryRequest,
    RunFact,
    RunRequest,
    TaskFact,
)
from runmesh.folding import Folding, enough, fold
from runmesh.settings import Settings, load
from runmesh.view import Fact, RunView
from runmesh.workers import WorkerView, worker_view

E = TypeVar("E", bound=Event)
T = TypeVar("T")

SOURCE: Final = "/runmesh/client"
_GLANCE: Final = 0.05
_LATELY: Final = timedelta(days=1)
_ABOUT: Final = timedelta(minutes=1)  # that far, the clocks of a stream's former and present leader may be apart


class Mesh:
    """Submits runs, follows them, stops them and repeats them.

    ::

        async with Mesh.connect() as mesh:
            run = await mesh.submit("titanic_survival", project="titanic")
            print((await mesh.wait(run)).state)
    """

    def __init__(self, bus: Bus, project: str | None = None) -> None:
        self.bus = bus
        self._project = project
        """The only one that is read, by whoever may read no other."""
        self._submitted: dict[str, Sent] = {}

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str | None = None, token: str | None = None) -> AsyncIterator["Mesh"]:
        """Connect to the server given here, else the environment's, else the one that `runmesh up` runs.

        Raises `Unreachable` if no server answers within 10 seconds.
        """
        given = {"nats_url": url, "nats_token": token}
        settings = local.located(load(**{name: value for name, value in given.items() if value is not None}))
        async with cls.connected(settings) as mesh:
            yield mesh

    @classmethod
    @asynccontextmanager
    async def connected(cls, settings: Settings, within: float = 10.0) -> AsyncIterator["Mesh"]:
        """Connect as the settings say. Raises `Unreachable` if no server answers `within` so many seconds."""
        async with connect(settings.servers, name="runmesh client", **settings.login, timeout=within) as bus:
            yield cls(bus, settings.nats_project)

    # --- asking --------------------------------------------------------------------------------------

    async def submit(
        self,
        pipeline: str | Mapping[str, Any],
        *,
        project: str,
        id: str | None = None,  # noqa: A002 - the request's own word
        **fields: Any,
    ) -> str:
        """Ask for a run of a pipeline (its name, or a whole document) and return the run's id.

        `fields` are those of `RunRequest`: blocks, executor_type, variables, timeout, labels, ... The same `id`
        with the same request is one run, however often it is sent. Raises `Invalid` for what no request may say,
        and `StreamFull` when the mesh takes no more for now; whether project and pipeline exist is the
        resolver's to say, in the run's facts.
        """
        run = str(ULID()) if id is None else id
        request = command(RunRequest, {"id": run, "pipeline": pipeline, **fields})
        self._submitted[run] = await self._ask("run", project, request, run)
        return run

    async def cancel(self, run: str, blocks: Iterable[str] | None = None, reason: str | None = None) -> None:
        """Ask for a run, or some of its blocks, to be stopped. Raises `Invalid` for an unknown run."""
        request = command(CancelRequest, {"run": run, "blocks": names(blocks), "reason": reason})
        await self._ask("cancel", await self._project_of(run), request, str(ULID()))

    async def retry(self, run: str, blocks: Iterable[str] | None = None, reason: str | None = None) -> str:
        """Ask for what did not complete in a finished run to be run again; return the new run's id."""
        project, new = await self._project_of(run), str(ULID())
        request = command(RetryRequest, {"run": run, "blocks": names(blocks), "reason": reason, "id": new})
        self._submitted[new] = await self._ask("retry", project, request, new)
        return new

    async def taken(self, run: str) -> None:
        """Wait until a resolver has taken what was submitted here, for as long as that takes.

        Raises `Invalid` if it could not be taken: the id belongs to another request, say, whose run goes on untouched.
        Whoever is held to one project may not look into the queue: for them, the run's first fact says it.
        """
        if self._project is not None:
            async with _closing(self._facts(self._of_run(run)[0], live=True)) as facts:
                await anext(facts)
            return
        sent = self._submitted[run]
        while await self._queued(sent):  # noqa: ASYNC110 - a queue tells nobody that it has become shorter
            await asyncio.sleep(_GLANCE)
        if letter := await self._refusal(sent):
            raise Invalid(Problem("request", letter.error, f"refused as {letter.reason}"))

    async def _refusal(self, sent: Sent) -> DeadLetter | None:
        subject = filters.matching(subjects.Form.DEAD, service="resolver")
        async with _closing(self.bus.replay(subjects.DEAD, subject)) as messages:
            async for message in messages:
                if (letter := _read(DeadLetter, message)) and letter.body.encode() == sent.body:
                    return letter
        return None

    async def _queued(self, sent: Sent) -> bool:
        try:
            await self.bus.api(f"STREAM.MSG.GET.{subjects.REQUESTS}", {"seq": sent.sequence})
        except Refused:  # no such message: it was acknowledged
            return False
        return True

    async def _ask(self, verb: str, project: str, request: Command, event_id: str) -> Sent:
        body = request.to_json()
        stored = await self.bus.publish(
            subjects.request(verb, project),
            body,
            headers=cloudevents.headers_for(request, event_id=event_id, source=SOURCE, trace=tracing.caller()),
            # With the body: another request under the same id must reach the resolver, which says so.
            message_id=f"{event_id}.{sha256(body).hexdigest()[:16]}",
        )
        return Sent(project, stored.sequence, body)

    # --- following -----------------------------------------------------------------------------------

    async def watch(self, run: str) -> AsyncIterator[Fact]:
        """Yield the run's facts: those stored, then those to come, last of all the run's terminal fact.

        Waits for as long as it takes. Raises `Invalid` for a run that is unknown, and wasn't submitted here.
        """
        await self._check_known(run)
        seen, end, ended_at = set[int](), None, None
        async with _closing(self._facts(*self._of_run(run), live=True)) as messages:
            async for message in messages:
                seen.add(message.sequence)
                fact = _fact(message)
                if isinstance(fact, RunFact) and fact.state in FINAL_RUN_STATES:
                    end, ended_at = fact, message.at - _ABOUT
                    break
                if fact is not None:
                    yield fact
        # The resolver's facts are published together, so some may have been stored behind the terminal one.
        async for message in self._facts(*self._of_run(run), since=ended_at):
            if message.sequence not in seen and (behind := _fact(message)) is not None:
                yield behind
        if end is not None:
            yield end

    async def wait(self, run: str) -> RunFact:
        """Wait for the run's terminal fact. Raises `Invalid` as `watch` does."""
        await self._check_known(run)
        async with _closing(self._facts(self._of_run(run)[0], live=True)) as messages:
            async for message in messages:
                fact = _fact(message)
                if isinstance(fact, RunFact) and fact.state in FINAL_RUN_STATES:
                    return fact
        raise AssertionError("a live replay never ends")

    async def logs(self, run: str, block: str | None = None, *, follow: bool = False) -> AsyncIterator[LogLines]:
        """Yield what the run's tasks wrote; with `follow`, go on until the run has ended and all is read."""
        await self._check_known(run)
        subject, last = filters.logs_of_run(run, block, self._project_if_known(run)), 0
        if follow:
            async with _closing(self._live_logs(run, subject)) as messages:
                async for message in messages:
                    last = message.sequence
                    if lines := _read(LogLines, message):
                        yield lines
        async for message in self.bus.replay(subjects.LOGS, subject):
            if message.sequence > last and (lines := _read(LogLines, message)):
                yield lines

    async def _live_logs(self, run: str, subject: str) -> AsyncIterator[Message]:
        """Yield log messages until the run has ended: it may end while nothing more is written."""
        async with _closing(self.bus.replay(subjects.LOGS, subject, live=True)) as messages:
            ended = asyncio.create_task(self.wait(run))
            upcoming = asyncio.ensure_future(anext(messages))
            try:
                while await asyncio.wait({ended, upcoming}, return_when=asyncio.FIRST_COMPLETED):
                    if not upcoming.done():
                        return
                    yield upcoming.result()
                    upcoming = asyncio.ensure_future(anext(messages))
            finally:
                for waiting in (ended, upcoming):
                    waiting.cancel()
                await asyncio.gather(ended, upcoming, return_exceptions=True)

    # --- looking -------------------------------------------------------------------------------------

    async def show(self, run: str, blocks: Iterable[str] | None = None) -> RunView:
        """Return what is known of a run now; only of these `blocks` if given. Raises `Invalid` for an unknown run."""
        await self._check_known(run)
        of_run, of_tasks = self._of_run(run)
        if blocks is not None:
            project = self._project_if_known(run)
            of_blocks = [filters.facts_of_tasks(run, block, project=project) for block in set(blocks)]
            return await self._folded(run, of_run, *of_blocks)
        if self._project is not None:
            return await self._folded(run, of_run, of_tasks)
        outline = await self._folded(run, of_run)
        return await self._folded(run, of_run, *(enough(outline) or [of_tasks]))

    async def _folded(self, run: str, *filters: str) -> RunView:
        folding = Folding(run)
        async for fact in self._stored(*filters):
            folding.add(fact)
        return folding.view()

    async def runs(self, project: str | None = None, since: datetime | None = None) -> list[RunView]:
        """Return the runs with a fact since then (a day ago unless given), newest first, without their tasks."""
        subject = filters.runs_of(project or self._project)
        facts: dict[str, list[Fact]] = {}
        async for fact in self._stored(subject, since=since or datetime.now(UTC) - _LATELY):
            facts.setdefault(fact.run, []).append(fact)
        return [fold(run, of_run) for run, of_run in reversed(facts.items())]

    async def workers(self) -> list[WorkerView]:
        """Return the workers that are alive."""
        entries = await self.bus.bucket(subjects.WORKERS).entries()
        found = [worker_view(entry.key, entry.value, entry.at) for entry in entries]
        return sorted(found, key=lambda worker: (worker.executor_type, worker.pool, worker.worker))

    async def _stored(self, *filters: str, since: datetime | None = None) -> AsyncIterator[Fact]:
        async for message in self._facts(*filters, since=since):
            if (fact := _fact(message)) is not None:
                yield fact

    def _facts(self, *filters: str, since: datetime | None = None, live: bool = False) -> AsyncIterator[Message]:
        """Read facts. Permissions on one project hold for single filters only: see `Bus.replay`."""
        return self.bus.replay(subjects.FACTS, *filters, since=since, live=live, singly=self._project is not None)

    def _of_run(self, run: str) -> tuple[str, str]:
        return filters.facts_of_run(run, self._project_if_known(run))

    def _project_if_known(self, run: str) -> str | None:
        return self._submitted[run].project if run in self._submitted else self._project

    async def _first_fact(self, run: str) -> RunFact | None:
        async with _closing(self._stored(self._of_run(run)[0])) as facts:
            async for fact in facts:
                if isinstance(fact, RunFact):
                    return fact
        return None

    async def _check_known(self, run: str) -> None:
        check_run_id(run)
        if run not in self._submitted:
            await self._project_of(run)

    async def _project_of(self, run: str) -> str:
        check_run_id(run)
        if run in self._submitted:
            return self._submitted[run].project
        if (fact := await self._first_fact(run)) is None:
            raise Invalid(Problem("run", f"nothing is known of {run!r}", "`runmesh runs` lists the latest"))
        return fact.project


def _closing(items: AsyncIterator[T]) -> aclosing[AsyncGenerator[T, None]]:
    """Close a generator on leaving: its subscription must not wait for the garbage collector."""
    return aclosing(cast("AsyncGenerator[T, None]", items))


def _fact(message: Message) -> Fact | None:
    model: type[Fact] = RunFact if message.subject.startswith(subjects.ANY_RUN_FACT) else TaskFact
    return _read(model, message)


def _read(model: type[E], message: Message) -> E | None:
    """Read an event; None for what somebody else wrote there, which must not end anybody's watching."""
    with suppress(Undecodable, Invalid):
        return cloudevents.decode(model, message.headers, message.data)
    return None
