"""`gcp_cloud_run` where Google throttles, fails, is silent, or is asked for what it doesn't have."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from runmesh.errors import Invalid, Rejected, Unavailable
from runmesh.events import Cause
from runmesh.executor import UNKNOWN, Handle, Phase, Position, Site
from runmesh.executors.gcp_cloud_run import Executor
from runmesh.executors.google.known import Entry
from runmesh.executors.google.naming import Place
from runmesh.executors.google.options import Options
from runmesh.executors.google.output import Output
from runmesh.executors.google.reading import Reader
from runmesh.executors.google.refusals import Refused
from tests.emulators.cloud_run import SERVICE
from tests.emulators.faults import Fault
from tests.emulators.google.keys import account, new_account
from tests.emulators.google.refusals import GoogleError
from tests.eventually import eventually
from tests.executors.tasks import task_of
from tests.executors.test_gcp_cloud_run import CloudRun

CREATE, LIST, GET, CANCEL, DELETE = "CreateJob", "ListJobs", "GetJob", "CancelExecution", "DeleteJob"
READ, EXECUTION, TASKS = "ListLogEntries", "GetExecution", "ListTasks"


class CloudRunFaults(CloudRun):
    def trouble(self, operation: str, code: str = "", message: str = "injected", **how: Any) -> None:
        refusal = GoogleError(code, message) if code else None
        self.cloud.api.faults.append(Fault(operation, refusal=refusal, **how))

    def created(self) -> int:
        return len(self.cloud.api.history)

    def forged(self) -> Path:
        """Write credentials whose key is not the service account's."""
        return new_account().write(self.directory / "forged.json")


