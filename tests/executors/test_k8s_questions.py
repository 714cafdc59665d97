"""What the watch doesn't tell is asked for, and nobody waits for somebody else's answer. Emulator only."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from runmesh.errors import Unavailable
from runmesh.events import Cause
from runmesh.executor import UNKNOWN, Handle, Observation, Phase
from runmesh.executors.k8s import Executor
from runmesh.executors.kubernetes.client import CALL, TURN
from runmesh.worker.platform import SUBMIT_SHARE
from tests.eventually import eventually
from tests.executors.test_k8s import REAL
from tests.executors.test_k8s_faults import Faulty

pytestmark = pytest.mark.skipif(REAL, reason="a real cluster is not made to fail")


class TestWarnings(Faulty):
    """Why a Job doesn't start is said in events only, and it is said as long as that is so."""

    async def test_the_controllers_words_stay_until_there_is_a_pod(self, executor: Executor) -> None:
        self.emulated.jobs.refused = "pods is forbidden: exceeded quota: few, requested: pods=1"
        handle = await executor.submit(self.sleeping("podless"))
        await self.waits(executor, handle)
        for _ in range(3):
            seen = await self.observed(executor, handle)
            assert "exceeded quota" in str(seen.reason)
        self.emulated.jobs.refused = None
        await self.running(executor, handle)

    async def test_a_volume_that_can_not_be_mounted_is_named(self, executor: Executor) -> None:
        words = 'MountVolume.SetUp failed for volume "settings" : configmap "shop" not found'
        self.emulated.kubelet.unmounted = words
        seen = await self.waits(executor, await executor.submit(self.sleeping("mountless")))
        assert seen.cause is Cause.CONFIG
        assert seen.reason == f"FailedMount: {words}"

    async def test_words_about_a_job_are_not_said_of_its_pod(self, executor: Executor) -> None:
        self.emulated.jobs.refused = "pods is forbidden: exceeded quota: few, requested: pods=1"
        handle = await executor.submit(self.sleeping("late"))
        await self.waits(executor, handle)
        self.emulated.kubelet.unmounted = ""
        self.emulated.jobs.refused = None

        async def silent() -> bool:
            seen = await self.observed(executor, handle)
            return seen.phase is Phase.PENDING and seen.reason is None

        await eventually(silent)


class TestPatience(Faulty):
    """One Job's question holds up no other's answer."""

    async def test_who_has_an_answer_does_not_wait_for_a_log_that_hangs(self, executor: Executor) -> None:
        self.fault("get", "pods/log", times=1000, delay=60.0)
        failing = [await executor.submit(self.shell(f"failing{n}", "exit 1")) for n in range(20)]
        good = await executor.submit(self.task("good", "true"))
        await eventually(lambda: len(self.emulated.jobs.ended) == 21)
        await eventually(lambda: self._is(executor, good, [*failing, good], Phase.SUCCEEDED), within=self.within)
        assert (await self.observed(executor, failing[0])) == UNKNOWN

    async def test_an_answer_that_came_late_is_told(self, executor: Executor) -> None:
        self.fault("get", "pods/log", delay=1.5)
        handle = await executor.submit(self.shell("slow", "echo words; exit 1"))
        async with asyncio.timeout(self.within):
            async for _ in executor.changes():
                seen = await self.observed(executor, handle)
                if seen.phase is Phase.FAILED:
                    break
        assert seen.log_tail == ("words",)

    async def _is(self, executor: Executor, which: Handle, handles: list[Handle], phase: Phase) -> bool:
        seen: dict[Handle, Observation] = dict(await executor.observe(handles))
        return seen[which].phase is phase


