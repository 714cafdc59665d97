"""Which model reads what, by its subject: everything that two versions of the services say to each other."""

from fnmatch import fnmatchcase
from typing import Any, Final

from pydantic import BaseModel

from runmesh.claims import Beat, Claim, Record, Stop
from runmesh.cloudevents import decode
from runmesh.events import (
    CancelRequest,
    DeadLetter,
    Event,
    ExecuteTask,
    LogLines,
    RetryRequest,
    RunFact,
    RunRequest,
    TaskFact,
)
from runmesh.resolver.document import Document
from runmesh.resolver.places import Asking, Places
from runmesh.resolver.plan import Plan
from runmesh.resolver.state import State

MODELS: Final[dict[str, type[BaseModel]]] = {
    "mesh.request.run.*": RunRequest,
    "mesh.request.cancel.*": CancelRequest,
    "mesh.request.retry.*": RetryRequest,
    "mesh.execute.*": ExecuteTask,
    "mesh.run.*": RunFact,
    "mesh.task.*": TaskFact,
    "mesh.log.*": LogLines,
    "mesh.dead.*": DeadLetter,
    "$KV.runs.run.*.plan": Plan,
    "$KV.runs.run.*.state": State,
    "$KV.runs.cancelling.*": Stop,
    "$KV.runs.limit.*": Places,
    "$KV.runs.waiting.*": Asking,
    "$KV.claims.*": Claim,
    "$KV.workers.*": Beat,
}
RECORDS: Final = {model.__name__: model for model in MODELS.values() if issubclass(model, Record | Document)}
"""What is in buckets: not published, but shared by services of two versions all the same."""


def model_of(subject: str) -> type[BaseModel] | None:
    """Return the model of what is published on a subject; None for what has no body that anybody reads."""
    return next((model for pattern, model in MODELS.items() if fnmatchcase(subject, pattern)), None)


def read(model: type[BaseModel], headers: dict[str, str], data: bytes) -> BaseModel:
    """Read a message as the services do."""
    if issubclass(model, Event):
        return decode(model, headers, data)
    assert issubclass(model, Record | Document)
    return model.decode(data)


def meaning(model: BaseModel) -> Any:
    """Return all that a reader takes from a message, defaults too."""
    return model.model_dump(mode="json")


def differences(then: Any, now: Any, path: str = "") -> list[str]:
    """List what does not mean what it meant. What is new was not there to be meant."""
    match then, now:
        case dict(), dict():
            gone = [f"{path}.{key}: is gone" for key in then.keys() - now.keys()]
            return gone + [
                each for key in then.keys() & now.keys() for each in differences(then[key], now[key], f"{path}.{key}")
            ]
        case list(), list() if len(then) == len(now):
            return [
                each
                for index, (a, b) in enumerate(zip(then, now, strict=True))
                for each in differences(a, b, f"{path}.{index}")
            ]
    return [] if then == now else [f"{path}: was {then!r}, is {now!r}"]
