"""`ecs` where AWS throttles, fails, is silent, or is asked for what it doesn't have."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest

from runmesh.errors import Invalid, Rejected, Unavailable
from runmesh.events import OUTCOME, Cause
from runmesh.executor import GONE, UNKNOWN, Phase, Position, Site, Task
from runmesh.executors.amazon.refusals import Refused
from runmesh.executors.ecs import Config, Executor
from runmesh.runtime.arguments import parse
from tests.emulators.amazon.ecs import logged
from tests.emulators.amazon.refusals import AwsError
from tests.emulators.faults import Fault
from tests.eventually import eventually
from tests.executors.tasks import task_of
from tests.executors.test_ecs import Ecs

RUN, DESCRIBE, LIST, STOP, READ = "RunTask", "DescribeTasks", "ListTasks", "StopTask", "GetLogEvents"
REGISTER = "RegisterTaskDefinition"


class EcsFaults(Ecs):
    def trouble(
        self, operation: str, *, code: str = "", message: str = "injected", status: int = 400, **how: Any
    ) -> None:
        refusal = AwsError(code, message, status) if code else None
        self.aws.api.faults.append(Fault(operation, refusal=refusal, **how))

    def started(self) -> int:
        return len(self.aws.ecs.history)


class TestSubmitting(EcsFaults):
    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("ThrottlingException", "Rate exceeded"),
            ("ClientException", "Too many concurrent attempts to launch tasks: request was throttled"),
            ("InvalidParameterException", "Rate exceeded while describing the task definition"),
            ("LimitExceededException", "You've reached the limit on the number of tasks you can run concurrently"),
            ("ExpiredTokenException", "The security token included in the request is expired"),
        ],
    )
    async def test_what_passes_is_unavailable_in_whatever_words(
        self, executor: Executor, code: str, message: str
    ) -> None:
        self.trouble(RUN, code=code, message=message)
        with pytest.raises(Unavailable, match=message[:20]):
            await executor.submit(self.sleeping("throttled"))
        assert self.started() == 0

    @pytest.mark.parametrize(
        ("reason", "means"),
        [
            ("RESOURCE:FARGATE", Unavailable),
            ("RESOURCE:MEMORY", Unavailable),
            ("AGENT", Unavailable),
            ("Capacity is unavailable at this time. Please try again later.", Unavailable),
            ("ATTRIBUTE", Rejected),
        ],
    )
    async def test_a_failure_with_200_started_nothing(
        self, executor: Executor, reason: str, means: type[Exception]
    ) -> None:
        self.trouble(RUN, answer={"tasks": [], "failures": [{"reason": reason, "detail": "of no instance"}]})
        with pytest.raises(means, match=f"{reason}: of no instance"):
            await executor.submit(self.sleeping("failed"))

    async def test_a_lost_answer_is_ambiguous_and_the_task_is_found(self, executor: Executor) -> None:
        self.trouble(RUN, lost=True)
        task = self.sleeping("lost")
        with pytest.raises(ConnectionError):
            await executor.submit(task)
        found = await executor.find(task)
        assert found == await executor.submit(task)
        assert self.started() == 1

    async def test_a_failure_of_awss_own_is_ambiguous(self, executor: Executor) -> None:
        self.trouble(RUN, code="ServerException", message="Service unavailable", status=500)
        with pytest.raises(Refused, match="Service unavailable"):
            await executor.submit(self.sleeping("ambiguous"))

    async def test_aws_out_of_reach_has_started_nothing(self, executor: Executor) -> None:
        await self.aws.port.deafen()
        with pytest.raises(Unavailable, match="not reached"):
            await executor.submit(self.task("unreached", "true"))

    async def test_a_token_with_other_arguments_adopts_the_task(self, executor: Executor) -> None:
        first = await executor.submit(self.sleeping("conflict"))
        async with self.connect() as other:
            changed = task_of(self.config(cpu=1024, memory=2048), "sleep", "300", key="conflict")
            assert await other.submit(changed) == first
        assert self.started() == 1

    async def test_two_meshes_of_one_account_may_have_the_same_key(self, executor: Executor) -> None:
        task = self.sleeping("same")
        async with Executor(Site("other", "default", "w", self.aws.environment, self.directory)) as theirs:
            assert await theirs.submit(task) != await executor.submit(task)
            assert set(await self.listed(theirs)) == {"same"}

    def test_launches_keep_a_rate_below_the_accounts(self) -> None:
        executor = Executor(Site("mesh", "default", "w", {}, self.directory))
        assert (executor.submit_rate, executor.submit_burst) == (15, 50)

    async def test_a_conflict_adopts_the_task_although_nobody_can_look_at_it(self, executor: Executor) -> None:
        first = await executor.submit(self.sleeping("conflict"))
        async with self.connect() as other:
            self.trouble(DESCRIBE, times=4, code="ThrottlingException", message="Rate exceeded")
            changed = task_of(self.config(cpu=1024, memory=2048), "sleep", "300", key="conflict")
            assert await other.submit(changed) == first

    async def test_a_conflict_that_names_no_task_is_ambiguous(self, executor: Executor) -> None:
        self.trouble(RUN, code="ConflictException", message="The provided clientToken is in use")
        with pytest.raises(Refused, match="ConflictException"):
            await executor.submit(self.sleeping("unnamed"))

    async def test_a_cluster_without_machines_has_no_room_for_now(self, executor: Executor) -> None:
        words = "No Container Instances were found in your cluster."
        self.trouble(RUN, code="InvalidParameterException", message=words)
        with pytest.raises(Unavailable, match=words):
            await executor.submit(self.sleeping("empty"))


class TestListing(EcsFaults):
    async def test_a_cluster_that_does_not_exist_keeps_no_other_from_being_listed(self, executor: Executor) -> None:
        for cluster in ("missing", "prod", "missing-too"):
            with suppress(Rejected):
                await executor.submit(task_of(self.config(cluster=cluster), "sleep", "300", key=cluster))
        assert set(await self.listed(executor)) == {"prod"}


class TestObserving(EcsFaults):
    async def test_a_task_that_is_missing_for_a_while_is_told_as_gone_and_comes_back(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("new"))
        self.aws.ecs.hidden = 1
        assert await self.observed(executor, handle) == GONE
        assert executor.gone_window >= 120
        await self.running(executor, handle)

    async def test_throttled_observations_slow_the_observer_down(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("slow"))
        self.trouble(DESCRIBE, times=4, code="ThrottlingException", message="Rate exceeded")
        with pytest.raises(Unavailable):
            await executor.observe([handle])
        await self.running(executor, handle)

    async def test_a_question_without_an_answer_keeps_what_was_known(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("kept"))
        self.trouble(DESCRIBE, times=4, code="AccessDeniedException", message="no")
        assert await self.observed(executor, handle) == UNKNOWN

    async def test_a_hundred_tasks_are_one_call(self, executor: Executor) -> None:
        handles = await asyncio.gather(*(executor.submit(self.sleeping(f"t{n}")) for n in range(30)))
        self.aws.api.calls.clear()
        assert set(await executor.observe(handles)) == set(handles)
        assert self.aws.api.calls == {DESCRIBE: 1}

    async def test_what_nobody_could_read_of_a_failure_keeps_no_other_end_from_being_told(self) -> None:
        async with self.connect(RUNMESH_ECS_LOG_RATE="0.01") as executor:
            done, *failed = [await executor.submit(self.shell(f"t{code}", f"exit {code}")) for code in range(3)]
            await eventually(lambda: all(self.aws.task(handle).ended for handle in (done, *failed)))
            seen = await executor.observe([done, *failed])
        assert seen[done].phase is Phase.SUCCEEDED
        assert [seen[handle].phase for handle in failed].count(Phase.UNKNOWN) == 1

    async def test_an_end_is_asked_for_once(self, executor: Executor) -> None:
        handle = await executor.submit(self.task("once", "true"))
        await self.ended(executor, handle)
        self.aws.api.calls.clear()
        await self.observed(executor, handle)
        assert not self.aws.api.calls

    async def test_the_interval_grows_while_nothing_changes(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("quiet"))
        await self.running(executor, handle)
        for _ in range(5):
            await self.observed(executor, handle)
        assert executor.poll_interval > 0.3
        await executor.cancel(handle)
        await self.stopped(executor, handle)
        assert executor.poll_interval < 0.3

    async def test_a_spot_interruption_is_the_infrastructures(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("spot"))
        await self.running(executor, handle)
        self.aws.agent.interrupt(self.aws.task(handle))
        end = await self.ended(executor, handle)
        assert (end.phase, end.cause) == (Phase.FAILED, Cause.INFRASTRUCTURE)
        assert end.reason == "SpotInterruption: Your Spot Task was interrupted."

    async def test_a_container_without_memory_is_the_users_with_the_limit_named(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("oom"))
        await self.running(executor, handle)
        self.aws.agent.run_out_of_memory(self.aws.task(handle))
        end = await self.ended(executor, handle)
        assert (end.cause, end.exit_code) == (Cause.USER, 137)
        assert "1024 MiB" in str(end.reason)

    async def test_a_command_that_does_not_exist_is_a_wrong_configuration(self, executor: Executor) -> None:
        handle = await executor.submit(self.task("nothing", "no-such-command-anywhere"))
        end = await self.ended(executor, handle)
        assert end.cause is Cause.CONFIG
        assert "no-such-command-anywhere" in str(end.reason)

    async def test_a_task_without_a_place_says_so_for_as_long(self, executor: Executor) -> None:
        self.aws.agent.room.clear()
        handle = await executor.submit(self.task("waits", "true"))
        seen = await self.observed(executor, handle)
        assert (seen.phase, seen.reason) == (Phase.PENDING, "PROVISIONING for now")
        self.aws.agent.room.set()
        assert (await self.ended(executor, handle)).phase is Phase.SUCCEEDED

    async def test_somebody_elses_stop_is_no_cancellation_of_ours(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("theirs"))
        await self.running(executor, handle)
        self.aws.agent.stop(self.aws.task(handle), "by hand")
        end = await self.ended(executor, handle)
        assert (end.cause, end.reason) == (Cause.INFRASTRUCTURE, "UserInitiated: by hand")

    async def test_a_fact_says_where_to_look(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("url"))
        seen = await self.observed(executor, handle)
        page = f"https://eu-west-1.console.aws.amazon.com/ecs/v2/clusters/prod/tasks/{handle.rpartition('/')[2]}"
        assert seen.url == f"{page}?region=eu-west-1"


class TestStopping(EcsFaults):
    async def test_a_task_that_ignores_term_is_stopped_all_the_same(self, executor: Executor) -> None:
        self.aws.agent.grace = 0.2
        handle = await executor.submit(self.shell("stubborn", "trap '' TERM; echo on; while true; do sleep 0.05; done"))
        assert (await anext(executor.logs(handle, since=Position()))).text == "on"
        await executor.cancel(handle)
        assert (await self.observed(executor, handle)).phase is Phase.RUNNING
        await self.stopped(executor, handle)

    async def test_a_stop_that_is_throttled_is_asked_for_again(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("stop"))
        self.trouble(STOP, times=2, code="ThrottlingException", message="Rate exceeded")
        await executor.cancel(handle)
        await self.stopped(executor, handle)

    async def test_what_cannot_be_stopped_is_an_error(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("denied"))
        self.trouble(STOP, code="AccessDeniedException", message="not authorized to perform: ecs:StopTask")
        with pytest.raises(Refused, match="ecs:StopTask"):
            await executor.cancel(handle)


class TestLogs(EcsFaults):
    async def test_nothing_is_lost_or_doubled_over_pages_and_faults(self, executor: Executor) -> None:
        self.aws.logs.page = 7
        handle = await executor.submit(self.shell("pages", "seq 60; sleep 0.2; seq 61 100"))
        for code in ("ThrottlingException", "ServiceUnavailableException"):
            self.trouble(READ, times=2, code=code, status=503 if code.startswith("Service") else 400)
        lines = await self.output(executor, handle)
        assert [line.text for line in lines] == [str(n) for n in range(1, 101)]
        assert [line.number for line in lines] == list(range(1, 101))

    async def test_a_definition_without_awslogs_has_no_lines(self, executor: Executor) -> None:
        self.aws.ecs.define("mute", {"containerDefinitions": [{"name": "main", "image": "x"}]})
        task = task_of(self.config(task_definition="mute"), "sh", "-c", "echo lost; exit 1", key="mute")
        handle = await executor.submit(task)
        assert await self.output(executor, handle) == []
        assert (await self.ended(executor, handle)).log_tail == ()

    async def test_lines_that_cannot_be_read_end_no_task(self, executor: Executor) -> None:
        self.trouble(READ, times=99, code="AccessDeniedException", message="logs:GetLogEvents")
        handle = await executor.submit(self.shell("unread", "echo x; exit 4"))
        end = await self.ended(executor, handle)
        assert (end.exit_code, end.log_tail) == (4, ())

    async def test_a_task_that_is_missing_at_first_keeps_its_lines(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("new", "sleep 0.2; echo said"))
        following = asyncio.create_task(self.output(executor, handle))
        self.aws.ecs.hidden = 1
        assert await self.observed(executor, handle) == GONE
        assert [line.text for line in await following] == ["said"]

    async def test_an_adopted_task_keeps_its_lines_although_aws_throttles(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("adopted", "echo said"))
        async with self.connect() as other:
            self.trouble(DESCRIBE, times=4, code="ThrottlingException", message="Rate exceeded")
            assert [line.text for line in await self.output(other, handle)] == ["said"]

    async def test_tasks_that_are_adopted_at_once_are_looked_at_together(self, executor: Executor) -> None:
        handles = [await executor.submit(self.shell(f"t{n}", "echo x")) for n in range(12)]
        for handle in handles:
            await self.ended(executor, handle)
        async with self.connect() as other:
            self.aws.api.calls.clear()
            await asyncio.gather(*(self.output(other, handle) for handle in handles))
        assert self.aws.api.calls[DESCRIBE] <= 3
        assert self.aws.api.calls["DescribeTaskDefinition"] == 1

    async def test_lines_that_cloudwatch_shows_late_are_not_lost(self, executor: Executor) -> None:
        self.aws.agent.unwinding = 0.0
        self.aws.logs.delay = 1.0
        handle = await executor.submit(self.shell("late", "echo said; exit 3"))
        assert [line.text for line in await self.output(executor, handle)] == ["said"]
        assert (await self.ended(executor, handle)).log_tail == ("said",)


class TestDefinitions(EcsFaults):
    @pytest.mark.parametrize(
        ("operation", "code", "message", "means"),
        [
            (REGISTER, "ClientException", "Too many concurrent attempts to create a new revision", Unavailable),
            ("DescribeTaskDefinition", "AccessDeniedException", "ecs:DescribeTaskDefinition", Rejected),
        ],
    )
    async def test_a_definition_is_registered_only_where_there_is_none(
        self, executor: Executor, operation: str, code: str, message: str, means: type[Exception]
    ) -> None:
        before = self.aws.ecs.revisions()
        self.trouble(operation, code=code, message=message)
        with pytest.raises(means, match=message):
            await executor.submit(self.with_definition("raced"))
        assert self.aws.ecs.revisions() == before

    def with_definition(self, key: str, **container: Any) -> Task[Config]:
        definition = {"containerDefinitions": [{**logged("job"), **container}], "networkMode": "awsvpc"}
        return task_of(self.config(task_definition=definition, container_name=None), "echo", "inline", key=key)

    async def test_an_inline_definition_is_registered_once_per_content(self, executor: Executor) -> None:
        before = self.aws.ecs.revisions()
        handles = await asyncio.gather(*(executor.submit(self.with_definition(f"inline{n}")) for n in range(5)))
        assert [line.text for line in await self.output(executor, handles[0])] == ["inline"]
        async with self.connect() as other:
            await other.submit(self.with_definition("again"))
        assert self.aws.ecs.revisions() == before + 1
        await executor.submit(self.with_definition("different", image="etl:2"))
        assert self.aws.ecs.revisions() == before + 2

    async def test_image_and_secrets_make_a_definition_like_the_one_named(self, executor: Executor) -> None:
        config = self.config(image="etl:9", secrets={"TOKEN": "arn:aws:ssm:eu-west-1:1:parameter/token"})
        handle = await executor.submit(task_of(config, "true", key="derived"))
        [container] = self.aws.task(handle).definition["containerDefinitions"]
        assert container["image"] == "etl:9"
        assert container["secrets"] == [{"name": "TOKEN", "valueFrom": "arn:aws:ssm:eu-west-1:1:parameter/token"}]
        assert container["logConfiguration"] == logged("main")["logConfiguration"]


class TestReferences(EcsFaults):
    """Variables that are too long for ECS are stored where the job can read them."""

    def with_variables(self, place: str, *start: str, size: int = 9000) -> Task[Config]:
        variables = json.dumps({"text": "x" * size})
        command = (*(start or ("runmesh-run", "/shop", "daily")), "--runtime-vars", variables, "--event", '{"a": 1}')
        return task_of(self.config(), *command, key="long", environment={OUTCOME: f"{place}/.runmesh/run-1/long.json"})

    async def test_what_is_too_long_is_stored_and_referred_to(self, executor: Executor) -> None:
        task = self.with_variables(f"file://{self.directory}/variables")
        handle = await executor.submit(task)
        [container] = self.aws.task(handle).asked["overrides"]["containerOverrides"]
        *_, reference, event, value = container["command"]
        assert (reference[0], event, value) == ("@", "--event", '{"a": 1}')
        assert parse(container["command"][1:]).runtime_vars == {"text": "x" * 9000}
        async with self.connect() as other:
            assert await other.submit(task) == handle
        assert self.started() == 1

    async def test_what_was_stored_for_a_task_goes_with_it_whoever_removes_it(self, executor: Executor) -> None:
        task, given = self.with_variables(f"file://{self.directory}/v"), self.directory / "v/.runmesh/run-1/given"
        handle = await executor.submit(task)
        assert [path.name.partition("-")[0] for path in given.iterdir()] == ["long"]
        async with self.connect() as other:
            assert await other.find(task) == handle
            await other.remove(handle)
        assert not [*given.iterdir()]
        await executor.remove(handle)

    async def test_what_fits_stays_in_the_command(self, executor: Executor) -> None:
        handle = await executor.submit(self.with_variables(f"file://{self.directory}/variables", size=1000))
        [container] = self.aws.task(handle).asked["overrides"]["containerOverrides"]
        assert "@" not in "".join(container["command"])
        assert not (self.directory / "variables").exists()

    @pytest.mark.parametrize(
        ("place", "start"), [("/variables", ()), ("memory://variables", ("mage", "run", "/shop", "daily"))]
    )
    async def test_what_no_job_could_read_is_refused_with_sizes(
        self, executor: Executor, place: str, start: tuple[str, ...]
    ) -> None:
        with pytest.raises(Rejected, match="8192 characters of overrides, and these are 9"):
            await executor.submit(self.with_variables(place, *start))

    async def test_a_place_that_does_not_exist_is_a_wrong_configuration(self, executor: Executor) -> None:
        with pytest.raises(Rejected, match="can't be stored in nosuch://bucket"):
            await executor.submit(self.with_variables("nosuch://bucket"))
        assert self.started() == 0


class TestInheriting(EcsFaults):
    async def test_a_task_takes_after_the_workers_own_which_is_read_once(self) -> None:
        there = self.aws.place_worker()
        async with self.connect(**there) as executor:
            for n in range(3):
                handle = await executor.submit(task_of(Config(), "true", key=f"heir{n}"))
        assert self.aws.api.calls["DescribeNetworkInterfaces"] == 1
        asked = self.aws.task(handle).asked
        assert (asked["cluster"], asked["taskDefinition"]) == ("prod", "etl:1")
        vpc = asked["networkConfiguration"]["awsvpcConfiguration"]
        assert vpc == {"subnets": ["subnet-own"], "securityGroups": ["sg-own"], "assignPublicIp": "ENABLED"}

    async def test_a_task_waits_where_what_it_inherits_cannot_be_read_for_now(self) -> None:
        async with self.connect(**self.aws.place_worker()) as executor:
            self.trouble(DESCRIBE, times=4, code="ThrottlingException", message="Rate exceeded")
            with pytest.raises(Unavailable, match="own network"):
                await executor.submit(task_of(Config(), "true", key="waits"))
            assert await executor.submit(task_of(Config(), "true", key="waits"))

    async def test_a_role_is_assumed_for_the_task_and_for_all_that_becomes_of_it(self, executor: Executor) -> None:
        role = "arn:aws:iam::1:role/jobs"
        task = task_of(self.config(assume_role_arn=role), "true", key="role")
        handle = await executor.submit(task)
        self.aws.api.keys.clear()
        async with self.connect() as other:
            assert (await self.ended(other, handle)).phase is Phase.SUCCEEDED
            assert await other.find(task) == handle
        assert self.aws.api.keys == {"ROLE"}
        assert set(self.aws.api.assumed) == {role}

    async def test_a_task_waits_where_its_role_cannot_be_assumed_for_now(self, executor: Executor) -> None:
        task = task_of(self.config(assume_role_arn="arn:aws:iam::1:role/busy"), "true", key="busy")
        with pytest.raises(Unavailable, match="role/busy"):
            await executor.submit(task)


class TestBadInput(EcsFaults):
    @pytest.mark.parametrize(
        ("config", "words"),
        [
            ({"cluster": "missing"}, "ClusterNotFoundException"),
            ({"task_definition": "nobody"}, "Unable to describe task definition"),
            ({"task_definition": "nobody", "container_name": None}, "Unable to describe task definition"),
            ({"container_name": "nobody"}, "Override for container named nobody"),
            ({"container_name": "nobody", "image": "x"}, "no container 'nobody', it has main"),
            ({"subnets": []}, "no subnets"),
            ({"task_definition": None}, "no task definition"),
            ({"assume_role_arn": "arn:aws:iam::1:role/denied"}, "sts:AssumeRole"),
            ({"task_definition": {"containerDefinitions": [{"name": "main", "image": 5}]}}, "image"),
            ({"environment": {"LONG": "x" * 9000}}, "ECS takes 8192 characters of overrides, and these are 9"),
        ],
    )
    async def test_what_ecs_does_not_have_is_rejected_in_its_words(
        self, executor: Executor, config: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(Rejected, match=words):
            await executor.submit(task_of(self.config(**config), "true", key="bad"))
        assert self.started() == 0

    async def test_a_region_that_does_not_exist_is_rejected_with_the_nearest(self) -> None:
        there = {name: value for name, value in self.aws.environment.items() if name != "AWS_ENDPOINT_URL"}
        async with Executor(Site("mesh", "default", "w", there, self.directory)) as executor:
            config = self.config(region="eu-wst-1")
            with pytest.raises(Rejected, match=r"'eu-wst-1'.* did you mean 'eu-west-1'"):
                await executor.submit(task_of(config, "true", key="region"))

    async def test_no_credentials_are_said_at_the_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with pytest.raises(Invalid, match="no AWS credentials"):
            async with Executor(Site("mesh", "default", "w", {}, self.directory)):
                pass

    async def test_a_cluster_of_an_unknown_name_has_no_task(self, executor: Executor) -> None:
        assert await executor.find(task_of(self.config(cluster="missing"), "true", key="bad")) is None
