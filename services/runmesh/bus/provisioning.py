"""The one place that makes streams, consumers and buckets. Idempotent: what is as it should be stays untouched.

Everything is a JetStream configuration as the server's API takes it, so the tables below are what `nats stream info`
shows. The caps on sizes hold for what is made: where the disk or the account doesn't allow them, all are
halved until they fit, and afterwards they are the operator's to change; so is how many requests a project may queue.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from runmesh.bus.connection import Bus
from runmesh.bus.refusals import NO_REPLICAS, Refused
from runmesh.errors import NotProvisioned, StreamFull
from runmesh.subjects import (
    CLAIMS,
    DEAD,
    DEFAULT_POOL,
    FACTS,
    LOGS,
    REQUESTS,
    RESOLVER,
    RUNS,
    STREAM_SUBJECTS,
    TERMINAL_TASK_FACTS,
    WORKERS,
    ExecutorType,
    execute_consumer,
    execute_stream,
    execute_subjects,
)

Config = dict[str, Any]

_SECOND: Final = 10**9
_DAY: Final = 86_400 * _SECOND
_MIB: Final = 2**20
_CLUSTER: Final = 3
_SMALLEST_PART: Final = 1024

_STREAM: Final[Config] = {"storage": "file", "duplicate_window": 120 * _SECOND}
_QUEUE: Final[Config] = {**_STREAM, "retention": "workqueue", "discard": "new", "max_bytes": 1024 * _MIB}
_HISTORY: Final[Config] = {**_STREAM, "retention": "limits", "discard": "old", "compression": "s2"}
_FAIR: Final[Config] = {"max_msgs_per_subject": 100_000, "discard_new_per_subject": True}
"""A request's subject names its project: whoever floods the queue is refused alone, and others wait behind so many."""
_BUCKET: Final[Config] = {
    "storage": "file",
    "retention": "limits",
    "discard": "new",
    "max_msgs_per_subject": 1,
    "allow_rollup_hdrs": False,  # whoever may write one key could delete all the others
    "deny_delete": True,
    "allow_direct": False,  # at three replicas a direct read misses a key just written
    "allow_msg_ttl": True,  # lets the markers of deleted keys vanish
}
_PENDING: Final = 50_000
"""What one pool, or the resolver, may hold unacknowledged: the server's default stops the 1,001st job."""


async def provision(
    bus: Bus,
    *,
    pools: Mapping[str, Collection[str]] | None = None,
    replicas: int | None = None,
    ack_wait: float = 60.0,
) -> list[str]:
    """Make or update every stream, consumer and bucket; return what was made or changed, one line each.

    `pools` names pools besides `default`, by executor type, and types besides Mage's. `replicas`: unless given, what
    is there keeps its own, and what is made gets 3 where the cluster has the nodes for it. `ack_wait` is a worker's
    lease in seconds.
    Raises `Refused` for what can't be changed (the retention of a stream, say).
    """
    wanted = [*streams(pools or {}), *buckets(ack_wait)]
    there = await _configurations(bus, wanted)
    missing = [stream for stream in wanted if stream["name"] not in there]
    await _make(bus, missing, replicas)
    notes = [f"made stream {stream['name']}" for stream in missing]
    for stream in wanted:
        if stream not in missing:
            notes += await _change(bus, stream, there[stream["name"]], replicas)
    for name, consumer in consumers(pools or {}, ack_wait):
        notes += await _consumer(bus, name, consumer)
    return notes


def streams(types: Iterable[str] = ()) -> list[Config]:
    """Return the configuration of every stream, without those under the buckets; `types` are those besides Mage's."""
    return [
        {**_QUEUE, **_FAIR, "name": REQUESTS, "subjects": list(STREAM_SUBJECTS[REQUESTS])},
        *({**_QUEUE, "name": execute_stream(kind), "subjects": [execute_subjects(kind)]} for kind in _types(types)),
        _history(FACTS, days=30, max_bytes=10_240 * _MIB, max_msgs=10_000_000),
        _history(LOGS, days=7, max_bytes=4096 * _MIB),
        # Whoever buries a message may die before its end is noted, and nobody be there for hours to bury it again.
        _history(DEAD, days=30, max_bytes=512 * _MIB, duplicate_window=_DAY),
    ]


