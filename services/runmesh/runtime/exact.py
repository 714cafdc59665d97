"""What JSON gives back exactly as it was."""

from typing import Any


def is_json(value: Any) -> bool:
    """Say whether JSON gives this very value back: exact types only, texts as keys, finite numbers."""
    kind = type(value)
    if kind is list:
        return all(map(is_json, value))
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(is_json, value.values()))
    return kind in {str, int, bool, float, type(None)}
