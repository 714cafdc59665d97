"""What Azure's refusals mean: for good, or for now.

`Refused` is an answer, in Azure's own words. `Unreached` was never sent. Any other ConnectionError may have been
heeded. What the SDK raises is translated into these by `arm`.
"""

import re
from typing import Final

from runmesh.errors import Rejected, RunmeshError, Unavailable

_SERVER: Final = 500
_TIMED_OUT: Final = 408
_TOO_MANY: Final = 429
_MISSING: Final = 404
_UNAUTHENTICATED: Final = 401
_LONGEST: Final = 2000
_OF_GROUP: Final = ("ResourceNotFound", "ContainerGroupNotFound")
_OF_PLACE: Final = ("ResourceGroupNotFound", "SubscriptionNotFound")
_NO_CONTAINER: Final = ("ContainerNotFound", "ContainerGroupDeploymentNotReady", "ContainerGroupTransitioning")
THROTTLES: Final = frozenset(
    ("TooManyRequests", "OperationNotAllowedThrottled", "SubscriptionRequestsThrottled", "ResourceRequestsThrottled")
)
FOR_NOW: Final = (
    r"quota|limit(ed)? (is |was )?(reached|exceeded)|QuotaReached|QuotaExceeded",
    r"not available in the location .* at this moment|InsufficientCapacity|ServiceUnavailable",
    r"AnotherOperationInProgress",
    r"RegistryErrorResponse|docker registry .* Please retry later",
    r"being deleted",
)
"""Refusals whose reason passes: quotas, capacity, a name that is still being deleted, a registry that is throttled."""
_OF_ANOTHER: Final = re.compile(
    r"still transitioning|ContainerGroupTransitioning|ContainerGroupDeploymentNotReady|ConflictingConcurrentWrite",
    re.IGNORECASE,
)
"""Refusals that say that a group of this name is there, or on its way."""
UNSPOKEN: Final = "HTTP "
"""With this begins the code of an answer that is not in Azure's words: of a proxy, say."""
_FOR_NOW: Final = re.compile("|".join(FOR_NOW), re.IGNORECASE)
_FOR_GOOD: Final = re.compile(r"^ResourceGroupBeingDeleted|^SubscriptionNotFound|^InaccessibleImage", re.IGNORECASE)


class Unreached(ConnectionError):
    """Azure was not reached: the call was never sent."""


class Refused(RunmeshError):
    """Azure refused a call, in its own words."""

    def __init__(self, code: str, message: str, status: int, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {message}"[:_LONGEST] if message else code)
        self.code, self.status, self.retry_after = code, status, retry_after

    @property
    def missing(self) -> bool:
        """Whether there is no such container group, though its resource group is there."""
        return self.status == _MISSING and self.code in _OF_GROUP

    @property
    def no_container(self) -> bool:
        """Whether a group is there, and its container is not (yet)."""
        return self.code in _NO_CONTAINER

    @property
    def nowhere(self) -> bool:
        """Whether there is not even the place: no such resource group or subscription."""
        return self.status == _MISSING and self.code in _OF_PLACE

    @property
    def throttled(self) -> bool:
        """Whether calls come too fast."""
        return self.status == _TOO_MANY or self.code in THROTTLES

    @property
    def unauthenticated(self) -> bool:
        """Whether our credentials are not (or no longer) good."""
        return self.status == _UNAUTHENTICATED

    @property
    def failed(self) -> bool:
        """Whether Azure itself failed: the call may have been heeded."""
        return self.status >= _SERVER or self.status == _TIMED_OUT

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed a moment later."""
        unspoken = self.status == _MISSING and self.code.startswith(UNSPOKEN)
        return self.throttled or self.failed or self.unauthenticated or unspoken

    def of_submit(self) -> Exception:
        """Return what it means for a group that was to be created.

        A failure of Azure's own says nothing: the group may be there. So it may where Azure is busy with one of this
        name, which an earlier call may have begun, whose answer was lost. Everything else is a word on this group, but
        for what passes: a throttle, a full quota, no capacity, credentials that are not good at the moment.
        """
        if self.failed or _OF_ANOTHER.search(str(self)):
            return self
        passes = _FOR_NOW.search(str(self)) and not _FOR_GOOD.search(self.code)
        if self.throttled or self.unauthenticated or passes:
            return Unavailable(f"Azure takes no container group for now: {self}", self.retry_after)
        return Rejected(f"Azure refuses the container group: {self}")


def failing(error: Exception) -> bool:
    """Whether a question may be answered a moment later: Azure failed, or broke off."""
    return error.failed if isinstance(error, Refused) else isinstance(error, ConnectionError)
