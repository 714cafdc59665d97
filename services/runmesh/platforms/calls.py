"""Calls to a platform's API, counted by one rule: what was asked, how long it took, how it ended.

===================  ====================================================================
``ok``               it did as it was asked
``throttled``        calls come too fast, or a quota is used up
``unauthenticated``  our credentials are not, or no longer, good
``refused``          an answer as good as any: there is no such thing, or there is already
``failed``           the platform itself failed, was not reached, or broke off
===================  ====================================================================
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol, runtime_checkable

from runmesh import metrics
from runmesh.clock import clock
from runmesh.platforms import reach

_NO_ANSWER: Final = frozenset({"failed", "unauthenticated"})


@runtime_checkable
class Refusal(Protocol):
    """A platform's no, as each backend reads it."""

    @property
    def throttled(self) -> bool: ...  # noqa: D102 - see above, as for the others
    @property
    def unauthenticated(self) -> bool: ...  # noqa: D102
    @property
    def failed(self) -> bool: ...  # noqa: D102


@contextmanager
def counted(platform: str, operation: str) -> Iterator[None]:
    """Count one try of a call; one that is given up before it has an answer counts as none."""
    began = clock()
    try:
        yield
    except Exception as error:
        _note(platform, operation, how := outcome(error), began)
        if how in _NO_ANSWER:
            reach.failed(platform, error)
        else:
            reach.answered(platform)
        raise
    reach.answered(platform)
    _note(platform, operation, "ok", began)


def outcome(error: Exception) -> str:
    """Return how a call ended that raised this."""
    if not isinstance(error, Refusal) or error.failed:
        return "failed"
    if error.throttled:
        return "throttled"
    return "unauthenticated" if error.unauthenticated else "refused"


def _note(platform: str, operation: str, how: str, began: float) -> None:
    metrics.call(platform, operation, how).inc()
    metrics.call_seconds(platform, operation).observe(clock() - began)
