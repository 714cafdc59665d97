"""The logger of block functions: lines on standard output, which is the task's log."""

import logging
import sys
from collections.abc import MutableMapping
from functools import cache
from typing import Any, Final

_OF_LOGGING: Final = {"exc_info", "stack_info", "stacklevel", "extra"}


class _Tagged(logging.LoggerAdapter[logging.Logger]):
    """Accepts any keyword as a tag, as the logger of Mage does, and shows it after the message."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        tags = {name: value for name, value in kwargs.items() if name not in _OF_LOGGING}
        shown = "".join(f" {name}={value}" for name, value in tags.items()).replace("%", "%%")
        return f"{msg}{shown}", {name: value for name, value in kwargs.items() if name in _OF_LOGGING}


@cache
def logger() -> logging.LoggerAdapter[logging.Logger]:
    """Return the one logger of this process; it writes from INFO on."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    named = logging.getLogger("runmesh.block")
    named.addHandler(handler)
    named.setLevel(logging.INFO)
    named.propagate = False
    return _Tagged(named)
