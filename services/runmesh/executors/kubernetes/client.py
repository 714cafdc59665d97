"""Calls to the API server: paths and raw JSON over the official client's connection, credentials and TLS.

Model objects would cost more than the calls themselves, so only JSON goes in and out. Calls keep a rate. What can be
repeated without harm is, when the server says 429 or 5xx, after the time that it asks for. A 401 has the credentials
read again, once. What aiohttp raises becomes one of: `Unreached` (never sent), ConnectionError, TimeoutError.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from math import inf
from random import uniform
from typing import Any, Final, Self

import aiohttp
import structlog
from aiohttp.helpers import get_env_proxy_for_url
from kubernetes_asyncio.client import ApiClient, Configuration
from pydantic_core import from_json
from yarl import URL

from runmesh.clock import clock
from runmesh.executors.kubernetes.access import Access
from runmesh.executors.kubernetes.options import RATE
from runmesh.executors.kubernetes.refusals import Refused, Unreached
from runmesh.platforms.calls import counted

log = structlog.get_logger(__name__)

CALL: Final = 8.0
"""Seconds for one try of a call."""
TURN: Final = 8.0
"""Seconds for which a creation waits for its turn at most: with the call itself, less than `find_window` allows."""
_TRIES: Final = 4
_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 5.0
_OK: Final = 300
_LARGEST_LINE: Final = 2**21
"""Bytes: an object, of which a watch makes one line, has at most 1.5 MiB."""

Json = dict[str, Any]
Query = Mapping[str, str]


class Pace:
    """So many calls a second, and a few at once. Whoever gives up while waiting takes no turn."""

    def __init__(self, rate: float) -> None:
        self._step = 1 / rate
        self._slack = 2.0
        """Seconds' worth of calls that may come at once."""
        self._next = clock() - self._slack
        self._line = asyncio.Lock()
        self._waiting = 0

    async def turn(self, within: float = inf) -> None:
        """Wait for a turn, in the order of asking. Raises TimeoutError at once if that would take longer."""
        if self._waiting * self._step > within:
            raise TimeoutError
        self._waiting += 1
        try:
            async with self._line:
                await asyncio.sleep(max(0.0, self._next - clock()))
                self._next = max(self._next, clock() - self._slack) + self._step
        finally:
            self._waiting -= 1


