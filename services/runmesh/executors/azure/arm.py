"""Calls to Azure Resource Manager, through the SDK's client: its credentials, its pipeline, its version of the API.

Answers stay the JSON that they are: the SDK would make an object of every field of every group at each listing. The
SDK's own retries are off, since only the caller knows what may be repeated: `call` tries once, `read` insists while
Azure fails or breaks off. Every call has an end.

Credentials are the environment's service principal, else what the SDK finds: a managed or workload identity, a login.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiohttp
from azure.core import exceptions as sdk
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline.policies import AsyncRetryPolicy
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.identity.aio import ClientSecretCredential, DefaultAzureCredential
from azure.mgmt.containerinstance.aio import ContainerInstanceManagementClient

from runmesh.errors import Invalid, Problem
from runmesh.executors.azure.options import CA, Options
from runmesh.executors.azure.refusals import UNSPOKEN, Refused, Unreached, failing
from runmesh.platforms.calls import counted
from runmesh.platforms.insisting import insisting, seconds_to_wait

CONNECT: Final = 5.0
ANSWER: Final = 10.0
_ADMISSION: Final = 30.0
_TRIES: Final = 3
_CONNECTIONS: Final = 64
_VERSION: Final = "2023-05-01"
_REFUSED: Final = 400
_EXCERPT: Final = 500
_AUTHORITY: Final = "AZURE_AUTHORITY_HOST"
_PRINCIPAL: Final = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
_PUBLIC_AUTHORITIES: Final = ("login.microsoftonline.com", "login.microsoftonline.us", "login.chinacloudapi.cn")
_UNAUTHENTICATED: Final = 401

Json = dict[str, Any]


class Arm:
    """Azure, as one worker calls it."""

    def __init__(self, options: Options, environment: Mapping[str, str], stack: AsyncExitStack) -> None:
        self._options, self._environment, self._stack = options, environment, stack
        self._clients: dict[str, ContainerInstanceManagementClient] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, options: Options, environment: Mapping[str, str]) -> AsyncIterator[Self]:
        """Have clients for the length of the block. Raises `Invalid` where there are no good credentials."""
        async with AsyncExitStack() as stack:
            arm = cls(options, environment, stack)
            await arm._enter()
            yield arm

    async def call(self, method: str, path: str, *, body: Json | None = None, **query: Any) -> Json:
        """Call once; a path may be a whole URL. Raises `Refused`, `Unreached`, ConnectionError."""
        own = {} if "://" in path else {"api-version": _VERSION}
        request = HttpRequest(method, path, params={**own, **query}, json=body)
        within = self._options.create if method == "PUT" else ANSWER
        with counted("azure", operation(method, path)):
            try:
                client = self._client(path)
                answer = await client._send_request(  # noqa: SLF001 - the SDK's documented way to send any request
                    request, connection_timeout=CONNECT, read_timeout=within
                )
                return _read(answer)
            except sdk.AzureError as error:
                raise _translated(error) from error

    async def read(self, path: str, **query: Any) -> Json:
        """Get what may be asked for again without harm. Raises as `call`, after a few tries; a throttle at once."""
        return await insisting(partial(self.call, "GET", path, **query), tries=_TRIES, passing=failing)

    async def pages(self, path: str) -> AsyncIterator[Json]:
        """Yield what a listing holds, page by page. Raises as `read`."""
        following: str | None = path
        while following:
            page = await self.read(following)
            for each in page["value"]:
                yield each
            following = page.get("nextLink")

    async def _enter(self) -> None:
        logging.getLogger("azure").setLevel(logging.WARNING)  # the SDK tells of every call
        self._session = await self._stack.enter_async_context(_session(self._options.ca))
        self._scope = f"{self._options.endpoint}/.default"
        credential = _credential(self._environment, AioHttpTransport(session=self._session, session_owner=False))
        self._credential: AsyncTokenCredential = await self._stack.enter_async_context(credential)
        with suppress(sdk.AzureError, TimeoutError):  # out of reach for now: tasks wait until it is not
            await self._admitted()

    async def _admitted(self) -> None:
        """Ask for a token. Raises `Invalid` if nothing gives one."""
        try:
            async with asyncio.timeout(_ADMISSION):
                await self._credential.get_token(self._scope)
        except sdk.ClientAuthenticationError as error:
            own = self._environment.get(_PRINCIPAL[2])
            hint = None if own else f"set {', '.join(_PRINCIPAL)}, or run the worker where it has an identity"
            problem = Problem("azure_container_instance", f"Azure gives no token: {_first(error)}", hint)
            raise Invalid(problem) from error

    def _client(self, path: str) -> ContainerInstanceManagementClient:
        """Return the client of a path's subscription."""
        subscription = path.partition("/subscriptions/")[2].partition("/")[0]
        if subscription not in self._clients:
            self._clients[subscription] = ContainerInstanceManagementClient(
                self._credential,
                subscription,
                self._options.endpoint,
                credential_scopes=[self._scope],
                transport=AioHttpTransport(session=self._session, session_owner=False),
                retry_policy=AsyncRetryPolicy.no_retries(),
            )
        return self._clients[subscription]


