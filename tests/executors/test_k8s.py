"""`k8s` against a cluster: the emulator, or a real one.

With RUNMESH_TEST_KUBECONFIG (and RUNMESH_TEST_IMAGE, an image with Python, for the Jobs) the same cases run against
that cluster, in a namespace that is made for each and removed. What needs a fault to be injected is in
`test_k8s_faults.py`, for the emulator only.
"""

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from runmesh.executor import Handle, SeesChanges, Site, StreamsLogs, Task, load
from runmesh.executors.k8s import Config, Executor
from tests.executors.clusters import Cluster, a_cluster
from tests.executors.conformance import ExecutorConformance, Platform
from tests.executors.tasks import task_of

REAL = bool(os.environ.get("RUNMESH_TEST_KUBECONFIG"))


SHOWN: dict[str, Any] = {
    "resource_limits": {"cpu": 2, "memory": "4Gi"},
    "resource_requests": {"cpu": "500m", "memory": 1e9},
    "env_from": [{"secret_ref": {"name": "warehouse", "optional": True}}],
    "labels": {"team_name": "data", "tier": 1},
    "annotations": {"karpenter.sh/do-not-disrupt": True},
    "image_pull_secrets": "registry",
    "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule", "toleration_seconds": None}],
    "affinity": {
        "pod_anti_affinity": {
            "preferred_during_scheduling_ignored_during_execution": [
                {"weight": 1, "label_selector": {"match_labels": {"team_name": "data"}}, "topology_key": "zone"}
            ]
        }
    },
    "topology_spread_constraints": [
        {
            "max_skew": 1,
            "topology_key": "zone",
            "when_unsatisfiable": "ScheduleAnyway",
            "label_selector": {"match_labels": {"team_name": "data"}},
        }
    ],
    "host_aliases": [{"ip": "10.0.0.1", "hostnames": ["warehouse"]}],
    "security_context": {"fs_group": 1000, "allow_privilege_escalation": False},
    "init_containers": [{"name": "wait", "image": "busybox", "command": ["true"]}],
    "sidecars": [{"name": "proxy", "image": "proxy", "resources": {"limits": {"cpu": 0.5}}}],
    "volumes": [
        {
            "name": "scratch",
            "ephemeral": {
                "volume_claim_template": {
                    "spec": {"access_modes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
                }
            },
        },
        {"name": "cache", "empty_dir": {"size_limit": "1Gi"}},
        {"name": "unused", "host_path": {"path": "/"}},
    ],
    "volume_mounts": [{"name": "scratch", "mount_path": "/scratch"}, {"name": "cache", "mount_path": "/cache"}],
    "active_deadline_seconds": 600,
    "backoff_limit": 1,
    "ttl_seconds_after_finished": 600,
    "pod_failure_policy": {
        "rules": [
            {"action": "Ignore", "on_pod_conditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "on_exit_codes": {"operator": "In", "values": [2]}},
        ]
    },
    "metadata": {"labels": {"cost_center": "42"}},
    "queue_name": "batch",
    "url": "https://dash/{namespace}/{name}",
}
"""Something of everything; a queue keeps it from ever running."""


class Kubernetes(Platform):
    """How the tests reach the Jobs of a cluster."""

    within: ClassVar[float] = 90.0 if REAL else 45.0
    burst: ClassVar[int] = 20 if REAL else 50
    separates_streams: ClassVar[bool] = False
    refuses_missing_command: ClassVar[bool] = False
    keeps_stopped: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    async def _cluster(self, tmp_path: Path) -> AsyncIterator[None]:
        async with a_cluster(tmp_path) as self.cluster:
            self.directory = tmp_path / "site"
            yield

    cluster: Cluster

    def connect(self, **environment: str) -> Executor:
        there = {**self.cluster.environment, **environment}
        return Executor(Site("mesh", "default", "worker-1", there, self.directory))

    def task(self, key: str, *command: str, **environment: str) -> Task[Config]:
        return task_of(self.config(), *command, key=key, environment=environment)

    def config(self, **more: Any) -> Config:
        return Config(**{"image": self.cluster.image, "grace_period": 1, **more})


class TestConformance(Kubernetes, ExecutorConformance):
    async def is_alive(self, handle: Handle) -> bool:
        return await self.cluster.is_alive(handle)

    async def leftovers(self) -> list[str]:
        return await self.cluster.leftovers()


class TestJobs(Kubernetes):
    """What only Jobs do."""

    def test_it_has_its_powers(self) -> None:
        executor = self.connect()
        assert isinstance(executor, StreamsLogs)
        assert isinstance(executor, SeesChanges)
        assert load("k8s") == (Executor, Config)

    async def test_a_job_may_have_something_of_everything(self, executor: Executor) -> None:
        task = self.task("shown", "true")
        await executor.submit(replace(task, config=self.config(**SHOWN)))

    async def test_a_variable_in_a_command_is_left_to_the_command(self, executor: Executor) -> None:
        words = ["$(CITY)", "$$(CITY)", "$$", "cost $5", "$(NOBODY)"]
        program = 'import os, sys; print("|".join([*sys.argv[1:], os.environ["CITY"]]))'
        task = self.task("dollars", "python3", "-c", program, *words, CITY="$(HOME) $$")
        [line] = await self.output(executor, await executor.submit(task))
        assert line.text.split("|") == [*words, "$(HOME) $$"]
