"""Looking at tasks: DescribeTasks for up to a hundred at once, and ListTasks by what started them.

What ECS calls MISSING may be too new as well as forgotten: the worker waits for a while before that counts. Who asks
for one task is answered together with all others who ask meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import structlog

from runmesh.errors import Unavailable
from runmesh.executor import Handle
from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.ecs import naming
from runmesh.executors.amazon.ecs.interval import PER_CALL, Interval
from runmesh.executors.amazon.ecs.known import Known
from runmesh.executors.amazon.refusals import Refused

if TYPE_CHECKING:
    from runmesh.executors.amazon.session import Amazon

log = structlog.get_logger(__name__)

_MISSING: Final = "MISSING"
_NO_CLUSTER: Final = "ClusterNotFoundException"

Json = Mapping[str, Any]


class Looking:
    """The eyes of one worker."""

    def __init__(self, amazon: "Amazon", known: Known, interval: Interval) -> None:
        self._amazon, self._known, self._interval = amazon, known, interval
        self._asked: dict[Handle, asyncio.Future[Json | None]] = {}
        self._answering = asyncio.Lock()

    async def look(self, handles: Collection[Handle]) -> dict[Handle, Json | None]:
        """Return what ECS says of tasks; None: it knows no such task; without an answer there is none here.

        Raises `Unavailable` where it throttles.
        """
        seen: dict[Handle, Json | None] = {}
        for (access, cluster), group in naming.groups(handles).items():
            for first in range(0, len(group), PER_CALL):
                seen |= await self._answers(access, cluster, group[first : first + PER_CALL])
        changes = [self._known.see(handle, found) for handle, found in seen.items() if found is not None]
        self._interval.seen(changed=any(changes), looked=len(handles), tasks=len(self._known))
        for handle in (handle for handle, found in seen.items() if found is None):
            self._known.miss(handle)
        return seen

    async def one(self, handle: Handle) -> Json | None:
        """Return what ECS says of a task, nothing if it gave no answer; None: it knows no such task."""
        mine = self._asked.setdefault(handle, asyncio.get_running_loop().create_future())
        async with self._answering:
            if not mine.done():
                await self._answer({**dict(islice(self._asked.items(), PER_CALL - 1)), handle: mine})
        return mine.result()

    async def _answer(self, asked: Mapping[Handle, asyncio.Future[Json | None]]) -> None:
        for handle in asked:
            self._asked.pop(handle, None)
        try:
            seen = await self.look(asked)
        except Unavailable:
            seen = {}
        for handle, future in asked.items():
            future.set_result(seen.get(handle, {}))

    async def find(self, access: Access, cluster: str, started_by: str) -> list[Json]:
        """Return the tasks that were started under a name, whether they run or have ended. Raises `Refused`."""
        arns: list[str] = []
        for status in ("RUNNING", "STOPPED"):
            arns += [arn async for arn in self._listed(access, cluster, desiredStatus=status, startedBy=started_by)]
        found: list[Json] = (await self._described(access, cluster, arns[:PER_CALL]))["tasks"] if arns else []
        return found

    async def running(self, access: Access, cluster: str) -> AsyncIterator[Json]:
        """Yield all tasks of a cluster that shall go on, whosever they are."""
        arns = [arn async for arn in self._listed(access, cluster, desiredStatus="RUNNING")]
        for first in range(0, len(arns), PER_CALL):
            for found in (await self._described(access, cluster, arns[first : first + PER_CALL]))["tasks"]:
                yield found

    async def _answers(self, access: Access, cluster: str, handles: Collection[Handle]) -> dict[Handle, Json | None]:
        by_arn = {naming.arn_of(handle): handle for handle in handles}
        try:
            answer = await self._described(access, cluster, list(by_arn))
        except Refused as refused:
            if refused.throttled:
                raise Unavailable(str(refused)) from refused
            if refused.code == _NO_CLUSTER:
                return dict.fromkeys(handles)
            log.warning("tasks not observed", action="observe", cluster=cluster, tasks=len(handles), error=str(refused))
            return {}
        except ConnectionError as error:
            log.warning("tasks not observed", action="observe", cluster=cluster, tasks=len(handles), error=str(error))
            return {}
        missing = [failure.get("arn") for failure in answer.get("failures", ()) if failure.get("reason") == _MISSING]
        found: dict[Handle, Json | None] = {by_arn[arn]: None for arn in missing if arn in by_arn}
        return found | {by_arn[task["taskArn"]]: task for task in answer["tasks"] if task["taskArn"] in by_arn}

    async def _described(self, access: Access, cluster: str, arns: list[str]) -> Json:
        asked = {"cluster": cluster, "tasks": arns, "include": ["TAGS"]}
        return await self._amazon.read("ecs", access, "describe_tasks", **asked)

    def _listed(self, access: Access, cluster: str, **which: Any) -> AsyncIterator[str]:
        return self._amazon.pages("ecs", access, "list_tasks", "taskArns", cluster=cluster, **which)
