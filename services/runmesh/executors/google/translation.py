"""What the SDK raises, as one of a few types of our own."""

import re
from typing import Any, Final

from google.api_core import exceptions as sdk
from google.auth import exceptions as auth

from runmesh.executors.google.refusals import NO_CREDENTIALS, Refused, Unreached

_UNREACHED: Final = re.compile(
    r"failed to connect to all addresses|DNS resolution failed|name resolution", re.IGNORECASE
)
_UNSIGNED: Final = "Getting metadata from plugin failed"
"""What gRPC says where no token could be had."""


def translated(error: Exception) -> Exception:
    """Return one of our own types; what is none of the SDK's stays as it is."""
    match error:
        case sdk.GoogleAPICallError():
            return _refused(error)
        case auth.DefaultCredentialsError() | auth.MalformedError():
            return Refused(NO_CREDENTIALS, str(error))
        case auth.TransportError():
            return Unreached(f"Google is not reached for a token: {error}")
        case auth.GoogleAuthError():
            return Refused("UNAUTHENTICATED", str(error))
        case sdk.GoogleAPIError():
            return ConnectionError(f"Google broke off: {error!r}")
    return error


def _refused(error: sdk.GoogleAPICallError) -> Exception:
    code = error.grpc_status_code.name if error.grpc_status_code else "UNKNOWN"
    message = str(error.message or "")
    if _UNSIGNED in message:
        return Refused("UNAUTHENTICATED", message)
    if code == "UNAVAILABLE" and _UNREACHED.search(message):
        return Unreached(f"Google is not reached: {message}")
    return Refused(code, message, _delay(error.details))


def _delay(details: Any) -> float | None:
    """Return the seconds after which Google would like to be asked again, if it says."""
    delay = next((each.retry_delay for each in details or () if hasattr(each, "retry_delay")), None)
    return delay.seconds + delay.nanos / 1e9 if delay else None
