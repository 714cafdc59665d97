"""ECS: each task of the mesh is a task on ECS, which outlives its worker and is found again by what started it.

RunTask is given a token made of the task's key, so a second submission starts nothing: ECS answers with the first task,
or names it as it refuses. The same token is the task's `startedBy`, by which it is looked up. All tasks are observed by
the hundred (`amazon/ecs/looking.py`), at an interval that adapts. A task is stopped by StopTask, and gone when ECS
says STOPPED. ECS forgets stopped tasks by itself, so only what was stored for them is removed. What RunTask is asked
for (`amazon/ecs/request.py`) and what a task's description means (`amazon/ecs/verdict.py`) is pure. The SDK is imported
on entering.

A handle is the task's ARN (see `amazon/ecs/naming.py`).
"""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack
from typing import Any, ClassVar, Self

import structlog

from runmesh.errors import Invalid, Problem, Rejected, Unavailable
from runmesh.executor import Handle, LogLine, Observation, Position, Site, Task
from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.ecs import naming
from runmesh.executors.amazon.ecs.config import Config
from runmesh.executors.amazon.ecs.definitions import Definitions
from runmesh.executors.amazon.ecs.failures import of_failures
from runmesh.executors.amazon.ecs.inherit import METADATA, Base, Own
from runmesh.executors.amazon.ecs.interval import PER_CALL, Interval
from runmesh.executors.amazon.ecs.known import Known
from runmesh.executors.amazon.ecs.logs import Logs
from runmesh.executors.amazon.ecs.looking import Json, Looking
from runmesh.executors.amazon.ecs.observing import Observing
from runmesh.executors.amazon.ecs.options import Options
from runmesh.executors.amazon.ecs.reference import by_reference, discard, store
from runmesh.executors.amazon.ecs.request import cluster, inherits, run_task
from runmesh.executors.amazon.ecs.verdict import STOPPED_BY_US
from runmesh.executors.amazon.refusals import Refused, Unreached

__all__ = ["Config", "Executor"]

log = structlog.get_logger(__name__)


