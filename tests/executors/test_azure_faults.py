"""`azure_container_instance` where Azure throttles, fails, is silent, or is asked for what it doesn't have."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from runmesh.errors import Invalid, Rejected, Unavailable
from runmesh.events import Cause
from runmesh.executor import GONE, UNKNOWN, Handle, Phase, Position
from runmesh.executors.azure.refusals import Refused
from runmesh.executors.azure_container_instance import Config, Executor
from tests.emulators.arm.own import PULLER, SUBNET
from tests.emulators.arm.refusals import ArmError
from tests.emulators.faults import Fault
from tests.eventually import eventually
from tests.executors.tasks import task_of
from tests.executors.test_azure_container_instance import Aci

CREATE, GET, LIST, DELETE, LOGS, TOKEN = "Create", "Get", "List", "Delete", "Logs", "Token"


class AciFaults(Aci):
    def trouble(self, operation: str, *, times: int = 1, **refusal: Any) -> None:
        self.azure.api.faults.append(Fault(operation, times, ArmError(**refusal)))

    def started(self) -> int:
        """Return how often any container was started."""
        return sum(len(group.history) for group in self.azure.api.history)

    def properties(self, handle: Handle) -> dict[str, Any]:
        found: dict[str, Any] = self.azure.group(handle).history[0]["properties"]
        return found


class TestSubmitting(AciFaults):
    @pytest.mark.parametrize(
        ("status", "code", "message"),
        [
            (429, "TooManyRequests", "The request is being throttled"),
            (
                409,
                "ContainerGroupQuotaReached",
                "Resource type container group container quota 'StandardCores' exceeded",
            ),
            (
                409,
                "ServiceUnavailable",
                "The requested resource is not available in the location 'westus' at this moment.",
            ),
            (
                409,
                "RegistryErrorResponse",
                "An error response is received from the docker registry. Please retry later.",
            ),
            (401, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time"),
        ],
    )
    async def test_what_passes_is_unavailable(self, executor: Executor, status: int, code: str, message: str) -> None:
        self.trouble(CREATE, code=code, message=message, status=status, retry_after="17")
        with pytest.raises(Unavailable, match=code) as refused:
            await executor.submit(self.sleeping("later"))
        assert refused.value.retry_after == 17
        assert self.started() == 0

    @pytest.mark.parametrize(("code", "status"), [("AuthorizationFailed", 403), ("RequestDisallowedByPolicy", 403)])
    async def test_what_never_passes_is_rejected_in_azures_words(
        self, executor: Executor, code: str, status: int
    ) -> None:
        self.trouble(CREATE, code=code, message="does not have authorization", status=status)
        with pytest.raises(Rejected, match=f"{code}: does not have authorization"):
            await executor.submit(self.sleeping("never"))

    async def test_a_lost_answer_is_ambiguous_and_the_group_is_found_and_never_created_again(
        self, executor: Executor
    ) -> None:
        self.azure.api.faults.append(Fault(CREATE, lost=True))
        task = self.sleeping("lost")
        with pytest.raises(ConnectionError):
            await executor.submit(task)
        found = await executor.find(task)
        assert found == await executor.submit(task)
        assert self.started() == self.azure.api.calls[CREATE] == 1

    async def test_a_creation_that_takes_too_long_is_ambiguous_and_is_found_when_it_comes(self) -> None:
        self.azure.api.faults.append(Fault(CREATE, delay=3.5))
        task = self.sleeping("late")
        async with self.connect(RUNMESH_AZURE_CREATE_TIMEOUT="3") as executor:
            with pytest.raises(ConnectionError):
                await executor.submit(task)
            assert await eventually(lambda: executor.find(task))
            assert executor.find_window > 3.5
        assert self.azure.api.calls[CREATE] == 1

    @pytest.mark.parametrize(
        ("code", "status"),
        [("InternalServerError", 503), ("RequestTimeout", 408), ("ContainerGroupTransitioning", 409)],
    )
    async def test_what_says_nothing_or_that_a_group_is_there_is_ambiguous_and_not_repeated(
        self, executor: Executor, code: str, status: int
    ) -> None:
        self.trouble(CREATE, code=code, status=status)
        with pytest.raises(Refused, match=code):
            await executor.submit(self.sleeping("ambiguous"))
        assert self.azure.api.calls[CREATE] == 1

    async def test_nothing_is_created_while_nobody_can_say_whether_it_is_there(self, executor: Executor) -> None:
        self.trouble(GET, times=3, code="ServiceUnavailable", status=503)
        with pytest.raises(Unavailable):
            await executor.submit(self.sleeping("unsure"))
        assert self.azure.api.calls[CREATE] == 0

    async def test_an_azure_that_is_silent_before_the_creation_has_started_nothing(self) -> None:
        self.azure.api.faults.append(Fault(GET, delay=0.8))
        async with self.connect(RUNMESH_AZURE_CREATE_TIMEOUT="1") as executor:
            with pytest.raises(Unavailable, match="in time"):
                await executor.submit(self.sleeping("silent"))
        assert self.azure.api.calls[CREATE] == 0

    async def test_a_region_that_does_not_say_what_it_offers_holds_nobody_up(self, executor: Executor) -> None:
        self.azure.api.faults.append(Fault("Offer", times=99, delay=60))
        await asyncio.gather(*(executor.submit(self.sleeping(f"unoffered{n}")) for n in range(3)))
        assert self.azure.api.calls["Offer"] == 1

    async def test_what_a_proxy_says_of_a_group_is_not_that_it_is_not_there(self, executor: Executor) -> None:
        task = self.sleeping("proxied")
        handle = await executor.submit(task)
        for status in (404, 200, 200, 200):
            self.azure.api.faults.append(Fault(GET, answer=web.Response(status=status, text="<html>")))
        with pytest.raises(Refused, match="HTTP 404: <html>"):
            await executor.find(task)
        odd = web.json_response({"error": "access_denied"}, status=403)
        self.azure.api.faults.insert(0, Fault(GET, answer=odd))
        with pytest.raises(Refused, match=r'HTTP 403: \{"error": "access_denied"'):
            await executor.find(task)
        with pytest.raises(ConnectionError, match="<html>"):
            await executor.find(task)
        assert await executor.find(task) == handle

    async def test_azure_out_of_reach_has_started_nothing(self, executor: Executor) -> None:
        await self.azure.port.deafen()
        with pytest.raises(Unavailable, match="not reached"):
            await executor.submit(self.task("unreached", "true"))

    async def test_a_group_of_this_name_that_is_not_ours_is_left_alone(self, executor: Executor) -> None:
        task = self.sleeping("taken")
        handle = await executor.submit(task)
        self.azure.group(handle).told["tags"]["runmesh-mesh"] = "another"
        async with self.connect() as other:
            with pytest.raises(Rejected, match="is not this task's"):
                await other.submit(task)
            assert await other.find(task) is None
            assert await self.listed(other) == {}


class TestObserving(AciFaults):
    async def test_groups_are_listed_together_and_looked_at_only_when_something_changed(
        self, executor: Executor
    ) -> None:
        self.azure.node.room.clear()
        handles = await asyncio.gather(*(executor.submit(self.sleeping(f"t{n}")) for n in range(20)))
        await executor.observe(handles)
        self.azure.api.calls.clear()
        for _ in range(5):
            seen = await executor.observe(handles)
            assert {each.phase for each in seen.values()} == {Phase.PENDING}
        assert self.azure.api.calls[GET] == 0
        assert self.azure.api.calls[LIST] <= 5

    async def test_a_listing_comes_in_pages(self, executor: Executor) -> None:
        self.azure.api.page = 3
        handles = {key: await executor.submit(self.task(key, "true")) for key in map(str, range(8))}
        assert await self.listed(executor) == handles

    async def test_a_throttle_slows_the_observer_down_for_as_long_as_it_says(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("slow"))
        for operation in (LIST, GET):
            self.trouble(operation, code="TooManyRequests", status=429, retry_after="9")
            with pytest.raises(Unavailable) as refused:
                await executor.observe([handle])
            assert refused.value.retry_after == 9
        await self.running(executor, handle)

    async def test_one_failure_of_azure_ends_nothing(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("kept"))
        for operation in (LIST, GET):
            self.trouble(operation, times=3, code="ServiceUnavailable", status=503)
        assert await self.observed(executor, handle) == UNKNOWN
        await self.running(executor, handle)

    async def test_an_end_is_asked_for_once(self, executor: Executor) -> None:
        handle = await executor.submit(self.task("once", "true"))
        await self.ended(executor, handle)
        self.azure.api.calls.clear()
        await self.observed(executor, handle)
        assert not self.azure.api.calls

    async def test_a_group_that_disappears_is_gone_once_azure_says_so(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("vanished"))
        await self.running(executor, handle)
        del self.azure.api.groups[handle]
        await self.gone(executor, handle)
        assert executor.gone_window > 0

    async def test_a_group_that_azure_does_not_show_yet_is_not_gone(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("hidden"))
        group = self.azure.api.groups.pop(handle)
        assert await self.observed(executor, handle) == UNKNOWN
        await executor.cancel(handle)
        assert await self.observed(executor, handle) == UNKNOWN
        self.azure.api.groups[handle] = group
        await executor.cancel(handle)
        await self.gone(executor, handle)
        assert handle not in self.azure.api.groups

    async def test_groups_are_looked_at_while_no_listing_comes(self, executor: Executor) -> None:
        self.azure.api.faults.append(Fault(LIST, times=99, delay=60))
        handle = await executor.submit(self.shell("unlisted", "exit 3"))
        assert (await self.ended(executor, handle)).exit_code == 3

    async def test_groups_that_cannot_be_looked_at_hide_no_other(self) -> None:
        async with self.connect(RUNMESH_AZURE_READ_RATE="0.1") as executor:  # one look in a round
            handles = [await executor.submit(self.sleeping(key)) for key in ("withheld", "seen")]
            self.azure.api.denied.add(handles[0])

            async def is_seen() -> bool:
                seen: bool = (await executor.observe(handles))[handles[1]] != UNKNOWN
                return seen

            await eventually(is_seen)

    async def test_an_eviction_is_the_infrastructures(self, executor: Executor) -> None:
        handle = await executor.submit(task_of(self.config(priority="Spot"), "sleep", "300", key="spot"))
        await self.running(executor, handle)
        self.azure.node.evict(self.azure.group(handle))
        end = await self.ended(executor, handle)
        assert (end.phase, end.cause) == (Phase.FAILED, Cause.INFRASTRUCTURE)
        assert "evicted" in str(end.reason)
        assert self.properties(handle)["priority"] == "Spot"

    async def test_a_container_without_memory_is_the_users_with_the_limit_named(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("oom"))
        await self.running(executor, handle)
        self.azure.node.run_out_of_memory(self.azure.group(handle))
        end = await self.ended(executor, handle)
        assert (end.cause, end.exit_code) == (Cause.USER, 137)
        assert "its memory of 1 GB" in str(end.reason)

    async def test_a_command_that_does_not_exist_is_a_wrong_configuration(self, executor: Executor) -> None:
        handle = await executor.submit(self.task("nothing", "no-such-command-anywhere"))
        end = await self.ended(executor, handle)
        assert end.cause is Cause.CONFIG
        assert "no-such-command-anywhere" in str(end.reason)

    async def test_provisioning_is_not_success(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("provisioned"))
        await self.running(executor, handle)
        assert self.azure.group(handle).told["properties"]["provisioningState"] == "Succeeded"
        assert (await self.observed(executor, handle)).phase is Phase.RUNNING

    async def test_a_fact_says_where_to_look(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("url"))
        await self.running(executor, handle)
        seen = await self.observed(executor, handle)
        assert seen.url == f"https://portal.azure.com/#resource{handle}/overview"


class TestStopping(AciFaults):
    async def test_a_slow_deletion_is_waited_for(self, executor: Executor) -> None:
        self.azure.api.deletion = 0.5
        handle = await executor.submit(self.sleeping("slow"))
        await self.running(executor, handle)
        await executor.cancel(handle)
        assert (await self.observed(executor, handle)).phase is Phase.RUNNING
        await self.gone(executor, handle)
        assert handle not in self.azure.api.groups

    async def test_what_is_deleted_already_is_not_deleted_once_more(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("once"))
        await executor.cancel(handle)
        await self.gone(executor, handle)
        await executor.remove(handle)
        assert self.azure.api.calls[DELETE] == 1

    async def test_a_deletion_that_came_to_nothing_is_asked_for_again(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("kept"))
        await self.running(executor, handle)
        self.azure.api.faults.append(Fault(DELETE, answer=web.Response(status=202)))
        await executor.cancel(handle)
        await self.azure.node.end(self.azure.group(handle))
        await eventually(lambda: self.azure.group(handle).ended)
        await executor.cancel(handle)
        await self.gone(executor, handle)

    async def test_what_ended_before_the_stop_came_keeps_its_end(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("quick", "exit 3"))
        async with self.connect() as other:
            await self.ended(other, handle)
        await executor.cancel(handle)
        assert (await self.ended(executor, handle)).exit_code == 3

    @pytest.mark.parametrize("how", [{"code": "TooManyRequests", "status": 429}, {"code": "Conflict", "status": 409}])
    async def test_what_cannot_be_stopped_is_an_error(self, executor: Executor, how: dict[str, Any]) -> None:
        handle = await executor.submit(self.sleeping("denied"))
        self.trouble(DELETE, **how)
        with pytest.raises(Refused):
            await executor.cancel(handle)
        assert (await self.observed(executor, handle)) != GONE


class TestLogs(AciFaults):
    async def test_lines_survive_short_tails_faults_and_a_burst(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("burst", "seq 30; sleep 0.7; seq 31 1500"))
        reading = asyncio.create_task(self.output(executor, handle))
        await asyncio.sleep(0.3)
        for code, status in (("ServiceUnavailable", 503), ("TooManyRequests", 429)):
            self.trouble(LOGS, code=code, status=status)
        lines = await reading
        assert [line.text for line in lines] == [str(n) for n in range(1, 1501)]
        assert [line.number for line in lines] == list(range(1, 1501))

    async def test_a_group_that_is_not_shown_for_a_moment_is_followed_on(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("blinking", "echo first; sleep 1; echo last"))
        await self.running(executor, handle)
        reading = asyncio.create_task(self.output(executor, handle))
        group = self.azure.api.groups.pop(handle)
        await self.gone(executor, handle)
        await asyncio.sleep(0.7)
        self.azure.api.groups[handle] = group
        await self.ended(executor, handle)
        assert [line.text for line in await reading] == ["first", "last"]

    async def test_lines_that_cannot_be_read_end_no_task(self, executor: Executor) -> None:
        self.trouble(LOGS, times=99, code="AuthorizationFailed", status=403)
        handle = await executor.submit(self.shell("unread", "echo x; exit 4"))
        end = await self.ended(executor, handle)
        assert (end.exit_code, end.log_tail) == (4, ())


class TestInheriting(AciFaults):
    async def test_a_group_takes_after_the_one_that_is_named_in_all_that_azure_tells(self) -> None:
        async with self.connect(**self.azure.place_worker()) as executor:
            self.azure.api.calls.clear()
            handles = [await executor.submit(task_of(Config(), "true", key=f"heir{n}")) for n in range(3)]
        asked = self.azure.group(handles[0]).history[0]
        properties, container = asked["properties"], asked["properties"]["containers"][0]["properties"]
        assert (asked["location"], asked["zones"], asked["tags"]["team"]) == ("westeurope", ["1"], "data")
        assert asked["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {PULLER: {}}}
        assert container["image"] == "etl:1"
        assert {"name": "REGION", "value": "north"} in container["environmentVariables"]
        assert not {"RUNMESH_NATS_URL", "PASSWORD"} & {each["name"] for each in container["environmentVariables"]}
        assert [each["mountPath"] for each in container["volumeMounts"]] == ["/data", "/code"]
        assert properties["volumes"][0]["azureFile"]["storageAccountKey"] == "key"
        assert [each["name"] for each in properties["volumes"]] == ["data", "code"]
        assert properties["subnetIds"] == [{"id": SUBNET}]
        assert properties["dnsConfig"] == {"nameServers": ["10.0.0.4"]}
        assert [each["server"] for each in properties["imageRegistryCredentials"]] == ["etl.azurecr.io"]
        assert [each["name"] for each in properties["initContainers"]] == ["ready"]
        assert self.azure.api.calls[GET] == 1 + len(handles)

    async def test_a_task_waits_while_that_one_cannot_be_read(self) -> None:
        async with self.connect(**self.azure.place_worker()) as executor:
            self.trouble(GET, code="TooManyRequests", status=429)
            with pytest.raises(Unavailable, match="'mage'"):
                await executor.submit(task_of(Config(), "true", key="waits"))
            assert await executor.submit(task_of(Config(), "true", key="waits"))

    async def test_a_share_without_a_key_is_rejected(self) -> None:
        there = {**self.azure.place_worker(), "AZURE_STORAGE_ACCOUNT_KEY": ""}
        async with self.connect(**there) as executor:
            with pytest.raises(Rejected, match=r"no key for storage account 'lake'.*AZURE_STORAGE_ACCOUNT_KEY"):
                await executor.submit(task_of(Config(), "true", key="share"))


class TestBadInput(AciFaults):
    @pytest.mark.parametrize(
        ("config", "words"),
        [
            ({"subscription_id": "nobodys"}, "SubscriptionNotFound"),
            ({"resource_group_name": "missing"}, "ResourceGroupNotFound: Resource group 'missing'"),
            ({"container_group_name": "missing"}, "'missing', which others take after.* ResourceNotFound"),
            ({"location": "westeurop"}, "LocationNotAvailableForResourceType.*westeurope"),
            ({"image": "missing:1"}, "InaccessibleImage: The image 'missing:1'"),
            ({"cpu": 5}, "westeurope doesn't offer it: cpu 5 is more than the 4"),
            ({"memory": 17}, "memory 17 is more than the 16"),
            ({"gpu": {"count": 1, "sku": "K80"}}, "no GPU K80 for Linux, but V100"),
            ({"location": None}, "no location: set `location`"),
            ({"image": None}, "no image: set `image`"),
        ],
    )
    async def test_what_azure_does_not_have_is_rejected_in_its_words(
        self, executor: Executor, config: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(Rejected, match=words):
            await executor.submit(task_of(self.config(**config), "true", key="bad"))
        assert self.started() == 0

    @pytest.mark.parametrize(
        ("variable", "words"),
        [("AZURE_SUBSCRIPTION_ID", "no subscription"), ("AZURE_RESOURCE_GROUP_NAME", "no resource group")],
    )
    async def test_a_place_that_nobody_names_is_rejected(self, variable: str, words: str) -> None:
        async with self.connect(**{variable: ""}) as executor:
            with pytest.raises(Rejected, match=f"{words}.*{variable}"):
                await executor.submit(self.task("placeless", "true"))

    @pytest.mark.parametrize(
        ("variable", "value", "words"),
        [
            ("AZURE_CLIENT_SECRET", "wrong", "AADSTS7000215"),
            ("AZURE_TENANT_ID", "", "AZURE_TENANT_ID: is needed beside AZURE_CLIENT_SECRET"),
            ("RUNMESH_AZURE_READ_RATE", "fast", "RUNMESH_AZURE_READ_RATE: must be a number"),
        ],
    )
    async def test_a_worker_with_wrong_settings_does_not_start(self, variable: str, value: str, words: str) -> None:
        with pytest.raises(Invalid, match=words):
            async with self.connect(**{variable: value}):
                pass

    async def test_a_worker_starts_while_azure_is_out_of_reach(self) -> None:
        await self.azure.port.deafen()
        async with self.connect() as executor:
            with pytest.raises(Unavailable):
                await executor.submit(self.task("patient", "true"))
            await self.azure.port.listen()
            assert await executor.submit(self.task("patient", "true"))

    async def test_a_follower_goes_on_after_the_position_that_another_worker_stored(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("handed", "seq 300"))
        lines = await self.output(executor, handle)
        async with self.connect() as other:
            rest = await self.output(other, handle, lines[249].position)
        assert [line.text for line in rest] == [str(n) for n in range(251, 301)]
        assert lines[0].position == Position(stdout=(2, 1))

    async def test_a_follower_goes_on_where_azure_has_dropped_the_beginning(self, executor: Executor) -> None:
        handle = await executor.submit(self.shell("dropped", "seq 300; sleep 1; seq 301 310"))
        self.azure.api.most_lines = 100
        await eventually(lambda: len(self.azure.group(handle).lines) == 300)
        lines = await self.output(executor, handle, Position(stdout=(1000, 300)))
        assert [line.text for line in lines] == [str(n) for n in range(301, 311)]
        assert (lines[0].number, lines[0].position) == (301, Position(stdout=(1004, 301)))
