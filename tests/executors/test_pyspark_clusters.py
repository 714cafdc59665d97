"""What only EMR does: clusters that are found, shared, created and die; a step's application on YARN; refusals."""

import asyncio
import gzip
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from runmesh.errors import Rejected, Unavailable
from runmesh.events import Cause
from runmesh.executor import GONE, Handle, Phase, Task
from runmesh.executors.amazon.emr.handle import Address
from runmesh.executors.pyspark import Config, Executor
from tests.emulators.faults import Fault
from tests.emulators.mapreduce.clusters import Refusal
from tests.emulators.mapreduce.jobs import APPLICATION
from tests.eventually import eventually
from tests.executors.tasks import task_of
from tests.executors.test_pyspark import Emr
from tests.unit.shop import Shop

ROLE = "arn:aws:iam::123456789012:role/spark"


class OnClusters(Emr):
    """With clusters that the executor makes."""

    def config(self, **more: Any) -> Config:
        return Config(**more)

    async def submitted(self, executor: Executor, task: Task[Config]) -> Handle:
        """Submit as a worker does: again while the executor refuses for now."""
        for _ in range(100):
            try:
                return await executor.submit(task)
            except Unavailable as refused:
                await asyncio.sleep(min(refused.retry_after or 0.1, 0.1))
        raise AssertionError("never taken")

    def ours(self) -> list[Any]:
        return [each for each in self.cloud.clusters.all.values() if each is not self.cluster]


