"""Which cpu and memory Azure Container Instances takes, and the neighbours of what it doesn't (pure).

In what steps they are counted is the same everywhere. How much there is depends on the region, which says it itself
(its capabilities).
"""

from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Final

CPU_STEP: Final = Decimal("0.01")
MEMORY_STEP: Final = Decimal("0.1")

Wrong = tuple[str, str]
"""What is wrong, and what there is instead."""


def wrong_step(value: float, step: Decimal) -> Wrong | None:
    """Say what is wrong with an amount that should be a multiple of a step; None: nothing."""
    given = max(Decimal(str(value)), Decimal(0))
    if given and given % step == 0:
        return None
    steps = ((given / step).quantize(Decimal(1), rounding) for rounding in (ROUND_FLOOR, ROUND_CEILING))
    nearest = sorted({max(step, number * step) for number in steps})
    return f"should be a multiple of {step}, more than 0", " or ".join(f"{each.normalize():f}" for each in nearest)


def wrong_size(
    capabilities: Iterable[Mapping[str, Any]], os_type: str, cpu: float, memory: float, gpu: Mapping[str, Any] | None
) -> str | None:
    """Say what a region doesn't offer, and the nearest that it does; None: nothing, or the region doesn't say.

    `capabilities` are the region's own words, one for each kind of system and GPU.
    """
    of_system = [each for each in capabilities if str(each.get("osType")).lower() in (os_type.lower(), "notapplicable")]
    if not of_system:
        return None
    sku = str(gpu["sku"] if gpu else "None")
    found = [each["capabilities"] for each in of_system if str(each.get("gpu") or "None").lower() == sku.lower()]
    if not found:
        others = sorted({str(each["gpu"]) for each in of_system if each.get("gpu") not in (None, "None")})
        return f"there is no GPU {sku} for {os_type}, but {', '.join(others) or 'none'}"
    asked = {
        "maxCpu": ("cpu", cpu),
        "maxMemoryInGB": ("memory", memory),
        "maxGpuCount": ("gpu", gpu["count"] if gpu else 0),
    }
    wrong = [
        f"{name} {value:g} is more than the {most:g} that there is"
        for limit, (name, value) in asked.items()
        if value > (most := max(float(each.get(limit) or 0) for each in found)) and (most or limit == "maxGpuCount")
    ]
    return ", ".join(wrong) or None
