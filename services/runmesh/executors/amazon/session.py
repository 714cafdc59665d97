"""Calls to AWS: one client for each service, region, endpoint and role, opened when it is needed first.

The SDK's own retries are off, since only the caller knows what may be repeated: `call` tries once, `read` insists while
AWS throttles, fails or is not reached. Every call has an end: `CONNECT` and `ANSWER` seconds.

Credentials are the environment's, else what the SDK finds (a profile, the role of the task or the machine). A role of a
configuration is assumed with those.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import cache, cached_property, partial
from typing import Any, Final, Self

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioDeferredRefreshableCredentials
from aiobotocore.session import AioSession, get_session
from botocore.loaders import Loader, create_loader

from runmesh.errors import nearest
from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.refusals import Refused, Unreached, passing
from runmesh.executors.amazon.translation import translated
from runmesh.platforms.calls import counted
from runmesh.platforms.insisting import insisting

CONNECT: Final = 3.0
ANSWER: Final = 8.0
_TRIES: Final = 4
_SESSION_NAME: Final = "runmesh"
_CONNECTIONS: Final = 64


@cache
def descriptions() -> Loader:
    """Return what reads the SDK's descriptions of services: a tenth of a second of CPU for each, and so once."""
    return create_loader()


def _describe(service: str) -> None:
    """Read a service's description, as a client will ask for it: that of EC2 takes a second of CPU."""
    for kind in ("service-2", "endpoint-rule-set-1"):
        descriptions().load_service_model(service, kind, api_version=None)


def sdk() -> AioSession:
    """Return a session of the SDK's."""
    session = get_session()
    session.register_component("data_loader", descriptions())
    return session


class Amazon:
    """AWS, as one worker calls it."""

    def __init__(self, environment: Mapping[str, str], stack: AsyncExitStack) -> None:
        self._environment, self._stack = environment, stack
        self._clients: dict[tuple[str, Access], Any] = {}
        self._opening = asyncio.Lock()
        self._config = AioConfig(
            connect_timeout=CONNECT,
            read_timeout=ANSWER,
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=_CONNECTIONS,
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, environment: Mapping[str, str]) -> AsyncIterator[Self]:
        """Have clients for the length of the block."""
        async with AsyncExitStack() as stack:
            yield cls(environment, stack)

    async def has_credentials(self) -> bool:
        """Whether there are any at all; says nothing about whether they are good."""
        try:
            return await self._own.get_credentials() is not None
        except Exception as error:
            raise translated(error) from error

    async def open_clients(self, access: Access, *services: str) -> None:
        """Open clients now: each takes a tenth of a second of CPU, which nothing else should wait for later."""
        for service in services:
            await self._client(service, access)

    async def call(self, service: str, access: Access, operation: str, **arguments: Any) -> dict[str, Any]:
        """Call once, by the SDK's name of the operation. Raises `Refused`, `Unreached`, ConnectionError."""
        with counted("aws", f"{service}.{operation}"):
            try:
                client = await self._client(service, access)
                answer: dict[str, Any] = await getattr(client, operation)(**arguments)
            except Exception as error:
                raise await self._explained(translated(error), service, access) from error
        return answer

    async def read(self, service: str, access: Access, operation: str, **arguments: Any) -> dict[str, Any]:
        """Call what may be called again without harm. Raises as `call`, after a few tries."""
        call = partial(self.call, service, access, operation, **arguments)
        return await insisting(call, tries=_TRIES, passing=passing)

    async def pages(
        self,
        service: str,
        access: Access,
        operation: str,
        what: str,
        cursor: tuple[str, str] = ("nextToken", "nextToken"),
        **arguments: Any,
    ) -> AsyncIterator[Any]:
        """Yield what a listing has under a name, page after page. Raises as `read`.

        The cursor is what a page has for the next one, and what that one is asked with.
        """
        following, given = cursor
        more: dict[str, str] = {}
        while True:
            page = await self.read(service, access, operation, **arguments, **more)
            for each in page.get(what) or ():
                yield each
            if not page.get(following):
                return
            more = {given: page[following]}

    async def _client(self, service: str, access: Access) -> Any:
        where = (service, access)
        if where not in self._clients:
            async with self._opening:
                if where not in self._clients:
                    await asyncio.to_thread(_describe, service)
                    self._clients[where] = await self._stack.enter_async_context(self._opened(service, access))
        return self._clients[where]

    def _opened(self, service: str, access: Access) -> Any:
        session = self._own if access.role_arn is None else self._assuming(access.role_arn, access)
        endpoint = self._endpoint(service, access)
        return session.client(service, region_name=access.region, endpoint_url=endpoint, config=self._config)

    @cached_property
    def _own(self) -> aioboto3.Session:
        return aioboto3.Session(
            aws_access_key_id=self._environment.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=self._environment.get("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=self._environment.get("AWS_SESSION_TOKEN"),
            profile_name=self._environment.get("AWS_PROFILE"),
            botocore_session=sdk(),
        )

    def _assuming(self, role: str, access: Access) -> aioboto3.Session:
        """Return a session whose credentials are those of a role, renewed before they end."""

        async def assume() -> dict[str, str]:
            own = replace(access, role_arn=None)
            try:
                found = await self.read("sts", own, "assume_role", RoleArn=role, RoleSessionName=_SESSION_NAME)
            except (Refused, ConnectionError) as error:
                if isinstance(error, Refused) and not error.passing:
                    raise
                raise Unreached(f"{role} can't be assumed for now, and so nothing is sent: {error}") from error
            given = found["Credentials"]
            return {
                "access_key": given["AccessKeyId"],
                "secret_key": given["SecretAccessKey"],
                "token": given["SessionToken"],
                "expiry_time": given["Expiration"].isoformat(),
            }

        session = sdk()
        session._credentials = AioDeferredRefreshableCredentials(assume, "assume-role")  # noqa: SLF001 - no other way in
        return aioboto3.Session(botocore_session=session)

    def _endpoint(self, service: str, access: Access) -> str | None:
        own = self._environment.get(f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}")
        return access.endpoint_url or own or self._environment.get("AWS_ENDPOINT_URL") or None

    async def _explained(self, error: Exception, service: str, access: Access) -> Exception:
        """Tell a region that doesn't exist from one that is not reached."""
        if not isinstance(error, Unreached) or self._endpoint(service, access):
            return error
        known = await aioboto3.Session().get_available_regions(service)
        if access.region in known:
            return error
        return Refused("UnknownRegion", f"{access.region!r}: {error}; {nearest(access.region, known)}")