class TestClusters(OnClusters):
    async def test_the_first_task_has_one_created_and_the_next_ones_share_it(self, executor: Executor) -> None:
        handles = await asyncio.gather(*(self.submitted(executor, self.task(key, "true")) for key in "abc"))
        assert {Address.of(handle).place for handle in handles} == {self.ours()[0].id}
        assert len(self.ours()) == 1
        assert {tag["Key"] for tag in self.ours()[0].request["Tags"]} >= {"runmesh:mesh", "runmesh:need"}

    async def test_another_configuration_has_another_cluster(self, executor: Executor) -> None:
        for count in (1, 2):
            config = self.config(slave_instance_count=count)
            await self.submitted(executor, task_of(config, "true", key=f"n{count}"))
        assert len(self.ours()) == 2

    async def test_a_full_cluster_has_another_beside_it(self, executor: Executor) -> None:
        config = self.config(steps_per_cluster=1)
        for key in "ab":
            await self.submitted(executor, task_of(config, "sleep", "300", key=key))
        assert len(self.ours()) == 2

    async def test_of_two_that_two_workers_created_one_stays(self) -> None:
        self.cloud.clusters.starts_in = 60.0
        async with AsyncExitStack() as stack:
            workers = [await stack.enter_async_context(self.connect()) for _ in range(2)]
            for number, worker in enumerate(workers):
                self.cloud.api.faults.append(Fault("ListClusters", answer=web.json_response({})))
                with pytest.raises(Unavailable, match="seen by all"):
                    await worker.submit(self.task(f"w{number}", "true"))
            assert len(self.ours()) == 2
            tasks = [self.task(f"w{number}", "true") for number in range(2)]
            handles = await asyncio.gather(*(self.patient(*each) for each in zip(workers, tasks, strict=True)))
        one, other = self.ours()
        assert {Address.of(handle).place for handle in handles} == {one.id}
        assert (one.alive, other.alive, other.steps) == (True, False, [])

    async def patient(self, worker: Executor, task: Task[Config]) -> Handle:
        async def handle() -> Handle | None:
            try:
                return await worker.submit(task)
            except Unavailable:
                return None

        found = await eventually(handle, every=1.0)
        assert found
        return found

    async def test_a_cluster_that_ends_as_a_step_is_added_is_replaced(self, executor: Executor) -> None:
        await self.submitted(executor, self.task("a", "true"))
        await self.cloud.clusters.terminate(self.ours()[0], "ALL_STEPS_COMPLETED", "idle")
        await self.submitted(executor, self.task("b", "true"))
        assert len(self.ours()) == 2

    @pytest.mark.parametrize("began", [False, True])
    async def test_a_cluster_that_dies_is_a_failure_of_the_infrastructure(
        self, executor: Executor, *, began: bool
    ) -> None:
        handle = await self.submitted(executor, self.sleeping("dies"))
        if began:
            await self.running(executor, handle)
        await self.cloud.clusters.terminate(self.ours()[0], "INSTANCE_FAILURE", "The master node was terminated")
        end = await self.ended(executor, handle)
        assert end.cause is Cause.INFRASTRUCTURE
        assert "INSTANCE_FAILURE: The master node was terminated" in str(end.reason)

    @pytest.mark.parametrize(
        ("code", "message", "rejected"),
        [
            ("VALIDATION_ERROR", "The VPC/subnet configuration was invalid: Subnet not found: subnet-1", True),
            ("INTERNAL_ERROR", "Failed to start the job flow due to an internal error", False),
        ],
    )
    async def test_one_that_ends_before_its_first_step_is_not_created_for_ever(
        self, executor: Executor, code: str, message: str, *, rejected: bool
    ) -> None:
        with pytest.raises(Unavailable):
            await executor.submit(self.task("first", "true"))
        await self.cloud.clusters.terminate(self.ours()[0], code, message)
        with pytest.raises(Exception, match=message) as raised:
            await executor.submit(self.task("first", "true"))
        assert not isinstance(raised.value, Unavailable)
        assert isinstance(raised.value, Rejected) is rejected
        assert len(self.ours()) == 1

    async def test_one_that_another_worker_found_surplus_is_forgotten(self, executor: Executor) -> None:
        with pytest.raises(Unavailable):
            await executor.submit(self.task("first", "true"))
        await self.cloud.clusters.terminate(self.ours()[0], "USER_REQUEST", "surplus")
        await self.submitted(executor, self.task("first", "true"))
        assert len(self.ours()) == 2

    async def test_a_step_whose_answer_was_lost_is_found(self, executor: Executor) -> None:
        self.cloud.api.faults.append(Fault("AddJobFlowSteps", lost=True))
        with pytest.raises(ConnectionError):
            await self.submitted(executor, self.task("lost", "true"))
        self.cloud.api.calls.clear()
        handle = await executor.find(self.task("lost", "true"))
        assert handle == await executor.submit(self.task("lost", "true"))
        assert len(self.ours()[0].steps) == 1
        assert "ListClusters" not in self.cloud.api.calls, "an account may have thousands"

    @pytest.mark.parametrize("shared", [False, True])
    async def test_a_cancelled_runs_own_cluster_ends_with_it(self, executor: Executor, *, shared: bool) -> None:
        handle = await self.submitted(executor, self.sleeping("a"))
        if shared:
            await self.submitted(executor, replace(self.task("b", "true"), run="run-2"))
        await executor.cancel(handle)
        await self.stopped(executor, handle)
        await executor.remove(handle)
        assert self.ours()[0].alive is shared


