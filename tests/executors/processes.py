"""Looking at processes, behind an executor's back."""

import os
from pathlib import Path

from runmesh.executor import Handle


def pid_of(handle: Handle) -> int:
    return int(handle.split(":")[2])


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie, which only waits to be reaped, does not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state not in "ZX"


def pids_in(directory: Path, count: int) -> list[int]:
    """Return the pids that `count` processes wrote into files there, each named *.pid."""
    texts = [path.read_text().strip() for path in sorted(directory.glob("*.pid"))]
    assert len(texts) == count
    assert all(texts)
    return [int(text) for text in texts]


def children_of(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
