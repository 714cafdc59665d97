"""EMR on EC2: the clusters of one pool, and the steps on them, as one worker sees and changes them."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import structlog

from runmesh.clock import clock
from runmesh.errors import Unavailable
from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.emr import cluster
from runmesh.executors.amazon.emr.config import Config
from runmesh.executors.amazon.emr.deciding import ALIVE, Cluster, Create, Use, Wait, decide
from runmesh.executors.amazon.emr.folder import Folder
from runmesh.executors.amazon.emr.naming import is_stop, mark_of, stop_name
from runmesh.executors.amazon.emr.step import killing, outlives_its_step
from runmesh.executors.amazon.emr.verdict import COMPLETED, OVER, Ending
from runmesh.executors.amazon.refusals import Refused
from runmesh.executors.amazon.session import Amazon

log = structlog.get_logger(__name__)

Json = dict[str, Any]
_STEPS_AT_ONCE: Final = 10
"""ListSteps takes no more ids."""
_FRESH: Final = 2.0
"""Seconds for which a list of clusters is good for the next step, too."""
_ACTIVE: Final = ("PENDING", "CANCEL_PENDING", "RUNNING")
_FAILED: Final = OVER - {COMPLETED}
_SHUT: Final = "may not be modified"
"""What EMR says of a cluster that has just begun to end."""
_FULL: Final = "Maximum number of active steps"
"""What it says of one that has 256 of them."""
_UNTIL_ROOM: Final = 10.0


class Clusters:
    """The calls about clusters and steps. All raise `Refused`, ConnectionError, and what they say."""

    def __init__(self, amazon: Amazon, access: Access, mesh: str, pool: str) -> None:
        self._amazon, self._access = amazon, access
        self._mesh, self._pool = mesh, pool
        self._deciding: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._known: dict[str, tuple[float, dict[str, Cluster]]] = {}
        self._seen: dict[str, float] = {}
        self._created: dict[str, str] = {}
        """Those that this worker created and none has used yet, with their need: a list may not have them at first."""

    # --- clusters -----------------------------------------------------------------------------------

    async def with_room(self, config: Config, *, log_uri: str, bootstrap: str) -> str:
        """Return the cluster that takes the next step. Raises `Unavailable` while it isn't certain which one does."""
        if config.cluster_id:
            return config.cluster_id
        arguments = cluster.run_job_flow(config, mesh=self._mesh, pool=self._pool, log_uri=log_uri, bootstrap=bootstrap)
        name = arguments["Name"]
        async with self._deciding[name]:
            known = await self._fulfilling(name)
            match decide(list(known.values()), most=config.steps_per_cluster):
                case Create():
                    created = (await self._call("run_job_flow", **arguments))["JobFlowId"]
                    self._created[created] = name
                    self._forget(name)
                    log.info("cluster created", action="create", cluster=created, name=name)
                    raise Unavailable(f"cluster {created} was created for it, and must be seen by all workers first")
                case Wait(seconds):
                    self._forget(name)
                    raise Unavailable("a cluster was created for it, and must be seen by all workers first", seconds)
                case Use(chosen, surplus):
                    await self._terminate(surplus, known)
                    self._created.pop(chosen, None)
                    taken = known[chosen]
                    known[chosen] = Cluster(chosen, taken.state, taken.steps + 1, taken.seen)
                    return chosen

    async def ending(self, identity: str) -> Ending:
        """Return how a cluster is."""
        return Ending.of((await self._read("describe_cluster", ClusterId=identity))["Cluster"])

    async def living(self) -> dict[str, bool]:
        """Return all clusters of the account that live, and which are our pool's."""
        begin = cluster.prefix(self._mesh, self._pool)
        return {each["Id"]: each["Name"].startswith(begin) async for each in self._living()}

    async def end_with(self, identity: str, run: str) -> None:
        """Terminate a cluster of ours that has had no steps but those of a run, which have all ended."""
        described = (await self._read("describe_cluster", ClusterId=identity))["Cluster"]
        if not described["Name"].startswith(cluster.prefix(self._mesh, self._pool)):
            return
        async for step in self._steps(identity):
            if not is_stop(step["Name"]) and (step["Status"]["State"] not in OVER or _run_of(step) != run):
                return
        log.info("the run's own cluster ends with it", action="terminate", cluster=identity, run=run)
        await self._read("terminate_job_flows", JobFlowIds=[identity])

    # --- steps --------------------------------------------------------------------------------------

    async def add(self, identity: str, step: Json, *, replaceable: bool) -> str:
        """Add a step; tries once.

        Raises `Unavailable` if the cluster has as many as EMR lets it have, or has just begun to end and can be
        replaced by another one.
        """
        try:
            answer = await self._call("add_job_flow_steps", JobFlowId=identity, Steps=[step])
        except Refused as refused:
            self._known.clear()
            if _FULL in str(refused):
                raise Unavailable(f"cluster {identity} is full: {refused}", _UNTIL_ROOM) from refused
            if replaceable and _SHUT in str(refused):
                raise Unavailable(f"cluster {identity} has just ended: {refused}", 1.0) from refused
            raise
        found: str = answer["StepIds"][0]
        return found

    async def steps(self, identity: str, ids: Collection[str]) -> dict[str, Json]:
        """Return these steps of a cluster, as far as it knows them."""
        wanted = list(ids)
        found = [
            step
            for first in range(0, len(wanted), _STEPS_AT_ONCE)
            for step in await self._known_of(identity, wanted[first : first + _STEPS_AT_ONCE])
        ]
        return {step["Id"]: step for step in found}

    async def active(self, identity: str) -> AsyncIterator[Json]:
        """Yield the steps of a cluster that wait or run."""
        async for step in self._steps(identity, StepStates=list(_ACTIVE)):
            yield step

    async def since(self, identity: str, then: datetime) -> AsyncIterator[Json]:
        """Yield the steps that were added since then; EMR lists the last one first."""
        async for step in self._steps(identity):
            if step["Status"]["Timeline"]["CreationDateTime"].replace(microsecond=0) < then.replace(microsecond=0):
                return
            yield step

    async def cancel(self, identity: str, step_id: str, key: str) -> None:
        """Cancel a step, and kill its application on YARN, which its spark-submit leaves behind."""
        found = (await self.steps(identity, [step_id])).get(step_id)
        if found and found["Status"]["State"] not in OVER:
            option = {"StepCancellationOption": "TERMINATE_PROCESS"}
            await self._read("cancel_steps", ClusterId=identity, StepIds=[step_id], **option)
            found = (await self.steps(identity, [step_id])).get(step_id)
        if found and leaves_application(found):
            stopping = await self.stopping(identity, found)
            if stopping is None or stopping["Status"]["State"] in _FAILED:
                await self.kill(identity, step_id, key)

    async def kill(self, identity: str, step_id: str, key: str) -> None:
        """Add the step that kills the application of a step."""
        with suppress(Unavailable):  # it ends itself, and takes everything along
            await self.add(identity, killing(stop_name(step_id), key), replaceable=True)

    async def stopping(self, identity: str, step: Json) -> Json | None:
        """Return the last step that kills the application of a step, if there is one."""
        name = stop_name(step["Id"])
        async for each in self.since(identity, step["Status"]["Timeline"]["CreationDateTime"]):
            if each["Name"] == name:
                return each
        return None

    # --- parts --------------------------------------------------------------------------------------

    async def _fulfilling(self, name: str) -> dict[str, Cluster]:
        """Return the clusters of one need that live, as of now or a moment ago."""
        asked, known = self._known.get(name, (0.0, {}))
        if not known or clock() - asked > _FRESH:
            listed = {each["Id"]: each async for each in self._living() if each["Name"] == name}
            states = {identity: each["Status"]["State"] for identity, each in listed.items()}
            for identity in [each for each, wanted in self._created.items() if wanted == name and each not in states]:
                if await self._lives(identity):
                    states[identity] = "STARTING"
            known = {identity: await self._counted(identity, state) for identity, state in states.items()}
            self._known[name] = clock(), known
        return known

    async def _counted(self, identity: str, state: str) -> Cluster:
        steps = [step async for step in self.active(identity)]
        now = clock()
        return Cluster(identity, state, len(steps), now - self._seen.setdefault(identity, now))

    async def _lives(self, identity: str) -> bool:
        """Whether one that we created lives. Raises `Refused` if it failed unused: the next one might do so, too."""
        ending = await self.ending(identity)
        if ending.state in ALIVE:
            return True
        self._drop(identity)
        if ending.has_failed:
            raise Refused(ending.code, f"{identity}: {ending}", 400 if ending.is_in_vain else 500)
        return False

    async def _living(self) -> AsyncIterator[Json]:
        async for each in self._pages("list_clusters", "Clusters", ClusterStates=list(ALIVE)):
            yield each

    async def _terminate(self, surplus: Collection[str], known: dict[str, Cluster]) -> None:
        """Terminate those that have got no step since they were listed."""
        empty = [identity for identity in surplus if not [step async for step in self._steps(identity)]]
        if empty:
            log.info("surplus clusters", action="terminate", clusters=empty)
            await self._read("terminate_job_flows", JobFlowIds=empty)
        for identity in empty:
            known.pop(identity, None)
            self._drop(identity)

    def _drop(self, identity: str) -> None:
        self._created.pop(identity, None)
        self._seen.pop(identity, None)

    def _forget(self, name: str) -> None:
        self._known.pop(name, None)

    async def _known_of(self, identity: str, ids: list[str]) -> list[Json]:
        """Return at most ten steps; one that EMR has forgotten may have it refuse them all."""
        try:
            return [step async for step in self._steps(identity, StepIds=ids)]
        except Refused as refused:
            if not unknown(refused):
                raise
        return [step for each in ids for step in await self._known_of(identity, [each])] if ids[1:] else []

    def _steps(self, identity: str, **which: Any) -> AsyncIterator[Json]:
        return self._pages("list_steps", "Steps", ClusterId=identity, **which)

    def _pages(self, operation: str, what: str, **arguments: Any) -> AsyncIterator[Json]:
        return self._amazon.pages("emr", self._access, operation, what, ("Marker", "Marker"), **arguments)

    async def _call(self, operation: str, **arguments: Any) -> Json:
        return await self._amazon.call("emr", self._access, operation, **arguments)

    async def _read(self, operation: str, **arguments: Any) -> Json:
        return await self._amazon.read("emr", self._access, operation, **arguments)


def unknown(refused: Refused) -> bool:
    """Whether EMR says that it doesn't know a cluster or a step (any more)."""
    return refused.code == "InvalidRequestException" and "is not valid" in str(refused)


def _run_of(step: Json) -> str | None:
    """Return the run of one of our steps."""
    return Folder.of_script(step["Config"]["Args"][-1]).run if mark_of(step["Name"]) else None


def leaves_application(step: Json) -> bool:
    """Whether a step's application on YARN may go on although the step has ended, or will have."""
    status = step["Status"]
    began = "StartDateTime" in status.get("Timeline", {})
    return began and status["State"] != "COMPLETED" and outlives_its_step(step["Config"]["Args"])
