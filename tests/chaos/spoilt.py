"""Messages that nobody can handle, among all the good ones, while everything is killed.

Some can't be read: requests, a cancel, facts and commands. Others are poison, by a fault that the services of the
tests have (`points.py`, `wrapping.py`): a request that breaks the resolver, a fact that breaks every turn of its run, a
command that breaks its worker. Each must become one dead letter, and end or be answered as `docs/reliability.md` says.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from itertools import cycle, islice
from typing import Any, Final, NamedTuple

from runmesh import subjects
from runmesh.events import RunState
from tests.chaos.mesh import ChaosMesh, Folder
from tests.chaos.points import BREAKS, POISON
from tests.chaos.service import REMOTE
from tests.chaos.wrapping import FRAGILE

_NAME: Final = re.compile(rf"(spoilt|{POISON}|{BREAKS}|fragile)-\d+")


class Spoilt(NamedTuple):
    """One bad message, or the request of a run that will have one."""

    name: str
    subject: str
    body: str
    letter: tuple[str, str]
    """What its dead letter is of (request, task or execute), and the reason."""
    end: RunState | None = None
    """Of its run, if it has one."""


def write_pipelines(folder: Folder) -> None:
    """Make the pipelines of the runs that will have a bad message."""
    block = {"uuid": "work", "command": folder.script("true")}
    folder.write_pipeline("sound", [block])
    fragile = {"executor_type": "local_python", "executor_config": {"environment": {FRAGILE: "1"}}}
    folder.write_pipeline("fragile", [block | fragile])


def all_spoilt() -> Iterator[Spoilt]:
    """Yield bad messages without end, of every kind in turn."""
    for number, make in enumerate(cycle(_KINDS)):
        yield make(number)


async def spoil(mesh: ChaosMesh, some: Collection[Spoilt], seconds: float) -> None:
    """Send them, spread over the time."""
    for each in some:
        await mesh.bus.publish(each.subject, each.body.encode(), message_id=each.name)
        await asyncio.sleep(seconds / len(some))


def some_spoilt(count: int) -> list[Spoilt]:
    """Return so many bad messages."""
    return list(islice(all_spoilt(), count))


def wrong_letters(letters: Collection[Mapping[str, Any]], some: Collection[Spoilt]) -> list[str]:
    """Name the letters that are missing, or that are too many: any of a good message, and any second one."""
    wanted = Counter((each.name, *each.letter) for each in some)
    found = Counter(map(_read, letters))
    return [
        *(f"no dead letter: {' '.join(each)}" for each in (wanted - found).elements()),
        *(f"one dead letter too many: {' '.join(each)}" for each in (found - wanted).elements()),
    ]


def _read(letter: Mapping[str, Any]) -> tuple[str, str, str]:
    name = _NAME.search(f"{letter['subject']} {letter['body']}")
    return name[0] if name else letter["error"][:200], letter["subject"].split(".")[1], letter["reason"]


def _request(number: int) -> Spoilt:
    name = f"spoilt-{number}"
    return Spoilt(name, subjects.request("run", "shop"), f"no json {name}", ("request", "undecodable"))


def _cancel(number: int) -> Spoilt:
    name = f"spoilt-{number}"
    return Spoilt(name, subjects.request("cancel", "shop"), json.dumps({"runs": name}), ("request", "invalid"))


def _fact(number: int) -> Spoilt:
    name = f"spoilt-{number}"
    subject = subjects.task_fact("completed", REMOTE, "default", "shop", name, "work")
    return Spoilt(name, subject, "no json", ("task", "undecodable"))


def _command(number: int) -> Spoilt:
    name, kind = f"spoilt-{number}", (REMOTE, "local_python")[number % 2]
    subject = subjects.execute(kind, "default", "shop", name, "work")
    return Spoilt(name, subject, "no json", ("execute", "undecodable"))


def _poisonous_request(number: int) -> Spoilt:
    return _run(f"{POISON}-{number}", "sound", ("request", "poison"), RunState.REJECTED)


def _poisonous_fact(number: int) -> Spoilt:
    return _run(f"{BREAKS}-{number}", "sound", ("task", "poison"), RunState.FAILED)


def _poisonous_command(number: int) -> Spoilt:
    return _run(f"fragile-{number}", "fragile", ("execute", "poison"), RunState.FAILED)


def _run(name: str, pipeline: str, letter: tuple[str, str], end: RunState) -> Spoilt:
    body = json.dumps({"id": name, "pipeline": pipeline})
    return Spoilt(name, subjects.request("run", "shop"), body, letter, end)


_KINDS: Final = (_request, _cancel, _fact, _command, _poisonous_request, _poisonous_fact, _poisonous_command)
