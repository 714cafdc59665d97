"""What the kernel knows of processes: who they are, whose children, and how to end them.

The standard library only, and pathlib left out: the supervisor starts with this.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot: with its pid, its identity. 0 if unknown."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 - pathlib is slow to import
            return int(stat.read().rpartition(b")")[2].split()[19])
    except OSError:
        return 0


def carries(pid: int, variable: str) -> bool:
    """Tell whether a process was given a variable, written NAME=value; no for one that we may not read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:  # noqa: PTH123 - as above
            return variable.encode() in environ.read().split(b"\0")
    except OSError:
        return False


def children() -> list[int]:
    """Return this process's children, with those it inherited as a subreaper; none where there is no Linux."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as listing:  # noqa: PTH123 - as above
            return [int(pid) for pid in listing.read().split()]
    except OSError:
        return []


def ended_children() -> list[tuple[int, int]]:
    """Reap what has ended: pid and exit code, which is negative for a signal."""
    ended = []
    with suppress(ChildProcessError):
        while (waited := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append((waited[0], os.waitstatus_to_exitcode(waited[1])))
    return ended


def kill_all_children() -> None:
    """Kill and reap until there are none: who dies may leave us children in turn."""
    while pids := children():
        for pid in pids:
            send_signal(os.kill, pid, signal.SIGKILL)
        os.waitpid(-1, 0)


def send_signal(send: Callable[[int, int], None], target: int, number: int) -> None:
    """Call `os.kill` or `os.killpg` on a target that may be gone."""
    with suppress(ProcessLookupError, PermissionError):  # gone already; or (macOS) a group of zombies
        send(target, number)


def prctl(option: int, value: int) -> None:
    """Set one of the options above for this process (Linux; nothing elsewhere)."""
    if sys.platform == "linux":
        _libc().prctl(option, value, 0, 0, 0)


@cache
def _libc() -> ctypes.CDLL:
    # Kept, since opening it costs a millisecond, and every job calls it after its fork.
    return ctypes.CDLL(None)
