"""The combinations of cpu and memory that Fargate has, and the neighbours of those that it hasn't (pure)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

_GB: Final = 1024
SIZES: Final[Mapping[int, Sequence[int]]] = {
    256: (512, 1 * _GB, 2 * _GB),
    512: range(1 * _GB, 4 * _GB + 1, _GB),
    1024: range(2 * _GB, 8 * _GB + 1, _GB),
    2048: range(4 * _GB, 16 * _GB + 1, _GB),
    4096: range(8 * _GB, 30 * _GB + 1, _GB),
    8192: range(16 * _GB, 60 * _GB + 1, 4 * _GB),
    16384: range(32 * _GB, 120 * _GB + 1, 8 * _GB),
}
"""The memory (MiB) that goes with each number of CPU units (1024 are one vCPU)."""


def wrong_cpu(cpu: int) -> tuple[str, str] | None:
    """Say what is wrong with a number of CPU units, and what there is instead; None: nothing."""
    if cpu in SIZES:
        return None
    return "is no number of CPU units that Fargate has", _choice(_around(cpu, SIZES))


def wrong_memory(cpu: int, memory: int) -> tuple[str, str] | None:
    """Say what is wrong with the memory beside a cpu that Fargate has, and what there is instead; None: nothing."""
    if memory in SIZES[cpu]:
        return None
    fitting = [f"{memory} with cpu {_choice(_around(cpu, found))}"] if (found := _with(memory)) else []
    hint = "; ".join([f"with cpu {cpu}: memory {_choice(_around(memory, SIZES[cpu]))}", *fitting])
    return f"is no memory that Fargate has with cpu {cpu}", hint


def _with(memory: int) -> list[int]:
    return [cpu for cpu, sizes in SIZES.items() if memory in sizes]


def _around(value: int, valid: Iterable[int]) -> list[int]:
    """Return the next smaller and the next larger of what is valid."""
    known = sorted(valid)
    return [*[each for each in known if each < value][-1:], *[each for each in known if each >= value][:1]]


def _choice(values: Iterable[int]) -> str:
    return " or ".join(map(str, values))
