"""Fetch, publish, acknowledge: our bus beside plain nats-py, on the same server in the same run.

`python -m tests.bench.bench_bus` prints messages a second and ratios. The naive loop awaits every confirmation; the
gathered one handles 256 at a time; ours pulls continuously and acknowledges a message when what it led to is stored.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from time import perf_counter, process_time

import nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from rich.console import Console
from rich.table import Table

from runmesh.bus import Bus, Message, Stored, connect, provision
from runmesh.embedded import Server, embedded
from runmesh.subjects import execute, execute_consumer, execute_stream, run_fact

N = int(os.environ.get("BENCH_N", "20000"))
PAYLOAD = b"x" * 512
STREAM, CONSUMER = execute_stream("k8s"), execute_consumer("default")
SOURCE = execute("k8s", "default", "bench", "run", "block")
TARGET = run_fact("accepted", "bench", "pipeline", "run")


async def naive(js: JetStreamContext) -> None:
    subscription = await js.pull_subscribe_bind(CONSUMER, STREAM)
    for _ in range(N // 100):
        for msg in await subscription.fetch(100):
            await js.publish(TARGET, msg.data, headers={"Nats-Msg-Id": str(msg.metadata.sequence.stream)})
            await msg.ack()


async def gathered(js: JetStreamContext) -> None:
    async def handle(msg: Msg) -> None:
        await js.publish(TARGET, msg.data, headers={"Nats-Msg-Id": str(msg.metadata.sequence.stream)})
        await msg.ack()

    subscription = await js.pull_subscribe_bind(CONSUMER, STREAM)
    done = 0
    while done < N:
        messages = await subscription.fetch(min(256, N - done))
        await asyncio.gather(*map(handle, messages))
        done += len(messages)


async def ours(bus: Bus) -> None:
    posted: asyncio.Queue[tuple[Message, asyncio.Future[Stored]]] = asyncio.Queue()

    async def acknowledge() -> None:
        for _ in range(N):
            message, confirmation = await posted.get()
            await confirmation
            await message.ack()

    async with bus.consume(STREAM, CONSUMER, slots=1024) as pump, asyncio.TaskGroup() as tasks:
        tasks.create_task(acknowledge())
        for _ in range(N):
            message = await anext(pump)
            posted.put_nowait((message, bus.post(TARGET, message.data, message_id=str(message.sequence))))


async def stored(bus: Bus) -> None:
    await asyncio.gather(*(bus.post(SOURCE, PAYLOAD) for _ in range(N)))


async def measured(loop: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Return messages a second, and microseconds of our CPU for each."""
    wall, cpu = perf_counter(), process_time()
    await loop()
    return N / (perf_counter() - wall), (process_time() - cpu) / N * 1e6


async def compare(server: Server) -> dict[str, tuple[float, float]]:
    client = await nats.connect(server.url, token=server.token)
    js = client.jetstream()
    results = {}
    async with connect(server.url, name="bench", token=server.token) as bus:
        await provision(bus)
        results["publish, pipelined (ours)"] = await measured(lambda: stored(bus))
        results["fetch-publish-ack, naive nats-py"] = await measured(lambda: naive(js))
        for name, loop in {
            "fetch-publish-ack, gathered nats-py": lambda: gathered(js),
            "fetch-publish-ack, ours": lambda: ours(bus),
        }.items():
            await js.purge_stream("FACTS")
            await stored(bus)
            results[name] = await measured(loop)
    await client.close()
    return results


async def main() -> None:
    async with embedded() as server:
        results = await compare(server)
    base = results["fetch-publish-ack, naive nats-py"][0]
    table = Table("loop", "messages/s", "µs CPU each", "ratio", title=f"{N} messages, {os.cpu_count()} cores")
    for name, (rate, cpu) in results.items():
        table.add_row(name, f"{rate:,.0f}", f"{cpu:.1f}", f"{rate / base:.1f}")
    Console().print(table)


if __name__ == "__main__":
    asyncio.run(main())
