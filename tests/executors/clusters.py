"""The cluster of a test: the emulator in this process, or a namespace of a real one."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import yaml

from runmesh.executor import Handle
from runmesh.executors.kubernetes.access import Access
from runmesh.executors.kubernetes.client import Client
from tests.emulators.k8s import Cluster as Emulated
from tests.emulators.k8s import cluster as emulated_cluster
from tests.eventually import eventually

REAL = os.environ.get("RUNMESH_TEST_KUBECONFIG")


@dataclass
class Cluster:
    """A namespace, and how a worker comes there; `emulated` is what can be made to fail."""

    environment: dict[str, str]
    namespace: str
    image: str
    client: Client
    emulated: Emulated | None = None

    async def pods(self) -> list[dict[str, Any]]:
        """Return all pods there are."""
        found: list[dict[str, Any]] = (await self.client.get(f"/api/v1/namespaces/{self.namespace}/pods"))["items"]
        return found

    async def is_alive(self, handle: Handle) -> bool:
        """Whether a Job's process runs: the emulator looks at the process itself."""
        uid = handle.split("/")[2]
        pods = [pod for pod in await self.pods() if pod["metadata"]["ownerReferences"][0]["uid"] == uid]
        if self.emulated is None:
            return any(pod["status"]["phase"] == "Running" for pod in pods)
        running = [self.emulated.kubelet.pods[pod["metadata"]["uid"]].containers for pod in pods]
        return any(container.running for containers in running for container in containers.values())

    async def leftovers(self) -> list[str]:
        """Return the names of all Jobs and pods."""
        jobs = (await self.client.get(f"/apis/batch/v1/namespaces/{self.namespace}/jobs"))["items"]
        return [found["metadata"]["name"] for found in [*jobs, *await self.pods()]]


@asynccontextmanager
async def a_cluster(directory: Path) -> AsyncIterator[Cluster]:
    """Have a cluster for the length of the block."""
    if REAL:
        async with _real(REAL) as found:
            yield found
        return
    async with emulated_cluster() as emulated:
        environment = environment_of(directory, emulated)
        async with Client.open(Access.of(environment), rate=1000) as client:
            yield Cluster(environment, "default", "python:3", client, emulated)


def environment_of(directory: Path, emulated: Emulated, **more: Any) -> dict[str, str]:
    """Write the file by which workers find an emulator; return what they are told."""
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(emulated.kubeconfig(**more)))
    return {"KUBECONFIG": str(kubeconfig), "RUNMESH_K8S_QPS": "1000"}


@asynccontextmanager
async def _real(kubeconfig: str) -> AsyncIterator[Cluster]:
    namespace = f"runmesh-test-{token_hex(4)}"
    environment = {"KUBECONFIG": kubeconfig, "KUBE_NAMESPACE": namespace}
    async with Client.open(Access.of(environment), rate=50) as client:
        path = f"/api/v1/namespaces/{namespace}"
        document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await client.create("/api/v1/namespaces", document)
        try:
            # Pods are refused until their service account is there.
            await eventually(lambda: client.get(f"{path}/serviceaccounts/default"), within=30)
            yield Cluster(environment, namespace, os.environ.get("RUNMESH_TEST_IMAGE", "python:3-slim"), client)
        finally:
            await client.delete(path, {"kind": "DeleteOptions", "apiVersion": "v1"})
