"""A worker that runs in a pod: it finds the API server by the pod's variables, and is its service account."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from yarl import URL

from runmesh.errors import Invalid
from runmesh.executors.kubernetes.access import Access
from runmesh.executors.kubernetes.client import Client
from runmesh.executors.kubernetes.refusals import Refused
from runmesh.executors.kubernetes.watch import path
from tests.emulators.certificates import certify
from tests.emulators.k8s import Cluster, cluster
from tests.emulators.port import Port

TOKEN = "first"  # noqa: S105 - of nothing
RENEWED = "renewed"
JOBS = path("jobs", "batch")


@pytest.fixture
async def emulated() -> AsyncIterator[Cluster]:
    async with cluster() as found:
        found.api.namespaces.add("batch")
        found.api.tokens = {TOKEN}
        yield found


@pytest.fixture
async def access(emulated: Cluster, tmp_path: Path) -> AsyncIterator[Access]:
    """Have an API server with a certificate, and what a pod is given to reach it."""
    port = Port(emulated.api.application, certify(tmp_path / "ca.crt"), handler_cancellation=True)
    await port.listen()
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "namespace").write_text("batch\n")
    where = URL(port.url)
    environment = {"KUBERNETES_SERVICE_HOST": str(where.host), "KUBERNETES_SERVICE_PORT": str(where.port)}
    yield replace(Access.of(environment), account=tmp_path)
    await port.deafen()


async def test_a_pod_is_its_service_account(access: Access) -> None:
    async with Client.open(access, rate=100) as client:
        assert client.namespace == "batch"
        assert (await client.get(JOBS))["items"] == []


async def test_a_token_that_was_renewed_is_read_again(access: Access, emulated: Cluster) -> None:
    async with Client.open(access, rate=100) as client:
        await client.get(JOBS)
        emulated.api.tokens = {RENEWED}
        with pytest.raises(Refused, match="Unauthorized"):
            await client.get(JOBS)
        (access.account / "token").write_text(RENEWED)
        assert (await client.get(JOBS))["items"] == []
        async with client.stream(JOBS, {}) as answer:
            assert answer.status == 200


async def test_a_server_that_another_authority_has_signed_is_not_trusted(access: Access, tmp_path: Path) -> None:
    certify(tmp_path / "other.crt")
    (access.account / "ca.crt").write_bytes((tmp_path / "other.crt").read_bytes())
    async with Client.open(access, rate=100) as client:
        with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.create(JOBS, {})


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
async def test_a_service_account_that_is_not_mounted_is_told(access: Access, missing: str) -> None:
    (access.account / missing).unlink()
    with pytest.raises(Invalid, match="service account"):
        async with Client.open(access, rate=100):
            pass
