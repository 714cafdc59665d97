"""The whole wire as one AsyncAPI 3.0 document, put together from what the code itself uses.

Subjects come from `subjects.Form`, messages from `events.EVENTS`, headers from `cloudevents.headers_for`,
streams and consumers from the provisioner's own tables. Said here and nowhere else: which event is on which
subject, and who sends and who receives it.

AsyncAPI has no words for JetStream, so streams, consumers and buckets stand under `x-jetstream`, as the server's
API takes them.
"""

import re
from collections.abc import Iterator
from itertools import product
from typing import Any, Final, NamedTuple

from runmesh import __version__, subjects
from runmesh.bus.provisioning import buckets, consumers, streams
from runmesh.events import RunState, TaskState
from runmesh.schemas import messages
from runmesh.settings import Settings
from runmesh.subjects import DEFAULT_POOL, ExecutorType

Document = dict[str, Any]

_EVENT_ON: Final = {
    "request.run": "RunRequest",
    "request.cancel": "CancelRequest",
    "request.retry": "RetryRequest",
    "execute": "ExecuteTask",
    "run": "RunFact",
    "task": "TaskFact",
    "log": "LogLines",
    "dead": "DeadLetter",
    "api.submit": "RunRequest",
    "api.run": "RunQuery",
    "api.explain": "RunRequest",
}
"""The message on every channel. A channel is called as its subject's fixed words."""


class _Role(NamedTuple):
    sends: tuple[str, ...]
    receives: tuple[str, ...]


_REQUESTS: Final = ("request.run", "request.cancel", "request.retry")
_API: Final = tuple(channel for channel in _EVENT_ON if channel.startswith("api."))
_ROLES: Final = {
    "client": _Role(sends=(*_REQUESTS, *_API), receives=("run", "task", "log")),
    "resolver": _Role(sends=("execute", "run", "task", "dead"), receives=(*_REQUESTS, *_API, "task")),
    "worker": _Role(sends=("task", "log", "dead"), receives=("execute",)),
}

_STATES: Final = {"run": RunState, "task": TaskState}
_PARAMETERS: Final[Document] = {
    "project": {"description": "The project's folder, percent-encoded.", "examples": ["shop"]},
    "pipeline": {"description": "The pipeline's name, percent-encoded.", "examples": ["daily_orders"]},
    "run": {"description": "The run's id: up to 64 letters, digits, - and _."},
    "block": {"description": f"The block, percent-encoded; {subjects.WHOLE_PIPELINE} stands for the whole pipeline."},
    "type": {"description": "The executor type, Mage's or a third party's.", "examples": list(ExecutorType)},
    "pool": {"description": "The group of workers.", "default": DEFAULT_POOL},
    "service": {"description": "Which service could not handle the message.", "examples": ["resolver"]},
    "reason": {"description": "Why, in one word.", "examples": ["undecodable", "id_conflict", "poison"]},
}


def asyncapi() -> Document:
    """Return the document."""
    addresses = {_name(address): address for address in _addresses()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Runmesh",
            "version": __version__,
            "description": (
                "Any system starts a run by publishing one JSON message; whatever happens then is a fact on a subject "
                "of its own. Events are CloudEvents 1.0 in binary mode; requests are also accepted in structured mode "
                "or as plain JSON. Operations are grouped by the service that they belong to, by tag."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"nats": {"host": _default("nats_url").removeprefix("nats://"), "protocol": "nats"}},
        "channels": {name: _channel(name, address) for name, address in addresses.items()} | _replies(),
        "operations": dict(_operations()),
        "components": {
            "messages": messages.messages(),
            "messageTraits": messages.traits(),
            "parameters": _PARAMETERS,
        },
        "x-jetstream": _jetstream(),
    }


def _addresses() -> Iterator[str]:
    """Yield every subject, one for each alternative: ``mesh.request.run.{project}`` and so on."""
    for literal in subjects.Form:
        words = (re.sub(r"<(\w+)>", r"{\1}", word).strip("<>").split("|") for word in literal.split("."))
        yield from map(".".join, product(*words))


def _name(address: str) -> str:
    return ".".join(word for word in address.split(".")[1:] if not word.startswith("{"))


def _channel(name: str, address: str) -> Document:
    stored = [stream["name"] for stream in streams() if any(_overlap(kept, address) for kept in stream["subjects"])]
    return {
        "address": address,
        "messages": _message(_EVENT_ON[name]),
        "parameters": {parameter: _parameter(name, parameter) for parameter in re.findall(r"{(\w+)}", address)},
        **({"x-jetstream": {"streams": stored}} if stored else {}),
    }


def _parameter(channel: str, name: str) -> Document:
    if name == "state":
        return {"description": "What happened.", "enum": list(_STATES[channel])}
    return {"$ref": f"#/components/parameters/{name}"}


def _overlap(kept: str, address: str) -> bool:
    """Tell whether a stream that keeps these subjects has some of this channel."""
    pairs = zip(kept.split("."), address.split("."), strict=False)
    return all(a in {"*", ">", b} or b.startswith("{") for a, b in pairs)


def _message(name: str) -> Document:
    return {name: {"$ref": f"#/components/messages/{name}"}}


def _replies() -> Document:
    """Return a channel for the answers to each request: its address is each message's own reply subject."""
    return {f"{name}.reply": {"address": None, "messages": _message(messages.REPLIES[name])} for name in _API}


def _operations() -> Iterator[tuple[str, Document]]:
    for service, role in _ROLES.items():
        for action, channels in (("send", role.sends), ("receive", role.receives)):
            for channel in channels:
                yield f"{service}.{action}.{channel}", _operation(service, action, channel)


def _operation(service: str, action: str, channel: str) -> Document:
    reply = {"reply": {"channel": {"$ref": f"#/channels/{channel}.reply"}}} if channel in _API else {}
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "tags": [{"name": service}], **reply}


def _jetstream() -> Document:
    ack_wait = _default("ack_wait")
    durables: dict[str, Document] = {}
    for stream, durable in consumers({}, ack_wait):
        durables.setdefault(stream, {})[durable["durable_name"]] = _unnamed(durable)
    return {
        "description": "Made by `runmesh provision`. Durations are nanoseconds, sizes bytes.",
        "streams": {stream["name"]: _unnamed(stream) for stream in streams()},
        "consumers": durables,
        "buckets": {bucket["name"].removeprefix("KV_"): _unnamed(bucket) for bucket in buckets(ack_wait)},
    }


def _unnamed(config: Document) -> Document:
    return {key: value for key, value in config.items() if key not in {"name", "durable_name"}}


def _default(setting: str) -> Any:
    return Settings.model_fields[setting].default
