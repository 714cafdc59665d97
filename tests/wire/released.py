"""What was recorded of each release."""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json, to_json

from runmesh.cloudevents import decode
from runmesh.events import RunFact, TaskFact
from runmesh.folding import fold
from tests.wire.messages import Spoken

RELEASES: Final = Path(__file__).parents[1] / "fixtures" / "wire"
VERSIONS: Final = sorted(path.name for path in RELEASES.iterdir() if path.is_dir())


@cache
def recorded(version: str, name: str) -> Any:
    """Return a file of a release."""
    return json.loads((RELEASES / version / f"{name}.json").read_text(encoding="utf-8"))


def view_of(run: str, facts: Iterable[Spoken]) -> Any:
    """Return what a client makes of a run's facts."""
    return from_json(to_json(fold(run, map(_fact, facts))))


def _fact(message: Spoken) -> RunFact | TaskFact:
    if message.subject.startswith("mesh.run."):
        return decode(RunFact, message.headers, message.data)
    return decode(TaskFact, message.headers, message.data)
