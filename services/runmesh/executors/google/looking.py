"""Looking at jobs: all of a project's region by one list, whose entries say what the execution of each is doing.

A project has at most 1000 jobs in a region, but may have any number of executions: so jobs are listed, and only the
execution of one that failed is asked for. Where a few of ours are among many, they are asked for one by one.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog

from runmesh.errors import Unavailable
from runmesh.executor import Handle
from runmesh.executors.google import naming
from runmesh.executors.google.naming import Place
from runmesh.executors.google.refusals import Refused
from runmesh.executors.google.verdict import UNSPECIFIED, Found, of_execution

if TYPE_CHECKING:
    from runmesh.executors.google.session import Google

log = structlog.get_logger(__name__)

_PAGE: Final = 1000
_AT_ONCE: Final = 16
_DELETED: Final = Found("EXECUTION_CANCELLED", completed=True, message="its execution was deleted")

Json = Mapping[str, Any]


class Looking:
    """The eyes of one worker."""

    def __init__(self, google: "Google") -> None:
        self._google = google
        self._pages: dict[Place, int] = {}
        """Into how many pages each list came apart."""
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def look(self, handles: Collection[Handle]) -> dict[Handle, Found | None]:
        """Return what Cloud Run says of jobs; None: it knows no such job; without an answer there is none here.

        Raises `Unavailable` where it throttles, and nothing else was answered.
        """
        groups = naming.groups(handles)
        answers = await asyncio.gather(*(self._tried(place, group) for place, group in groups.items()))
        seen = {handle: found for answer in answers if isinstance(answer, dict) for handle, found in answer.items()}
        throttle = next((each for each in answers if isinstance(each, Refused) and each.throttled), None)
        if throttle and not seen:
            raise Unavailable(str(throttle), throttle.retry_after) from throttle
        return seen

    async def find(self, place: Place, job: str) -> tuple[Mapping[str, str], Found] | None:
        """Return a job's labels, and what there is to say of it. Raises `Refused`, ConnectionError."""
        found = await _unless_missing(self._google.read(place.credentials, "jobs", "get_job", {"name": job}))
        return (dict(found.labels), _found(found)) if found is not None else None

    async def ours(self, place: Place, *, mesh: str, pool: str) -> AsyncIterator[tuple[str, Handle]]:
        """Yield key and handle of our pool's jobs in a place; none where that can't be read now."""
        try:
            jobs = [job async for job in self._listed(place)]
        except (Refused, ConnectionError) as error:
            log.warning("jobs not listed", action="list", place=place.parent, error=str(error))
            return
        for job in jobs:
            if naming.is_ours(job.labels, mesh=mesh, pool=pool) and not job.HasField("delete_time"):
                yield job.annotations.get(naming.UNABRIDGED) or job.labels[naming.KEY], place.handle_of(_id(job))

    async def failure(self, handle: Handle) -> tuple[Json, Json]:
        """Return the execution and the task of a job that failed. Raises `Refused`, ConnectionError."""
        who, execution = Place.of(handle).credentials, naming.execution_of(handle)
        async with self._room:
            found = await self._google.read(who, "executions", "get_execution", {"name": execution})
            listed = await self._google.read(who, "tasks", "list_tasks", {"parent": execution, "page_size": 1})
        return _json(_pb(found)), _json(_pb(listed.tasks[0])) if listed.tasks else {}

    async def _tried(self, place: Place, handles: Collection[Handle]) -> dict[Handle, Found | None] | Exception:
        """Look at the jobs of one place; return why nothing is known where it doesn't answer."""
        try:
            return await self._look(place, handles)
        except (Refused, ConnectionError) as error:
            log.warning("jobs not observed", action="observe", place=place.parent, jobs=len(handles), error=str(error))
            return error

    async def _look(self, place: Place, handles: Collection[Handle]) -> dict[Handle, Found | None]:
        wanted = {naming.job_id_of(handle): handle for handle in handles}
        seen: dict[Handle, Found | None] = {}
        if len(handles) > self._pages.get(place, 1):
            async for job in self._listed(place):
                if _id(job) in wanted:
                    seen[wanted[_id(job)]] = _found(job)
        others = [handle for handle in handles if handle not in seen]
        answers = await asyncio.gather(*(self._got(place, handle) for handle in others), return_exceptions=True)
        answered = zip(others, answers, strict=True)
        seen |= {handle: found for handle, found in answered if not isinstance(found, BaseException)}
        if not seen and (error := next((each for each in answers if isinstance(each, BaseException)), None)):
            raise error
        return await self._told(place, seen)

    async def _got(self, place: Place, handle: Handle) -> Found | None:
        """Ask for one job, once: the next look comes soon, and nobody should wait for an answer that doesn't come."""
        request = {"name": naming.job_of(handle)}
        async with self._room:
            found = await _unless_missing(self._google.call(place.credentials, "jobs", "get_job", request))
        return _found(found) if found is not None else None

    async def _told(self, place: Place, seen: dict[Handle, Found | None]) -> dict[Handle, Found | None]:
        """Ask for executions themselves where jobs don't say what theirs is doing."""
        silent = {
            naming.execution_id(each): each for each, found in seen.items() if found and found.status == UNSPECIFIED
        }
        if not silent:
            return seen
        request = {"parent": f"{place.parent}/jobs/-", "page_size": _PAGE}
        async for page in self._google.pages(place.credentials, "executions", "list_executions", request):
            for execution in _pb(page).executions:
                if handle := silent.pop(_id(execution), None):
                    seen[handle] = of_execution(_json(execution))
        return seen | {handle: _DELETED for handle in silent.values() if (found := seen[handle]) and found.deleted}

    async def _listed(self, place: Place) -> AsyncIterator[Any]:
        """Yield all jobs of a place, whosever they are."""
        pages = 0
        request = {"parent": place.parent, "page_size": _PAGE}
        async for page in self._google.pages(place.credentials, "jobs", "list_jobs", request):
            pages += 1
            for job in _pb(page).jobs:
                yield job
        self._pages[place] = pages


async def _unless_missing(asked: Awaitable[Any]) -> Any:
    """Return what is answered, or nothing where there is no such thing."""
    try:
        return _pb(await asked)
    except Refused as refused:
        if refused.missing:
            return None
        raise


def _found(job: Any) -> Found:
    reference, condition = job.latest_created_execution, job.terminal_condition
    if job.HasField("latest_created_execution") and reference.name:
        completed = reference.HasField("completion_time")
        if reference.HasField("delete_time") and not completed:
            return Found(UNSPECIFIED, deleted=True)
        return Found(_name(reference, "completion_status"), completed=completed, message=condition.message)
    broken = _name(condition, "state") == "CONDITION_FAILED"
    return Found(broken=broken, reason=_why(condition), message=condition.message)


def _id(job: Any) -> str:
    """Return a job's id: its whole name may have the project's number instead of its name."""
    return str(job.name).rpartition("/")[2]


def _why(condition: Any) -> str:
    """Return the name of a condition's reason, one of three kinds; nothing if it has none."""
    kind = condition.WhichOneof("reasons")
    return _name(condition, kind) if kind else ""


def _name(message: Any, field: str) -> str:
    """Return the name of an enum's value; its number if nobody has named it yet."""
    number = getattr(message, field)
    value = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number.get(number)
    return value.name if value else str(number)


def _pb(message: Any) -> Any:
    """Return the message itself, which is faster to read than its wrapper."""
    return type(message).pb(message)


def _json(message: Any) -> Json:
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - the SDK, which only workers need

    found: Json = MessageToDict(message, preserving_proto_field_name=True)
    return found
