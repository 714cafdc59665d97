"""Buckets: compare-and-swap, deletion, listing and watching."""

import asyncio
from collections.abc import AsyncIterator

import nats
import pytest

from runmesh.bus import Bus, Deleted, Entry, connect, provision
from runmesh.embedded import Server
from runmesh.errors import Conflict, NotProvisioned
from tests.conftest import Address
from tests.eventually import eventually
from tests.posting import all_of


async def test_what_was_just_written_is_read(bus: Bus) -> None:
    runs = bus.bucket("runs")
    for n in range(200):
        revision = await runs.put("run.r1.state", str(n).encode())
        entry = await runs.get("run.r1.state")
        assert entry is not None
        assert (entry.value, entry.revision) == (str(n).encode(), revision)


async def test_a_key_that_never_was_is_none(bus: Bus) -> None:
    assert await bus.bucket("runs").get("run.nobody.state") is None


async def test_only_one_of_many_creates_wins(bus: Bus) -> None:
    claims = bus.bucket("claims")
    tries = (claims.create("k8s.default.key", str(n).encode()) for n in range(20))
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(outcome, int) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 19


async def test_an_update_needs_the_last_revision(bus: Bus) -> None:
    runs = bus.bucket("runs")
    first = await runs.create("k", b"1")
    second = await runs.update("k", b"2", first)
    with pytest.raises(Conflict):
        await runs.update("k", b"3", first)
    assert await runs.update("k", b"3", second) > second


async def test_what_was_deleted_can_be_created_again_by_one(bus: Bus) -> None:
    runs = bus.bucket("runs")
    await runs.create("k", b"1")
    await runs.delete("k")
    assert await runs.get("k") is None
    assert await runs.keys() == []
    outcomes = await asyncio.gather(*(runs.create("k", b"2") for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(outcome, int) for outcome in outcomes) == 1


async def test_a_delete_with_an_old_revision_deletes_nothing(bus: Bus) -> None:
    runs = bus.bucket("runs")
    first = await runs.put("k", b"1")
    await runs.put("k", b"2")
    with pytest.raises(Conflict):
        await runs.delete("k", first)
    assert await runs.keys() == ["k"]


async def test_a_marker_says_that_it_vanishes(bus: Bus) -> None:
    await bus.bucket("runs").delete("k")
    marker = await bus.last("KV_runs", "$KV.runs.k")
    assert marker is not None
    assert dict(marker.headers) == {"KV-Operation": "DEL", "Nats-TTL": "1m"}


async def test_ten_thousand_keys_are_listed(bus: Bus) -> None:
    runs = bus.bucket("runs")
    await all_of(runs.post(f"active.r{n}", str(n).encode()) for n in range(10_000))
    await runs.put("run.r1.state", b"")
    await runs.delete("active.r7")
    keys = await runs.keys("active.*")
    named = await runs.named("active.")
    entries = await runs.entries("active.*")
    assert named == {f"r{n}" for n in range(10_000)}, "a marker is named, too"
    assert sorted(keys) == sorted(f"active.r{n}" for n in range(10_000) if n != 7)
    assert {entry.key: entry.value for entry in entries}["active.r8"] == b"8"
    assert len(entries) == 9_999


async def test_more_keys_are_named_than_the_server_tells_at_once(bus: Bus) -> None:
    runs, wanted = bus.bucket("runs"), {f"r{n}" for n in range(100_001)}
    await all_of(runs.post(f"active.{name}", b"") for name in wanted)
    assert await runs.named("active.") == wanted


async def test_a_key_that_was_dropped_is_named_for_a_moment(bus: Bus) -> None:
    runs = bus.bucket("runs")
    await asyncio.gather(runs.put("k", b""), runs.put("kept", b""))
    await runs.drop("k")

    async def is_gone() -> bool:
        return await runs.named("") == {"kept"}

    await eventually(is_gone)


async def test_an_empty_bucket_lists_nothing(bus: Bus) -> None:
    assert await bus.bucket("runs").entries() == []
    assert await bus.bucket("runs").named("active.") == set()
    assert await bus.bucket("runs").keys("active.*") == []


async def test_a_listing_ends_while_others_write(bus: Bus) -> None:
    runs = bus.bucket("runs")
    await asyncio.gather(*(runs.post(f"k{n}", b"") for n in range(1000)))

    async def disturb() -> None:
        while True:
            await asyncio.gather(*(runs.post(f"k{n}", b"") for n in range(0, 1000, 10)))

    disturbing = asyncio.create_task(disturb())
    for _ in range(5):
        async with asyncio.timeout(60):
            assert len(await runs.keys()) <= 1000
    disturbing.cancel()
    await asyncio.wait({disturbing})


async def test_any_nats_client_reads_and_writes_the_same(bus: Bus, nats_address: Address) -> None:
    client = await nats.connect(nats_address.url, token=nats_address.token)
    theirs = await client.jetstream().key_value("runs")
    await theirs.put("k", b"theirs")
    entry = await bus.bucket("runs").get("k")
    assert entry is not None
    assert entry.value == b"theirs"
    await bus.bucket("runs").update("k", b"ours", entry.revision)
    assert (await theirs.get("k")).value == b"ours"
    await theirs.delete("k")
    assert await bus.bucket("runs").get("k") is None
    await bus.bucket("runs").create("k", b"again")
    await client.close()


async def test_a_bucket_that_is_not_there_is_not_provisioned(bus: Bus) -> None:
    with pytest.raises(NotProvisioned):
        await bus.bucket("nowhere").get("k")
    with pytest.raises(NotProvisioned):
        await bus.bucket("nowhere").keys()


@pytest.fixture
async def own_bus(nats_server: Server) -> AsyncIterator[Bus]:
    async with connect(nats_server.url, name="test", token=nats_server.token) as bus:
        await provision(bus)
        yield bus


async def watching(bus: Bus, seen: list[Entry | Deleted]) -> asyncio.Task[None]:
    """Start a watch and return when it is known to see what is written."""

    async def watch() -> None:
        async for change in bus.bucket("runs").watch("cancelling.*"):
            seen.append(change)  # noqa: PERF401 - a comprehension would show nothing before its end

    async def sees() -> bool:
        await bus.bucket("runs").put("cancelling.probe", b"")
        return bool(seen)

    task = asyncio.create_task(watch())
    await eventually(sees)
    seen.clear()
    return task


async def told(seen: list[Entry | Deleted], key: str) -> None:
    await eventually(lambda: key in {change.key for change in seen})


async def test_a_watch_tells_changes_and_deletions(bus: Bus) -> None:
    seen: list[Entry | Deleted] = []
    task = await watching(bus, seen)
    await bus.bucket("runs").put("cancelling.r1", b"all")
    await bus.bucket("runs").put("active.r1", b"not watched")
    await bus.bucket("runs").delete("cancelling.r1")
    await eventually(lambda: Deleted("cancelling.r1") in seen)
    assert [change.value for change in seen if isinstance(change, Entry) and change.key == "cancelling.r1"] == [b"all"]
    task.cancel()
    await asyncio.wait({task})


async def test_a_watch_resumes_after_a_crash_without_missing_anything(nats_server: Server, own_bus: Bus) -> None:
    seen: list[Entry | Deleted] = []
    task = await watching(own_bus, seen)
    for n in range(3):
        await nats_server.kill()
        await nats_server.start()
        await own_bus.bucket("runs").put(f"cancelling.r{n}", b"")
        await told(seen, f"cancelling.r{n}")
    task.cancel()
    await asyncio.wait({task})
