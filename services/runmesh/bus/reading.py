"""What the server sends, cut into messages, on a shorter way than nats-py's for whoever listens.

A whole message is handed to its listener from where it lies: no state between two calls, no task, no queue. Everything
else goes to nats-py's parser, a line or a message at a time, so that it never holds half of one.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from nats.protocol import parser

_END: Final = b"\r\n"
_MESSAGES: Final = (b"MSG ", b"HMSG ")
_ERROR: Final = b"-ERR"
_WORDS: Final = 4
"""Of a first line: MSG <subject> <sid> [<reply>] <size>; HMSG has the size of its headers before that, too."""
_VERSION: Final = len("NATS/1.0")
log = logging.getLogger(__name__)


class Received(NamedTuple):
    """A message for a listener. What is no UTF-8 is read as U+FFFD; a header line without a colon is none."""

    subject: str
    data: bytes
    reply: str = ""
    headers: Mapping[str, str] | None = None


class Parser(parser.Parser):
    """Reads for one client."""

    def __init__(self, client: Any) -> None:
        self.listeners: dict[int, Callable[[Received], None]] = {}
        """By the number of their subscription."""
        self.complaint = ""
        """What the server said last: nats-py hands it on in small letters, and subjects have capitals."""
        super().__init__(client)

    def reset(self) -> None:
        """Forget what was half read: the connection is a new one."""
        super().reset()
        self._rest = b""

    async def parse(self, data: bytes = b"") -> None:
        """Read on. Raises `ValueError` where the server speaks another protocol."""
        data, at = self._rest + data, 0
        while (end := data.find(_END, at)) >= 0:
            words = data[at:end].split(b" ") if data.startswith(_MESSAGES, at) else None
            stop = end + 2 if words is None else end + 4 + int(words[-1])
            if stop > len(data):
                break
            listener = self.listeners.get(int(words[2])) if words else None
            if words and listener:
                _hand_over(words, data[end + 2 : stop - 2], listener)
            else:
                if data.startswith(_ERROR, at):
                    self.complaint = data[at:end].decode(errors="replace")
                await super().parse(data[at:stop])
            at = stop
        self._rest = data[at:]


def _hand_over(words: list[bytes], body: bytes, listener: Callable[[Received], None]) -> None:
    subject, headed, headers = words[1].decode(errors="replace"), words[0] == b"HMSG", None
    reply = words[3].decode(errors="replace") if len(words) > _WORDS + headed else ""
    if headed:
        size = int(words[-2])
        headers, body = read_headers(body[:size]), body[size:]
    try:
        listener(Received(subject, body, reply, headers))
    except Exception:
        log.exception("a message is lost: whoever listens on %r broke", subject, extra={"action": "receive"})


def read_headers(block: bytes) -> dict[str, str]:
    """Read headers as they stand on the wire; a status in the first line is the header `Status`, with `Description`."""
    first, *lines = block.decode(errors="replace").split("\r\n")
    headers = {}
    status, _, description = first[_VERSION:].strip().partition(" ")
    if status.isdigit():
        headers["Status"] = status
        if description:
            headers["Description"] = description
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip()] = value.strip()
    return headers
