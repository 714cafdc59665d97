"""Asking again what may pass, and nothing else."""

import pytest

from runmesh.platforms.insisting import insisting, seconds_to_wait


class Platform:
    """Raises these errors, one call after another, and then answers."""

    def __init__(self, *errors: Exception) -> None:
        self._errors, self.calls = iter(errors), 0

    async def ask(self) -> str:
        self.calls += 1
        if error := next(self._errors, None):
            raise error
        return "answer"


def passes(error: Exception) -> bool:
    return isinstance(error, ConnectionError)


async def test_what_passes_is_asked_for_again() -> None:
    platform = Platform(ConnectionError())
    assert await insisting(platform.ask, tries=2, passing=passes) == "answer"
    assert platform.calls == 2


async def test_what_does_not_pass_is_raised_at_once() -> None:
    platform = Platform(ValueError("for good"))
    with pytest.raises(ValueError, match="for good"):
        await insisting(platform.ask, tries=4, passing=passes)
    assert platform.calls == 1


async def test_the_last_try_is_the_last() -> None:
    platform = Platform(ConnectionError("first"), ConnectionError("second"))
    with pytest.raises(ConnectionError, match="second"):
        await insisting(platform.ask, tries=2, passing=passes)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("17", 17),
        (2.5, 2.5),
        ("-3", 0),
        (None, None),
        ("", None),
        ("inf", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_a_platform_says_how_long_to_wait_in_seconds(said: object, seconds: float | None) -> None:
    assert seconds_to_wait(said) == seconds
