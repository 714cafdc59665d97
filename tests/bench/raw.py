"""The baseline: the fastest fetch-publish-ack loop that plain nats-py allows, without any of our code.

One pull subscription that is refilled by hand, one inbox for all confirmations, an ack when its publish is stored.
"""

import asyncio
import json
from time import perf_counter

import nats
from nats.aio.msg import Msg

WINDOW = 512


async def pipelined(url: str, token: str, source: tuple[str, str], target: str, count: int) -> float:
    """Move `count` messages from a (stream, durable) to subjects `<target>.<n>`; return stored messages a second."""
    client = await nats.connect(url, token=token)
    inbox, pulled = client.new_inbox(), client.new_inbox()
    waiting: dict[str, Msg] = {}
    state = {"stored": 0, "asked": 0, "began": 0.0}
    finished: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def ask() -> None:
        state["asked"] += WINDOW
        body = json.dumps({"batch": WINDOW, "expires": 5_000_000_000}).encode()
        await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{source[0]}.{source[1]}", body, reply=pulled)

    async def take(msg: Msg) -> None:
        if not msg.reply:
            return
        number = msg.reply.split(".")[5]
        waiting[f"{inbox}.{number}"] = msg
        state["asked"] -= 1
        await client.publish(f"{target}.{number}", msg.data, reply=f"{inbox}.{number}", headers={"Nats-Msg-Id": number})
        if state["asked"] < WINDOW // 2:
            await ask()

    async def stored(msg: Msg) -> None:
        await waiting.pop(msg.subject).ack()
        state["stored"] += 1
        if state["stored"] == count:
            finished.set_result(perf_counter() - state["began"])

    await client.subscribe(pulled, cb=take)
    await client.subscribe(f"{inbox}.*", cb=stored)
    state["began"] = perf_counter()
    await ask()
    seconds = await finished
    await client.close()
    return count / seconds
