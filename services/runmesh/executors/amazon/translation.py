"""What the SDK raises, as one of a few types of our own."""

from collections.abc import Mapping
from typing import Any, Final

from botocore import exceptions as sdk

from runmesh.executors.amazon.refusals import NO_CREDENTIALS, Refused, Unreached

_INVALID: Final = "InvalidRequest"
_FORBIDDEN: Final = 403


def translated(error: Exception) -> Exception:
    """Return one of our own types; what is none of the SDK's stays as it is."""
    match error:
        case sdk.ClientError():
            return _refused(error.response)
        case (
            sdk.NoCredentialsError()
            | sdk.PartialCredentialsError()
            | sdk.CredentialRetrievalError()
            | sdk.TokenRetrievalError()
            | sdk.ProfileNotFound()
        ):
            return Refused(NO_CREDENTIALS, str(error), _FORBIDDEN)
        case sdk.ParamValidationError() | sdk.InvalidRegionError():
            return Refused(_INVALID, str(error))
        case sdk.EndpointConnectionError() | sdk.ConnectTimeoutError() | sdk.ProxyConnectionError():
            return Unreached(f"AWS is not reached: {error}")
        case sdk.BotoCoreError() | sdk.HTTPClientError():
            return ConnectionError(f"AWS broke off: {error!r}")
    return error


def _refused(response: Mapping[str, Any]) -> Refused:
    error = response.get("Error") or {}
    status = (response.get("ResponseMetadata") or {}).get("HTTPStatusCode") or 0
    code, message = str(error.get("Code") or f"HTTP {status}"), str(error.get("Message") or "")
    answer = {name: value for name, value in response.items() if name not in ("Error", "ResponseMetadata")}
    return Refused(code, message, int(status), answer)
