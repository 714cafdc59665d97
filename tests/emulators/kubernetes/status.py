"""Refusals, as the API server words them: each is a Status object."""

from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web
from pydantic_core import to_json

_REASONS: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "AlreadyExists",
    410: "Expired",
    413: "RequestEntityTooLarge",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class Status(Exception):
    """A refusal."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str | None = None,
        causes: Sequence[dict[str, str]] = (),
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.retry_after = code, retry_after
        self.body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason or _REASONS[code],
            "code": code,
        }
        details: dict[str, Any] = {"causes": list(causes)} if causes else {}
        if retry_after is not None:
            details["retryAfterSeconds"] = retry_after
        if details:
            self.body["details"] = details

    def response(self) -> web.Response:
        """Return it as the answer to a call."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return web.json_response(body=to_json(self.body), status=self.code, headers=headers)


def not_found(resource: str, name: str) -> Status:
    """There is no such object."""
    return Status(404, f'{resource} "{name}" not found')


def invalid(kind: str, name: str, causes: Sequence[dict[str, str]]) -> Status:
    """The object breaks rules: which, field by field."""
    said = ", ".join(f"{cause['field']}: {cause['message']}" for cause in causes)
    told = f"[{said}]" if len(causes) > 1 else said
    return Status(422, f'{kind} "{name}" is invalid: {told}', causes=causes)
