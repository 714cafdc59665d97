"""GCP Cloud Run: each task is a job of its own, which outlives its worker and is found again by its name.

A job is created and started in one call (its `start_execution_token`), under an id made of the task's key: so a second
submission is refused by Cloud Run itself (ALREADY_EXISTS), and adopts the first if its labels carry our key. Jobs are
observed by lists of all (`google/looking.py`), their output is read for all together (`google/logs.py`). A job is
stopped by cancelling its execution; what is left of it is deleted, since a project may have only 1000. What is created
(`google/request.py`) and what an execution's status means (`google/verdict.py`) is pure. The SDK is imported on
entering.

A handle is the job's whole name (see `google/naming.py`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping
from contextlib import AsyncExitStack, suppress
from typing import ClassVar, Final, Self, TypeVar

from runmesh.errors import Invalid, Problem, Rejected, Unavailable
from runmesh.executor import ENDED, Handle, LogLine, Observation, Position, Site, Task
from runmesh.executors.google import naming
from runmesh.executors.google.config import Config
from runmesh.executors.google.inherit import Base
from runmesh.executors.google.known import GONE_WINDOW, Known
from runmesh.executors.google.logs import Logs
from runmesh.executors.google.looking import Looking
from runmesh.executors.google.naming import Place
from runmesh.executors.google.observing import Observing
from runmesh.executors.google.options import CREDENTIALS, Options
from runmesh.executors.google.reading import Reader
from runmesh.executors.google.refusals import Refused, Unreached
from runmesh.executors.google.request import job
from runmesh.executors.google.verdict import observed
from runmesh.platforms.turns import SILENT, Turns

__all__ = ["Config", "Executor"]

T = TypeVar("T")

_PREPARED: Final = 10.0
"""Seconds for what must be known before a job is created."""
_DEFAULT_REGION: Final = str(Config.model_fields["region"].default)


class Executor:
    """The Cloud Run jobs of one worker."""

    batch: ClassVar[int] = 20_000
    """All at once: they come in lists."""
    gone_window: ClassVar[float] = GONE_WINDOW
    find_window: ClassVar[float] = 30.0
    """Should it be too short, a second submission is still refused."""
    adoptable: ClassVar[bool] = True
    submit_burst: ClassVar[float] = 30.0
    """Jobs that may be created at once after a while without any."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._options = Options.of(site.environment)

    @property
    def submit_rate(self) -> float:
        """Jobs created a second, of all workers of the pool together: each is deleted as well."""
        return self._options.writes / 2

    @property
    def poll_interval(self) -> float:
        """Seconds between two looks."""
        return self._options.poll

    async def __aenter__(self) -> Self:
        try:
            from runmesh.executors.google.session import Google  # noqa: PLC0415 - the SDK, which only workers need
        except ModuleNotFoundError as error:
            raise Invalid(
                Problem("gcp_cloud_run", f"{error.name} is not installed", "pip install 'runmesh[gcp]'")
            ) from error
        self._stack = AsyncExitStack()
        self._google = await self._stack.enter_async_context(Google.open(self._site.environment))
        if file := self._site.environment.get(CREDENTIALS):
            await self._check(file)
        self._known, self._looking = Known(), Looking(self._google)
        reader = Reader(self._google, self._options)
        self._logs = Logs(reader, self._looking, self._known, self._options)
        self._observing = Observing(self._looking, self._known, self._logs)
        self._deletes = Turns()
        self._bases: dict[Place, Base] = {}
        self._basing = asyncio.Lock()
        self._places = {Place(project, region) for project, region in self._options.places}
        self._going = [asyncio.create_task(each) for each in (reader.run(), self._deletes.give(self._options.writes))]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for each in self._going:
            each.cancel()
        await asyncio.gather(*self._going, return_exceptions=True)
        await self._stack.aclose()

    # --- the contract -------------------------------------------------------------------------------

    async def submit(self, task: Task[Config]) -> Handle:
        """Create the task's job, which starts it, or adopt the one of this name."""
        place = await self._prepared(self._place(task))
        base = await self._prepared(self._base(place))
        wanted = job(task, base, mesh=self._site.mesh, pool=self._site.pool)
        name = naming.job_id(task, self._site.mesh)
        try:
            await self._google.create(place.credentials, place.parent, name, wanted)
        except Unreached as error:
            raise Unavailable(str(error)) from error
        except Refused as refused:
            if not refused.exists:
                raise refused.of_submit() from refused
            return await self._adopted(task, place, refused)
        self._places.add(place)
        return place.handle_of(name)

    async def find(self, task: Task[Config]) -> Handle | None:
        """Look for the job of this name."""
        place = await self._place(task)
        found = await self._looking.find(place, self._name(task, place))
        if found is None or not self._is_of(task, found[0]):
            return None
        self._places.add(place)
        return place.handle_of(naming.job_id(task, self._site.mesh))

    async def observe(self, handles: Collection[Handle]) -> Mapping[Handle, Observation]:
        """Ask for all at once."""
        return await self._observing.observe(handles)

    async def cancel(self, handle: Handle) -> None:
        """Cancel a job's execution; a job that has none yet is deleted."""
        if self._known.failure(handle):
            return
        execution = {"name": naming.execution_of(handle)}
        try:
            await self._google.read(Place.of(handle).credentials, "executions", "cancel_execution", execution)
        except Refused as refused:
            if refused.missing:
                await self._delete(handle)
            elif not await self._is_over(handle):
                raise

    async def remove(self, handle: Handle) -> None:
        """Delete a job and its execution."""
        try:
            await self._deletes.turn(SILENT)
            await self._delete(handle)
        finally:
            self._logs.forget(handle)

    async def jobs(self) -> AsyncIterator[tuple[str, Handle]]:
        """Yield all jobs of our pool, in every place that we had to do with."""
        for place in {*self._places, *await self._own_places()}:
            async for key, handle in self._looking.ours(place, mesh=self._site.mesh, pool=self._site.pool):
                yield key, handle

    # --- an optional power --------------------------------------------------------------------------

    async def logs(self, handle: Handle, *, since: Position) -> AsyncIterator[LogLine]:
        """Follow a job's output."""
        async for line in self._logs.follow(handle, since):
            yield line

    # --- parts --------------------------------------------------------------------------------------

    async def _place(self, task: Task[Config]) -> Place:
        """Return where a task's job is. Raises `Rejected` if nothing says in which project."""
        config = task.config
        who = config.path_to_credentials_json_file
        project = config.project_id or await self._google.project(who)
        if not project:
            raise Rejected("no project: set `project_id`, or GCP_PROJECT_ID")
        return Place(project, config.region, who)

    async def _check(self, file: str) -> None:
        """See whether the worker's own credentials can be read. Raises `Invalid`."""
        try:
            with suppress(Unreached):  # for now: tasks wait until it is not
                await self._google.project(None)
        except Refused as refused:
            await self._stack.aclose()
            raise Invalid(Problem(CREDENTIALS, str(refused), f"is {file} there?")) from refused

    async def _own_places(self) -> Collection[Place]:
        environment = self._site.environment
        project = environment.get("GCP_PROJECT_ID")
        with suppress(Refused, Unreached):
            project = project or await self._google.project(None)
        return (Place(project, environment.get("GCP_REGION") or _DEFAULT_REGION),) if project else ()

    async def _base(self, place: Place) -> Base:
        """Return what jobs of a place take after, read once."""
        if (service := self._options.service) is None:
            return Base()
        async with self._basing:
            if place not in self._bases:
                found = await self._google.service(place.credentials, f"{place.parent}/services/{service}")
                self._bases[place] = Base.of(found)
        return self._bases[place]

    async def _prepared(self, asked: Awaitable[T]) -> T:
        """Wait for what must be known before anything is started."""
        try:
            async with asyncio.timeout(_PREPARED):
                return await asked
        except (ConnectionError, TimeoutError) as error:
            raise Unavailable(str(error) or "Google does not answer") from error
        except Refused as refused:
            raise refused.of_submit() if not refused.failed else Unavailable(str(refused)) from refused

    async def _adopted(self, task: Task[Config], place: Place, refused: Refused) -> Handle:
        found = await self._looking.find(place, self._name(task, place))
        if found is None:
            raise ConnectionError(f"there was a job of this name, and it has just gone: {refused}")
        if not self._is_of(task, found[0]):
            raise Rejected(f"there is a job of this name already, and it is not of this task: {refused}")
        self._places.add(place)
        return place.handle_of(naming.job_id(task, self._site.mesh))

    async def _delete(self, handle: Handle) -> None:
        try:
            await self._google.read(Place.of(handle).credentials, "jobs", "delete_job", {"name": naming.job_of(handle)})
        except Refused as refused:
            if not refused.missing:
                raise

    async def _is_over(self, handle: Handle) -> bool:
        found = (await self._looking.look([handle])).get(handle)
        return found is not None and observed(found, "").phase in ENDED

    def _name(self, task: Task[Config], place: Place) -> str:
        return f"{place.parent}/jobs/{naming.job_id(task, self._site.mesh)}"

    def _is_of(self, task: Task[Config], labels: Mapping[str, str]) -> bool:
        return naming.is_of(labels, task, mesh=self._site.mesh, pool=self._site.pool)
