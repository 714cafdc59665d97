"""The Role in deploy/k8s is what a worker needs: no less, and no more."""

from itertools import product
from pathlib import Path

import pytest
import yaml

from runmesh.executor import Phase
from tests.executors.test_k8s import REAL
from tests.executors.test_k8s_faults import Faulty

ROLE = Path(__file__).parents[2] / "deploy" / "k8s" / "role.yaml"
_POD = {"spec": {"containers": [{"name": "worker", "image": "runmesh"}]}}
GROUPS = {"batch": {"jobs"}, "": {"pods", "pods/log", "events"}}

pytestmark = pytest.mark.skipif(REAL, reason="a real cluster doesn't say which calls there were")


def allowed() -> set[tuple[str, str]]:
    """Return the verbs and resources of the Role."""
    documents = yaml.safe_load_all(ROLE.read_text())
    [role] = [document for document in documents if document["kind"] == "Role"]
    assert all(set(rule["resources"]) <= GROUPS[group] for rule in role["rules"] for group in rule["apiGroups"])
    return {pair for rule in role["rules"] for pair in product(rule["verbs"], rule["resources"])}


class TestRole(Faulty):
    async def test_a_workers_calls_are_those_that_its_role_allows(self) -> None:
        self.emulated.api.allowed = allowed()
        self.emulated.store.create("pods", {"metadata": {"name": "worker-0", "namespace": "default"}, **_POD})
        async with self.connect(HOSTNAME="worker-0", MAGE_CONTAINER_NAME="worker") as executor:
            self.emulated.jobs.refused = "exceeded quota"
            failing = self.shell("failing", "echo words; exit 1")
            handle = await executor.submit(failing)
            assert await executor.submit(failing) == handle
            await self.waits(executor, handle)
            self.emulated.jobs.refused = None
            assert [line.text for line in await self.output(executor, handle)] == ["words"]
            assert (await self.ended(executor, handle)).log_tail == ("words",)
            await executor.remove(handle)
            stopped = await executor.submit(self.sleeping("stopped"))
            assert (await self.observed(executor, stopped)).phase is not Phase.UNKNOWN
            await executor.cancel(stopped)
            await self.gone(executor, stopped)
        assert self.emulated.store.all("jobs") == []
        assert set(self.emulated.api.calls) == allowed()
