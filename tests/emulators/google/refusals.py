"""How Google refuses."""

import grpc


class GoogleError(Exception):
    """A refusal, as Google words it; the code is gRPC's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = grpc.StatusCode[code], message


def broken_off() -> None:
    """Say, as the SDK does, that there was no answer. Raises GoogleError."""
    raise GoogleError("UNAVAILABLE", "Socket closed")