def _types(more: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys([*map(str, ExecutorType), *more])


def _history(name: str, *, days: int, **limits: int) -> Config:
    return {**_HISTORY, "name": name, "subjects": list(STREAM_SUBJECTS[name]), "max_age": days * _DAY, **limits}


def buckets(ack_wait: float) -> list[Config]:
    """Return the configuration of the stream under every key-value bucket."""
    lease = round(ack_wait * _SECOND)
    expiring = {"max_age": lease, "duplicate_window": min(lease, 120 * _SECOND)}
    own = [(RUNS, {}), (CLAIMS, {}), (WORKERS, expiring)]
    return [{**_BUCKET, "name": f"KV_{name}", "subjects": [f"$KV.{name}.>"], **more} for name, more in own]


def consumers(pools: Mapping[str, Collection[str]], ack_wait: float) -> list[tuple[str, Config]]:
    """Return the name of its stream and the configuration of every durable consumer."""
    durable = {
        "ack_policy": "explicit",
        "ack_wait": round(ack_wait * _SECOND),
        "max_deliver": -1,
        "max_ack_pending": _PENDING,
        "deliver_policy": "all",
    }
    made = [
        (REQUESTS, {**durable, "durable_name": RESOLVER}),
        (FACTS, {**durable, "durable_name": RESOLVER, "filter_subjects": list(TERMINAL_TASK_FACTS)}),
    ]
    for kind in _types(pools):
        for pool in sorted({DEFAULT_POOL, *pools.get(kind, ())}):
            filters = {"filter_subjects": [execute_subjects(kind, pool)]}
            made.append((execute_stream(kind), {**durable, "durable_name": execute_consumer(pool), **filters}))
    return made


async def _configurations(bus: Bus, streams: Iterable[Config]) -> dict[str, Config]:
    there = {}
    for stream in streams:
        with suppress(NotProvisioned):
            there[stream["name"]] = (await bus.api(f"STREAM.INFO.{stream['name']}"))["config"]
    return there


async def _make(bus: Bus, streams: Sequence[Config], replicas: int | None) -> None:
    """Make streams; halve all their caps alike until they fit."""
    copies, divisor, made = replicas or _CLUSTER, 1, 0
    while made < len(streams):
        try:
            for index, stream in enumerate(streams):
                verb = "UPDATE" if index < made else "CREATE"
                cap = {"max_bytes": stream["max_bytes"] // divisor} if "max_bytes" in stream else {}
                await bus.api(f"STREAM.{verb}.{stream['name']}", {**stream, **cap, "num_replicas": copies})
                made = max(made, index + 1)
        except StreamFull:
            if divisor == _SMALLEST_PART:
                raise
            divisor *= 2
        except Refused as refused:
            if replicas is not None or copies == 1 or refused.code not in NO_REPLICAS:
                raise
            copies = 1


async def _change(bus: Bus, wanted: Config, there: Config, replicas: int | None) -> list[str]:
    kept = {"num_replicas": replicas or there["num_replicas"], "max_bytes": there["max_bytes"]}
    if wanted["name"] == REQUESTS and there.get("max_msgs_per_subject", -1) > 0:
        kept["max_msgs_per_subject"] = there["max_msgs_per_subject"]
    wanted = {**wanted, **kept}
    if not (changed := _differences(wanted, there)):
        return []
    await bus.api(f"STREAM.UPDATE.{wanted['name']}", {**there, **wanted})
    return [f"changed stream {wanted['name']}: {', '.join(changed)}"]


async def _consumer(bus: Bus, stream: str, wanted: Config) -> list[str]:
    name = wanted["durable_name"]
    try:
        there = (await bus.api(f"CONSUMER.INFO.{stream}.{name}"))["config"]
    except NotProvisioned:
        there = {}
    if not (changed := _differences(wanted, there)):
        return []
    await bus.api(f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": {**there, **wanted}})
    done = f"changed consumer {name} of {stream}: {', '.join(changed)}"
    return [done if there else f"made consumer {name} of {stream}"]


def _differences(wanted: Config, there: Config) -> list[str]:
    # The server leaves out what is false or zero, and writes a single filter in the singular.
    if "filter_subject" in there:
        there = {**there, "filter_subjects": [there["filter_subject"]]}
    return [name for name, value in wanted.items() if (there.get(name) or None) != (value or None)]
