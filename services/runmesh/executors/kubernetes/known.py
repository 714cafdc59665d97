"""What is known of a worker's Jobs and their pods, as the watch told it last.

Objects are kept as short JSON texts, of only what is read again: thousands of Jobs cost a few kilobytes each. What was
made of them is kept until they change.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic_core import from_json, to_json

from runmesh.clock import clock
from runmesh.events import Handle
from runmesh.executor import Observation

Json = dict[str, Any]
JOBS: Final = "jobs"
PODS: Final = "pods"
_OF_METADATA: Final = (
    *("name", "namespace", "uid", "resourceVersion", "creationTimestamp"),
    *("deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences"),
)
_OF_SPEC: Final = ("suspend", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "nodeName")
_OURS: Final = "RUNMESH_"
_KEY: Final = "RUNMESH_KEY"
JOB_UID: Final = "batch.kubernetes.io/controller-uid"
_JOB_NAME: Final = "batch.kubernetes.io/job-name"
"""Labels that the Job controller gives every pod."""
_MOST_GONE: Final = 10_000


def handle_of(job: Mapping[str, Any]) -> Handle:
    """Return the whole address of a Job in its cluster."""
    meta = job["metadata"]
    return Handle(f"{meta['namespace']}/{meta['name']}/{meta['uid']}")


def owner_of(pod: Mapping[str, Any]) -> Handle | None:
    """Return the handle of the Job that a pod belongs to, or belonged to before somebody deleted that alone."""
    meta = pod["metadata"]
    for owner in meta.get("ownerReferences") or ():
        if owner.get("kind") == "Job" and owner.get("controller"):
            return Handle(f"{meta['namespace']}/{owner['name']}/{owner['uid']}")
    labels = meta.get("labels") or {}
    if {_JOB_NAME, JOB_UID} <= labels.keys():
        return Handle(f"{meta['namespace']}/{labels[_JOB_NAME]}/{labels[JOB_UID]}")
    return None


def main_of(spec: Mapping[str, Any]) -> str:
    """Return the name of the container that runs the task: others may stand before it, a cluster puts them in."""
    containers = spec["containers"]
    ours = (each for each in containers if any(env["name"] == _KEY for env in each.get("env") or ()))
    name: str = next(ours, containers[0])["name"]
    return name


@dataclass(slots=True)
class Asked:
    """What was asked about a Job, because the watch doesn't tell it."""

    about: str | None = None
    """The uid of the Job or of its pod, whichever doesn't go on: of anything else these warnings say nothing."""
    warnings: Sequence[Json] = ()
    pause: float = 0.0
    again: float = 0.0
    """When to ask for warnings the next time (by `clock`)."""
    tails: int = 0
    """How often its last lines could not be had."""


@dataclass(slots=True)
class Entry:
    """One Job, and its pods by name."""

    _job: bytes | None = None
    _pods: dict[str, bytes] = field(default_factory=dict)
    existed: bool = False
    """Whether its Job was told of: pods alone say nothing of it, the two are watched apart."""
    fresh: float | None = None
    """When we read or created it ourselves (by `clock`), until a list or a watch tells of it."""
    seen: Observation | None = None
    """What was made of it, until it changes."""
    asked: Asked = field(default_factory=Asked)
    """What was asked for beside the watch."""
    change: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def job(self) -> Json | None:
        """The Job; None if it is deleted."""
        return from_json(self._job) if self._job else None

    @property
    def pods(self) -> list[Json]:
        """Its pods, the oldest first."""
        found = [from_json(pod) for pod in self._pods.values()]
        return sorted(found, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]))

    @property
    def empty(self) -> bool:
        """Whether the cluster has nothing of it any more."""
        return self._job is None and not self._pods

    @property
    def behind(self) -> bool:
        """Whether its Job counts more pods that ended than have been told of: the two are watched apart."""
        status = (self.job or {}).get("status") or {}
        counted = sum(status.get(name) or 0 for name in ("succeeded", "failed"))
        return counted > sum(pod["status"].get("phase") in ("Succeeded", "Failed") for pod in self.pods)

    def put(self, kind: str, name: str, found: Json | None) -> bool:
        """Take what an object is now; None: it is no more. Return whether that is news."""
        text = to_json(short(found)) if found else None
        if kind == JOBS:
            old, self._job, self.fresh = self._job, text, None
            self.existed = True
        else:
            old = self._pods.pop(name, None)
            if text:
                self._pods[name] = text
        return old != text

    def names(self, kind: str, job: str, before: float) -> Iterable[str]:
        """Return the names of what there is of a kind, and was there before a moment."""
        if kind == PODS:
            return list(self._pods)
        return [job] if self._job and (self.fresh is None or self.fresh < before) else []


