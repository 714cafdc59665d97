"""`k8s` when things go wrong, each on request: the API server, the watch, the node, somebody else. Emulator only."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.testing import capture_logs

from runmesh.errors import Invalid, Rejected, Unavailable
from runmesh.events import Cause
from runmesh.executor import ENDED, GONE, UNKNOWN, Handle, Observation, Phase, Position, Site
from runmesh.executors.k8s import Executor
from tests.emulators.faults import Fault
from tests.emulators.k8s import Cluster as Emulated
from tests.emulators.kubernetes.kubelet import Pod
from tests.emulators.kubernetes.status import Status
from tests.eventually import eventually
from tests.executors.clusters import environment_of
from tests.executors.test_k8s import REAL, Kubernetes

pytestmark = pytest.mark.skipif(REAL, reason="a real cluster is not made to fail")


class Faulty(Kubernetes):
    """A cluster whose inside the tests reach."""

    @property
    def emulated(self) -> Emulated:
        assert self.cluster.emulated
        return self.cluster.emulated

    def fault(self, verb: str, resource: str, *, code: int = 0, message: str = "injected", **how: Any) -> None:
        words = {name: how.pop(name) for name in ("reason", "retry_after") if name in how}
        refusal = Status(code, message, **words) if code else None
        self.emulated.api.faults.append(Fault(f"{verb} {resource}", refusal=refusal, **how))

    async def pod(self, handle: Handle) -> Pod:
        """Return a Job's pod once it runs."""

        def found() -> Pod | None:
            pods = [pod for pod in self.emulated.kubelet.pods.values() if _owner(pod) == handle.split("/")[2]]
            return next((pod for pod in pods if pod.object["status"].get("phase") == "Running"), None)

        return await eventually(found)

    async def waits(self, executor: Executor, handle: Handle) -> Observation:
        """Return what is said of a Job that doesn't start, once it is said why."""

        async def why() -> Observation | None:
            seen = await self.observed(executor, handle)
            assert seen.phase is Phase.PENDING
            return seen if seen.reason else None

        return await eventually(why)


def _owner(pod: Pod) -> str:
    uid: str = pod.object["metadata"]["ownerReferences"][0]["uid"]
    return uid


