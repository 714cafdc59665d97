"""Every error that Runmesh raises on purpose.

::

    RunmeshError
    ├── Invalid                   a user's mistake: one or more problems, each with a place and a hint
    │   ├── NotFound              there is no project or pipeline of that name
    │   └── UnsafePath            a name that would leave the directory it belongs to
    ├── Undecodable               a message that is no event of ours
    ├── BusError                  NATS refused, or did not answer
    │   ├── Conflict              somebody else wrote first (compare-and-swap)
    │   ├── StreamFull            the stream refuses more: back-pressure
    │   ├── TooLarge              larger than the server's payload limit
    │   ├── NotPermitted          the server's permissions forbid the subject: fatal
    │   ├── NotProvisioned        the stream, consumer or bucket does not exist (yet)
    │   └── Unreachable           no answer in time; the write may or may not have happened
    ├── Rejected                  a platform will never run this specification
    └── Unavailable               a platform refuses for now: throttled, over quota

This module imports nothing of the mesh, and no dataclasses, since the runtime inside a job uses it too: see `runtime`.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

MOST_PROBLEMS: Final = 100
"""That many of one kind say enough, and to look for names near to each of a hundred thousand takes many minutes."""


class Problem(NamedTuple):
    """One thing that is wrong: where it is, what is wrong, and what to write instead."""

    path: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.message}{hint}"


def nearest(value: object, valid: Iterable[str]) -> str | None:
    """Return the hint ``did you mean …?`` for the closest of the valid names, or list them if none is close."""
    from difflib import get_close_matches  # noqa: PLC0415 - the runtime imports this module, and must start fast

    names = sorted(map(str, valid))
    close = get_close_matches(str(value).lower()[:200], names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    if not names:
        return None
    shown = ", ".join(names[:12])
    return f"known: {shown}{', …' if len(names) > 12 else ''}"  # noqa: PLR2004 - more than a line's worth helps nobody


class RunmeshError(Exception):
    """Anything that Runmesh reports on purpose."""


class Invalid(RunmeshError):
    """A user's mistake, as one or more problems."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class NotFound(Invalid):
    """There is no project or pipeline of that name."""


class UnsafePath(Invalid):
    """A name from outside that would leave the directory it belongs to."""


class Undecodable(RunmeshError):
    """A message that can't be read as the event its subject announces."""


class BusError(RunmeshError):
    """NATS refused, or did not answer."""


class Conflict(BusError):
    """Another writer was first: the expected last sequence is not the last one any more."""


class StreamFull(BusError):
    """The stream has reached its limit and refuses more: try again later."""


class TooLarge(BusError):
    """The message is larger than the server's payload limit."""

    def __init__(self, subject: str, size: int, limit: int) -> None:
        super().__init__(f"{subject}: {size} bytes exceed the server's limit of {limit}")
        self.subject, self.size, self.limit = subject, size, limit


class NotPermitted(BusError):
    """The server's permissions forbid a subject: a configuration error that no retry cures."""


class NotProvisioned(BusError):
    """A stream, consumer or bucket is missing: `runmesh provision` makes them."""


class Unreachable(BusError):
    """No answer in time. A write may have happened all the same."""


class Rejected(RunmeshError):
    """A platform says that it will never run this specification."""


class Unavailable(RunmeshError):
    """A platform refuses for now (throttled, over its quota); try again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