class TestNamed(Emr):
    """On clusters that somebody else made."""

    async def test_one_that_has_ended_is_rejected_in_awss_words(self, executor: Executor) -> None:
        await self.cloud.clusters.terminate(self.cluster, "USER_REQUEST", "by hand")
        with pytest.raises(Rejected, match="terminated, or finished may not be modified"):
            await executor.submit(self.task("late", "true"))

    async def test_one_that_is_full_takes_the_step_later(self, executor: Executor) -> None:
        message = (
            "Maximum number of active steps(State = 'Running', 'Pending' or 'Cancel_Pending') for cluster exceeded."
        )
        self.cloud.api.faults.append(Fault("AddJobFlowSteps", refusal=Refusal("ValidationException", message)))
        with pytest.raises(Unavailable, match="active steps"):
            await executor.submit(self.task("full", "true"))

    async def test_lists_are_read_to_their_ends(self, executor: Executor) -> None:
        self.cloud.api.page = 1
        handles = {key: await executor.submit(self.sleeping(key)) for key in "abc"}
        self.cloud.clusters.create(self.cluster.request, ready=True)
        assert await self.listed(executor) == handles
        assert [await executor.find(self.sleeping(key)) for key in "abc"] == [*handles.values()]
        assert {each.phase for each in (await executor.observe([*handles.values()])).values()} == {Phase.RUNNING}

    async def test_a_worker_that_has_just_begun_finds_what_others_left(self, executor: Executor) -> None:
        serverless = Config(application_id=APPLICATION, execution_role_arn=ROLE)
        tasks = [self.sleeping("step"), task_of(serverless, "sleep", "300", key="job")]
        handles = {task.key: await executor.submit(task) for task in tasks}
        async with self.connect() as another:
            assert await self.listed(another) == handles
            assert await self.listed(another) == handles

    async def test_one_that_does_not_exist_hides_no_jobs(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("there"))
        for config in (
            Config(cluster_id="j-NOWHERE"),
            Config(application_id="00unknown", execution_role_arn=ROLE),
        ):
            with pytest.raises(Rejected, match=r"not valid|does not exist"):
                await executor.submit(task_of(config, "true", key="typo"))
        assert await self.listed(executor) == {"there": handle}

    async def test_a_step_that_emr_has_forgotten_is_gone_and_hides_no_other(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("known"))
        forgotten = Handle(handle.replace("/s-", "/s-9"))
        nowhere = Handle(handle.replace("/j-", "/j-9"))
        seen = await executor.observe([forgotten, handle, nowhere])
        assert (seen[forgotten], seen[nowhere]) == (GONE, GONE)
        assert seen[handle].phase in {Phase.PENDING, Phase.RUNNING}

    async def test_a_folder_that_cannot_be_read_hides_no_other_job(self, executor: Executor) -> None:
        handles = [await executor.submit(self.task(key, "true")) for key in "ab"]
        await eventually(lambda: all(step.ended for step in self.cluster.steps))
        self.cloud.api.faults.append(Fault("HEAD lake", refusal=Refusal("AccessDenied", "injected", 403)))
        seen = await executor.observe(handles)
        assert {each.phase for each in seen.values()} == {Phase.SUCCEEDED, Phase.UNKNOWN}

    async def test_an_account_that_may_not_be_asked_hides_no_other_job(self, executor: Executor) -> None:
        handle = await executor.submit(self.task("there", "true"))
        elsewhere = Handle(handle.replace("eu-central-1", "eu-west-1"))
        self.cloud.api.faults.append(Fault("ListSteps", times=1, refusal=Refusal("AccessDeniedException", "no")))
        seen = await executor.observe([elsewhere, handle])
        assert [each.phase for each in seen.values()].count(Phase.UNKNOWN) == 1

    async def test_what_could_not_be_removed_is_left_to_the_reaper(self, executor: Executor) -> None:
        handle = await executor.submit(self.task("stays", "true"))
        await self.ended(executor, handle)
        self.cloud.api.faults.append(Fault("POST lake", refusal=Refusal("AccessDenied", "injected", 403)))
        with pytest.raises(Exception, match="403"):
            await executor.remove(handle)
        assert await self.listed(executor) == {"stays": handle}
        await executor.remove(handle)
        assert await self.listed(executor) == {}

    async def test_output_that_cannot_be_stored_hides_no_exit_code(self, executor: Executor) -> None:
        self.cloud.sdk = True
        handle = await executor.submit(self.shell("mute", "sleep 0.3; echo hello; exit 3"))
        self.cloud.api.faults.append(Fault("PUT lake", refusal=Refusal("AccessDenied", "injected", 403)))
        assert (await self.ended(executor, handle)).exit_code == 3


