"""Whether a platform is reached, told from the calls that are made anyway."""

import pytest

from runmesh.platforms import reach
from runmesh.platforms.calls import counted

PLATFORM = "mars"


class Refused(Exception):
    """A platform's no."""

    def __init__(self, *, throttled: bool = False, unauthenticated: bool = False, failed: bool = False) -> None:
        super().__init__("not\n now")
        self.throttled, self.unauthenticated, self.failed = throttled, unauthenticated, failed


def call(error: Exception | None = None, *, ago: float = 0.0) -> None:
    try:
        with counted(PLATFORM, "land"):
            if error:
                raise error
    except (OSError, Refused):
        if PLATFORM in reach._failing:  # noqa: SLF001 - nobody waits ten seconds here
            since, why = reach._failing[PLATFORM]  # noqa: SLF001
            reach._failing[PLATFORM] = since - ago, why  # noqa: SLF001


def test_a_platform_that_gives_no_answer_for_a_while_is_out_of_reach() -> None:
    call(ConnectionError("no route"), ago=60)
    call(ConnectionError("no route to host"))
    assert reach.out_of_reach() == ["mars has given no answer for 60 s: no route to host"]
    call()
    assert reach.out_of_reach() == []


def test_one_failure_is_none_yet() -> None:
    call(ConnectionError("a blip"))
    assert reach.out_of_reach() == []


@pytest.mark.parametrize(
    ("refused", "reached"),
    [
        (Refused(), True),
        (Refused(throttled=True), True),
        (Refused(failed=True), False),
        (Refused(unauthenticated=True), False),
    ],
)
def test_a_refusal_is_an_answer_but_not_one_of_a_broken_platform_or_a_strangers(
    refused: Refused, *, reached: bool
) -> None:
    call(ConnectionError("before"), ago=60)
    call(refused)
    assert reach.out_of_reach() == ([] if reached else ["mars has given no answer for 60 s: not now"])
