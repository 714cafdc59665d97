"""A worker, as whoever looks on sees it: what its last beat says."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from runmesh import subjects


class WorkerView(BaseModel):
    """One worker process, as its last beat describes it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    executor_type: str
    pool: str
    worker: str
    state: str = "working"
    host: str | None = None
    version: str | None = None
    slots: int | None = None
    held: int | None = None
    since: datetime | None = None
    at: datetime


def worker_view(key: str, beat: bytes, at: datetime) -> WorkerView:
    """Read an entry of the `workers` bucket; of a beat that says something else we still know that it is alive."""
    known = {**subjects.worker_address(key)._asdict(), "at": at}
    try:
        return WorkerView.model_validate({**from_json(beat), **known})
    except (ValidationError, ValueError, TypeError):
        return WorkerView.model_validate(known)