class TestApplications(Emr):
    """Steps in cluster mode: their driver is an application on YARN, which outlives its spark-submit."""

    @pytest.fixture
    def shop(self) -> Shop:
        shop = Shop(self.directory)
        shop.ask({"upstream_blocks": [], "type": "data_loader"}, type="pyspark")
        (shop.path / "data_loaders").mkdir()
        return shop

    def native(self, shop: Shop, key: str, code: str) -> Task[Config]:
        source = (
            f"if 'data_loader' not in globals():\n    pass\n\n\n@data_loader\ndef load(*args, **kwargs):\n    {code}\n"
        )
        (shop.path / "data_loaders" / "load.py").write_text(source)
        command = ("runmesh-run", str(shop.path), "orders", "--block-uuid", "load")
        return task_of(self.config(), *command, key=key)

    async def test_a_cancelled_step_is_gone_only_when_its_application_is(self, executor: Executor, shop: Shop) -> None:
        self.cloud.slow_cancel = 0.5
        handle = await executor.submit(self.native(shop, "app", "import time; time.sleep(300)"))
        await eventually(lambda: self.is_alive(handle))
        await executor.cancel(handle)
        assert (await self.observed(executor, handle)).phase is Phase.RUNNING
        end = await self.ended(executor, handle)
        assert end.cause is Cause.CANCELLED
        assert not await self.is_alive(handle)

    @pytest.mark.parametrize("how", ["cancelled by somebody else", "its spark-submit failed"])
    async def test_an_application_that_nobody_watches_is_killed(self, executor: Executor, shop: Shop, how: str) -> None:
        handle = await executor.submit(self.native(shop, "app", "import time; time.sleep(300)"))
        await eventually(lambda: self.is_alive(handle))
        [step] = self.cluster.steps
        if how == "its spark-submit failed":
            step.end("FAILED", failure={"Reason": "Unknown Error."})
        else:
            await self.cloud.clusters.cancel(step)
        assert (await self.observed(executor, handle)).phase is Phase.RUNNING
        assert (await self.ended(executor, handle)).phase is Phase.FAILED

        async def is_over() -> bool:
            return not await self.is_alive(handle)

        await eventually(is_over, within=self.within)

    async def test_the_code_of_many_tasks_is_stored_once(self, executor: Executor, shop: Shop) -> None:
        tasks = [self.native(shop, key, "return 1") for key in "abc"]
        await asyncio.gather(*map(executor.submit, tasks))
        assert self.cloud.api.calls["PUT lake"] == len(tasks) + 1

    async def test_without_spark_our_runtime_says_so(self, executor: Executor, shop: Shop) -> None:
        handle = await executor.submit(self.native(shop, "nospark", "return 1"))
        end = await self.ended(executor, handle)
        assert (end.exit_code, end.cause) == (2, Cause.CONFIG)
        assert "pyspark is missing" in "\n".join(end.log_tail)


class TestServerless(Emr):
    """Jobs of an application."""

    def config(self, **more: Any) -> Config:
        return Config(application_id=APPLICATION, execution_role_arn=ROLE, **more)

    async def test_a_job_runs_is_found_and_leaves_nothing(self, executor: Executor) -> None:
        self.cloud.sdk = True
        task = self.shell("job", "echo hello; exit 3")
        handle = await executor.submit(task)
        assert await executor.submit(task) == await executor.find(task) == handle
        end = await self.ended(executor, handle)
        assert (end.exit_code, end.cause, end.log_tail) == (3, Cause.USER, ("hello",))
        assert [line.text for line in await self.output(executor, handle)] == ["hello"]
        await executor.remove(handle)
        assert await self.leftovers() == []
        assert await self.observed(executor, handle) == GONE

    async def test_a_job_is_listed_and_can_be_cancelled(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("long"))
        assert await self.listed(executor) == {"long": handle}
        await executor.cancel(handle)
        await self.stopped(executor, handle)

    async def test_a_job_that_could_say_nothing_shows_the_end_of_emrs_log(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("silent"))
        await eventually(lambda: self.is_alive(handle))
        [job] = self.cloud.jobs.all.values()
        where = f"shop/logs/applications/{APPLICATION}/jobs/{job.id}/SPARK_DRIVER/stderr.gz"
        self.cloud.buckets.put(where, gzip.compress(b"no such image\n"))
        assert job.driver
        job.driver.kill()
        end = await self.ended(executor, handle)
        assert (end.cause, end.reason, end.log_tail) == (Cause.USER, "the step failed", ("no such image",))

    async def test_an_unknown_application_is_rejected_in_awss_words(self, executor: Executor) -> None:
        config = Config(application_id="00unknown", execution_role_arn=ROLE)
        with pytest.raises(Rejected, match="Application 00unknown does not exist"):
            await executor.submit(task_of(config, "true"))


