"""Numbers and Kubernetes quantities as exact fractions, so that ``500m``, ``0.5`` and ``1Gi`` can be compared.

The grammar is that of Kubernetes: a decimal number, then nothing, a power of 1000 (n u m k M G T P E), a power of 1024
(Ki Mi Gi Ti Pi Ei) or an exponent.
"""

import re
from fractions import Fraction
from math import isfinite
from typing import Final

_DECIMAL: Final = {suffix: Fraction(1000) ** power for power, suffix in enumerate(("n", "u", "m", "", *"kMGTPE"), -3)}
_BINARY: Final = {f"{suffix}i": Fraction(1024) ** power for power, suffix in enumerate("KMGTPE", 1)}
_FACTORS: Final = _DECIMAL | _BINARY
# Longer ones name no amount of anything, and take long to compute with.
_QUANTITY: Final = re.compile(
    r"([+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30}))(?:[eE]([+-]?[0-9]{1,2})|([a-zA-Z]*))"
)


def quantity(value: object) -> Fraction | None:
    """Return the amount that a value stands for; None if it is neither a finite number nor a quantity."""
    match value:
        case bool():
            return None
        case int():
            return Fraction(value)
        case float():
            return Fraction(repr(value)) if isfinite(value) else None
        case str():
            return _parsed(value)
    return None


def _parsed(text: str) -> Fraction | None:
    found = _QUANTITY.fullmatch(text)
    if found is None or (found[3] or "") not in _FACTORS:
        return None
    return Fraction(found[1]) * (Fraction(10) ** int(found[2]) if found[2] else _FACTORS[found[3] or ""])
