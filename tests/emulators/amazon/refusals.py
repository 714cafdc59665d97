"""How AWS refuses."""

from typing import Any


class AwsError(Exception):
    """A refusal, as AWS words it."""

    def __init__(self, code: str, message: str, status: int = 400, **more: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.more = code, message, status, more