def operation(method: str, path: str) -> str:
    """Name a call without what it is about: GET containerGroups/containers/logs."""
    kinds = path.partition("?")[0].partition("/providers/Microsoft.ContainerInstance/")[2].split("/")[::2]
    return f"{method} {'/'.join(kinds) or 'other'}"


def _session(ca: str | None) -> aiohttp.ClientSession:
    context = ssl.create_default_context()
    try:
        if ca:
            context.load_verify_locations(cafile=ca)
    except OSError as error:
        raise Invalid(Problem(CA, f"{ca}: {error.strerror or error}")) from error
    connector = aiohttp.TCPConnector(ssl=context, limit=_CONNECTIONS)
    session = aiohttp.ClientSession(connector=connector, trust_env=True)
    # Where an answer is lost, aiohttp would send a PUT once more by itself, and so restart the container.
    session._retry_connection = False  # noqa: SLF001 - there is no other way
    return session


def _credential(environment: Mapping[str, str], transport: AioHttpTransport) -> Any:
    """Return the credential that the environment holds, else all that the SDK looks for."""
    given = [environment.get(name, "") for name in _PRINCIPAL]
    authority = environment.get(_AUTHORITY) or f"https://{_PUBLIC_AUTHORITIES[0]}"
    private = urlsplit(authority).hostname not in _PUBLIC_AUTHORITIES
    more: Any = {"authority": authority, "disable_instance_discovery": private, "transport": transport}
    if given[2]:
        if missing := [name for name, value in zip(_PRINCIPAL, given, strict=True) if not value]:
            raise Invalid(Problem(missing[0], f"is needed beside {_PRINCIPAL[2]}"))
        return ClientSecretCredential(*given, retry_total=1, **more)
    return DefaultAzureCredential(managed_identity_client_id=given[1] or None, **more)


def _read(answer: AsyncHttpResponse) -> Json:
    """Return an answer's JSON. Raises `Refused` for an error, ConnectionError for what Azure never says."""
    found = _json(answer)
    if answer.status_code < _REFUSED:
        if found is None:
            raise ConnectionError(f"not Azure answers, but something in between: {answer.text()[:_EXCERPT]}")
        return found
    told = (found or {}).get("error")
    error = told if isinstance(told, dict) else {"message": answer.text()[:_EXCERPT]}
    code, message = str(error.get("code") or f"{UNSPOKEN}{answer.status_code}"), str(error.get("message") or "")
    raise Refused(code, message, answer.status_code, seconds_to_wait(answer.headers.get("Retry-After")))


def _json(answer: AsyncHttpResponse) -> Json | None:
    """Return the object that an answer holds; None: it holds something else."""
    try:
        found: Any = answer.json() if answer.content else {}
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _translated(error: sdk.AzureError) -> Exception:
    """Return one of our own types."""
    match error:
        case sdk.ClientAuthenticationError():
            return Refused("AuthenticationFailed", _first(error), _UNAUTHENTICATED)
        case sdk.ServiceRequestTimeoutError():
            return Unreached(f"Azure is not reached: {error}")
        case sdk.ServiceRequestError() if isinstance(error.inner_exception, aiohttp.ClientConnectorError):
            return Unreached(f"Azure is not reached: {error}")
        case sdk.HttpResponseError() if error.status_code:
            return Refused(f"{UNSPOKEN}{error.status_code}", _first(error), error.status_code)
    return ConnectionError(f"Azure broke off: {error!r}")


def _first(error: Exception) -> str:
    """Return the first line of what the SDK says."""
    return next(iter(str(error).splitlines()), "")