class TestWatches(Faulty):
    async def test_a_watch_that_ends_at_once_is_not_opened_without_a_pause(self, executor: Executor) -> None:
        self.emulated.api.reading.tired = True
        handle = await executor.submit(self.task("tired", "true"))
        self.emulated.api.reading.drop()
        await eventually(lambda: self.emulated.jobs.ended)
        await eventually(lambda: self._calls() >= 3)
        before = self._calls()
        await asyncio.sleep(0.5)
        assert self._calls() - before < 10
        self.emulated.api.reading.tired = False
        assert (await self.ended(executor, handle)).phase is Phase.SUCCEEDED

    async def test_a_namespace_that_takes_no_job_is_not_watched(self, executor: Executor) -> None:
        calls = self.emulated.api.calls
        await eventually(lambda: calls["watch", "pods"] == 1)
        config: Any = self.config(namespace="nowhere")
        with pytest.raises(Exception, match="nowhere"):
            await executor.submit(replace(self.task("where", "true"), config=config))
        await executor.submit(self.sleeping("here"))
        assert calls["list", "pods"] == calls["list", "jobs"] == 1

    async def test_watches_of_many_namespaces_leave_room_for_calls(self) -> None:
        names = [f"n{number}" for number in range(51)]
        api = self.emulated.api
        api.namespaces |= set(names)
        async with self.connect(RUNMESH_K8S_NAMESPACES=",".join(names), RUNMESH_K8S_LOG_FOLLOWERS="1") as executor:
            await eventually(lambda: api.reading.open == 2 * 52)
            assert await executor.submit(self.sleeping("room"))

    async def test_a_quota_that_is_just_being_counted_is_a_refusal_for_now(self, executor: Executor) -> None:
        told = 'Operation cannot be fulfilled on resourcequotas "few": the object has been modified'
        self.fault("create", "jobs", code=409, reason="Conflict", message=told)
        with pytest.raises(Unavailable, match="the object has been modified"):
            await executor.submit(self.task("counted", "true"))

    async def test_a_list_that_grows_too_old_between_its_pages_is_begun_again(self) -> None:
        self.fault("list", "pods", code=410, message="The provided continue parameter is too old")
        async with self.connect() as executor:
            await self.running(executor, await executor.submit(self.sleeping("paged")))
        assert self.emulated.api.calls["list", "pods"] == 2

    async def test_a_bookmark_moves_on_where_nothing_of_ours_happens(self, executor: Executor) -> None:
        reading, store = self.emulated.api.reading, self.emulated.store
        reading.bookmark_every = 0.05
        handle = await executor.submit(self.sleeping("quiet"))
        await self.running(executor, handle)
        store.create("events", {"metadata": {"name": "of.others", "namespace": "default"}})
        told = reading.bookmarks
        await eventually(lambda: reading.bookmarks >= told + 4)
        store.compact()
        before = self._calls()
        reading.drop()
        await eventually(lambda: self._calls() > before and reading.open == 2)
        assert self.emulated.api.calls["list", "jobs"] == self.emulated.api.calls["list", "pods"] == 1
        self.emulated.kubelet.run_out_of_memory(await self.pod(handle))
        assert (await self.ended(executor, handle)).cause is Cause.USER

    def _calls(self) -> int:
        return self.emulated.api.calls["watch", "jobs"]


class TestContainers(Faulty):
    async def test_the_log_is_the_jobs_own_whatever_the_cluster_puts_before_it(self, executor: Executor) -> None:
        proxy = {"name": "istio-proxy", "image": "proxy:1", "command": ["echo", "noise"]}
        put_first = {"op": "add", "path": "/spec/template/spec/containers/0", "value": proxy}
        task = self.shell("meshed", "echo mine; exit 3")
        handle = await executor.submit(replace(task, config=self.config(patch=(put_first,))))
        assert [line.text for line in await self.output(executor, handle)] == ["mine"]
        end = await self.ended(executor, handle)
        assert (end.exit_code, end.log_tail) == (3, ("mine",))
        assert str(end.reason).startswith("exit code 3")


class TestRate(Faulty):
    async def test_who_has_no_turn_for_too_long_is_refused_for_now_and_nothing_was_sent(self) -> None:
        async with self.connect(RUNMESH_K8S_QPS="1") as executor:
            tasks = [self.sleeping(f"paced{number}") for number in range(14)]
            submits = [asyncio.create_task(executor.submit(task)) for task in tasks]
            with pytest.raises(Unavailable, match="RUNMESH_K8S_QPS"):
                await submits[-1]
            for submit in submits:
                submit.cancel()
            await asyncio.wait(submits)
        assert self.emulated.api.calls["create", "jobs"] < 10

    def test_the_longest_creation_ends_before_its_job_is_looked_for(self) -> None:
        assert Executor.find_window * SUBMIT_SHARE > TURN + CALL


class TestProxy(Faulty):
    async def test_a_cluster_behind_a_proxy_is_reached(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        known = self.emulated.kubeconfig()
        monkeypatch.setenv("http_proxy", known["clusters"][0]["cluster"]["server"])
        known["clusters"][0]["cluster"]["server"] = "http://cluster.invalid"
        (tmp_path / "behind").write_text(yaml.safe_dump(known))
        async with self.connect(KUBECONFIG=str(tmp_path / "behind")) as executor:
            assert await executor.submit(self.sleeping("far"))
