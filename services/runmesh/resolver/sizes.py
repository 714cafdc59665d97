"""Whether what a plan will publish fits into the server's payload limit: what doesn't would be owed for ever."""

from typing import Final

from runmesh.errors import Invalid, Problem
from runmesh.resolver.owed import execute
from runmesh.resolver.plan import Plan

_ROOM: Final = 8192
"""Bytes for the headers of a command."""
_LONGEST_RUN: Final = "x" * 64
_LONGEST_KNOWN: Final = {"block": "x" * 200, "index": "0" * 1000}


def check_commands(plan: Plan, limit: int) -> None:
    """Raise `Invalid` for a task whose execute event would exceed `limit` bytes, whatever the run is called."""
    plan = plan.model_copy(update={"run": _LONGEST_RUN})
    for block in plan.tasks:
        size = len(execute(plan, block, 1, 0, _LONGEST_KNOWN).to_json())
        if size > limit - _ROOM:
            message = f"its command takes {size:,} bytes with configuration and labels; a message takes {limit:,}"
            raise Invalid(Problem(f"block {block}", message, "store what is large, and pass a reference"))
