"""Pods: scheduled or not, pulled or not, then run as local processes, and stopped when they are deleted.

What a node may do to a pod beside that is asked for by tests: `evict`, `run_out_of_memory`, `lose`.
"""

import asyncio
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.emulators.containers import Container, Lives
from tests.emulators.kubernetes.expansion import argv, environment
from tests.emulators.kubernetes.reading import Output
from tests.emulators.kubernetes.states import set_condition, set_state, terminated, warning
from tests.emulators.kubernetes.store import Object, Store, now

NODE: Final = "node-1"
TERMINATION: Final = "/dev/termination-log"
_LEGAL_IMAGE: Final = re.compile(r"[a-z0-9./_:@-]+")
_NOT_FOUND: Final = 128
_OUT_OF_MEMORY: Final = 137
_LONGEST_MESSAGE: Final = 4096
_FALLBACK_LINES, _FALLBACK_SIZE = 80, 2048


@dataclass(eq=False)
class Pod:
    """A pod on the node."""

    object: Object
    outputs: dict[str, Output] = field(default_factory=dict)
    containers: dict[str, Container] = field(default_factory=dict)
    deleted: asyncio.Event = field(default_factory=asyncio.Event)
    ended: "asyncio.Future[str]" = field(default_factory=asyncio.Future)
    """The phase in which it ended; cancelled if it was deleted before it ended."""
    removed: asyncio.Event = field(default_factory=asyncio.Event)
    ending: str | None = None
    """Why the node ends it: the reason its containers are given."""
    lost: bool = False
    code: "asyncio.Future[int]" = field(default_factory=asyncio.Future)
    """With which a hollow pod ends."""


