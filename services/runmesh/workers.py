"""A worker, as whoever looks on sees it: where it works, and what its last beat says."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from runmesh import subjects
from runmesh.claims import Beat


class WorkerView(BaseModel):
    """One worker process that is alive."""

    model_config = ConfigDict(frozen=True)

    executor_type: str
    pool: str
    worker: str
    at: datetime
    """When it last beat."""
    beat: Beat | None
    """What it said; None if it is of a version that says it in another way."""


def worker_view(key: str, beat: bytes, at: datetime) -> WorkerView:
    """Read an entry of the `workers` bucket."""
    return WorkerView(**subjects.worker_address(key)._asdict(), at=at, beat=_read(beat))


def _read(stored: bytes) -> Beat | None:
    try:
        return Beat.decode(stored)
    except ValueError:
        return None
