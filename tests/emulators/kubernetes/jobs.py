"""The Job controller, and the garbage collector: a task for each Job, from its creation to its removal.

Conditions come in the real order: what will be (`SuccessCriteriaMet`, `FailureTarget`), and once the pods have ended
what is (`Complete`, `Failed`). Times that are minutes in a cluster are moments here.
"""

import asyncio
from contextlib import suppress
from copy import deepcopy
from secrets import choice
from time import time
from typing import Final

from tests.emulators.containers import Lives
from tests.emulators.kubernetes.kubelet import Kubelet, Pod
from tests.emulators.kubernetes.states import set_condition, warning
from tests.emulators.kubernetes.store import Object, Store, now

FOREGROUND: Final = "foregroundDeletion"
_TRACKING: Final = "batch.kubernetes.io/job-tracking"
_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
_BACK_OFF: Final = 1.0
_LOOK: Final = 0.05
_ENDS: Final = {"FailureTarget": "Failed", "SuccessCriteriaMet": "Complete"}


class Jobs:
    """All Jobs of the cluster."""

    def __init__(self, store: Store, kubelet: Kubelet) -> None:
        self.slow_delete = 0.0
        """Seconds before a deleted Job's pods are told to go."""
        self.refused: str | None = None
        """Why no pod may be created at the moment: a quota, say."""
        self.ended: dict[str, float] = {}
        """When each Job ended, by name."""
        self.history: list[Object] = []
        """Every Job that ever was, as it was created."""
        self._store, self._kubelet = store, kubelet
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._work = Lives("Job controller")

    def create(self, job: Object) -> Object:
        """Take a Job that passed the checks."""
        found = self._store.create("jobs", _defaulted(job))
        found["spec"]["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": _uid(found)}}
        self.history.append(deepcopy(found))
        self._lives[_uid(found)] = self._work.begin(self._live(found))
        return found

    def delete(self, job: Object, policy: str) -> None:
        """Delete a Job: at once, or when its pods are gone."""
        if "deletionTimestamp" in job["metadata"]:
            return
        if policy == "Foreground":
            job["metadata"] |= {"deletionTimestamp": now(), "deletionGracePeriodSeconds": 0, "finalizers": [FOREGROUND]}
            self._store.write("jobs", job)
        else:
            self._store.remove("jobs", job)
        self._lives.pop(_uid(job)).cancel()
        if policy != "Orphan":
            self._work.begin(self._collect(job))

    def pods(self, job: Object) -> list[Pod]:
        """Return a Job's pods."""
        return [pod for pod in self._kubelet.pods.values() if _owner(pod.object) == _uid(job)]

    async def close(self) -> None:
        """Stop."""
        await self._work.close()

    # --- the controller -----------------------------------------------------------------------------

    async def _live(self, job: Object) -> None:
        spec = job["spec"]
        if spec["suspend"]:
            set_condition(job, "Suspended", reason="JobSuspended", message="Job suspended")
            self._store.write("jobs", job)
            return
        job["status"] |= {"startTime": now()}
        try:
            async with asyncio.timeout(spec.get("activeDeadlineSeconds")):
                reached, reason, message = await self._try(job)
        except TimeoutError:
            reached, reason = "FailureTarget", "DeadlineExceeded"
            message = "Job was active longer than specified deadline"
        await self._finish(job, reached, reason, message)
        if (ttl := spec.get("ttlSecondsAfterFinished")) is not None:
            await asyncio.sleep(ttl)
            self._work.begin(self._expire(job))

    async def _try(self, job: Object) -> tuple[str, str, str]:
        """Run one pod after another, until one succeeds or too many failed."""
        status = job["status"]
        for failed in range(job["spec"]["backoffLimit"] + 1):
            await asyncio.sleep(_BACK_OFF if failed else 0)
            await self._allowed(job)
            pod = self._create_pod(job)
            status |= {"active": 1, "ready": 0, "uncountedTerminatedPods": {}}
            self._store.write("jobs", job)
            phase = await self._ended(pod)
            del status["active"]
            self._count(job, pod, phase)
            if phase == "Succeeded":
                return "SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods"
        return "FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit"

    async def _allowed(self, job: Object) -> None:
        """Wait until pods may be created, and say in an event that they may not."""
        if self.refused:
            self._store.create("events", warning("Job", job, "FailedCreate", f"Error creating: {self.refused}"))
        while self.refused:  # noqa: ASYNC110 - tests set it
            await asyncio.sleep(_LOOK)

    async def _ended(self, pod: Pod) -> str:
        try:
            return await asyncio.shield(pod.ended)
        except asyncio.CancelledError:
            if pod.ended.cancelled():
                return "Failed"  # it was deleted before it ended
            raise

    def _count(self, job: Object, pod: Pod, phase: str) -> None:
        """Note first that a pod has ended, then count it: the real controller lets its finalizer go in between."""
        name = phase.lower()
        job["status"]["uncountedTerminatedPods"] = {name: [_uid(pod.object)]}
        self._store.write("jobs", job)
        if _TRACKING in pod.object["metadata"].get("finalizers", ()):
            del pod.object["metadata"]["finalizers"]
            if not pod.removed.is_set():
                self._store.write("pods", pod.object)
        job["status"] |= {"uncountedTerminatedPods": {}, name: job["status"].get(name, 0) + 1}

    async def _finish(self, job: Object, reached: str, reason: str, message: str) -> None:
        set_condition(job, reached, reason=reason, message=message)
        self._store.write("jobs", job)
        for pod in self.pods(job):
            if not pod.ended.done():
                self._kubelet.terminate(pod)
                await pod.removed.wait()
        job["status"] |= {"active": 0} if job["status"].pop("active", 0) else {}
        set_condition(job, _ENDS[reached], reason=reason, message=message)
        if reached == "SuccessCriteriaMet":
            job["status"]["completionTime"] = now()
        self.ended[job["metadata"]["name"]] = time()
        self._store.write("jobs", job)

    def _create_pod(self, job: Object) -> Pod:
        template, meta = job["spec"]["template"], job["metadata"]
        labels = {
            **((template.get("metadata") or {}).get("labels") or {}),
            "batch.kubernetes.io/controller-uid": meta["uid"],
            "batch.kubernetes.io/job-name": meta["name"],
            "controller-uid": meta["uid"],
            "job-name": meta["name"],
        }
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
        metadata = {
            "name": f"{meta['name'][:57]}-{''.join(choice(_LETTERS) for _ in range(5))}",
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": (template.get("metadata") or {}).get("annotations") or {},
            "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}],
            "finalizers": [_TRACKING],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": deepcopy(template["spec"])}
        return self._kubelet.admit(self._store.create("pods", pod | {"status": {"phase": "Pending"}}))

    # --- the garbage collector ----------------------------------------------------------------------

    async def _collect(self, job: Object) -> None:
        await asyncio.sleep(self.slow_delete)
        pods = self.pods(job)
        for pod in pods:
            self._kubelet.terminate(pod)
        for pod in pods:
            await pod.removed.wait()
        self._store.remove("jobs", job)

    async def _expire(self, job: Object) -> None:
        self.delete(job, "Foreground")


def _uid(found: Object) -> str:
    uid: str = found["metadata"]["uid"]
    return uid


def _owner(pod: Object) -> str | None:
    for owner in pod["metadata"].get("ownerReferences") or ():
        uid: str = owner["uid"]
        return uid
    return None


def _defaulted(job: Object) -> Object:
    found = deepcopy(job)
    defaults = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False}
    found["spec"] = defaults | {name: value for name, value in found["spec"].items() if value is not None}
    pod = found["spec"]["template"]["spec"]
    pod.setdefault("terminationGracePeriodSeconds", 30)
    for container in pod["containers"]:
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
    found["status"] = {}
    with suppress(KeyError):
        del found["metadata"]["uid"]
    return found
