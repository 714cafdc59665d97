"""What a client asks for: checked as the resolver will check it, before it is sent."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from pydantic_core import to_json

from runmesh import cloudevents, subjects
from runmesh.errors import Invalid, Problem
from runmesh.events import Command

C = TypeVar("C", bound=Command)


class Sent(NamedTuple):
    """A request of ours, as it was stored."""

    project: str
    sequence: int
    body: bytes


def command(model: type[C], fields: Mapping[str, object]) -> C:
    """Build a command, through JSON as the resolver will read it, so that what is wrong is said in its words."""
    present = {name: value for name, value in fields.items() if value is not None}
    return cloudevents.decode(model, {}, to_json(present))


def names(blocks: Iterable[str] | None) -> tuple[str, ...] | None:
    """Return the names of blocks as a request holds them; None for all."""
    return tuple(blocks) or None if blocks is not None else None


def check_run_id(run: str) -> None:
    """Raise `Invalid` unless this can be a run's id."""
    if not subjects.RUN_ID.fullmatch(run):
        raise Invalid(Problem("run", f"{run!r} is no run id", "letters, digits, '-' and '_', at most 64"))