class Kubelet:
    """The only node."""

    def __init__(self, store: Store, directory: Path, inherited: Mapping[str, str], *, hollow: bool = False) -> None:
        self.pods: dict[str, Pod] = {}
        """By uid, as long as their objects are there."""
        self.full = False
        """No pod is scheduled."""
        self.unmounted: str | None = None
        """Why no volume can be mounted: pods stay as they are, and only an event says so. Empty: nothing says it."""
        self._store, self._directory, self._inherited, self._hollow = store, directory, inherited, hollow
        self._lives = Lives("kubelet")

    def admit(self, found: Object) -> Pod:
        """Take a pod that was created."""
        pod = self.pods[found["metadata"]["uid"]] = Pod(found)
        self._lives.begin(self._live(pod))
        return pod

    def terminate(self, pod: Pod, grace: float | None = None) -> None:
        """Let a deleted pod end; without any grace at once, whatever its node does."""
        meta, spec = pod.object["metadata"], pod.object["spec"]
        seconds = spec.get("terminationGracePeriodSeconds", 30) if grace is None else grace
        if "deletionTimestamp" not in meta:
            meta |= {"deletionTimestamp": now(), "deletionGracePeriodSeconds": seconds}
            self._store.write("pods", pod.object)
            self._lives.begin(self._stop(pod, seconds))
        if seconds == 0 and pod.lost:
            self._remove(pod)
        pod.deleted.set()

    def by_name(self, namespace: str, name: str) -> Pod | None:
        """Return a pod."""
        found = self._store.get("pods", namespace, name)
        return self.pods.get(found["metadata"]["uid"]) if found else None

    async def close(self) -> None:
        """Stop everything."""
        await self._lives.close()

    # --- what tests ask a node to do ----------------------------------------------------------------

    def evict(self, pod: Pod) -> None:
        """End a pod because the node is short of something."""
        told = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 60Mi."
        set_condition(pod.object, "DisruptionTarget", reason="TerminationByKubelet", message=told)
        pod.object["status"] |= {"reason": "Evicted", "message": told}
        self._kill(pod, "Error")

    def run_out_of_memory(self, pod: Pod) -> None:
        """Kill a pod as the kernel does when its limit is reached."""
        self._kill(pod, "OOMKilled")

    def lose(self, pod: Pod) -> None:
        """Lose the node: the pod is told to go, and nobody can say that it has."""
        pod.lost = True
        told = "Taint manager: deleting due to NoExecute taint"
        set_condition(pod.object, "DisruptionTarget", reason="DeletionByTaintManager", message=told)
        self.terminate(pod)

    def _kill(self, pod: Pod, reason: str) -> None:
        pod.ending = reason
        for container in pod.containers.values():
            container.kill()

    # --- the life of a pod --------------------------------------------------------------------------

    async def _live(self, pod: Pod) -> None:
        problem = self._unschedulable(pod.object)
        pod.object["status"] |= {"phase": "Pending"}
        if problem:
            set_condition(pod.object, "PodScheduled", status="False", reason="Unschedulable", message=problem)
        else:
            pod.object["spec"]["nodeName"] = NODE
            pod.object["status"]["startTime"] = now()
            set_condition(pod.object, "PodScheduled")
            problem = self._unpulled(pod.object)
        if problem or self._waits_for_volumes(pod.object):
            self._store.write("pods", pod.object)
            await pod.deleted.wait()
            self._remove(pod)
            return
        codes = await self._run(pod)
        self._end(pod, "Failed" if any(codes) else "Succeeded")
        if pod.deleted.is_set() and not pod.lost:
            self._remove(pod)

    async def _run(self, pod: Pod) -> list[int]:
        spec, sidecars = pod.object["spec"], []
        for container in spec.get("initContainers") or ():
            if container.get("restartPolicy") == "Always":
                sidecars.append(asyncio.create_task(self._contain(pod, container, init=True)))
            elif code := await self._contain(pod, container, init=True):
                return [code]
        set_condition(pod.object, "Initialized")
        codes = await asyncio.gather(*(self._contain(pod, container) for container in spec["containers"]))
        for container in pod.containers.values():
            container.signal(signal.SIGTERM)
        await asyncio.gather(*sidecars)
        return codes

    async def _contain(self, pod: Pod, container: Object, *, init: bool = False) -> int:
        """Run one container; return its exit code."""
        output = pod.outputs[container["name"]] = Output()
        words = self._directory / f"{pod.object['metadata']['uid']}.{container['name']}"
        started = now()
        try:
            code = await self._process(pod, container, words, init=init)
        except OSError as error:
            code, state = _NOT_FOUND, terminated(_NOT_FOUND, "StartError", _unstartable(container, error))
        else:
            code = _OUT_OF_MEMORY if pod.ending else code
            reason = pod.ending or ("Error" if code else "Completed")
            state = terminated(code, reason, _last_words(container, words, output, code), started)
        output.end()
        set_state(pod.object, container, state, init=init)
        self._store.write("pods", pod.object)
        return code

    async def _process(self, pod: Pod, container: Object, words: Path, *, init: bool) -> int:
        if self._hollow:
            self._running(pod, container, init=init)
            return await pod.code
        mount = container.get("terminationMessagePath") or TERMINATION
        variables = environment(container, {**self._inherited, "HOSTNAME": pod.object["metadata"]["name"]})
        here = {name: str(words) if value == mount else value for name, value in variables.items()}
        output = pod.outputs[container["name"]]
        directory = Path(container.get("workingDir") or self._directory)
        process = await self._lives.start(argv(container, variables), here, directory, output.add)
        pod.containers[container["name"]] = process
        if pod.deleted.is_set():
            process.signal(signal.SIGTERM)
        self._running(pod, container, init=init)
        return await process.end()

    def _running(self, pod: Pod, container: Object, *, init: bool) -> None:
        if not init:
            pod.object["status"]["phase"] = "Running"
            set_condition(pod.object, "Ready")
        set_state(pod.object, container, {"running": {"startedAt": now()}}, init=init)
        self._store.write("pods", pod.object)

    def _end(self, pod: Pod, phase: str) -> None:
        if pod.lost:
            return
        pod.object["status"]["phase"] = phase
        set_condition(
            pod.object, "Ready", status="False", reason="PodCompleted" if phase == "Succeeded" else "PodFailed"
        )
        self._store.write("pods", pod.object)
        if not pod.ended.done():
            pod.ended.set_result(phase)

    async def _stop(self, pod: Pod, grace: float) -> None:
        if pod.lost:
            return
        for container in pod.containers.values():
            container.signal(signal.SIGTERM)
        if self._hollow and not pod.code.done():
            pod.code.set_result(143)
        if pod.ended.done():
            self._remove(pod)
            return
        await asyncio.sleep(grace)
        for container in pod.containers.values():
            container.kill()

    def _remove(self, pod: Pod) -> None:
        if not pod.ended.done():
            pod.ended.cancel()
        self.pods.pop(pod.object["metadata"]["uid"], None)
        self._store.remove("pods", pod.object)
        pod.removed.set()

    # --- what a pod asks for ------------------------------------------------------------------------

    def _unschedulable(self, pod: Object) -> str | None:
        head = "0/1 nodes are available: 1"
        if self.full:
            return f"{head} Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found."
        if pod["spec"].get("nodeSelector"):
            return f"{head} node(s) didn't match Pod's node affinity/selector."
        return None

    def _waits_for_volumes(self, pod: Object) -> bool:
        if self.unmounted is None:
            return False
        for container in pod["spec"]["containers"]:
            set_state(pod, container, {"waiting": {"reason": "ContainerCreating"}})
        if self.unmounted:
            self._store.create("events", warning("Pod", pod, "FailedMount", self.unmounted))
        return True

    def _unpulled(self, pod: Object) -> str | None:
        """Say that an image can't be had: those that are called `missing` don't exist."""
        for container in pod["spec"]["containers"]:
            image = container["image"]
            reason, told = "", ""
            if not _LEGAL_IMAGE.fullmatch(image):
                reason, told = "InvalidImageName", f'Failed to apply default image tag "{image}": couldn\'t parse image'
            elif "missing" in image:
                reason, told = "ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: not found'
            if reason:
                set_state(pod, container, {"waiting": {"reason": reason, "message": told}})
                return told
        return None


def _unstartable(container: Object, error: OSError) -> str:
    program = [*(container.get("command") or ()), *(container.get("args") or ())][:1]
    return (
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create "
        f'failed: unable to start container process: exec: "{"".join(program)}": {error.strerror}: unknown'
    )


def _last_words(container: Object, words: Path, output: Output, code: int) -> str:
    text = words.read_text(errors="replace")[:_LONGEST_MESSAGE] if words.exists() else ""
    words.unlink(missing_ok=True)
    if not text and code and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
        return output.last(_FALLBACK_LINES, _FALLBACK_SIZE)
    return text