class TestSubmitting(CloudRunFaults):
    async def test_a_full_project_takes_no_job_for_now(self, executor: Executor) -> None:
        self.cloud.api.quota = 0
        with pytest.raises(Unavailable, match="Quota exceeded"):
            await executor.submit(self.sleeping("full"))
        assert self.created() == 0

    async def test_a_lost_answer_is_ambiguous_and_the_job_is_found(self, executor: Executor) -> None:
        self.trouble(CREATE, lost=True)
        task = self.sleeping("lost")
        with pytest.raises(Refused, match="Socket closed"):
            await executor.submit(task)
        found = await executor.find(task)
        assert found == await executor.submit(task)
        assert self.created() == 1

    async def test_whoever_comes_while_a_creation_takes_its_time_adopts_the_job(self, executor: Executor) -> None:
        self.trouble(CREATE, delay=0.2)
        task = self.sleeping("slow")
        async with self.connect("worker-2") as other:
            handles = await asyncio.gather(executor.submit(task), other.submit(task))
        assert handles[0] == handles[1]
        assert self.created() == 1

    async def test_google_out_of_reach_has_started_nothing(self, executor: Executor) -> None:
        await self.cloud.deafen()
        with pytest.raises(Unavailable, match="not reached"):
            await executor.submit(self.task("unreached", "true"))

    async def test_two_meshes_of_one_project_may_have_the_same_key(self, executor: Executor) -> None:
        task = self.sleeping("same")
        async with Executor(Site("other", "default", "w", self.cloud.environment, self.directory)) as theirs:
            assert await theirs.submit(task) != await executor.submit(task)
            assert set(await self.listed(theirs)) == {"same"}

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            (
                {"project_id": "someone-elses"},
                "Permission 'run.jobs.create' denied on resource 'projects/someone-elses'",
            ),
            ({"region": "asia-north9"}, "Location asia-north9 is not found"),
            ({"image": "denied/etl"}, "artifactregistry.repositories.downloadArtifacts"),
            ({"image": None}, "no image: set `image`"),
            ({"cpu": 4}, "Cloud Run has no memory of 512Mi with cpu 4: with cpu 4: memory 2Gi; 512Mi with cpu 2"),
            (
                {"path_to_credentials_json_file": "/no/such/file.json"},
                "no credentials: NO_CREDENTIALS: /no/such/file",
            ),
        ],
    )
    async def test_what_google_will_never_take_is_rejected_in_its_own_words(
        self, executor: Executor, config: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(Rejected, match=words):
            await executor.submit(task_of(self.config(**config), "true"))
        assert self.created() == 0

    async def test_a_variable_longer_than_google_takes_is_rejected_by_name(self, executor: Executor) -> None:
        with pytest.raises(Rejected, match="32768 bytes of a variable, and LONG has 40000"):
            await executor.submit(self.task("long", "true", LONG="x" * 40000))

    async def test_credentials_of_another_key_are_not_good(self, executor: Executor) -> None:
        file = self.forged()
        task = task_of(self.config(path_to_credentials_json_file=str(file)), "true")
        with pytest.raises(Unavailable, match="invalid authentication credentials"):
            await executor.submit(task)

    async def test_credentials_that_were_renewed_are_read_again(self, executor: Executor) -> None:
        file = self.forged()
        task = task_of(self.config(path_to_credentials_json_file=str(file)), "true")
        for _ in range(2):
            with pytest.raises(Unavailable):
                await executor.submit(task)
        account().write(file)
        with pytest.raises(Unavailable):  # by which it is known that these are no longer good
            await executor.submit(task)
        assert await executor.submit(task)

    async def test_a_task_may_bring_credentials_of_its_own(self) -> None:
        file = Path(self.cloud.environment["GOOGLE_APPLICATION_CREDENTIALS"])
        async with self.connect(GOOGLE_APPLICATION_CREDENTIALS="") as executor:
            task = task_of(self.config(project_id=None, path_to_credentials_json_file=str(file)), "true")
            handle = await executor.submit(task)
            assert (await self.ended(executor, handle)).phase is Phase.SUCCEEDED
            await executor.remove(handle)
        assert not self.cloud.api.runs

    async def test_a_worker_whose_own_credentials_are_not_there_does_not_start(self) -> None:
        with pytest.raises(Invalid, match=r"/no/such\.json"):
            async with self.connect(GOOGLE_APPLICATION_CREDENTIALS="/no/such.json"):
                pass

    async def test_credentials_of_no_known_kind_are_none(self, executor: Executor) -> None:
        file = self.directory / "strange.json"
        file.write_text('{"type": "strange"}')
        with pytest.raises(Rejected, match="there are no credentials"):
            await executor.submit(
                task_of(self.config(project_id=None, path_to_credentials_json_file=str(file)), "true")
            )
        with pytest.raises(Invalid, match="GOOGLE_APPLICATION_CREDENTIALS"):
            async with self.connect(GOOGLE_APPLICATION_CREDENTIALS=str(file)):
                pass

    async def test_certificates_that_are_not_there_are_a_wrong_setting(self) -> None:
        with pytest.raises(Invalid, match=r"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH.*/no/such\.pem"):
            async with self.connect(GRPC_DEFAULT_SSL_ROOTS_FILE_PATH="/no/such.pem"):
                pass

    async def test_what_the_api_has_no_room_for_is_rejected(self, executor: Executor) -> None:
        items = [{"path": "p", "mode": 2**40}]
        config = self.config(volumes=[{"name": "keys", "secret": {"secret": "k", "items": items}}])
        with pytest.raises(Rejected, match="mode"):
            await executor.submit(task_of(config, "true"))

    async def test_a_place_that_cannot_be_read_hides_no_other(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("here"))
        async with self.connect(RUNMESH_CLOUD_RUN_PLACES="someone-elses/europe-west1") as other:
            assert await self.listed(other) == {"here": handle}

    async def test_a_throttled_place_hides_no_other(self, executor: Executor) -> None:
        here = [await executor.submit(self.sleeping(key)) for key in ("one", "two")]
        other = task_of(self.config(region="us-east1"), "true", key="other")
        there = await executor.submit(other)
        self.trouble(LIST, "RESOURCE_EXHAUSTED")
        seen = await executor.observe([*here, there])
        assert [seen[handle].phase for handle in here] == [Phase.UNKNOWN] * 2
        assert seen[there].phase is not Phase.UNKNOWN

    def test_settings_that_make_no_sense_are_refused(self) -> None:
        with pytest.raises(Invalid, match="RUNMESH_CLOUD_RUN_PLACES"):
            self.connect(RUNMESH_CLOUD_RUN_PLACES="europe-west1")


class TestInheriting(CloudRunFaults):
    async def test_a_job_takes_after_the_service(self) -> None:
        service = self.cloud.place_worker()
        async with self.connect(**service) as executor:
            handle = await executor.submit(task_of(self.config(image=None), "true"))
        assert self.cloud.run(handle).job.template.template.containers[0].image == "etl:1"

    async def test_all_that_can_be_said_reaches_the_api(self, executor: Executor) -> None:
        config = self.config(
            cpu=4,
            memory="16Gi",
            gpu=1,
            secrets={"KEY": "key:3"},
            service_account="etl@shop",
            encryption_key="projects/p/locations/l/keyRings/r/cryptoKeys/k",
            execution_environment="gen2",
            vpc_access={"networkInterfaces": [{"network": "default", "tags": ["etl"]}], "egress": "ALL_TRAFFIC"},
            volumes=[
                {"name": "bucket", "gcs": {"bucket": "b", "readOnly": True}},
                {"name": "share", "nfs": {"server": "10.0.0.1", "path": "/"}},
                {"name": "scratch", "emptyDir": {"medium": "MEMORY", "sizeLimit": "1Gi"}},
                {"name": "keys", "secret": {"secret": "k", "items": [{"path": "p", "version": "1", "mode": 256}]}},
                {"name": "sql", "cloudSqlInstance": {"instances": ["p:r:i"]}},
            ],
            volume_mounts=[{"name": "bucket", "mountPath": "/b"}],
            labels={"team": "data"},
        )
        job = self.cloud.run(await executor.submit(task_of(config, "true"))).job
        task = job.template.template
        assert [each.WhichOneof("volume_type") for each in task.volumes] == [
            *("gcs", "nfs", "empty_dir", "secret", "cloud_sql_instance")
        ]
        assert task.vpc_access.network_interfaces[0].tags == ["etl"]
        assert (task.node_selector.accelerator, task.timeout.seconds) == ("nvidia-l4", 3600)
        assert (job.labels["team"], task.service_account) == ("data", "etl@shop")
        variables = {each.name: each for each in task.containers[0].env}
        assert variables["KEY"].value_source.secret_key_ref.version == "3"

    async def test_a_service_whose_memory_has_no_unit_is_said(self) -> None:
        service = self.cloud.place_worker()
        limits = self.cloud.api.services[SERVICE].template.containers[0].resources.limits
        limits["memory"] = "536870912"
        async with self.connect(**service) as executor:
            with pytest.raises(Rejected, match="the service's memory, '536870912': should be a quantity"):
                await executor.submit(self.task("unitless", "true"))

    async def test_a_service_that_is_not_there_is_said(self) -> None:
        async with self.connect(GCP_SERVICE_NAME="missing") as executor:
            with pytest.raises(Rejected, match="Resource 'missing' of kind 'SERVICE' does not exist"):
                await executor.submit(self.task("none", "true"))

    async def test_while_the_service_cannot_be_read_jobs_wait(self) -> None:
        self.trouble("GetService", "UNAVAILABLE", times=4)
        async with self.connect(GCP_SERVICE_NAME="mage") as executor:
            with pytest.raises(Unavailable):
                await executor.submit(self.task("waits", "true"))
        assert self.created() == 0


class TestObserving(CloudRunFaults):
    async def test_all_jobs_are_one_call(self, executor: Executor) -> None:
        handles = await asyncio.gather(*(executor.submit(self.sleeping(f"t{n}")) for n in range(20)))
        self.cloud.api.calls.clear()
        assert set(await executor.observe(handles)) == set(handles)
        assert self.cloud.api.calls == {LIST: 1}

    async def test_a_few_among_many_are_asked_for_one_by_one(self, executor: Executor) -> None:
        self.cloud.api.page = 2
        handles = await asyncio.gather(*(executor.submit(self.sleeping(f"t{n}")) for n in range(9)))
        seen = await executor.observe(handles)
        assert {seen[handle].phase for handle in handles} <= {Phase.PENDING, Phase.RUNNING}
        self.cloud.api.calls.clear()
        await executor.observe(handles[:3])
        assert self.cloud.api.calls == {GET: 3}

    @pytest.mark.parametrize("code", ["UNAVAILABLE", "PERMISSION_DENIED"])
    async def test_a_question_without_an_answer_keeps_what_was_known(self, executor: Executor, code: str) -> None:
        handles = [await executor.submit(self.sleeping(key)) for key in ("one", "two")]
        self.trouble("*", code, times=8)
        assert await executor.observe(handles) == dict.fromkeys(handles, UNKNOWN)
        self.cloud.api.faults.clear()
        await self.running(executor, handles[0])

    async def test_a_throttle_slows_the_observer_down(self, executor: Executor) -> None:
        handles = [await executor.submit(self.sleeping(key)) for key in ("one", "two")]
        self.trouble(LIST, "RESOURCE_EXHAUSTED")
        with pytest.raises(Unavailable):
            await executor.observe(handles)
        await self.running(executor, handles[0])

    async def test_a_region_that_does_not_answer_keeps_no_other_waiting(self, executor: Executor) -> None:
        silent = await executor.submit(task_of(self.config(region="us-east1"), "true", key="silent"))
        others = [await executor.submit(self.sleeping(key)) for key in ("one", "two")]
        self.trouble(GET, delay=60.0)
        observing = asyncio.create_task(executor.observe([silent, *others]))
        await eventually(lambda: self.cloud.api.calls[LIST] == 1, within=self.within)
        observing.cancel()
        await asyncio.wait([observing])

    async def test_an_answer_that_fails_waits_for_the_next_look(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("blink"))
        self.trouble(GET, "UNAVAILABLE")
        assert await self.observed(executor, handle) == UNKNOWN
        assert self.cloud.api.calls[GET] == 1

    async def test_a_job_that_cannot_be_read_hides_no_other(self, executor: Executor) -> None:
        self.cloud.api.page = 1
        handles = [await executor.submit(self.sleeping(key)) for key in ("a", "b", "c")]
        await executor.observe(handles)
        self.trouble(GET, "INTERNAL")
        phases = [seen.phase for seen in (await executor.observe(handles)).values()]
        assert phases.count(Phase.UNKNOWN) == 1

    async def test_a_success_costs_no_call_of_its_own(self, executor: Executor) -> None:
        handle = await executor.submit(self.task("good", "true"))
        await self.ended(executor, handle)
        assert not {EXECUTION, TASKS} & self.cloud.api.calls.keys()

    async def test_an_end_is_asked_for_once(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("bad", "exit 3"))
        await self.ended(executor, handle)
        assert (self.cloud.api.calls[EXECUTION], self.cloud.api.calls[TASKS]) == (1, 1)
        self.cloud.api.calls.clear()
        await self.observed(executor, handle)
        assert LIST not in self.cloud.api.calls
        assert GET not in self.cloud.api.calls

    async def test_jobs_that_say_nothing_of_their_executions_are_seen_all_the_same(self, executor: Executor) -> None:
        self.cloud.api.silent = True
        good, bad = [await executor.submit(self.shell(f"exit{code}", f"exit {code}")) for code in (0, 4)]
        assert (await self.ended(executor, good)).phase is Phase.SUCCEEDED
        assert (await self.ended(executor, bad)).exit_code == 4

    async def test_a_machine_that_is_lost_is_the_infrastructures(self, executor: Executor) -> None:
        end = await self.evicted(executor, "The instance was lost.")
        assert (end.phase, end.cause) == (Phase.FAILED, Cause.INFRASTRUCTURE)
        assert end.reason == "The instance was lost."

    async def test_a_job_without_memory_is_the_users(self, executor: Executor) -> None:
        end = await self.evicted(executor, "Memory limit of 512 MiB exceeded with 520 MiB used.")
        assert end.cause is Cause.USER
        assert "512 MiB" in str(end.reason)

    async def test_a_kill_names_the_limit_that_may_be_why(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("oom", "kill -9 $$"))
        end = await self.ended(executor, handle)
        assert (end.cause, end.exit_code) == (Cause.USER, 137)
        assert "SIGKILL: it may have gone over its memory of 512Mi" in str(end.reason)

    async def test_the_platforms_own_timeout_is_one(self, executor: Executor) -> None:
        end = await self.evicted(executor, "The configured timeout was reached.")
        assert end.cause is Cause.TIMEOUT

    async def test_a_command_that_does_not_exist_is_a_wrong_configuration(self, executor: Executor) -> None:
        end = await self.ended(executor, await executor.submit(self.task("nothing", "no-such-command-anywhere")))
        assert end.cause is Cause.CONFIG
        assert "no-such-command-anywhere" in str(end.reason)

    async def test_an_image_that_does_not_exist_is_a_wrong_configuration(self, executor: Executor) -> None:
        handle = await executor.submit(task_of(self.config(image="missing:1"), "true"))
        end = await self.ended(executor, handle)
        assert (end.cause, end.reason) == (Cause.CONFIG, "CONTAINER_MISSING: Image 'missing:1' not found.")

    async def test_a_job_without_a_place_waits(self, executor: Executor) -> None:
        self.cloud.agent.room.clear()
        handle = await executor.submit(self.task("waits", "true"))
        seen = await self.observed(executor, handle)
        assert (seen.phase, seen.reason) == (Phase.PENDING, "not started yet")
        self.cloud.agent.room.set()
        assert (await self.ended(executor, handle)).phase is Phase.SUCCEEDED

    async def test_a_job_that_somebody_deletes_is_gone(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("deleted"))
        async with self.connect("worker-2") as other:
            await other.remove(handle)
        await self.gone(executor, handle)

    async def test_a_job_whose_execution_somebody_deletes_has_ended(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("halved"))
        await self.running(executor, handle)
        run = self.cloud.run(handle)
        run.job.latest_created_execution.delete_time.GetCurrentTime()
        assert (await self.observed(executor, handle)).phase is Phase.RUNNING
        execution, run.execution = run.execution, None
        end = await self.observed(executor, handle)
        assert (end.cause, end.reason) == (Cause.CANCELLED, "its execution was deleted")
        run.execution = execution

    async def test_a_fact_says_where_to_look(self, executor: Executor) -> None:
        seen = await self.observed(executor, await executor.submit(self.sleeping("page")))
        page = "https://console.cloud.google.com/run/jobs/executions/details/europe-west1"
        assert seen.url == f"{page}/mesh-data-prep-block-page-run/tasks?project=shop-project"

    async def evicted(self, executor: Executor, said: str) -> Any:
        handle = await executor.submit(self.sleeping("evicted"))
        await self.running(executor, handle)
        self.cloud.agent.evict(self.cloud.run(handle), said)
        return await self.ended(executor, handle)


class TestStopping(CloudRunFaults):
    async def test_a_job_that_ignores_term_is_stopped_all_the_same(self, executor: Executor) -> None:
        self.cloud.agent.grace = 0.2
        handle = await executor.submit(self.shell("stubborn", "trap '' TERM; while true; do sleep 0.05; done"))
        await self.running(executor, handle)
        await executor.cancel(handle)
        assert (await self.observed(executor, handle)).phase is Phase.RUNNING
        await self.stopped(executor, handle)

    async def test_a_job_that_has_no_execution_yet_is_deleted(self, executor: Executor) -> None:
        self.cloud.agent.room.clear()
        handle = await executor.submit(self.sleeping("early"))
        await executor.cancel(handle)
        await self.gone(executor, handle)

    async def test_a_stop_that_fails_for_now_is_asked_for_again(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("stop"))
        self.trouble(CANCEL, "UNAVAILABLE", times=2)
        await executor.cancel(handle)
        await self.stopped(executor, handle)

    async def test_what_cannot_be_stopped_is_an_error(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("denied"))
        self.trouble(CANCEL, "PERMISSION_DENIED", "run.executions.cancel")
        with pytest.raises(Refused, match=r"run\.executions\.cancel"):
            await executor.cancel(handle)

    async def test_a_slow_delete_is_no_gone_job(self, executor: Executor) -> None:
        self.cloud.agent.slow_delete = 0.3
        handle = await executor.submit(self.task("slow", "true"))
        end = await self.ended(executor, handle)
        await executor.remove(handle)
        assert (await self.observed(executor, handle)).phase is end.phase
        assert await self.listed(executor) == {}
        await self.gone(executor, handle)


class TestLogs(CloudRunFaults):
    async def test_nothing_is_lost_or_doubled_over_pages_and_faults(self, executor: Executor) -> None:
        self.cloud.lines.page = 7
        handle = await executor.submit(self.shell("pages", "seq 60; sleep 0.2; seq 61 100"))
        self.trouble(READ, "UNAVAILABLE")
        assert await self.numbers(executor, handle) == list(range(1, 101))

    async def test_lines_that_come_late_have_their_place(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("late", "seq 3; sleep 0.3; seq 4 6"))
        await self.running(executor, handle)
        self.cloud.lines.late = 0.05
        assert await self.numbers(executor, handle) == [1, 2, 3, 4, 5, 6]

    async def test_a_line_of_json_is_put_together_again(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("json", """echo '{"a": "b"}'; echo '{"message": "plain"}'"""))
        assert [line.text for line in await self.output(executor, handle)] == ['{"a": "b"}', "plain"]

    async def test_all_jobs_are_read_by_one_question(self, executor: Executor) -> None:
        handles = [await executor.submit(self.shell(f"log{n}", f"echo {n}; sleep 0.3")) for n in range(8)]
        lines = await asyncio.gather(*(self.numbers(executor, handle) for handle in handles))
        assert lines == [[n] for n in range(8)]
        assert self.cloud.api.calls[READ] < 60

    async def test_jobs_that_nobody_observes_are_looked_at_together(self, executor: Executor) -> None:
        handles = [await executor.submit(self.sleeping(f"t{n}")) for n in range(8)]
        followers = [asyncio.create_task(self.output(executor, handle)) for handle in handles]
        await eventually(lambda: self.cloud.api.calls[LIST] >= 3)
        assert GET not in self.cloud.api.calls
        for follower in followers:
            follower.cancel()
        await asyncio.wait(followers)

    async def test_lines_that_cannot_be_read_end_no_task(self, executor: Executor) -> None:
        self.trouble(READ, "PERMISSION_DENIED", "logging.logEntries.list", times=99)
        handle = await executor.submit(self.shell("unread", "echo x; exit 4"))
        end = await self.ended(executor, handle)
        assert (end.exit_code, end.log_tail) == (4, ())
        with pytest.raises(Refused, match=r"logging\.logEntries\.list"):
            await self.output(executor, handle)

    async def test_a_job_that_is_missed_for_a_moment_goes_on_being_read(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("missed", "seq 2; sleep 1; seq 3 4"))
        await self.running(executor, handle)
        lines = executor.logs(handle, since=Position())
        assert [(await anext(lines)).text for _ in range(2)] == ["1", "2"]
        self.trouble(GET, "NOT_FOUND")
        await self.gone(executor, handle)
        assert [line.text async for line in lines] == ["3", "4"]

    async def test_credentials_that_are_not_good_for_a_moment_hide_no_exit_code(self, executor: Executor) -> None:
        self.trouble(EXECUTION, "UNAUTHENTICATED")
        end = await self.ended(executor, await executor.submit(self.shell("expired", "exit 5")))
        assert (end.cause, end.exit_code) == (Cause.USER, 5)

    async def test_why_a_job_failed_is_asked_for_until_it_is_known(self, executor: Executor) -> None:
        self.trouble(TASKS, "UNAVAILABLE", times=5)
        handle = await executor.submit(self.shell("why", "echo because; exit 9"))
        end = await self.ended(executor, handle)
        assert (end.exit_code, end.log_tail) == (9, ("because",))

    async def test_the_last_lines_of_one_do_not_wait_for_hundreds_that_go_on(self, executor: Executor) -> None:
        reader = Reader(executor._google, Options.of(self.cloud.environment))  # noqa: SLF001 - hundreds of real jobs
        entries = [Entry() for _ in range(350)]  # which four questions ask for
        for n, entry in enumerate(entries):
            reader.want(Output(f"job-{n}", 0, 0.1), Place("shop-project", "europe-west1"), entry)
        self.trouble(READ, delay=0.5)
        reading = asyncio.create_task(reader.run())
        await eventually(lambda: self.cloud.api.calls[READ] == 1)
        entries[-1].see(ended=True)
        await eventually(lambda: len(self.cloud.lines.asked) >= 2)
        assert self.cloud.lines.asked[1] == ["job-349"]
        await eventually(lambda: len(self.cloud.lines.asked) >= 3)
        assert len(self.cloud.lines.asked[2]) == 100
        reading.cancel()
        await asyncio.wait([reading])

    async def numbers(self, executor: Executor, handle: Handle) -> list[int]:
        return [int(line.text) for line in await self.output(executor, handle)]
