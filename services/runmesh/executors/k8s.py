"""Kubernetes: each task is a Job, which outlives its worker and is found again by its name.

A Job's name follows from the task's key, so a second submission is refused by the cluster itself (409), and adopts the
first. What Jobs and pods do is told by one watch for all (`kubernetes/watch.py`): observing asks the cluster nothing,
but for the last lines of a Job that failed and for a Job that the watch doesn't know. A Job is stopped by deleting it,
which takes its pods along, and it is gone when they are. How a manifest is made (`kubernetes/manifest.py`) and what a
status means (`kubernetes/verdict.py`) is pure. The SDK is imported on entering.

A handle is ``namespace/name/uid``.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack
from contextvars import Context
from dataclasses import replace
from typing import ClassVar, Final, Self

import structlog

from runmesh.errors import Invalid, Problem, Rejected, Unavailable
from runmesh.executor import Handle, LogLine, Observation, Position, Site, Task
from runmesh.executors.kubernetes import naming
from runmesh.executors.kubernetes.config import Config
from runmesh.executors.kubernetes.inherit import Base
from runmesh.executors.kubernetes.known import JOBS, PODS, Json, Known, is_over
from runmesh.executors.kubernetes.logs import Logs
from runmesh.executors.kubernetes.manifest import manifest, namespace
from runmesh.executors.kubernetes.observing import Observing, read_job
from runmesh.executors.kubernetes.options import Options
from runmesh.executors.kubernetes.refusals import Refused, Unreached
from runmesh.executors.kubernetes.watch import Reflector, path

__all__ = ["Config", "Executor"]

log = structlog.get_logger(__name__)

_FOREGROUND: Final = "Foreground"


class Executor:
    """The Jobs of one worker in one cluster."""

    poll_interval: ClassVar[float] = 10.0
    batch: ClassVar[int] = 500
    gone_window: ClassVar[float] = 0.0
    """What the watch doesn't know is asked for, and that answer is final."""
    find_window: ClassVar[float] = 22.0
    adoptable: ClassVar[bool] = True

    def __init__(self, site: Site) -> None:
        self._site = site
        self._options = Options.of(site.environment)
        self._selector = naming.selector(site.mesh, site.pool)
        self._changed: dict[Handle, None] = {}
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        try:
            from runmesh.executors.kubernetes.access import Access  # noqa: PLC0415 - the SDK, which only workers need
            from runmesh.executors.kubernetes.client import Client  # noqa: PLC0415 - the same
        except ModuleNotFoundError as error:
            raise Invalid(Problem("k8s", f"{error.name} is not installed", "pip install 'runmesh[k8s]'")) from error
        options = self._options
        self._stack = AsyncExitStack()
        opened = Client.open(Access.of(self._site.environment), rate=options.rate)
        client = await self._stack.enter_async_context(opened)
        self._client = client
        try:
            self._base = await self._inherited()
            self._known = Known(self._tell)
            self._logs = Logs(self._client, self._known, options.followers)
            self._watched: dict[str, list[asyncio.Task[None]]] = {}
            self._observing = Observing(self._client, self._known, self._logs)
            for where in (self._base.namespace, *options.namespaces):
                self._watch(where)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        watches = [task for tasks in self._watched.values() for task in tasks]
        for task in watches:
            task.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        await self._observing.close()
        await self._stack.aclose()

    # --- the contract -------------------------------------------------------------------------------

    async def submit(self, task: Task[Config]) -> Handle:
        """Create the task's Job, or adopt the one of this name."""
        job = manifest(task, self._base, mesh=self._site.mesh, pool=self._site.pool)
        where = namespace(task, self._base)
        try:
            created = await self._client.create(path(JOBS, where), job, fieldValidation="Strict")
        except Unreached as error:
            raise Unavailable(str(error)) from error
        except Refused as refused:
            if not refused.exists:
                raise refused.of_submit() from refused
            return await self._adopted(task, where, job["metadata"]["name"])
        return self._made(created)

    async def find(self, task: Task[Config]) -> Handle | None:
        """Look for the Job of this name."""
        where, name = namespace(task, self._base), naming.job_name(task, self._site.mesh)
        found = await read_job(self._client, where, name)
        if found is None or not self._is_of(task, found):
            return None
        return self._made(found)

    async def observe(self, handles: Collection[Handle]) -> Mapping[Handle, Observation]:
        """Say what the watch told last."""
        for handle in handles:
            self._watch(_namespace(handle))
        return await self._observing.observe(handles)

    async def cancel(self, handle: Handle) -> None:
        """Delete a Job that has not ended, and its pods after their grace."""
        entry = self._known.get(handle)
        if not (entry and (job := entry.job) and is_over(job)):
            await self._delete(handle)

    async def remove(self, handle: Handle) -> None:
        """Delete the Job, and with it its pods; not one that the cluster itself removes in time."""
        entry = self._known.get(handle)
        if not (entry and (job := entry.job) and _goes_by_itself(job)):
            await self._delete(handle)

    async def jobs(self) -> AsyncIterator[tuple[str, Handle]]:
        """Yield all Jobs of our pool, as the watch knows them: listing them again would tell no more."""
        for handle, entry in self._known:
            job = entry.job
            if job and (key := naming.key_of(job)) and not (is_over(job) and _goes_by_itself(job)):
                yield key, handle

    # --- optional powers ----------------------------------------------------------------------------

    async def logs(self, handle: Handle, *, since: Position) -> AsyncIterator[LogLine]:
        """Follow a Job's output."""
        self._watch(_namespace(handle))
        async for line in self._logs.follow(handle, since):
            yield line

    async def changes(self) -> AsyncIterator[Handle]:
        """Yield the handle of every Job of which the watch told something."""
        while True:
            await self._news.wait()
            self._news.clear()
            changed, self._changed = self._changed, {}
            for handle in changed:
                yield handle

    # --- parts --------------------------------------------------------------------------------------

    async def _adopted(self, task: Task[Config], namespace: str, name: str) -> Handle:
        found = await read_job(self._client, namespace, name)
        if found is None:
            raise ConnectionError(f"there was a Job {namespace}/{name}, and it has just gone")
        if not self._is_of(task, found):
            raise Rejected(f"there is a Job {namespace}/{name} already, and it is not of this task")
        return self._made(found)

    def _made(self, job: Json) -> Handle:
        """Take a Job of ours, and watch where it is: only where Jobs are there is a namespace."""
        handle = self._known.created(job)
        self._watch(_namespace(handle))
        return handle

    def _is_of(self, task: Task[Config], job: Json) -> bool:
        ours = naming.labels(task, mesh=self._site.mesh, pool=self._site.pool)
        theirs = job["metadata"].get("labels") or {}
        return all(theirs.get(name) == ours[name] for name in (naming.MESH, naming.POOL, naming.KEY))

    async def _delete(self, handle: Handle) -> None:
        """Delete exactly this Job, if it is there. It goes when its pods have gone."""
        namespace, name, uid = handle.split("/")
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": _FOREGROUND}
        try:
            await self._client.delete(path(JOBS, namespace, name), {**options, "preconditions": {"uid": uid}})
        except Refused as refused:
            if not (refused.missing or refused.conflicts):
                raise

    async def _inherited(self) -> Base:
        options = self._options
        namespace = options.namespace or self._client.namespace or "default"
        if options.pod is None:
            return Base(namespace=namespace)
        try:
            pod = await self._client.get(path(PODS, namespace, options.pod))
        except Refused as refused:
            if not (refused.missing or refused.forbidden):
                raise
            log.warning(
                "nothing inherited: the worker's own pod can't be read",
                action="inherit",
                pod=options.pod,
                error=str(refused),
            )
            return Base(namespace=namespace)
        return replace(Base.of_pod(pod, options.container), namespace=namespace)

    def _watch(self, namespace: str) -> None:
        if namespace not in self._watched:
            # In a context of its own: what it logs is not about the task that came first.
            self._watched[namespace] = [
                asyncio.create_task(
                    Reflector(self._client, self._known, kind, namespace, self._selector).run(), context=Context()
                )
                for kind in (JOBS, PODS)
            ]

    def _tell(self, handle: Handle) -> None:
        self._changed[handle] = None
        self._news.set()


def _namespace(handle: Handle) -> str:
    return handle.split("/", 1)[0]


def _goes_by_itself(job: Json) -> bool:
    """Whether the cluster removes the Job some time after its end."""
    return job["spec"].get("ttlSecondsAfterFinished") is not None