class TestRefusals(Emr):
    @pytest.mark.parametrize(
        ("operation", "code", "message", "error"),
        [
            ("AddJobFlowSteps", "ThrottlingException", "Rate exceeded", Unavailable),
            ("AddJobFlowSteps", "ValidationException", "Rate exceeded", Unavailable),
            ("AddJobFlowSteps", "InvalidRequestException", "Cluster id is not valid", Rejected),
            ("AddJobFlowSteps", "UnrecognizedClientException", "The security token is invalid", Unavailable),
        ],
    )
    async def test_a_refusal_has_one_meaning_and_leaves_nothing(
        self, executor: Executor, operation: str, code: str, message: str, error: type[Exception]
    ) -> None:
        self.cloud.api.faults.append(Fault(operation, refusal=Refusal(code, message)))
        with pytest.raises(error, match=message):
            await executor.submit(self.task("refused", "true"))
        assert await self.leftovers() == []

    async def test_no_subnet_is_said_in_awss_words(self, executor: Executor) -> None:
        message = "The VPC/subnet configuration was invalid: No default VPC"
        self.cloud.api.faults.append(Fault("RunJobFlow", refusal=Refusal("ValidationException", message)))
        with pytest.raises(Rejected, match="No default VPC"):
            await executor.submit(task_of(Config(), "true"))

    @pytest.mark.parametrize(
        ("bucket", "says"),
        [("nowhere", "NoSuchBucket.*does not exist"), ("somebody-elses", "Access ?Denied|Forbidden")],
    )
    async def test_a_bucket_that_is_not_ours_is_rejected(self, executor: Executor, bucket: str, says: str) -> None:
        with pytest.raises(Rejected, match=f"{bucket}.*({says})"):
            await executor.submit(task_of(self.config(staging=f"s3://{bucket}/x"), "true"))

    async def test_an_internal_error_is_ambiguous(self, executor: Executor) -> None:
        self.cloud.api.faults.append(
            Fault("AddJobFlowSteps", refusal=Refusal("InternalServerException", "injected", 500))
        )
        with pytest.raises(Exception, match="injected") as raised:
            await executor.submit(self.task("maybe", "true"))
        assert not isinstance(raised.value, Rejected | Unavailable)
        assert await executor.find(self.task("maybe", "true")) is None

    async def test_what_is_asked_for_insists_while_aws_throttles(self, executor: Executor) -> None:
        handle = await executor.submit(self.task("calm", "true"))
        self.cloud.api.faults.append(
            Fault("ListSteps", times=2, refusal=Refusal("ThrottlingException", "Rate exceeded"))
        )
        assert (await self.ended(executor, handle)).phase is Phase.SUCCEEDED

    async def test_without_credentials_there_is_no_job_for_now(self) -> None:
        nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}
        async with self.connect(**nobody) as executor:
            with pytest.raises(Unavailable, match="credentials"):
                await executor.submit(self.task("nobody", "true"))
