"""What every process of a mesh, and every stream, takes: sampled over time, and whether it grows without end."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from runmesh import subjects
from runmesh.bus import Bus
from tests.bench.memory import resident
from tests.chaos.audit import KINDS

STREAMS: Final = (
    subjects.REQUESTS,
    *map(subjects.execute_stream, KINDS),
    subjects.FACTS,
    subjects.LOGS,
    subjects.DEAD,
    *(f"KV_{bucket}" for bucket in (subjects.RUNS, subjects.CLAIMS, subjects.WORKERS)),
)
_MIB: Final = 2**20
_SLACK: Final = {"MiB": 10.0, "open files": 16.0}
"""How much more something may take at the end, whatever it took before."""
_SHARE: Final = 0.15
_PARTS: Final = 4


class Series(NamedTuple):
    """One thing that was measured again and again."""

    name: str
    unit: str
    values: Sequence[float]

    @property
    def before(self) -> float:
        """What it took once all had warmed up: the median of the first part of the values."""
        return median(self.values[: max(1, len(self.values) // _PARTS)])

    @property
    def after(self) -> float:
        """What it took in the end: the median of the last part of the values."""
        return median(self.values[-max(1, len(self.values) // _PARTS) :])

    @property
    def grows(self) -> bool:
        """Whether the end is clearly more than the beginning."""
        return self.after > self.before * (1 + _SHARE) + _SLACK[self.unit]


class Usage:
    """Samples, by what was measured."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], list[float]] = defaultdict(list)

    def process(self, name: str, pid: int) -> None:
        """Measure a process, if it is there: a killed one may not have come back yet."""
        if memory := resident(pid):
            self._values[name, "MiB"].append(memory)
            with suppress(OSError):
                self._values[name, "open files"].append(len(list(Path(f"/proc/{pid}/fd").iterdir())))

    async def streams(self, bus: Bus) -> None:
        """Measure every stream."""
        for stream in STREAMS:
            info = await bus.stream_info(stream)
            self._values[f"{stream}, stored", "MiB"].append(info.bytes / _MIB)

    def series(self, warm_up: float = 0.0) -> list[Series]:
        """Return all, without the first part (a share of the values) of each."""
        return [
            Series(name, unit, values[int(len(values) * warm_up) :]) for (name, unit), values in self._values.items()
        ]


def children(pid: int) -> list[int]:
    """Return the processes that a process has started itself."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, path.read_text().split())
    return found
