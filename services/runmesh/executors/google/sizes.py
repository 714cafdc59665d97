"""Which CPUs and how much memory Cloud Run has for a job, and the nearest to what it hasn't (pure)."""

import re
from collections.abc import Mapping
from typing import Final

GI: Final = 1024
SIZES: Final[Mapping[int, tuple[int, int]]] = {
    1: (512, 4 * GI),
    2: (512, 8 * GI),
    4: (2 * GI, 16 * GI),
    6: (4 * GI, 24 * GI),
    8: (4 * GI, 32 * GI),
}
"""The least and the most MiB that go with so many CPUs."""
GPU_CPUS: Final = (4, 8)
GPU_MEMORY: Final = 16 * GI
"""The least that goes with a GPU, as far as the documentation says."""
DEFAULT_CPU: Final = 1
DEFAULT_MEMORY: Final = 512
_BYTES: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_QUANTITY: Final = r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kMGT]|[KMG]i|)B?\s*"

Wrong = tuple[str, str]
"""What is wrong, and what to write instead."""


def mebibytes(text: str) -> float:
    """Return the MiB of a quantity such as ``2Gi``. Raises ValueError."""
    found = re.fullmatch(_QUANTITY, text)
    if found is None or not found[2]:
        raise ValueError("should be a quantity with its unit, such as 512Mi or 2Gi")
    return float(found[1]) * _BYTES[found[2]] / 2**20


def cpus(text: str) -> int:
    """Return the CPUs of a quantity such as ``2`` or ``2000m``. Raises ValueError."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)(m?)\s*", text)
    count = float(found[1]) / (1000 if found[2] else 1) if found else 0.5
    if not count.is_integer():
        raise ValueError("should be a whole number of CPUs")
    return int(count)


def wrong_cpu(cpu: int) -> Wrong | None:
    """Say what is wrong with so many CPUs."""
    if cpu in SIZES:
        return None
    below, above = [each for each in SIZES if each < cpu], [each for each in SIZES if each > cpu]
    return f"Cloud Run has no {cpu} CPUs", " or ".join(map(str, (*below[-1:], *above[:1])))


def wrong_memory(cpu: int, memory: float) -> Wrong | None:
    """Say what is wrong with so many MiB for so many CPUs (of those there are)."""
    least, most = SIZES[cpu]
    if least <= memory <= most:
        return None
    nearest = f"with cpu {cpu}: memory {_shown(least if memory < least else most)}"
    others = [each for each, (low, high) in SIZES.items() if low <= memory <= high]
    other = f"; {_shown(memory)} with cpu {min(others, key=lambda each: abs(each - cpu))}" if others else ""
    return f"Cloud Run has no memory of {_shown(memory)} with cpu {cpu}", nearest + other


def wrong_with_gpu(cpu: int, memory: float) -> Wrong | None:
    """Say what is wrong with CPUs and memory beside a GPU."""
    if cpu in GPU_CPUS and memory >= GPU_MEMORY:
        return None
    return (
        "a GPU needs more beside it",
        f"cpu {' or '.join(map(str, GPU_CPUS))}, and memory {_shown(GPU_MEMORY)} at least",
    )


def wrong_size(cpu: int, memory: float, *, gpu: bool) -> Wrong | None:
    """Say what is wrong with all of it."""
    return wrong_cpu(cpu) or wrong_memory(cpu, memory) or (wrong_with_gpu(cpu, memory) if gpu else None)


def _shown(memory: float) -> str:
    return f"{memory / GI:g}Gi" if memory >= GI else f"{memory:g}Mi"
