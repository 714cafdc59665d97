"""The one place that makes streams, consumers and buckets. Idempotent: what is as it should be stays untouched.

Everything is a JetStream configuration as the server's API takes it, so the tables below are what `nats stream info`
shows. A cap that the disk or the account doesn't allow is halved until it fits.
"""

from collections.abc import Collection, Mapping
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
_SMALLEST_CAP: Final = _MIB

_STREAM: Final[Config] = {"storage": "file", "duplicate_window": 120 * _SECOND}
_QUEUE: Final[Config] = {**_STREAM, "retention": "workqueue", "discard": "new", "max_bytes": 1024 * _MIB}
_HISTORY: Final[Config] = {**_STREAM, "retention": "limits", "discard": "old", "compression": "s2"}
_BUCKET: Final[Config] = {
    "storage": "file",
    "retention": "limits",
    "discard": "new",
    "max_msgs_per_subject": 1,
    "allow_rollup_hdrs": True,
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

    `pools` names pools besides `default`, by executor type. `replicas`: unless given, what is there keeps its own,
    and what is made gets 3 where the cluster has the nodes for it. `ack_wait` is a worker's lease in seconds.
    Raises `Refused` for what can't be changed (the retention of a stream, say).
    """
    notes: list[str] = []
    for stream in [*_streams(), *_buckets(ack_wait)]:
        notes += await _stream(bus, stream, replicas)
    for stream_name, consumer in _consumers(pools or {}, ack_wait):
        notes += await _consumer(bus, stream_name, consumer)
    return notes


def _streams() -> list[Config]:
    queues = [{**_QUEUE, "name": REQUESTS, "subjects": list(STREAM_SUBJECTS[REQUESTS])}]
    queues += [{**_QUEUE, "name": execute_stream(kind), "subjects": [execute_subjects(kind)]} for kind in ExecutorType]
    return [
        *queues,
        {**_HISTORY, "name": DEAD, "max_age": 30 * _DAY, "max_bytes": 512 * _MIB},
        {**_HISTORY, "name": LOGS, "max_age": 7 * _DAY, "max_bytes": 4096 * _MIB},
        {**_HISTORY, "name": FACTS, "max_age": 30 * _DAY, "max_bytes": 10_240 * _MIB, "max_msgs": 10_000_000},
    ]


def _buckets(ack_wait: float) -> list[Config]:
    lease = int(ack_wait * _SECOND)
    expiring = {"max_age": lease, "duplicate_window": min(lease, 120 * _SECOND)}
    buckets = [(RUNS, {}), (CLAIMS, {}), (WORKERS, expiring)]
    return [{**_BUCKET, "name": f"KV_{name}", "subjects": [f"$KV.{name}.>"], **more} for name, more in buckets]


def _consumers(pools: Mapping[str, Collection[str]], ack_wait: float) -> list[tuple[str, Config]]:
    durable = {
        "ack_policy": "explicit",
        "ack_wait": int(ack_wait * _SECOND),
        "max_deliver": -1,
        "max_ack_pending": _PENDING,
        "deliver_policy": "all",
    }
    consumers = [
        (REQUESTS, {**durable, "durable_name": RESOLVER}),
        (FACTS, {**durable, "durable_name": RESOLVER, "filter_subjects": list(TERMINAL_TASK_FACTS)}),
    ]
    for kind in ExecutorType:
        for pool in sorted({DEFAULT_POOL, *pools.get(kind, ())}):
            filters = {"filter_subjects": [execute_subjects(kind, pool)]}
            consumers.append((execute_stream(kind), {**durable, "durable_name": execute_consumer(pool), **filters}))
    return consumers


async def _stream(bus: Bus, config: Config, replicas: int | None) -> list[str]:
    name = config["name"]
    wanted = {"subjects": list(STREAM_SUBJECTS.get(name, ())), **config}
    try:
        there = (await bus.api(f"STREAM.INFO.{name}"))["config"]
    except NotProvisioned:
        await _create(bus, wanted, replicas)
        return [f"made stream {name}"]
    if replicas is not None:
        wanted["num_replicas"] = replicas
    changed = await _fit(bus, "UPDATE", wanted, there)
    return [f"changed stream {name}: {', '.join(changed)}"] if changed else []


async def _create(bus: Bus, wanted: Config, replicas: int | None) -> None:
    try:
        await _fit(bus, "CREATE", {**wanted, "num_replicas": replicas or _CLUSTER}, {})
    except Refused as refused:
        if replicas is not None or refused.code not in NO_REPLICAS:
            raise
        await _fit(bus, "CREATE", {**wanted, "num_replicas": 1}, {})


async def _fit(bus: Bus, verb: str, wanted: Config, there: Config) -> list[str]:
    """Apply what differs, with the largest cap that fits; return the names of the settings that differed."""
    while changed := _differences(wanted, there):
        try:
            await bus.api(f"STREAM.{verb}.{wanted['name']}", {**there, **wanted})
        except StreamFull:
            if (cap := wanted.get("max_bytes", 0) // 2) < _SMALLEST_CAP:
                raise
            wanted = {**wanted, "max_bytes": cap}
        else:
            return changed
    return []


async def _consumer(bus: Bus, stream: str, wanted: Config) -> list[str]:
    name = wanted["durable_name"]
    try:
        there = (await bus.api(f"CONSUMER.INFO.{stream}.{name}"))["config"]
    except NotProvisioned:
        there = {}
    if not (changed := _differences(wanted, there)):
        return []
    await bus.api(f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": {**there, **wanted}})
    verb = (
        f"changed consumer {name} of {stream}: {', '.join(changed)}" if there else f"made consumer {name} of {stream}"
    )
    return [verb]


def _differences(wanted: Config, there: Config) -> list[str]:
    # The server leaves out what is false or zero, and writes a single filter in the singular.
    if "filter_subject" in there:
        there = {**there, "filter_subjects": [there["filter_subject"]]}
    return [name for name, value in wanted.items() if (there.get(name) or None) != (value or None)]
