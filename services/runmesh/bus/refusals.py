"""What the server's refusals mean, by JetStream's error codes (`server/errors.json` of nats-server)."""

from collections.abc import Mapping
from typing import Any, Final

from runmesh.errors import BusError, Conflict, NotProvisioned, StreamFull

_CONFLICTS: Final = {10071, 10164}
"""Wrong last sequence; the second is what a cluster answers before it has compared."""
_FULL: Final = {10077, 10002, 10023, 10028, 10047}
"""Limits of the stream, of the account (storage, memory), of the server (storage, memory)."""
_MISSING: Final = {10059, 10014}
"""No such stream, no such consumer."""
_PASSING: Final = {10158, 10201}
"""The same id, or the same subject's last sequence, is still being stored: ask again."""
_NOT_HERE: Final = 10039
_UNAVAILABLE: Final = 503
NO_MESSAGE: Final = 10037
_NO_PEERS: Final = 10005
NO_REPLICAS: Final = {_NO_PEERS, 10074}
"""Not enough nodes for the replicas asked for; no cluster at all."""


class Refused(BusError):
    """An answer with an error that has no type of its own."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code


class Passing(BusError):
    """Refused for now, and nothing was stored: sending it again is safe."""


class Elsewhere(BusError):
    """Our account has no JetStream. Where it imports another's API, both answer, in any order: wait for the other."""


def refusal(subject: str, error: Mapping[str, Any]) -> BusError:
    """Turn the `error` object of a JetStream answer into ours."""
    code = int(error.get("err_code", 0))
    text = f"{subject}: {error.get('description', 'refused')}"
    if code in _CONFLICTS:
        return Conflict(text)
    if code in _FULL or (code == _NO_PEERS and "storage" in text):
        return StreamFull(text)
    if code in _MISSING:
        return NotProvisioned(text)
    if code == _NOT_HERE:
        return Elsewhere(text)
    if code in _PASSING or error.get("code") == _UNAVAILABLE:
        return Passing(text)
    return Refused(text, code)
