"""What the API server's refusals mean: for good, or for now."""

from typing import Final, Self

from pydantic_core import from_json

from runmesh.errors import Rejected, RunmeshError, Unavailable
from runmesh.platforms.insisting import seconds_to_wait

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_GONE: Final = 410
_TOO_MANY: Final = 429
_SERVER: Final = 500
_QUOTA: Final = "exceeded quota"
_LONGEST: Final = 2000


class Unreached(ConnectionError):
    """The API server was not reached: the call was never sent."""


class Refused(RunmeshError):
    """The API server refused a call, in its own words."""

    def __init__(self, code: int, message: str, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.retry_after = code, reason, retry_after

    @classmethod
    def of(cls, code: int, body: bytes, retry_after: str | None = None) -> Self:
        """Read an answer: a Status object, or whatever a proxy says instead."""
        try:
            status = from_json(body)
        except ValueError:
            status = None
        if not isinstance(status, dict):
            text = body.decode(errors="replace").strip() or "no reason given"
            return cls(code, f"HTTP {code}: {text[:_LONGEST]}", retry_after=seconds_to_wait(retry_after))
        details = status.get("details") or {}
        wait = seconds_to_wait(retry_after) or seconds_to_wait(details.get("retryAfterSeconds"))
        told = str(status.get("message") or f"HTTP {code}")[:_LONGEST]
        return cls(int(status.get("code") or code), told, str(status.get("reason") or ""), wait)

    @property
    def unauthenticated(self) -> bool:
        """Whether our credentials are not (or no longer) good."""
        return self.code == _UNAUTHORIZED

    @property
    def forbidden(self) -> bool:
        """Whether we may not."""
        return self.code == _FORBIDDEN

    @property
    def missing(self) -> bool:
        """Whether there is no such thing."""
        return self.code == _NOT_FOUND

    @property
    def exists(self) -> bool:
        """Whether there is such a thing already."""
        return self.code == _CONFLICT and self.reason == "AlreadyExists"

    @property
    def conflicts(self) -> bool:
        """Whether the thing is another one than was meant."""
        return self.code == _CONFLICT

    @property
    def expired(self) -> bool:
        """Whether the version to go on from is too old."""
        return self.code == _GONE

    @property
    def throttled(self) -> bool:
        """Whether calls come too fast."""
        return self.code == _TOO_MANY

    @property
    def failed(self) -> bool:
        """Whether the server itself failed: the call may have been heeded."""
        return self.code >= _SERVER

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed a moment later."""
        return self.throttled or self.failed

    def of_submit(self) -> Exception:
        """Return what it means for a Job that was to be created.

        A 5xx says nothing: it may be there. Everything else is a word on this Job, but for a throttle, a quota that is
        full or just being counted (409 Conflict), and credentials that are not good at the moment: not its fault.
        """
        if self.failed:
            return self
        if self.throttled or self.unauthenticated or self.full or self.conflicts:
            return Unavailable(f"the cluster takes no Job for now: {self}", self.retry_after)
        return Rejected(f"the cluster refuses the Job: {self}")

    @property
    def full(self) -> bool:
        """Whether a quota is used up."""
        return self.forbidden and _QUOTA in str(self)
