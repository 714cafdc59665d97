"""Dead letters: what could not be handled, kept whole with the reason, so that a person can look and replay."""

import zlib
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, Literal

import structlog
from pydantic_core import to_json

from runmesh import cloudevents, metrics, subjects
from runmesh.bus import Bus, Message
from runmesh.errors import BusError, NotPermitted, NotProvisioned
from runmesh.events import DeadLetter

_LONGEST_TEXT: Final = 4000
_ENVELOPE: Final = 2048
"""Room for the letter's own fields and its headers."""
_AGAIN: Final = 1.0
log = structlog.get_logger()

Encoding = Literal["utf-8", "base64", "zlib+base64"]


def dead_letter(message: Message, reason: str, error: str, limit: int) -> DeadLetter:
    """Build the letter of a message: whole as long as it fits into `limit` bytes, else as much of it as does."""
    headers = dict(message.headers)
    error = error[:_LONGEST_TEXT]
    room = limit - _ENVELOPE - len(to_json([error, headers, message.subject]))
    body, encoding, truncated = _encoded(message.data, max(0, room))
    return DeadLetter(
        subject=message.subject,
        reason=reason,
        error=error,
        headers=headers,
        body=body,
        encoding=encoding,
        truncated=truncated or None,
        deliveries=message.deliveries,
        at=datetime.now(UTC),
    )


async def bury(bus: Bus, message: Message, *, service: str, reason: str, error: str) -> None:
    """Publish the letter of a message, once however often this is called for it."""
    letter = dead_letter(message, reason, error, bus.payload_limit)
    digest = sha256(message.subject.encode() + b"\0" + message.data).hexdigest()[:16]
    letter_id = f"dead.{service}.{reason}.{message.sequence}.{digest}"
    headers = cloudevents.headers_for(
        letter, event_id=letter_id, source=f"/runmesh/{service}", trace=cloudevents.trace_of(message.headers)
    )
    stored = await bus.publish(subjects.dead(service, reason), letter.to_json(), headers=headers, message_id=letter_id)
    if not stored.duplicate:
        metrics.dead(service, reason).inc()
        # What is wrong with it may quote what it holds, so that is for the letter to say.
        log.warning("dead letter", action="dead", subject=message.subject, reason=reason)


async def lay_to_rest(bus: Bus, message: Message, *, service: str, reason: str, error: str) -> None:
    """Bury a message and end it; if its letter can't be stored now, it comes again."""
    try:
        await bury(bus, message, service=service, reason=reason, error=error)
    except (NotPermitted, NotProvisioned):
        raise
    except BusError as refused:
        log.warning("dead letter not stored", action="dead", subject=message.subject, error=str(refused))
        await message.nak(_AGAIN)
    else:
        await message.term(reason)


def _encoded(data: bytes, room: int) -> tuple[str, Encoding, bool]:
    """Return the body, how it is encoded, and whether something had to be left out."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        if len(plain := b64encode(data)) <= room:
            return plain.decode(), "base64", False
    else:
        if len(to_json(text)) <= room:
            return text, "utf-8", False
    if len(packed := b64encode(zlib.compress(data))) <= room:
        return packed.decode(), "zlib+base64", False
    return b64encode(data[: room // 4 * 3]).decode(), "base64", True
