"""Calls to Google: one client for each service and each file of credentials, opened when it is needed first.

The SDK's own retries are off, since only the caller knows what may be repeated: `call` tries once, `read` insists while
Google throttles, fails or is not reached. Every call has an end, `ANSWER` seconds.

Credentials are the file that a configuration names, else GOOGLE_APPLICATION_CREDENTIALS, else what the SDK finds (the
service account of the machine, a login of gcloud). A file that has changed is read again when Google takes what it held
no more.
"""

import asyncio
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

import google.auth
import grpc
from google.cloud import run_v2
from google.cloud.logging_v2.services import logging_service_v2
from google.oauth2 import service_account
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from runmesh.errors import Invalid, Problem
from runmesh.executors.google.options import CREDENTIALS
from runmesh.executors.google.refusals import NO_CREDENTIALS, Refused, Unreached, passing
from runmesh.executors.google.translation import translated
from runmesh.platforms.calls import counted
from runmesh.platforms.insisting import insisting

ANSWER: Final = 10.0
_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
_TRIES: Final = 4
_SERVICES: Final[Mapping[str, Any]] = {
    "jobs": run_v2.JobsAsyncClient,
    "executions": run_v2.ExecutionsAsyncClient,
    "tasks": run_v2.TasksAsyncClient,
    "services": run_v2.ServicesAsyncClient,
    "logging": logging_service_v2.LoggingServiceV2AsyncClient,
}
_ENDPOINTS: Final = {"logging": "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING"}
_RUN_ENDPOINT: Final = "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN"
"""gcloud's own variables for an address that isn't Google's usual one."""
_ROOTS: Final = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
"""gRPC's own variable for the certificates that are trusted."""

_ServiceAccount: Any = service_account.Credentials
_load: Any = google.auth.load_credentials_from_file

Json = Mapping[str, Any]


