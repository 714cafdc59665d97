"""Spark on AWS EMR: each task is a step on a cluster, or a job on EMR Serverless.

A step is spark-submit of a script that is stored in S3 before, in a folder of the task's key. The key is in the step's
name, by which it is found again: EMR has no idempotency token for steps. As long as the script isn't there, there is no
step, and once it was removed, the job counts as gone. EMR Serverless has a token.

Which cluster takes a step, one of ours with room or a new one, is decided by `emr/deciding.py`; the arguments of every
call and what states mean is pure, too (`emr/cluster.py`, `emr/step.py`, `emr/verdict.py`). What runs on EMR is
`emr/script.py`. The SDK is imported on entering. `emr/handle.py` says what a handle is.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self
from weakref import WeakValueDictionary

from runmesh.clock import clock
from runmesh.errors import Invalid, Problem, Rejected, Unavailable
from runmesh.executor import ENDED, GONE, Handle, LogLine, Observation, Position, Site, Task
from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.emr import site as places
from runmesh.executors.amazon.emr import step as steps
from runmesh.executors.amazon.emr.asking import together
from runmesh.executors.amazon.emr.config import Config
from runmesh.executors.amazon.emr.folder import Folder
from runmesh.executors.amazon.emr.handle import Address
from runmesh.executors.amazon.emr.naming import Mark, step_name
from runmesh.executors.amazon.emr.output import Lines
from runmesh.executors.amazon.refusals import Refused, Unreached

if TYPE_CHECKING:
    from runmesh.executors.amazon.emr.observing import Observing
    from runmesh.executors.amazon.emr.place import Place
    from runmesh.executors.amazon.emr.staging import Shared

__all__ = ["Config", "Executor"]

_STALE: Final = 3
"""Poll intervals after which what the worker saw says nothing of now: it asks for many at once, as we would not."""
_MOST_UNREMOVED: Final = 1000
_OF_BUCKETS: Final = frozenset({"NoSuchBucket", "AccessDenied", "403", "PermanentRedirect", "301"})


class Executor:
    """The Spark jobs of one worker."""

    poll_interval: ClassVar[float] = 10.0
    batch: ClassVar[int] = 200
    gone_window: ClassVar[float] = 60.0
    find_window: ClassVar[float] = 60.0
    adoptable: ClassVar[bool] = True
    output_every: ClassVar[float] = 3.0
    """Seconds between two looks at a job's output, and between two stored pieces of it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._places: dict[Access, tuple[Place, Observing]] = {}
        self._submitting: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._seen: dict[Handle, tuple[float, Observation]] = {}
        self._unremoved: dict[Handle, None] = {}

    async def __aenter__(self) -> Self:
        try:
            from runmesh.executors.amazon.session import Amazon  # noqa: PLC0415 - the SDK, which only workers need
        except ModuleNotFoundError as error:
            raise Invalid(Problem("pyspark", f"{error.name} is not installed", "pip install 'runmesh[aws]'")) from error
        self._stack = AsyncExitStack()
        self._amazon = await self._stack.enter_async_context(Amazon.open(self._site.environment))
        self._places.clear()
        self._place(Access.of(self._site.environment))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    # --- the contract -------------------------------------------------------------------------------

    async def submit(self, task: Task[Config]) -> Handle:
        """Stage the task's script and add its step, or return the job that its key has already."""
        folder = await self._folder(task)
        place, _ = self._place(_access(task, self._site))
        async with self._submitting.setdefault(task.key, asyncio.Lock()):
            try:
                found = await place.find(task, folder, self._mark(task.key))
                address = found or await self._start(place, task, folder)
            except Unreached as error:
                raise Unavailable(str(error)) from error
            except Refused as refused:
                raise _explained(refused, folder) from refused
        return address.handle

    async def find(self, task: Task[Config]) -> Handle | None:
        """Look for the step or job with the key in its name."""
        place, _ = self._place(_access(task, self._site))
        found = await place.find(task, await self._folder(task), self._mark(task.key))
        return found.handle if found else None

    async def observe(self, handles: Collection[Handle]) -> Mapping[Handle, Observation]:
        """Ask for the jobs of every place."""
        by_access: dict[Access, list[Address]] = {}
        for handle in handles:
            address = Address.of(handle)
            by_access.setdefault(address.access, []).append(address)
        for access, addresses in by_access.items():
            self._place(access)[0].used.update(address.place for address in addresses)
        looks = [(addresses, self._place(access)[1].observe(addresses)) for access, addresses in by_access.items()]
        found, now = await together(looks), clock()
        self._seen |= {handle: (now, seen) for handle, seen in found.items()}
        return found

    async def cancel(self, handle: Handle) -> None:
        """Cancel the step, and what it has left on YARN; or the job."""
        address = Address.of(handle)
        place, _ = self._place(address.access)
        if address.is_serverless:
            await place.serverless.cancel(address.place, address.job)
        else:
            await place.clusters.cancel(address.place, address.job, address.folder.name)

    async def remove(self, handle: Handle) -> None:
        """Delete the job's folder in S3, and with the last step of a cancelled run the cluster that was only its own.

        EMR keeps its own record of a step, which nobody can delete.
        """
        address = Address.of(handle)
        place, observing = self._place(address.access)
        self._unremoved[handle] = None
        if len(self._unremoved) > _MOST_UNREMOVED:
            del self._unremoved[next(iter(self._unremoved))]
        await place.stored.clear(address.folder)
        if observing.was_cancelled(handle) and not address.is_serverless:
            await place.clusters.end_with(address.place, address.folder.run)
        observing.forget(handle)
        self._seen.pop(handle, None)
        self._unremoved.pop(handle, None)

    async def jobs(self) -> AsyncIterator[tuple[str, Handle]]:
        """Yield the steps and jobs of our pool that have not ended, and what could not be removed."""
        for handle in [*self._unremoved]:
            yield Address.of(handle).folder.name, handle
        for place, _ in [*self._places.values()]:
            async for key, address in place.jobs(self._mark("")):
                yield key, address.handle

    # --- optional powers ----------------------------------------------------------------------------

    async def logs(self, handle: Handle, *, since: Position) -> AsyncIterator[LogLine]:
        """Follow a job's output, as its script stores it."""
        address = Address.of(handle)
        stored, folder = self._place(address.access)[0].stored, address.folder
        output, behind = Lines(since), ""
        while True:
            ended = await self._has_ended(handle)
            async for piece in stored.pieces(folder, behind=behind):
                if piece.start > output.wants:
                    break  # a piece between is not listed yet
                if piece.start + piece.size > output.wants:
                    for line in output.take(piece.start, await stored.content(folder, piece)):
                        yield line
                behind = piece.key
            if ended:
                for line in output.rest():
                    yield line
                return
            await asyncio.sleep(self.output_every)

    # --- parts --------------------------------------------------------------------------------------

    async def _start(self, place: "Place", task: Task[Config], folder: Folder) -> Address:
        from runmesh.executors.amazon.emr.staging import program, share  # noqa: PLC0415 - with the SDK

        config = task.config
        shared = await share(place.stored, task, await self._staging(task))
        where = config.application_id or await place.clusters.with_room(
            config, log_uri=shared.log_uri, bootstrap=shared.bootstrap
        )
        place.used.add(where)
        await place.stored.begin(folder, program(task, folder, shared, every=self.output_every), where)
        try:
            return Address(place.access, where, await self._job(place, task, folder, shared, where), folder)
        except (Refused, Unavailable, Unreached) as error:
            if not (isinstance(error, Refused) and error.failed):  # nothing was started: nothing is left
                with suppress(Exception):
                    await place.stored.clear(folder)
            raise

    async def _job(self, place: "Place", task: Task[Config], folder: Folder, shared: "Shared", where: str) -> str:
        config, mark = task.config, self._mark(task.key)
        if config.application_id:
            return await place.serverless.start(
                task, mark, script=folder.script, code=shared.code, log_uri=shared.log_uri
            )
        step = steps.step(step_name(task, mark), steps.arguments(task, folder.script, shared.code))
        return await place.clusters.add(where, step, replaceable=not config.cluster_id)

    async def _has_ended(self, handle: Handle) -> bool:
        """Ask, unless the worker has just done so."""
        asked, seen = self._seen.get(handle, (0.0, None))
        if seen is None or (seen.phase not in ENDED and clock() - asked > _STALE * self.poll_interval):
            seen = (await self.observe([handle]))[handle]
        return seen.phase in ENDED or seen == GONE

    async def _folder(self, task: Task[Config]) -> Folder:
        return Folder.of_task(await self._staging(task), task.run, task.key)

    async def _staging(self, task: Task[Config]) -> str:
        return await asyncio.to_thread(places.staging, task, self._site.environment)

    def _mark(self, key: str) -> Mark:
        return Mark.of(self._site.mesh, self._site.pool, key)

    def _place(self, access: Access) -> tuple["Place", "Observing"]:
        if access not in self._places:
            from runmesh.executors.amazon.emr.observing import Observing  # noqa: PLC0415 - with the SDK
            from runmesh.executors.amazon.emr.place import Place  # noqa: PLC0415

            place = Place.of(self._amazon, access, self._site.mesh, self._site.pool)
            self._places[access] = place, Observing(place)
        return self._places[access]


def _explained(refused: Refused, folder: Folder) -> Exception:
    """Return what a refusal means; one of S3's says nothing of where."""
    meaning = refused.of_submit()
    if refused.code in _OF_BUCKETS and isinstance(meaning, Rejected):
        return Rejected(f"s3://{folder.bucket} (staging): {meaning}")
    return meaning


def _access(task: Task[Any], site: Site) -> Access:
    config = task.config
    return Access.of(site.environment, config.region, config.endpoint_url, config.assume_role_arn)