class TestSubmitting(Faulty):
    """What a refusal means, and what no answer means."""

    async def test_a_throttle_is_a_refusal_for_now(self, executor: Executor) -> None:
        self.fault("create", "jobs", code=429, retry_after=7)
        with pytest.raises(Unavailable) as refusal:
            await executor.submit(self.task("throttled", "true"))
        assert refusal.value.retry_after == 7
        assert await self.cluster.leftovers() == []

    async def test_a_full_quota_is_a_refusal_for_now(self, executor: Executor) -> None:
        self.emulated.api.quota = 0
        with pytest.raises(Unavailable, match="exceeded quota"):
            await executor.submit(self.task("many", "true"))

    async def test_a_server_that_is_not_there_is_a_refusal_for_now(self, executor: Executor) -> None:
        await self.emulated.deafen()
        with pytest.raises(Unavailable, match="not reached"):
            await executor.submit(self.task("nobody", "true"))

    async def test_an_answer_that_is_lost_is_no_answer_and_the_job_is_found(self, executor: Executor) -> None:
        self.fault("create", "jobs", lost=True)
        task = self.sleeping("lost")
        with pytest.raises(ConnectionError):
            await executor.submit(task)
        handle = await executor.find(task)
        assert handle is not None
        assert await executor.submit(task) == handle
        assert len(self.emulated.jobs.history) == 1

    async def test_an_error_of_the_server_is_no_answer(self, executor: Executor) -> None:
        self.fault("create", "jobs", code=500)
        with pytest.raises(Exception, match="injected") as error:
            await executor.submit(self.task("broken", "true"))
        assert not isinstance(error.value, Rejected | Unavailable)

    async def test_a_manifest_that_the_api_refuses_is_rejected_in_its_words(self, executor: Executor) -> None:
        wrong = self.config(patch=({"spec": {"template": {"spec": {"nonsense": 1}}}},))
        task = self.task("wrong", "true")
        with pytest.raises(Rejected, match=r'unknown field "spec.template.spec.nonsense"'):
            await executor.submit(_with(task, wrong))

    @pytest.mark.parametrize("namespace", ["nowhere", "secret"])
    async def test_a_namespace_that_is_not_there_or_forbidden_is_rejected(
        self, executor: Executor, namespace: str
    ) -> None:
        if namespace == "secret":
            self.fault("create", "jobs", code=403, message='jobs.batch is forbidden: in the namespace "secret"')
        with pytest.raises(Rejected, match=namespace):
            await executor.submit(_with(self.task("where", "true"), self.config(namespace=namespace)))

    async def test_a_job_of_somebody_else_is_not_adopted(self, executor: Executor) -> None:
        task = self.sleeping("taken")
        handle = await executor.submit(task)
        theirs = self.emulated.store.get("jobs", *handle.split("/")[:2])
        assert theirs
        theirs["metadata"]["labels"] = {"app": "theirs"}
        with pytest.raises(Rejected, match="not of this task"):
            await executor.submit(task)
        assert await executor.find(task) is None

    async def test_credentials_are_read_again_when_they_are_no_good_any_more(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        self.emulated.api.tokens = {"renewed"}
        environment_of(tmp_path, self.emulated, token="renewed")  # noqa: S106 - of nothing
        with pytest.raises(Unavailable, match="Unauthorized"):
            await executor.submit(self.sleeping("late"))
        assert await executor.submit(self.sleeping("late"))

    async def test_a_kubeconfig_that_is_just_being_written_ends_nothing(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        handle = await executor.submit(self.sleeping("goes on"))
        await self.running(executor, handle)
        self.emulated.api.tokens = {"renewed"}
        await asyncio.to_thread((tmp_path / "kubeconfig").write_text, "clusters: [")
        self.emulated.api.reading.drop()
        with pytest.raises(Unavailable, match="Unauthorized"):
            await executor.submit(self.sleeping("late"))
        environment_of(tmp_path, self.emulated, token="renewed")  # noqa: S106 - of nothing
        self.emulated.kubelet.run_out_of_memory(await self.pod(handle))
        assert (await self.ended(executor, handle)).cause is Cause.USER

    @pytest.mark.parametrize("missing", ["file", "context"])
    async def test_a_kubeconfig_or_context_that_is_missing_is_told(self, tmp_path: Path, missing: str) -> None:
        wrong = {"KUBECONFIG": str(tmp_path / "nothing")} if missing == "file" else {"RUNMESH_K8S_CONTEXT": "nothing"}
        with pytest.raises(Invalid, match="nothing"):
            async with self.connect(**wrong):
                pass


class TestWatching(Faulty):
    """Nothing is missed, whatever becomes of the watch."""

    async def test_an_end_is_told_without_being_asked(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("told", "sleep 0.2; exit 3"))
        async with asyncio.timeout(self.within):
            async for changed in executor.changes():
                assert changed == handle
                if (await self.observed(executor, handle)).phase is Phase.FAILED:
                    break

    async def test_the_watch_is_one_for_all_jobs(self, executor: Executor) -> None:
        for number in range(10):
            await executor.submit(self.sleeping(f"one{number}"))
        await eventually(lambda: self.emulated.api.reading.open == 2)
        calls = self.emulated.api.calls
        assert calls["watch", "jobs"] == calls["watch", "pods"] == 1
        assert calls["get", "jobs"] == 0

    async def test_the_watch_is_about_no_task_not_even_the_one_that_began_it(self, executor: Executor) -> None:
        self.emulated.api.namespaces.add("batch")
        self.fault("watch", "*", times=4, code=403)
        with capture_logs([merge_contextvars]) as lines:
            with bound_contextvars(run="first"):
                await executor.submit(_with(self.sleeping("first"), self.config(namespace="batch")))
            refused = await eventually(lambda: [line for line in lines if line.get("namespace") == "batch"])
        assert "run" not in refused[0]

    async def test_a_watch_that_is_cut_goes_on_where_it_was(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("cut"))
        await self.running(executor, handle)
        self.emulated.api.reading.drop()
        self.emulated.kubelet.run_out_of_memory(await self.pod(handle))
        assert (await self.ended(executor, handle)).cause is Cause.USER
        assert self.emulated.api.calls["list", "jobs"] == 1

    @pytest.mark.parametrize("by_status", [True, False])
    async def test_a_version_that_is_too_old_has_all_listed_again(self, executor: Executor, *, by_status: bool) -> None:
        kept, goes = [await executor.submit(self.sleeping(key)) for key in ("kept", "goes")]
        await self.running(executor, kept)
        reading = self.emulated.api.reading
        reading.gone_by_status = by_status
        self.fault("watch", "*", times=2, code=500)
        reading.drop()
        self._delete(goes)
        await eventually(lambda: self.emulated.store.get("jobs", *goes.split("/")[:2]) is None)
        self.emulated.store.compact()
        await self.gone(executor, goes)
        assert (await self.observed(executor, kept)).phase is Phase.RUNNING
        assert self.emulated.api.calls["list", "jobs"] == 2

    async def test_a_server_that_was_away_is_caught_up_with(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("away", "sleep 1; exit 5"))
        await self.running(executor, handle)
        await self.emulated.deafen()
        seen = await self.observed(executor, handle)
        assert (seen.phase, self.emulated.jobs.ended) == (Phase.RUNNING, {})
        await eventually(lambda: self.emulated.jobs.ended)
        await self.emulated.port.listen()
        end = await self.ended(executor, handle)
        assert (end.exit_code, end.cause) == (5, Cause.USER)

    async def test_before_the_first_list_nothing_is_known(self) -> None:
        async with self.connect() as executor:
            handle = await executor.submit(self.sleeping("there"))
        self.fault("list", "*", times=100, code=503)
        async with self.connect() as other:
            assert await self.observed(other, handle) == UNKNOWN
            self.emulated.api.faults.clear()
            await self.running(other, handle)

    async def test_a_list_of_many_pages_is_whole(self) -> None:
        async with self.connect() as executor:
            handle = await executor.submit(self.sleeping("many"))
            await self.running(executor, handle)
        [job] = self.emulated.jobs.history
        self.emulated.kubelet.full = True
        for number in range(1100):
            meta = {**job["metadata"], "name": f"another-{number:04}"}
            self.emulated.store.create("jobs", {**job, "metadata": meta, "status": {}})
        async with self.connect() as other:
            await self.running(other, handle)
            assert len([found async for found in other.jobs()]) == 1101
        assert self.emulated.api.calls["list", "jobs"] == 1 + 3

    def _delete(self, handle: Handle) -> None:
        job = self.emulated.store.get("jobs", *handle.split("/")[:2])
        assert job
        self.emulated.jobs.delete(job, "Background")


class TestEnds(Faulty):
    """What became of a Job, and why."""

    async def test_out_of_memory_is_the_users_with_the_limit_in_the_reason(self, executor: Executor) -> None:
        task = _with(self.sleeping("memory"), self.config(resource_limits={"memory": "64Mi"}))
        handle = await executor.submit(task)
        self.emulated.kubelet.run_out_of_memory(await self.pod(handle))
        end = await self.ended(executor, handle)
        assert (end.cause, end.exit_code) == (Cause.USER, 137)
        assert "OOMKilled" in str(end.reason)
        assert "64Mi" in str(end.reason)

    async def test_an_eviction_is_of_the_infrastructure(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("evicted"))
        self.emulated.kubelet.evict(await self.pod(handle))
        end = await self.ended(executor, handle)
        assert end.cause is Cause.INFRASTRUCTURE
        assert "low on resource" in str(end.reason)

    async def test_a_job_that_finds_no_node_waits_with_the_schedulers_words(self, executor: Executor) -> None:
        self.emulated.kubelet.full = True
        seen = await self.waits(executor, await executor.submit(self.sleeping("full")))
        assert seen.cause is Cause.CAPACITY
        assert "Insufficient cpu" in str(seen.reason)

    async def test_an_image_that_does_not_exist_waits_with_its_name(self, executor: Executor) -> None:
        task = _with(self.sleeping("image"), self.config(image="registry/missing:1"))
        seen = await self.waits(executor, await executor.submit(task))
        assert seen.cause is Cause.CONFIG
        assert "registry/missing:1" in str(seen.reason)

    async def test_a_job_that_may_have_no_pod_waits_with_the_controllers_words(self, executor: Executor) -> None:
        self.emulated.jobs.refused = "pods is forbidden: exceeded quota: few, requested: pods=1"
        seen = await self.waits(executor, await executor.submit(self.sleeping("podless")))
        assert seen.cause is Cause.CAPACITY
        assert "exceeded quota" in str(seen.reason)

    async def test_a_program_that_does_not_exist_is_named(self, executor: Executor) -> None:
        end = await self.ended(executor, await executor.submit(self.task("absent", "no-such-command-anywhere")))
        assert end.cause is Cause.CONFIG
        assert "no-such-command-anywhere" in str(end.reason)

    async def test_the_clusters_own_deadline_is_a_timeout(self, executor: Executor) -> None:
        task = _with(self.sleeping("deadline"), self.config(job={"active_deadline_seconds": 1}))
        assert (await self.ended(executor, await executor.submit(task))).cause is Cause.TIMEOUT

    async def test_a_job_that_somebody_deletes_is_gone(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("deleted"))
        pod = await self.pod(handle)
        job = self.emulated.store.get("jobs", *handle.split("/")[:2])
        assert job
        self.emulated.jobs.delete(job, "Background")
        await self.gone(executor, handle)
        assert pod.removed.is_set()

    async def test_a_pod_that_somebody_deletes_is_no_failure_of_the_user(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("podless"))
        self.emulated.kubelet.terminate(await self.pod(handle))
        assert (await self.ended(executor, handle)).cause is Cause.INFRASTRUCTURE

    async def test_a_retry_of_the_clusters_own_counts(self, executor: Executor) -> None:
        script = (
            f"[ -e {self.directory}.tried ] || {{ touch {self.directory}.tried; echo first; exit 1; }}; echo second"
        )
        task = _with(self.shell("again", script), self.config(backoff_limit=1))
        handle = await executor.submit(task)
        assert (await self.ended(executor, handle)).phase is Phase.SUCCEEDED
        lines = await self.output(executor, handle)
        assert [(line.number, line.text) for line in lines] == [(1, "first"), (2, "second")]

    async def test_an_end_without_its_last_lines_is_an_end(self, executor: Executor) -> None:
        self.fault("get", "pods/log", times=100, code=500)
        end = await self.ended(executor, await executor.submit(self.shell("mute", "echo last words; exit 4")))
        assert (end.exit_code, end.log_tail) == (4, ("last words",))


class TestLogs(Faulty):
    """Every line once, in order, whatever becomes of connections."""

    async def test_a_log_that_is_cut_again_and_again_is_whole(self, executor: Executor) -> None:
        script = "for i in $(seq 60); do echo $i; echo err $i >&2; sleep 0.03; done; printf last"
        handle = await executor.submit(self.shell("cut", script))
        reading = asyncio.create_task(self.output(executor, handle))
        while not reading.done():
            self.emulated.api.reading.drop()
            await asyncio.wait([reading], timeout=0.3)
        expected = [line for i in range(1, 61) for line in (str(i), f"err {i}")] + ["last"]
        assert [line.text for line in reading.result()] == expected
        assert [line.number for line in reading.result()] == list(range(1, 122))

    async def test_who_finds_no_room_to_follow_reads_at_the_end(self) -> None:
        async with self.connect(RUNMESH_K8S_LOG_FOLLOWERS="1") as executor:
            first = await executor.submit(self.shell("first", "echo first; sleep 300"))
            following: Any = executor.logs(first, since=Position())
            assert (await anext(following)).text == "first"
            second = await executor.submit(self.shell("second", "echo second"))
            assert [line.text for line in await self.output(executor, second)] == ["second"]
            await following.aclose()

    async def test_a_log_of_a_job_that_is_gone_ends(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("goes", "echo once; sleep 300"))
        reading = asyncio.create_task(self.output(executor, handle))
        await self.running(executor, handle)
        await executor.cancel(handle)
        async with asyncio.timeout(self.within):
            assert [line.text for line in await reading] in ([], ["once"])


class TestStopping(Faulty):
    """Stopped means gone, or it isn't said."""

    async def test_what_a_program_started_is_stopped_with_it(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("family", "sleep 300; true"))
        await self.running(executor, handle)
        await executor.cancel(handle)
        await self.gone(executor, handle)

    async def test_a_pod_on_a_lost_node_is_not_gone(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("stuck"))
        pod = await self.pod(handle)
        self.emulated.kubelet.lose(pod)
        await executor.cancel(handle)
        await eventually(lambda: "deletionTimestamp" in self._job(handle)["metadata"])
        assert (await self.observed(executor, handle)).phase not in {*ENDED, Phase.GONE}
        await executor.cancel(handle)
        self.emulated.kubelet.terminate(pod, grace=0)
        await self.gone(executor, handle)

    async def test_a_slow_deletion_is_waited_for(self, executor: Executor) -> None:
        self.emulated.jobs.slow_delete = 0.3
        handle = await executor.submit(self.sleeping("slow"))
        await self.running(executor, handle)
        await executor.cancel(handle)
        assert await self.observed(executor, handle) != GONE
        await self.gone(executor, handle)

    @pytest.mark.parametrize("code", [429, 500, 503])
    async def test_a_deletion_that_is_refused_for_now_is_tried_again(self, executor: Executor, code: int) -> None:
        handle = await executor.submit(self.sleeping("insisted"))
        self.fault("delete", "jobs", times=2, code=code, retry_after=0)
        await executor.cancel(handle)
        await self.gone(executor, handle)

    async def test_another_job_of_the_same_name_is_left_alone(self, executor: Executor) -> None:
        task = self.sleeping("same")
        handle = await executor.submit(task)
        await executor.cancel(handle)
        await self.gone(executor, handle)
        again = await executor.submit(task)
        assert again != handle
        await executor.cancel(handle)
        await executor.remove(handle)
        assert await executor.find(task) == again

    async def test_a_job_with_a_time_to_live_is_left_to_the_cluster(self, executor: Executor) -> None:
        task = _with(self.task("ttl", "true"), self.config(ttl_seconds_after_finished=1))
        handle = await executor.submit(task)
        await self.ended(executor, handle)
        await executor.remove(handle)
        assert self.emulated.api.calls["delete", "jobs"] == 0
        assert await self.listed(executor) == {}
        await self.gone(executor, handle)

    def _job(self, handle: Handle) -> dict[str, Any]:
        job = self.emulated.store.get("jobs", *handle.split("/")[:2])
        assert job
        return job


class TestInheriting(Faulty):
    async def test_a_job_takes_after_the_pod_that_its_worker_runs_in(self) -> None:
        container = {"name": "server", "image": "mage:server", "env": [{"name": "CITY", "value": "Bremen"}]}
        self.emulated.store.create(
            "pods", {"metadata": {"name": "server-0", "namespace": "default"}, "spec": {"containers": [container]}}
        )
        async with self.connect(HOSTNAME="server-0", MAGE_CONTAINER_NAME="server") as executor:
            task = _with(self.shell("heir", "echo $CITY"), self.config(image=None))
            [line] = await self.output(executor, await executor.submit(task))
        assert line.text == "Bremen"
        [job] = self.emulated.jobs.history
        assert job["spec"]["template"]["spec"]["containers"][0]["image"] == "mage:server"


class TestPools(Faulty):
    async def test_another_pools_jobs_are_not_ours(self, executor: Executor, tmp_path: Path) -> None:
        there = environment_of(tmp_path, self.emulated)
        await executor.submit(self.sleeping("ours"))
        async with Executor(Site("mesh", "other", "worker-2", there, tmp_path)) as other:
            await other.submit(self.sleeping("theirs"))
            assert list(await self.listed(other)) == ["theirs"]
        assert list(await self.listed(executor)) == ["ours"]


def _with(task: Any, config: Any) -> Any:
    return replace(task, config=config)
