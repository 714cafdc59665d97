"""Task definitions as ECS has them: asked for, and registered, once."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from runmesh.clock import clock
from runmesh.executor import Task
from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.ecs.config import Config
from runmesh.executors.amazon.ecs.definition import container_of, derived, family
from runmesh.executors.amazon.ecs.inherit import Base
from runmesh.executors.amazon.ecs.request import Target
from runmesh.executors.amazon.refusals import Refused

if TYPE_CHECKING:
    from runmesh.executors.amazon.session import Amazon

_FRESH: Final = 60.0
"""Seconds for which a family means the same revision."""
_MOST: Final = 500
_UNKNOWN: Final = "ClientException"
"""How ECS says that there is no such definition, with words that are the same for each kind of mistake."""

Json = Mapping[str, Any]


class Definitions:
    """The definitions that one worker has to do with."""

    def __init__(self, amazon: "Amazon", mesh: str) -> None:
        self._amazon, self._mesh = amazon, mesh
        self._known: dict[tuple[Access, str], tuple[float, Json]] = {}
        self._asking: WeakValueDictionary[tuple[Access, str], asyncio.Lock] = WeakValueDictionary()
        """Thousands of tasks may ask for the same at once."""
        self._registering = asyncio.Lock()

    async def target(self, task: Task[Config], base: Base, access: Access) -> Target | None:
        """Return what runs a task; None: nothing says which definition. Raises `Refused`, `Rejected`."""
        config = task.config
        named = config.task_definition or base.task_definition
        if named is None:
            return None
        if isinstance(named, Mapping):
            container = container_of(named, config)
            return Target(await self._registered(access, derived(named, container, config)), container)
        own = config.image or config.secrets
        if config.container_name and not own:
            return Target(named, config.container_name)
        definition = await self.described(access, named)
        container = container_of(definition, config, base.container if named == base.task_definition else None)
        if not own:
            return Target(named, container)
        return Target(await self._registered(access, derived(definition, container, config)), container)

    async def described(self, access: Access, name: str) -> Json:
        """Return a definition by its family, revision or ARN. Raises `Refused`."""
        async with self._asking.setdefault((access, name), asyncio.Lock()):
            until, found = self._known.get((access, name), (0.0, {}))
            if clock() < until:
                return found
            answer = await self._amazon.read("ecs", access, "describe_task_definition", taskDefinition=name)
            return self._note(access, name, answer["taskDefinition"])

    async def _registered(self, access: Access, definition: Json) -> str:
        """Return the ARN of a definition of ours, and register it unless it is there."""
        name = family(definition, self._mesh)
        async with self._registering:
            try:
                found = await self.described(access, name)
            except Refused as refused:
                if refused.code != _UNKNOWN or refused.passing:
                    raise
                answer = await self._amazon.call("ecs", access, "register_task_definition", family=name, **definition)
                found = self._note(access, name, answer["taskDefinition"])
        arn: str = found["taskDefinitionArn"]
        return arn

    def _note(self, access: Access, name: str, found: Json) -> Json:
        while len(self._known) >= _MOST:
            del self._known[next(iter(self._known))]
        self._known[access, name] = (clock() + _FRESH, found)
        return found
