"""What Google's refusals mean: for good, or for now.

`Refused` is an answer, or that there was none in time, in Google's own words. `Unreached` was never sent. What the SDK
raises is translated into these by `translation`.
"""

import re
from typing import Final

from runmesh.errors import Rejected, RunmeshError, Unavailable

NO_CREDENTIALS: Final = "NO_CREDENTIALS"
_LONGEST: Final = 2000
_FAILED: Final = frozenset(
    ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "CANCELLED", "ABORTED", "DATA_LOSS")
)
_FULL: Final = re.compile(r"quota|limit (on|of) the number|maximum number of|too many", re.IGNORECASE)


class Unreached(ConnectionError):
    """Google was not reached: the call was never sent."""


class Refused(RunmeshError):
    """Google refused a call, in its own words; the code is gRPC's."""

    def __init__(self, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {message}"[:_LONGEST] if message else code)
        self.code, self.retry_after = code, retry_after

    @property
    def missing(self) -> bool:
        """Whether there is no such thing."""
        return self.code == "NOT_FOUND"

    @property
    def exists(self) -> bool:
        """Whether there is such a thing already."""
        return self.code == "ALREADY_EXISTS"

    @property
    def throttled(self) -> bool:
        """Whether calls come too fast, or a quota is used up: Google says both in one code, at times in another."""
        return self.code == "RESOURCE_EXHAUSTED" or (
            self.code == "FAILED_PRECONDITION" and bool(_FULL.search(str(self)))
        )

    @property
    def unauthenticated(self) -> bool:
        """Whether our credentials are not (or no longer) good."""
        return self.code == "UNAUTHENTICATED"

    @property
    def failed(self) -> bool:
        """Whether Google itself failed: the call may have been heeded."""
        return self.code in _FAILED

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed a moment later."""
        return self.throttled or self.failed

    def of_submit(self) -> Exception:
        """Return what it means for a job that was to be started.

        A failure of Google's own says nothing: the job may be there. Everything else is a word on this job, but for a
        full quota, and credentials that are not good at the moment, which are not its fault.
        """
        if self.throttled or self.unauthenticated:
            return Unavailable(f"Google takes no job for now: {self}", self.retry_after)
        if self.code == NO_CREDENTIALS:
            return Rejected(f"there are no credentials: {self}")
        return self if self.failed else Rejected(f"Google refuses the job: {self}")


def passing(error: Exception) -> bool:
    """Whether the same question may be answered a moment later."""
    return error.passing if isinstance(error, Refused) else isinstance(error, ConnectionError)
