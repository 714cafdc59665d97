"""How Azure words a refusal."""

from aiohttp import web


class ArmError(Exception):
    """A refusal, as Azure words it."""

    def __init__(self, code: str, message: str = "injected", status: int = 400, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.retry_after = code, message, status, retry_after

    @property
    def answer(self) -> web.Response:
        """The answer that says so."""
        headers = {"Retry-After": self.retry_after} if self.retry_after else {}
        told = {"error": {"code": self.code, "message": self.message}}
        return web.json_response(told, status=self.status, headers=headers)