class Client:
    """One cluster's API server, as one worker calls it."""

    def __init__(self, api: ApiClient, access: Access, namespace: str | None, pace: Pace) -> None:
        self.namespace = namespace
        """The one that goes with the credentials."""
        self._api, self._access, self._pace = api, access, pace

    @classmethod
    @asynccontextmanager
    async def open(cls, access: Access, *, rate: float) -> AsyncIterator[Self]:
        """Connect for the length of the block. Raises `Invalid`."""
        configuration = Configuration()
        namespace = await access.load(configuration)
        # No limit: the watches of many namespaces would leave no connection for a call.
        configuration.connection_pool_maxsize = 0
        async with ApiClient(configuration) as api:
            await _settle_proxy(api)
            yield cls(api, access, namespace, Pace(rate))

    async def get(self, path: str, *, within: float = CALL, **query: str) -> Json:
        """Read, each try within so many seconds. Raises `Refused`."""
        return await self._insist("GET", path, query, within=within)

    async def delete(self, path: str, options: Json) -> Json:
        """Delete. Raises `Refused`."""
        return await self._insist("DELETE", path, {}, options)

    async def create(self, path: str, document: Json, **query: str) -> Json:
        """Create, with one try: the caller decides what an error means. Raises `Refused`, `Unreached`."""
        try:
            await self._pace.turn(TURN)
        except TimeoutError:
            raise Unreached(f"the API server is not reached: all of {RATE} is used up") from None
        return await self._sent("POST", path, query, document)

    async def text(self, path: str, **query: str) -> str:
        """Read what is no JSON. Raises `Refused`."""
        async with asyncio.timeout(CALL), self.stream(path, query) as response:
            return (await response.read()).decode(errors="replace")

    @asynccontextmanager
    async def stream(
        self, path: str, query: Query, *, silence: float | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open what is read piece by piece, and fails after so many seconds of silence. Raises `Refused`."""
        timeout = aiohttp.ClientTimeout(sock_connect=CALL, sock_read=silence)
        try:
            async with await self._request("GET", path, query, None, timeout) as response:
                yield response
        except Refused as refused:
            await self._heed(refused)
            raise
        except aiohttp.ClientError as error:
            raise _translated(error) from error

    async def _insist(
        self, method: str, path: str, query: Query, body: Json | None = None, within: float = CALL
    ) -> Json:
        for attempt in range(_TRIES - 1):
            try:
                return await self._call(method, path, query, body, within)
            except Refused as refused:
                if not (refused.passing or (refused.unauthenticated and not attempt)):
                    raise
                pause = refused.retry_after
            except ConnectionError:
                pause = None
            wait = _FIRST_PAUSE * 2**attempt if pause is None else pause
            await asyncio.sleep(min(_LONGEST_PAUSE, wait) * uniform(1.0, 1.25))  # noqa: S311 - spreads load
        return await self._call(method, path, query, body, within)

    async def _call(self, method: str, path: str, query: Query, body: Json | None = None, within: float = CALL) -> Json:
        await self._pace.turn()
        return await self._sent(method, path, query, body, within)

    async def _sent(self, method: str, path: str, query: Query, body: Json | None = None, within: float = CALL) -> Json:
        try:
            async with await self._request(method, path, query, body, aiohttp.ClientTimeout(total=within)) as response:
                answer: Json = from_json(await response.read())
                return answer
        except Refused as refused:
            await self._heed(refused)
            raise
        except aiohttp.ClientError as error:
            raise _translated(error) from error

    async def _request(
        self, method: str, path: str, query: Query, body: Json | None, within: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """Send, and return the answer once it begins. Raises `Refused`."""
        with counted("kubernetes", operation(method, path, query)):
            response: aiohttp.ClientResponse = await self._api.call_api(
                path,
                method,
                query_params=list(query.items()),
                header_params={"Accept": "application/json, */*", "Content-Type": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=within,
            )
            if response.status >= _OK:
                async with response:
                    raise await _refusal(response)
        return response

    async def _heed(self, refused: Refused) -> None:
        """Read the credentials again if they are no good: tokens are renewed while we run."""
        if not refused.unauthenticated:
            return
        try:
            await self._access.load(self._api.configuration)
        except Exception as error:  # noqa: BLE001 - a file that is being written; the next call tries again
            log.warning("credentials not read again", action="authenticate", error=repr(error))


async def _settle_proxy(api: ApiClient) -> None:
    """Look once which proxy the environment names: the client's own session looks for each call, in two threads."""
    theirs = api.rest_client.pool_manager
    try:
        proxy, auth = get_env_proxy_for_url(URL(str(api.configuration.host)))
        through: dict[str, Any] = {"proxy": proxy, "proxy_auth": auth}
    except LookupError:
        through = {}
    ours = aiohttp.ClientSession(connector=theirs.connector, read_bufsize=_LARGEST_LINE, **through)
    api.rest_client.pool_manager = ours
    theirs.detach()


def operation(method: str, path: str, query: Query) -> str:
    """Name a call without what it is about: GET pods/log."""
    kinds = path.partition("/namespaces/")[2].split("/")[1::2]
    return f"{'WATCH' if 'watch' in query else method} {'/'.join(kinds) or 'other'}"


async def _refusal(response: aiohttp.ClientResponse) -> Refused:
    return Refused.of(response.status, await response.read(), response.headers.get("Retry-After"))


def _translated(error: aiohttp.ClientError) -> ConnectionError:
    if isinstance(error, aiohttp.ClientConnectorError):
        return Unreached(f"the API server is not reached: {error}")
    return ConnectionError(f"the API server broke off: {error!r}")
