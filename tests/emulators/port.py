"""A port of this machine on which an emulated API answers over HTTP(S), where it can be killed and started again."""

from collections.abc import Callable
from ssl import SSLContext
from typing import Any, Final

from aiohttp import web

_HOST: Final = "127.0.0.1"


class Port:
    """One API's port, the same whenever it listens.

    `application` makes what answers, `tls` is what it shows of itself over HTTPS, `options` are `AppRunner`'s.
    """

    def __init__(
        self, application: Callable[[], web.Application], tls: SSLContext | None = None, **options: Any
    ) -> None:
        self._application, self._tls, self._options = application, tls, options
        self._runner: web.AppRunner | None = None
        self._number = 0

    @property
    def url(self) -> str:
        """Where it is, once it has listened."""
        return f"{'https' if self._tls else 'http'}://{_HOST}:{self._number}"

    async def listen(self) -> None:
        """Begin to answer."""
        self._runner = web.AppRunner(self._application(), shutdown_timeout=0.01, **self._options)
        await self._runner.setup()
        site: dict[str, Any] = {"reuse_address": True, "backlog": 1000, "ssl_context": self._tls}
        await web.TCPSite(self._runner, _HOST, self._number, **site).start()
        _, self._number = self._runner.addresses[0][:2]

    async def deafen(self) -> None:
        """Stop answering, as if the API's process was killed."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None
