"""A Kubernetes cluster of one node that runs commands as local processes: an API server for the real client.

    python -m tests.emulators.k8s SOCKET [--namespace NAME] [--hollow]

As a process (serving.py) it writes SOCKET.kubeconfig, by which clients find it. With ``--hollow`` no process is started
for any container: a pod ends when it is told to.

What it is faithful to, and its limits: `tests/emulators/kubernetes/`. Volumes, images and networks are not there; a
command runs on this machine, with this machine's files.
"""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from tests.emulators.containers import BARE
from tests.emulators.hosting import hosted
from tests.emulators.kubernetes.api import Api
from tests.emulators.kubernetes.jobs import Jobs
from tests.emulators.kubernetes.kubelet import Kubelet, Pod
from tests.emulators.kubernetes.store import Store
from tests.emulators.port import Port
from tests.emulators.serving import Answer, Request, inherited, serve


class Cluster:
    """The API server, whose port may come and go, and what is behind it."""

    def __init__(self, directory: Path, inherited: Mapping[str, str], *, hollow: bool = False) -> None:
        self.store = Store()
        self.kubelet = Kubelet(self.store, directory, {**BARE, **inherited}, hollow=hollow)
        self.jobs = Jobs(self.store, self.kubelet)
        self.api = Api(self.store, self.jobs, self.kubelet)
        self.port = Port(self.api.application, handler_cancellation=True)

    async def listen(self) -> None:
        """Begin to answer."""
        await self.port.listen()

    async def deafen(self) -> None:
        """Stop answering, as if the API server was killed; the node goes on."""
        self.api.reading.drop()
        await self.port.deafen()

    async def close(self) -> None:
        """End everything that runs."""
        await self.deafen()
        await self.jobs.close()
        await self.kubelet.close()

    def kubeconfig(self, namespace: str = "default", token: str = "secret") -> dict[str, Any]:  # noqa: S107 - of nothing
        """Return the file by which clients find it."""
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "emulated",
            "contexts": [{"name": "emulated", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
            "clusters": [{"name": "c", "cluster": {"server": self.port.url}}],
            "users": [{"name": "u", "user": {"token": token}}],
        }


def cluster(
    inherited: Mapping[str, str] | None = None, *, hollow: bool = False
) -> AbstractAsyncContextManager[Cluster]:
    """Run a cluster in this process for the length of the block; no container outlives it."""
    return hosted(partial(Cluster, inherited=inherited or {}, hollow=hollow))


# --- as a process of its own ------------------------------------------------------------------------


async def _asked(found: Cluster, request: Request) -> Answer:
    match request["do"]:
        case "history":
            return {"history": [_told(job) for job in found.jobs.history]}
        case "jobs":
            there = [job["metadata"] for job in found.store.all("jobs")]
            return {"jobs": [[meta["name"], f"{meta['namespace']}/{meta['name']}"] for meta in there]}
        case "calls":
            return {"calls": [[*call, count] for call, count in found.api.calls.items()]}
        case "ended":
            return {"ended": found.jobs.ended}
        case "end":
            return {"count": _end(found, request["count"])}
        case "running":
            return {"count": sum(_runs(pod) for pod in found.kubelet.pods.values())}
    raise ValueError(f"unknown: {request}")


def _told(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return which submission a Job was created for: its key tells attempts and resubmissions apart."""
    notes = job["metadata"]["annotations"]
    said = {name: notes[f"runmesh.dev/{name}"] for name in ("run", "block", "key")}
    return {"name": said["key"], "attempt": 0, "resubmission": said["key"], **said}


def _runs(pod: Pod) -> bool:
    return pod.object["status"].get("phase") == "Running" and not pod.code.done()


def _end(found: Cluster, count: int) -> int:
    """Let so many hollow pods succeed, if so many run."""
    ending = [*islice(filter(_runs, found.kubelet.pods.values()), count)]
    for pod in ending:
        pod.code.set_result(0)
    return len(ending)


async def main(socket: Path, namespaces: Sequence[str], *, hollow: bool) -> None:
    """Serve until told to stop."""
    kubeconfig = socket.with_name(f"{socket.name}.kubeconfig")
    async with cluster(inherited(), hollow=hollow) as found:
        found.api.namespaces |= set(namespaces)
        kubeconfig.write_text(yaml.safe_dump(found.kubeconfig()))
        there = {"KUBECONFIG": str(kubeconfig), "RUNMESH_K8S_QPS": "1000"}
        await serve(socket, partial(_asked, found), there)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("socket", type=Path)
    parser.add_argument("--hollow", action="store_true")
    parser.add_argument("--namespace", action="append", default=[])
    given = parser.parse_args()
    asyncio.run(main(given.socket, given.namespace, hollow=given.hollow))