class Known:
    """All Jobs of a worker's pool, by handle."""

    def __init__(self, changed: Callable[[Handle], None]) -> None:
        self._entries: dict[Handle, Entry] = {}
        self._synced: set[tuple[str, str]] = set()
        self._gone: dict[Handle, None] = {}
        self._sync = asyncio.Event()
        self._changed = changed

    def __iter__(self) -> Iterator[tuple[Handle, Entry]]:
        return iter(list(self._entries.items()))

    def get(self, handle: Handle) -> Entry | None:
        """Return what is known of a Job."""
        return self._entries.get(handle)

    def synced(self, namespace: str) -> bool:
        """Whether all Jobs and pods of a namespace were told at least once."""
        return {(namespace, JOBS), (namespace, PODS)} <= self._synced

    def is_gone(self, handle: Handle) -> bool:
        """Whether the cluster told not long ago that a Job is no more: its uid never comes again."""
        return handle in self._gone

    def note_gone(self, handle: Handle) -> None:
        """Take that a Job is no more."""
        self._gone[handle] = None
        if len(self._gone) > _MOST_GONE:
            del self._gone[next(iter(self._gone))]

    def created(self, job: Json) -> Handle:
        """Take a Job that we have just created or read ourselves, unless more is known already."""
        handle = handle_of(job)
        if self.is_gone(handle):
            return handle
        entry = self._entries.setdefault(handle, Entry())
        if entry.job is None:
            self._put(handle, JOBS, job["metadata"]["name"], job)
            entry.fresh = clock()
        return handle

    def tell(self, kind: str, found: Json, *, deleted: bool = False) -> None:
        """Take what a watch tells of one object."""
        handle = handle_of(found) if kind == JOBS else owner_of(found)
        if handle:
            self._put(handle, kind, found["metadata"]["name"], None if deleted else found)

    def replace(self, kind: str, namespace: str, found: Iterable[Json], asked: float) -> None:
        """Take all there is of a kind in a namespace: what isn't listed is no more, unless it came after we asked."""
        left = {
            (handle, name)
            for handle, entry in self._entries.items()
            if handle.startswith(f"{namespace}/")
            for name in entry.names(kind, handle.split("/")[1], asked)
        }
        for each in found:
            handle = handle_of(each) if kind == JOBS else owner_of(each)
            if handle:
                left.discard((handle, each["metadata"]["name"]))
                self._put(handle, kind, each["metadata"]["name"], each)
        for handle, name in left:
            self._put(handle, kind, name, None)
        self._synced.add((namespace, kind))
        sync, self._sync = self._sync, asyncio.Event()
        sync.set()

    def hint(self, handle: Handle) -> None:
        """Say that there is more to tell of a Job than before."""
        self._changed(handle)

    async def told(self, handle: Handle) -> None:
        """Wait until a Job is known, or known not to be there."""
        while handle not in self._entries and not self.synced(handle.split("/")[0]):
            await self._sync.wait()

    async def change(self, handle: Handle) -> None:
        """Wait until something else is known of a Job; at once if nothing is."""
        if entry := self._entries.get(handle):
            await entry.change.wait()

    def _put(self, handle: Handle, kind: str, name: str, found: Json | None) -> None:
        entry = self._entries.get(handle)
        if kind == JOBS and found:
            self._gone.pop(handle, None)  # its labels were others for a while
        if entry is None:
            if found is None or self.is_gone(handle):
                return
            entry = self._entries[handle] = Entry()
        if not entry.put(kind, name, found):
            return
        entry.seen = None
        changed, entry.change = entry.change, asyncio.Event()
        if entry.empty:
            del self._entries[handle]
            if entry.existed:
                self.note_gone(handle)
        changed.set()
        self._changed(handle)


def is_over(job: Mapping[str, Any]) -> bool:
    """Whether a Job has ended: its condition says so, whatever its counters say."""
    conditions = job["status"].get("conditions") or ()
    return any(each["type"] in ("Complete", "Failed") and each["status"] == "True" for each in conditions)


def short(found: Mapping[str, Any]) -> Json:
    """Return an object without what nobody here reads. It may be short already."""
    meta, spec = found["metadata"], found.get("spec") or {}
    kept = {name: spec[name] for name in _OF_SPEC if name in spec} | _containers(spec)
    if template := spec.get("template"):
        policy = {name: template["spec"][name] for name in ("restartPolicy",) if name in template["spec"]}
        kept["template"] = {"spec": policy | _containers(template["spec"])}
    return {
        "metadata": {name: meta[name] for name in _OF_METADATA if name in meta},
        "spec": kept,
        "status": found.get("status") or {},
    }


def _containers(pod: Mapping[str, Any]) -> Json:
    """Return the containers of a pod: their names and limits, the program that each runs, and our variables' names."""
    kept: Json = {}
    for which in ("containers", "initContainers"):
        if which in pod:
            kept[which] = [_container(container) for container in pod[which] or ()]
    return kept


def _container(container: Mapping[str, Any]) -> Json:
    ours = [{"name": each["name"]} for each in container.get("env") or () if each["name"].startswith(_OURS)]
    limits = (container.get("resources") or {}).get("limits")
    return {
        "name": container["name"],
        "command": (container.get("command") or ())[:1],
        "env": ours,
        "resources": {"limits": limits} if limits else {},
        **({"restartPolicy": container["restartPolicy"]} if "restartPolicy" in container else {}),
    }
