"""The provisioner: everything that DESIGN §3 names, and nothing twice."""

from pathlib import Path

import pytest

from runmesh.bus import Bus, connect, provision
from runmesh.bus.refusals import Refused
from runmesh.embedded import Server
from runmesh.errors import NotProvisioned
from runmesh.subjects import ExecutorType, execute_consumer, execute_stream
from tests.conftest import ACK_WAIT
from tests.eventually import eventually


async def test_the_second_time_changes_nothing(bus: Bus) -> None:
    assert await provision(bus, ack_wait=ACK_WAIT) == []


async def test_every_executor_type_has_a_queue_and_a_default_pool(bus: Bus) -> None:
    for kind in ExecutorType:
        info = await bus.consumer_info(execute_stream(kind), execute_consumer("default"))
        assert info.pending == 0


async def test_a_new_pool_gets_its_consumer_and_only_its_own_tasks(bus: Bus) -> None:
    made = await provision(bus, pools={"k8s": ["eu.west"]}, ack_wait=ACK_WAIT)
    assert made == [f"made consumer {execute_consumer('eu.west')} of EXECUTE_k8s"]
    await bus.publish("mesh.execute.k8s.eu%2Ewest.shop.r1.load", b"")

    async def one_waits() -> bool:
        return (await bus.consumer_info("EXECUTE_k8s", execute_consumer("eu.west"))).pending == 1

    await eventually(one_waits)
    assert (await bus.consumer_info("EXECUTE_k8s", execute_consumer("default"))).pending == 0


async def test_another_lease_changes_consumers_and_the_workers_bucket(bus: Bus) -> None:
    changes = await provision(bus, ack_wait=30)
    assert "changed stream KV_workers: max_age, duplicate_window" in changes
    assert "changed consumer resolver of REQUESTS: ack_wait" in changes
    assert not [change for change in changes if change.startswith("made")]


async def test_the_settings_that_lose_work_when_wrong(bus: Bus) -> None:
    async def config(stream: str) -> dict[str, object]:
        found: dict[str, object] = (await bus.api(f"STREAM.INFO.{stream}"))["config"]
        return found

    requests, runs, claims, workers = [await config(s) for s in ("REQUESTS", "KV_runs", "KV_claims", "KV_workers")]
    assert (requests["retention"], requests["discard"]) == ("workqueue", "new")
    assert (runs["max_age"], claims["max_age"], workers["max_age"]) == (0, 0, ACK_WAIT * 1e9)
    assert not runs["allow_direct"]
    consumer = (await bus.api("CONSUMER.INFO.EXECUTE_ecs.pool_default"))["config"]
    assert (consumer["max_ack_pending"], consumer["max_deliver"]) == (50_000, -1)


async def test_only_terminal_task_facts_reach_the_resolver(bus: Bus) -> None:
    await bus.publish("mesh.task.running.k8s.default.shop.r1.load", b"")
    await bus.publish("mesh.task.failed.k8s.default.shop.r1.load", b"")
    await bus.publish("mesh.run.failed.shop.p.r1", b"")
    assert (await bus.consumer_info("FACTS", "resolver")).pending == 1


async def test_what_cannot_be_changed_is_an_error(nats_server: Server) -> None:
    async with connect(nats_server.url, name="test", token=nats_server.token) as bus:
        await bus.api("STREAM.CREATE.FACTS", {"name": "FACTS", "subjects": ["mesh.run.>"], "storage": "memory"})
        with pytest.raises(Refused, match="storage"):
            await provision(bus)


class SmallServer(Server):
    def _config(self) -> str:
        return super()._config().replace("sync_interval", "max_file_store: 4GB, sync_interval")


async def test_caps_shrink_alike_to_a_small_disk(tmp_path: Path) -> None:
    server = SmallServer(tmp_path)
    await server.start()
    async with connect(server.url, name="test", token=server.token) as bus:
        await provision(bus)
        facts, requests = [(await bus.api(f"STREAM.INFO.{name}"))["config"] for name in ("FACTS", "REQUESTS")]
        assert facts["max_bytes"] == 10 * requests["max_bytes"] == 10 * 2**30 // 8
        assert await provision(bus) == []
    await server.stop()


async def test_the_operators_own_cap_is_kept(bus: Bus) -> None:
    config = (await bus.api("STREAM.INFO.FACTS"))["config"]
    await bus.api("STREAM.UPDATE.FACTS", {**config, "max_bytes": 123_456_789})
    assert await provision(bus, ack_wait=ACK_WAIT) == []


async def test_without_provisioning_a_reader_hears_so_at_once(nats_server: Server) -> None:
    async with connect(nats_server.url, name="test", token=nats_server.token) as bus:
        with pytest.raises(NotProvisioned):
            await bus.stream_info("FACTS")
        with pytest.raises(NotProvisioned):
            async with bus.consume("EXECUTE_k8s", "pool_default", slots=1) as pump:
                await anext(pump)
