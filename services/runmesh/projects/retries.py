"""How often a block is tried again, and after which wait (Mage's RetryConfig)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from runmesh.errors import nearest
from runmesh.projects.fields import Fields, Problems

_MOST: Final = 10 * 366 * 86_400
"""Ten years, for what is in seconds: a calendar ends, so no wait may be any longer."""
_KEYS: Final = ("retries", "delay", "max_delay", "exponential_backoff")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Mage's rules and defaults, except that `max_delay` caps one wait; in Mage it caps their sum."""

    retries: int = 0
    delay: float = 5
    """Seconds before the first retry."""
    max_delay: float = 60
    """Seconds that one wait takes at most."""
    exponential_backoff: bool = True
    """Each wait is twice the one before."""

    @classmethod
    def of(cls, *configs: Mapping[str, Any] | None, where: str = "retry_config") -> "RetryPolicy":
        """Merge the `retry_config` of a project and of a block, later wins; raises `Invalid` for what is wrong."""
        problems = Problems(where)
        merged = {key: value for config in configs for key, value in (config or {}).items()}
        fields, default = Fields(merged, problems), cls()
        policy = cls(
            retries=int(_positive(fields, "retries", default.retries)),
            delay=_positive(fields, "delay", default.delay),
            max_delay=_positive(fields, "max_delay", default.max_delay),
            exponential_backoff=fields.flag("exponential_backoff") is not False,
        )
        for key in fields.rest():
            fields.problem(key, "is not known", partial(nearest, key, _KEYS))
        problems.raise_any()
        return policy

    def wait(self, retry: int) -> float:
        """Seconds to wait before a retry; the first is number 1."""
        factor = 2.0 ** min(retry - 1, 100) if self.exponential_backoff else 1.0
        return min(self.delay * factor, self.max_delay)


def _positive(fields: Fields, key: str, default: float) -> float:
    value = fields.number(key)
    if value is None:
        return default
    if not 0 <= value <= _MOST:
        fields.problem(key, f"must be between 0 and {_MOST:,}")
        return default
    return value