class Executor:
    """The ECS tasks of one worker."""

    batch: ClassVar[int] = PER_CALL
    gone_window: ClassVar[float] = 300.0
    """Just after RunTask a task may be MISSING for minutes."""
    find_window: ClassVar[float] = 15.0
    """Should it be too short, the token of a second submission still finds the first."""
    adoptable: ClassVar[bool] = True
    submit_burst: ClassVar[float] = 50.0
    """Launches that may come at once after a while without any."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._options = Options.of(site.environment)
        self._interval = Interval(self._options.poll)

    @property
    def submit_rate(self) -> float:
        """Launches a second, of all workers of the pool together."""
        return self._options.launches

    @property
    def poll_interval(self) -> float:
        """Seconds between two looks, as things are."""
        return self._interval.seconds

    async def __aenter__(self) -> Self:
        try:
            from runmesh.executors.amazon.session import Amazon  # noqa: PLC0415 - the SDK, which only workers need
        except ModuleNotFoundError as error:
            raise Invalid(Problem("ecs", f"{error.name} is not installed", "pip install 'runmesh[aws]'")) from error
        environment, options = self._site.environment, self._options
        self._stack = AsyncExitStack()
        self._amazon = await self._stack.enter_async_context(Amazon.open(environment))
        try:
            await self._enter(environment, options)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _enter(self, environment: Mapping[str, str], options: Options) -> None:
        if not await self._amazon.has_credentials():
            raise Invalid(Problem("ecs", "there are no AWS credentials", "set AWS_ACCESS_KEY_ID and its secret, …"))
        usual = Access.of(environment)
        await self._amazon.open_clients(usual, "ecs", "logs")
        self._own = Own(self._amazon, usual, environment.get(METADATA))
        self._known = Known(self._interval)
        self._definitions = Definitions(self._amazon, self._site.mesh)
        self._looking = Looking(self._amazon, self._known, self._interval)
        self._logs = Logs(self._amazon, self._definitions, self._known, self._looking, self._interval)
        self._observing = Observing(self._looking, self._known, self._logs)
        self._clusters = {(usual, name) for name in options.clusters}
        await self._stack.enter_async_context(self._logs.turns.given(options.log_reads))

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    # --- the contract -------------------------------------------------------------------------------

    async def submit(self, task: Task[Config]) -> Handle:
        """Start the task, or adopt the one that its token has started before."""
        access, base = self._access(task), await self._base(task)
        arguments = await self._arguments(task, base, access)
        try:
            answer = await self._amazon.call("ecs", access, "run_task", **arguments)
        except Unreached as error:
            raise Unavailable(str(error)) from error
        except Refused as refused:
            return await self._adopted(task, access, refused)
        if not answer.get("tasks"):
            raise of_failures(answer.get("failures", ()))
        return self._noted(answer["tasks"][0], access)

    async def find(self, task: Task[Config]) -> Handle | None:
        """Look for the task by what started it."""
        access, where = self._access(task), cluster(task, await self._base(task))
        try:
            started = await self._looking.find(access, where, naming.token(self._site.mesh, task.key))
        except Refused as refused:
            if refused.code == "ClusterNotFoundException":
                return None
            raise
        found = next((each for each in started if self._is_of(task, each)), None)
        return self._noted(found, access) if found else None

    async def observe(self, handles: Collection[Handle]) -> Mapping[Handle, Observation]:
        """Ask for all at once."""
        return await self._observing.observe(handles)

    async def cancel(self, handle: Handle) -> None:
        """Stop a task that has not ended."""
        if (entry := self._known.get(handle)) and entry.stopped:
            return
        arn = naming.arn_of(handle)
        asked = {"cluster": naming.cluster_of(arn), "task": arn, "reason": f"{STOPPED_BY_US}stopped by the mesh"}
        try:
            await self._amazon.read("ecs", naming.access_of(handle), "stop_task", **asked)
        except Refused as refused:
            if refused.code != "ClusterNotFoundException" and "not found" not in str(refused):
                raise

    async def remove(self, handle: Handle) -> None:
        """Delete what was stored for a task, and forget it: ECS does so by itself, about an hour after its end."""
        entry = self._known.get(handle)
        self._known.forget(handle)
        if entry is not None:
            await discard(entry.references)

    async def jobs(self) -> AsyncIterator[tuple[str, Handle]]:
        """Yield all tasks of our pool that are to go on, in every cluster that we had to do with."""
        if name := await self._own.cluster():
            self._clusters.add((Access.of(self._site.environment), name))
        for access, name in list(self._clusters):
            try:
                async for found in self._looking.running(access, name):
                    if key := naming.key_of(found, mesh=self._site.mesh, pool=self._site.pool):
                        yield key, naming.handle_of(found["taskArn"], access)
            except (Refused, ConnectionError) as error:  # it must keep nobody from the others
                log.warning("tasks not listed", action="list", cluster=name, error=str(error))

    # --- an optional power --------------------------------------------------------------------------

    async def logs(self, handle: Handle, *, since: Position) -> AsyncIterator[LogLine]:
        """Follow a task's output."""
        async for line in self._logs.follow(handle, since):
            yield line

    # --- parts --------------------------------------------------------------------------------------

    def _access(self, task: Task[Config]) -> Access:
        config = task.config
        return Access.of(self._site.environment, config.region, config.endpoint_url, config.assume_role_arn)

    async def _base(self, task: Task[Config]) -> Base:
        """Return what the task takes after; nothing if it says everything itself."""
        return await self._own.base() if inherits(task.config) else Base()

    async def _arguments(self, task: Task[Config], base: Base, access: Access) -> Mapping[str, Any]:
        try:
            target = await self._definitions.target(task, base, access)
        except Refused as refused:
            raise refused.of_submit() if not refused.failed else Unavailable(str(refused)) from refused
        except ConnectionError as error:  # nothing was started yet
            raise Unavailable(str(error)) from error
        if target is None:
            raise Rejected("no task definition: set `task_definition`, or run the worker in a task of ECS")
        self._clusters.add((access, cluster(task, base)))
        task, documents = by_reference(task, target.container)
        arguments = run_task(task, base, target, mesh=self._site.mesh, pool=self._site.pool)
        await store(documents)
        return arguments

    async def _adopted(self, task: Task[Config], access: Access, refused: Refused) -> Handle:
        """Return the task that has this token already, if that is why ECS refuses."""
        if refused.code != "ConflictException":
            raise refused.of_submit() from refused
        if not (arns := refused.answer.get("resourceIds")):
            raise refused  # it is there: `find` says where
        handle = naming.handle_of(arns[0], access)
        found = await self._looking.one(handle)
        if found and not self._is_of(task, found):
            raise Rejected(f"ECS has a task of this token already, and it is not of this mesh's task: {refused}")
        return handle

    def _noted(self, found: Json, access: Access) -> Handle:
        handle = naming.handle_of(found["taskArn"], access)
        self._known.see(handle, found)
        return handle

    def _is_of(self, task: Task[Config], found: Json) -> bool:
        return naming.is_of(found, task, mesh=self._site.mesh, pool=self._site.pool)
