"""Answering requests as a NATS service (ADR-32): discovery, and endpoints that share their load in a queue group.

`nats.micro` answers one request of an endpoint after the other; here each has a task of its own, so that a slow
one delays nobody. Only so many are answered at once, though: the others wait where nats-py bounds them.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from time import perf_counter_ns
from typing import Any, Final
from uuid import uuid4

import nats.errors
from nats.aio.msg import Msg

from runmesh.bus.link import CLOSE_WITHIN, Link
from runmesh.bus.message import Handler, Headers, Message
from runmesh.errors import Invalid, NotFound, Problem, RunmeshError, StreamFull, TooLarge, Undecodable, Unreachable

_QUEUE: Final = "q"
_TYPE: Final = "io.nats.micro.v1."
_INBOXES: Final = ("_INBOX.", "_R_.")
"""Where answers may go: the second is what the server writes between accounts. Whoever asks chooses the address, and
another one could be that of a stream, which would store the answer as if we had meant it."""
_CODES: Final = {
    NotFound: "404",
    Invalid: "400",
    Undecodable: "400",
    TooLarge: "400",
    StreamFull: "429",
    Unreachable: "503",
}
_OUR_FAULT: Final = "500"
_LONGEST: Final = 1000
_MOST_PROBLEMS: Final = 100
_MOST_TOLD: Final = 65_536
"""Bytes of problems: the server hangs up on who sends a larger answer than it takes."""
_AT_ONCE: Final = 256


@dataclass(slots=True)
class Endpoint:
    """One endpoint and its statistics, named as ADR-32 names them."""

    name: str
    subject: str
    queue_group: str = _QUEUE
    num_requests: int = 0
    num_errors: int = 0
    last_error: str = ""
    processing_time: int = 0
    average_processing_time: int = 0

    def count(self, nanoseconds: int, error: Exception | None) -> None:
        """Note one request."""
        self.num_requests += 1
        self.processing_time += nanoseconds
        self.average_processing_time = self.processing_time // self.num_requests
        if error is not None:
            self.num_errors += 1
            self.last_error = _text(error)[:_LONGEST]


class Service:
    """One instance of a NATS service."""

    def __init__(self, link: Link, name: str, version: str, description: str) -> None:
        self._link = link
        self._identity = {"name": name, "id": uuid4().hex, "version": version, "metadata": {}}
        self._description = description
        self._started = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        self._endpoints: list[Endpoint] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(_AT_ONCE)

    @asynccontextmanager
    async def running(self, endpoints: Mapping[str, tuple[str, Handler]]) -> AsyncIterator[None]:
        """Answer for the length of the block, and what was asked before its end, if that takes but a moment.

        Who asked for a run and never hears that it is stored may ask for another.
        """
        subscriptions = []
        for name, (subject, handler) in endpoints.items():
            self._endpoints.append(endpoint := Endpoint(name, subject))
            subscriptions.append(await self._link.subscribe(subject, partial(self._begin, endpoint, handler), _QUEUE))
        for verb, describe in {"PING": dict, "INFO": self._info, "STATS": self._stats}.items():
            for address in ("", f".{self._identity['name']}", f".{self._identity['name']}.{self._identity['id']}"):
                answer = partial(self._describe, verb, describe)
                subscriptions.append(await self._link.subscribe(f"$SRV.{verb}{address}", answer))
        with suppress(TimeoutError, nats.errors.Error, OSError):  # nobody is to ask in vain from now on
            await self._link.client.relieve()  # nats-py's flush would overtake what waits to be sent
            await self._link.client.flush()
        try:
            yield
        finally:
            for subscription in subscriptions:
                await self._link.unsubscribe(subscription)
            await self._finish()

    async def _finish(self) -> None:
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=CLOSE_WITHIN)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _begin(self, endpoint: Endpoint, handler: Handler, msg: Msg) -> None:
        await self._room.acquire()
        task = asyncio.create_task(self._handle(endpoint, handler, msg))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()

    async def _handle(self, endpoint: Endpoint, handler: Handler, msg: Msg) -> None:
        begun = perf_counter_ns()
        try:
            answer, error = await handler(Message(msg.subject, msg.data, Headers(msg.headers))), None
        except Exception as raised:  # noqa: BLE001 - whatever it is, the caller gets an answer
            answer, error = b"", raised
        if not error and len(answer) > self._link.client.max_payload:
            error = TooLarge("the answer", len(answer), self._link.client.max_payload)
        endpoint.count(perf_counter_ns() - begun, error)
        await self._answer(msg, *(refused(error) if error else (answer, None)))

    async def _describe(self, verb: str, describe: Any, msg: Msg) -> None:
        body = {"type": f"{_TYPE}{verb.lower()}_response", **self._identity, **describe()}
        await self._answer(msg, json.dumps(body).encode())

    async def _answer(self, msg: Msg, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        if msg.reply.startswith(_INBOXES):
            with suppress(Unreachable):  # whoever asked finds out, as of any answer that gets lost
                await self._link.publish(msg.reply, body, headers=headers)

    def _info(self) -> dict[str, Any]:
        endpoints = [
            {"name": one.name, "subject": one.subject, "queue_group": one.queue_group, "metadata": {}}
            for one in self._endpoints
        ]
        return {"description": self._description, "endpoints": endpoints}

    def _stats(self) -> dict[str, Any]:
        return {"started": self._started, "endpoints": [asdict(one) for one in self._endpoints]}


def refused(error: Exception) -> tuple[bytes, Mapping[str, str]]:
    """Return the answer to a request that failed: its problems as JSON, and all in one line as ADR-32 has it."""
    problems = error.problems if isinstance(error, Invalid) else [Problem("", _text(error))]
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), _OUR_FAULT)
    headers = {"Nats-Service-Error": _text(error)[:_LONGEST], "Nats-Service-Error-Code": code}
    return json.dumps({"errors": list(_told(problems[:_MOST_PROBLEMS]))}).encode(), headers


def _told(problems: Sequence[Problem]) -> Iterator[Mapping[str, str | None]]:
    """Yield the first problems, as many as an answer has room for."""
    room = _MOST_TOLD
    for each in problems:
        shown = {name: part and part[:_LONGEST] for name, part in each._asdict().items()}
        room -= len(json.dumps(shown))
        if room < 0:
            return
        yield shown


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, RunmeshError) else repr(error)
