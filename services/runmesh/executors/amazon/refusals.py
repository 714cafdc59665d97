"""What AWS's refusals mean: for good, or for now.

`Refused` is an answer, in AWS's own words. `Unreached` was never sent. Any other ConnectionError may have been heeded.
What the SDK raises is translated into these by `translation`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from runmesh.errors import Rejected, RunmeshError, Unavailable

_SERVER: Final = 500
_TOO_MANY: Final = 429
_LONGEST: Final = 2000
NO_CREDENTIALS: Final = "NoCredentials"
_THROTTLES: Final = frozenset(
    (
        *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException"),
        *("TooManyRequestsException", "RequestLimitExceeded", "BandwidthLimitExceeded", "LimitExceededException"),
        *("ProvisionedThroughputExceededException", "TransactionInProgressException", "PriorRequestNotComplete"),
        *("SlowDown", "EC2ThrottledException"),
    )
)
_THROTTLED: Final = re.compile(
    r"rate exceeded|throttl|too many (requests|concurrent)|rate limit|reduce your request rate", re.IGNORECASE
)
_FULL: Final = re.compile(
    r"you.ve reached the limit|limit on the number of|quota|capacity is unavailable|no container instances were found",
    re.IGNORECASE,
)
_UNAUTHENTICATED: Final = frozenset(
    (
        *(NO_CREDENTIALS, "ExpiredToken", "ExpiredTokenException", "RequestExpired", "UnrecognizedClientException"),
        *("InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure"),
        *("IncompleteSignature", "MissingAuthenticationToken", "MissingAuthenticationTokenException"),
    )
)
_SERVER_CODES: Final = frozenset(
    ("ServerException", "InternalServerException", "InternalServerError", "InternalFailure", "ServiceUnavailable")
)


class Unreached(ConnectionError):
    """AWS was not reached: the call was never sent."""


class Refused(RunmeshError):
    """AWS refused a call, in its own words."""

    def __init__(self, code: str, message: str, status: int = 400, answer: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {message}"[:_LONGEST] if message else code)
        self.code, self.status = code, status
        self.answer: Mapping[str, Any] = answer or {}
        """All that the error carries, such as `resourceIds`."""

    @property
    def throttled(self) -> bool:
        """Whether calls come too fast: AWS says it in many codes, and at times only in the text of another error."""
        return self.code in _THROTTLES or self.status == _TOO_MANY or bool(_THROTTLED.search(str(self)))

    @property
    def full(self) -> bool:
        """Whether a quota is used up."""
        return bool(_FULL.search(str(self)))

    @property
    def unauthenticated(self) -> bool:
        """Whether our credentials are not (or no longer) good."""
        return self.code in _UNAUTHENTICATED

    @property
    def failed(self) -> bool:
        """Whether AWS itself failed: the call may have been heeded."""
        return self.status >= _SERVER or self.code in _SERVER_CODES

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed a moment later."""
        return self.throttled or self.failed

    def of_submit(self) -> Exception:
        """Return what it means for a job that was to be started.

        A failure of AWS's own says nothing: the job may be there. Everything else is a word on this job, but for a
        throttle, a full quota, and credentials that are not good at the moment, which are not its fault.
        """
        if self.throttled or self.full or self.unauthenticated:
            return Unavailable(f"AWS takes no job for now: {self}")
        return self if self.failed else Rejected(f"AWS refuses the job: {self}")


def passing(error: Exception) -> bool:
    """Whether the same question may be answered a moment later."""
    return error.passing if isinstance(error, Refused) else isinstance(error, ConnectionError)
