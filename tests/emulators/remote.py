"""The executor of the platform in `platform.py`: one call, one connection. It is found by `PLATFORM_SOCKET`."""

from collections.abc import AsyncIterator, Collection, Mapping
from time import monotonic
from typing import Any, ClassVar, Self

from pydantic import ConfigDict

from runmesh.errors import Rejected, Unavailable
from runmesh.events import Cause
from runmesh.executor import GONE, UNKNOWN, Backend, ExecutorConfig, Handle, Observation, Phase, Site, Task
from tests.emulators.platform import SOCKET
from tests.emulators.serving import call


class Config(ExecutorConfig):
    """It plays whichever executor type it is asked to: what that one's own keys say is nothing to it."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Executor:
    """One worker's client of the platform."""

    poll_interval: ClassVar[float] = 0.1
    batch: ClassVar[int] = 50
    gone_window: ClassVar[float] = 0.5
    find_window: ClassVar[float] = 1.0
    adoptable: ClassVar[bool] = True

    def __init__(self, site: Site) -> None:
        self._socket, self._pool = site.environment[SOCKET], site.pool

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    async def submit(self, task: Task[Any]) -> Handle:
        """Start the job of a key, or return the one that is there."""
        labels = {name: getattr(task, name) for name in ("run", "block", "attempt", "resubmission")}
        labels["pool"] = self._pool
        environment = {
            **task.environment,
            "RUNMESH_RUN": task.run,
            "RUNMESH_BLOCK": task.block,
            "RUNMESH_KEY": task.key,
            "RUNMESH_ATTEMPT": str(task.attempt),
        }
        until = monotonic() + self.find_window
        answer = await self._call(
            do="submit", name=task.key, labels=labels, command=task.command, environment=environment, until=until
        )
        return Handle(answer["handle"])

    async def find(self, task: Task[Any]) -> Handle | None:
        """Look for the job of a key."""
        handle = (await self._call(do="find", name=task.key))["handle"]
        return Handle(handle) if handle else None

    async def observe(self, handles: Collection[Handle]) -> Mapping[Handle, Observation]:
        """Ask for all at once."""
        if not handles:
            return {}
        seen = (await self._call(do="observe", handles=list(handles)))["seen"]
        return {handle: _observation(seen.get(handle)) for handle in handles}

    async def cancel(self, handle: Handle) -> None:
        """Tell a job to stop."""
        await self._call(do="cancel", name=handle)

    async def remove(self, handle: Handle) -> None:
        """Delete a job."""
        await self._call(do="remove", name=handle)

    async def jobs(self) -> AsyncIterator[tuple[str, Handle]]:
        """List the jobs of our pool."""
        for key, handle in (await self._call(do="jobs", pool=self._pool))["jobs"]:
            yield key, Handle(handle)

    async def _call(self, **request: Any) -> dict[str, Any]:
        answer = await call(self._socket, **request)
        match answer.get("error"):
            case None:
                return answer
            case "throttled":
                raise Unavailable("too many requests", answer["retry_after"])
            case "rejected":
                raise Rejected(answer["reason"])
            case error:
                raise ConnectionError(f"the platform failed: {error}")


BACKEND = Backend(Executor, Config)


def _observation(seen: Mapping[str, Any] | None) -> Observation:
    match seen:
        case None:
            return UNKNOWN
        case {"phase": "gone"}:
            return GONE
        case {"phase": "running"}:
            return Observation(Phase.RUNNING)
        case {"phase": "succeeded", "code": code}:
            return Observation(Phase.SUCCEEDED, code)
    code, cause = seen["code"], Cause.CANCELLED if seen["cancelled"] else Cause.USER
    return Observation(Phase.FAILED, code, cause, f"exit code {code}", log_tail=tuple(seen["tail"]))