class Google:
    """Google Cloud, as one worker calls it. `who` is a file of credentials; None: the worker's own."""

    def __init__(self, environment: Mapping[str, str], stack: AsyncExitStack, roots: bytes | None) -> None:
        self._environment, self._stack = environment, stack
        self._clients: dict[tuple[str, str | None], Any] = {}
        self._credentials: dict[str | None, tuple[Any, str | None]] = {}
        self._written: dict[str | None, int] = {}
        """When the files were written that were read."""
        self._opening = asyncio.Lock()
        self._tls = grpc.ssl_channel_credentials(roots)

    @classmethod
    @asynccontextmanager
    async def open(cls, environment: Mapping[str, str]) -> AsyncIterator[Self]:
        """Have clients for the length of the block. Raises `Invalid` for certificates that can't be read."""
        roots = await asyncio.to_thread(_roots, environment)
        async with AsyncExitStack() as stack:
            yield cls(environment, stack, roots)

    async def project(self, who: str | None) -> str | None:
        """Return the project of credentials, if they have one. Raises `Refused`, `Unreached`."""
        async with self._opening:
            return (await self._loaded(who))[1]

    async def call(self, who: str | None, service: str, method: str, request: Any) -> Any:
        """Call once. Raises `Refused`, `Unreached`, ConnectionError."""
        with counted("google", f"{service}.{method}"):
            try:
                client = await self._client(service, who)
                return await getattr(client, method)(request=request, retry=None, timeout=ANSWER)
            except Exception as error:
                meant = translated(error)
                if isinstance(meant, Refused) and meant.unauthenticated:
                    await self._doubt(who)
                raise meant from error

    async def read(self, who: str | None, service: str, method: str, request: Any) -> Any:
        """Call what may be called again without harm. Raises as `call`, after a few tries."""
        return await insisting(lambda: self.call(who, service, method, request), tries=_TRIES, passing=passing)

    async def create(self, who: str | None, parent: str, job_id: str, job: Json) -> None:
        """Create a job. Raises as `call`."""
        request = run_v2.CreateJobRequest()
        try:
            ParseDict({"parent": parent, "job_id": job_id, "job": job}, type(request).pb(request))
        except ParseError as error:
            raise Refused("INVALID_ARGUMENT", str(error)) from error
        await self.call(who, "jobs", "create_job", request)

    async def service(self, who: str | None, name: str) -> Json:
        """Return the template of a service. Raises as `call`."""
        found = await self.read(who, "services", "get_service", {"name": name})
        template: Json = MessageToDict(type(found).pb(found).template, preserving_proto_field_name=True)
        return template

    async def pages(self, who: str | None, service: str, method: str, request: Any) -> AsyncIterator[Any]:
        """Yield the pages of a list. Raises as `call`."""
        pager = await self.call(who, service, method, request)
        try:
            async for page in pager.pages:
                yield page
        except Exception as error:
            raise translated(error) from error

    async def _client(self, service: str, who: str | None) -> Any:
        if (service, who) not in self._clients:
            async with self._opening:
                if (service, who) not in self._clients:
                    credentials, _ = await self._loaded(who)
                    self._clients[service, who] = await self._opened(service, credentials)
        return self._clients[service, who]

    async def _opened(self, service: str, credentials: Any) -> Any:
        kind = _SERVICES[service]
        address = self._environment.get(_ENDPOINTS.get(service, _RUN_ENDPOINT))
        transport = kind.get_transport_class("grpc_asyncio")(
            host=_host(address) if address else kind.DEFAULT_ENDPOINT,
            credentials=credentials,
            ssl_channel_credentials=self._tls,
            always_use_jwt_access=True,
        )
        self._stack.push_async_callback(transport.close)
        return kind(transport=transport)

    async def _loaded(self, who: str | None) -> tuple[Any, str | None]:
        """Return credentials and their project; files and the machine's own service may take a while."""
        if who not in self._credentials:
            path = self._file(who)
            try:
                async with asyncio.timeout(ANSWER):
                    self._written[who] = await asyncio.to_thread(_written_at, path)
                    self._credentials[who] = await asyncio.to_thread(_from_file if path else _found, path or "")
            except (TimeoutError, google.auth.exceptions.TransportError) as error:
                raise Unreached(f"no credentials yet from {path or 'the usual places'}: {error!r}") from error
            except (OSError, ValueError, google.auth.exceptions.GoogleAuthError) as error:
                raise Refused(NO_CREDENTIALS, f"{path or 'the usual places'}: {error}") from error
        return self._credentials[who]

    def _file(self, who: str | None) -> str | None:
        return who or self._environment.get(CREDENTIALS) or None

    async def _doubt(self, who: str | None) -> None:
        """Forget credentials that Google does not take, if their file has changed; the next call reads it."""
        written = await asyncio.to_thread(_written_at, self._file(who))
        if written and self._written.get(who) != written:
            self._credentials.pop(who, None)
            self._clients = {each: client for each, client in self._clients.items() if each[1] != who}


def _written_at(path: str | None) -> int:
    try:
        return Path(path).stat().st_mtime_ns if path else 0
    except OSError:  # whoever reads it says so
        return 0


def _from_file(path: str) -> tuple[Any, str | None]:
    try:
        found = _ServiceAccount.from_service_account_file(path, scopes=_SCOPES)
    except google.auth.exceptions.MalformedError:
        with warnings.catch_warnings():  # about files that strangers gave us
            warnings.simplefilter("ignore", DeprecationWarning)
            credentials, project = _load(path, scopes=_SCOPES)
        return credentials, project
    return found, found.project_id


def _found(_: str) -> tuple[Any, str | None]:
    credentials, project = google.auth.default(scopes=_SCOPES)
    return credentials, project


def _roots(environment: Mapping[str, str]) -> bytes | None:
    """Return the certificates that are trusted, if not gRPC's own."""
    file = environment.get(_ROOTS)
    try:
        return Path(file).read_bytes() if file else None
    except OSError as error:
        raise Invalid(Problem(_ROOTS, f"{file}: {error.strerror or error}")) from error


def _host(address: str) -> str:
    return address.removeprefix("https://").rstrip("/")
