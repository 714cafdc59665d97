"""Whether a platform answers, as far as the calls say that are made anyway.

It is out of reach once a while has brought nothing but failures: it was not there, failed itself, or took our
credentials for no good. A throttle and a refusal are answers. A worker speaks to one platform, so this is kept once
for the whole process, as its metrics are.
"""

from typing import Final

from runmesh.clock import clock

_PATIENCE: Final = 10.0
_failing: Final[dict[str, tuple[float, str]]] = {}
"""Since when a platform has given no answer (by `clock`), and what came instead the last time."""


def answered(platform: str) -> None:
    """Note that a platform gave an answer."""
    _failing.pop(platform, None)


def failed(platform: str, error: Exception) -> None:
    """Note that it gave none, or that it doesn't know us."""
    since, _ = _failing.get(platform, (clock(), ""))
    _failing[platform] = since, " ".join(f"{error!s:.300}".split()) or repr(error)


def out_of_reach() -> list[str]:
    """Say which platforms give no answers, and what comes instead."""
    now = clock()
    return [
        f"{platform} has given no answer for {now - since:.0f} s: {why}"
        for platform, (since, why) in _failing.items()
        if now - since >= _PATIENCE
    ]
