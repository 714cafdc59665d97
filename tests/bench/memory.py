"""What processes hold in memory, as Linux counts it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from runmesh.embedded import Server

_EVERY: Final = 0.2


def resident(pid: int) -> float:
    """Return a process's resident memory in MiB; 0 if it is no more."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


def pid_of(server: Server) -> int:
    """Return the process id of an embedded server: it is in the name of its ports file."""
    (file,) = server.store.glob("*_*.ports")
    return int(file.stem.rpartition("_")[2])


@asynccontextmanager
async def peaks(processes: Mapping[str, int]) -> AsyncIterator[dict[str, float]]:
    """Note the most that each process (by pid) held during the block, in MiB."""
    most = {name: resident(pid) for name, pid in processes.items()}

    async def look() -> None:
        while True:
            for name, pid in processes.items():
                most[name] = max(most[name], resident(pid))
            await asyncio.sleep(_EVERY)

    looking = asyncio.create_task(look())
    try:
        yield most
    finally:
        looking.cancel()
