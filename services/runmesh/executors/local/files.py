"""What only the kernel can do to files."""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, Final

_KEEP_SIZE: Final = 1
_PUNCH_HOLE: Final = 2


def punch(descriptor: int, offset: int, length: int) -> None:
    """Free the disk space of a part of an open file, which then reads as zeros; its size stays.

    Nothing happens where the system (any but Linux) or the file system can't.
    """
    if fallocate := _fallocate():
        fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, offset, length)


@cache
def _fallocate() -> Callable[..., Any] | None:
    try:
        function = ctypes.CDLL(None).fallocate
    except (AttributeError, OSError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return function
