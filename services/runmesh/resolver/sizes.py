"""Whether what a plan will publish fits into the server's payload limit: what doesn't would be owed for ever."""

from typing import Final

from runmesh.errors import Invalid, Problem
from runmesh.resolver.owed import execute
from runmesh.resolver.plan import Plan
from runmesh.subjects import CALLBACK

_ROOM: Final = 8192
"""Bytes for the headers of a command."""
_LONGEST_RUN: Final = "x" * 64
_LONGEST_KNOWN: Final = {"block": "x" * 200, "index": "0" * 1000, "callback": "cancelled", "error": "\x01" * 1001}


def check_commands(plan: Plan, limit: int) -> None:
    """Raise `Invalid` for a task whose execute event would exceed `limit` bytes, whatever the run is called."""
    plan = plan.model_copy(update={"run": _LONGEST_RUN})
    whose = {block: (block, "its command") for block in plan.tasks}
    whose |= {f"{CALLBACK}{block}": (block, "the command of its callbacks") for block in plan.callbacks}
    for name, (block, what) in whose.items():
        size = len(execute(plan, name, 1, 0, _LONGEST_KNOWN).to_json())
        if size > limit - _ROOM:
            message = f"{what} takes {size:,} bytes with configuration and labels; a message takes {limit:,}"
            raise Invalid(Problem(f"block {block}", message, "store what is large, and pass a reference"))
