"""Names of our jobs on Cloud Run: their ids, labels and annotations, handles, and pages for people.

A job's id follows from the task's key, that of its only execution from the job's: Cloud Run appends the token that the
job was created with. Cloud Run takes fewer than 63 characters of job and token together, and labels of 63 lower-case
letters, digits, ``-`` and ``_``; annotations hold the unabridged values.

A handle is the job's whole name, behind a ``?`` the file of the credentials where it is not the worker's own.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import parse_qsl, quote, urlencode

from runmesh.executor import Handle, Task
from runmesh.executors.google.config import Config
from runmesh.platforms.identity import block_name, digest, identity, of_task, plain

_OURS: Final = "runmesh-"
MESH: Final = f"{_OURS}mesh"
POOL: Final = f"{_OURS}pool"
KEY: Final = f"{_OURS}key"
_NOTES: Final = "runmesh.dev/"
UNABRIDGED: Final = f"{_NOTES}key"
TOKEN: Final = "run"  # noqa: S105 - as the API calls it
"""What Cloud Run appends to a job's id for the id of its execution."""
MOST: Final = 62
"""Characters of a job's id and the token together."""
_PREFIX: Final = "data-prep"
"""As Mage names its jobs: ``mage-data-prep-block-…``."""
_LONGEST: Final = 63
_DIGEST: Final = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where jobs are, and by whose credentials they are reached: the worker's own if there is no file."""

    project: str
    region: str
    credentials: str | None = None

    @property
    def parent(self) -> str:
        """The place as the API names it."""
        return f"projects/{self.project}/locations/{self.region}"

    @classmethod
    def of(cls, handle: Handle) -> Self:
        """Return where a handle's job is."""
        name, _, query = handle.partition("?")
        _, project, _, region, *_ = name.split("/")
        return cls(project, region, dict(parse_qsl(query)).get("credentials"))

    def handle_of(self, job: str) -> Handle:
        """Return the handle of a job's id."""
        name = f"{self.parent}/jobs/{job}"
        return Handle(f"{name}?{urlencode({'credentials': self.credentials})}" if self.credentials else name)


def job_id(task: Task[Config], mesh: str) -> str:
    """Return the job's id, ``{mesh}-data-prep-block-{key}``, its readable part cut where it is too long."""
    key = task.key if re.fullmatch(r"[a-z0-9]{1,30}", task.key) else digest(task.key, 20)
    readable = plain(f"{mesh}-{_PREFIX}")
    readable = readable if readable[:1].isalpha() else f"m-{readable}"
    return block_name(readable, task, key, MOST - len(TOKEN))


def job_of(handle: Handle) -> str:
    """Return the job's whole name."""
    return handle.partition("?")[0]


def job_id_of(handle: Handle) -> str:
    """Return the job's id."""
    return job_of(handle).rpartition("/")[2]


def execution_of(handle: Handle) -> str:
    """Return the whole name of a job's execution."""
    return f"{job_of(handle)}/executions/{execution_id(handle)}"


def execution_id(handle: Handle) -> str:
    """Return the id of a job's execution."""
    return f"{job_id_of(handle)}-{TOKEN}"


def labels(task: Task[Config], *, mesh: str, pool: str) -> dict[str, str]:
    """Return the labels by which a task's job is known."""
    ours = identity(task, _OURS, mesh=mesh, pool=pool)
    return {**task.config.labels, **{name: label_value(value) for name, value in ours.items()}}


def annotations(task: Task[Config]) -> dict[str, str]:
    """Return what the labels say, unabridged, and the labels of the run's request."""
    own = {f"labels.runmesh.dev/{_annotation(name)}": value for name, value in task.labels.items() if name}
    return own | of_task(task, _NOTES)


def is_of(found: Mapping[str, str], task: Task[Config], *, mesh: str, pool: str) -> bool:
    """Whether labels are those of this task's job."""
    ours = labels(task, mesh=mesh, pool=pool)
    return all(found.get(name) == ours[name] for name in (MESH, POOL, KEY))


def is_ours(found: Mapping[str, str], *, mesh: str, pool: str) -> bool:
    """Whether labels are those of a job of this mesh's pool."""
    return found.get(MESH) == label_value(mesh) and found.get(POOL) == label_value(pool)


def label_value(text: str) -> str:
    """Return a legal value of a label that differs where the text differs."""
    legal = re.sub(r"[^a-z0-9_-]", "-", text.lower())
    if legal == text and len(text) <= _LONGEST:
        return text
    return f"{legal[: _LONGEST - _DIGEST - 1]}-{digest(text, _DIGEST)}"


def url(handle: Handle) -> str:
    """Return the execution's page in the console."""
    place = Place.of(handle)
    page = f"https://console.cloud.google.com/run/jobs/executions/details/{place.region}/{execution_id(handle)}/tasks"
    return f"{page}?project={quote(place.project)}"


def groups(handles: Iterable[Handle]) -> dict[Place, list[Handle]]:
    """Group handles by what one list holds."""
    found: dict[Place, list[Handle]] = {}
    for handle in handles:
        found.setdefault(Place.of(handle), []).append(handle)
    return found


def _annotation(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:_LONGEST].strip("-_.") or "x"
