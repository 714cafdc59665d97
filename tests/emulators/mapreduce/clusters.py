"""Clusters and their steps, as EMR has them."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from time import time
from typing import Any

from tests.emulators.mapreduce.submits import Driver

Json = dict[str, Any]
ENDED = frozenset({"TERMINATED", "TERMINATED_WITH_ERRORS"})
OVER = frozenset({"COMPLETED", "CANCELLED", "FAILED", "INTERRUPTED"})


class Refusal(Exception):
    """What the API says instead."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


@dataclass(slots=True, eq=False)
class Step:
    """One step, or one job of an application."""

    id: str
    name: str
    args: list[str]
    state: str = "PENDING"
    created: float = field(default_factory=time)
    started: float | None = None
    ended: float | None = None
    failure: Json = field(default_factory=dict)
    message: str = ""
    driver: Driver | None = None
    running: "asyncio.Task[None] | None" = None
    more: Json = field(default_factory=dict)

    def end(self, state: str, message: str = "", failure: Json | None = None) -> None:
        if self.state in OVER:
            return
        if self.state == "CANCEL_PENDING" and state == "FAILED":
            state, failure = "CANCELLED", None
        self.state, self.ended, self.message, self.failure = state, time(), message, failure or {}

    @property
    def document(self) -> Json:
        stamps = {"CreationDateTime": self.created, "StartDateTime": self.started, "EndDateTime": self.ended}
        return {
            "Id": self.id,
            "Name": self.name,
            "ActionOnFailure": "CONTINUE",
            "Config": {"Jar": "command-runner.jar", "Args": self.args, "Properties": {}},
            "Status": {
                "State": self.state,
                "StateChangeReason": {"Message": self.message} if self.message else {},
                **({"FailureDetails": self.failure} if self.failure else {}),
                "Timeline": {name: stamp for name, stamp in stamps.items() if stamp is not None},
            },
        }


@dataclass(slots=True, eq=False)
class Cluster:
    """One cluster."""

    id: str
    request: Json
    state: str = "STARTING"
    code: str = ""
    message: str = ""
    created: float = field(default_factory=time)
    ended: float | None = None
    steps: list[Step] = field(default_factory=list)
    living: "asyncio.Task[None] | None" = None

    @property
    def alive(self) -> bool:
        return self.state not in ENDED and self.state != "TERMINATING"

    @property
    def document(self) -> Json:
        why = {"Code": self.code, "Message": self.message} if self.code else {}
        ended = {} if self.ended is None else {"EndDateTime": self.ended}
        timeline = {"CreationDateTime": self.created, **ended}
        status = {"State": self.state, "StateChangeReason": why, "Timeline": timeline}
        return {"Id": self.id, "Name": self.request["Name"], "Status": status, "Tags": self.request.get("Tags", [])}

    def step(self, identity: str) -> Step | None:
        return next((step for step in self.steps if step.id == identity), None)


class Clusters:
    """All clusters of an account. `run` is what runs a step."""

    def __init__(self, run: Callable[[Step], Coroutine[Any, Any, None]], starts_in: float) -> None:
        self._run, self.starts_in = run, starts_in
        self.all: dict[str, Cluster] = {}
        self._numbers = count(1)

    def create(self, request: Json, *, ready: bool = False) -> Cluster:
        cluster = Cluster(f"j-{next(self._numbers):013d}", request)
        self.all[cluster.id] = cluster
        if ready:
            cluster.state = "WAITING"
        cluster.living = asyncio.create_task(self._live(cluster))
        return cluster

    def get(self, identity: str) -> Cluster:
        if identity not in self.all:
            raise Refusal("InvalidRequestException", f"Cluster id '{identity}' is not valid.")
        return self.all[identity]

    def add(self, cluster: Cluster, document: Json) -> Step:
        if not cluster.alive:
            message = "A job flow that is shutting down, terminated, or finished may not be modified."
            raise Refusal("ValidationException", message)
        step = Step(f"s-{next(self._numbers):013d}", document["Name"], document["HadoopJarStep"]["Args"])
        cluster.steps.append(step)
        if cluster.state in ("RUNNING", "WAITING"):
            self._start(cluster, step)
        return step

    async def cancel(self, step: Step) -> None:
        """Cancel a step; what runs on YARN goes on."""
        if step.state == "PENDING":
            step.end("CANCELLED", "cancelled")
        elif step.state not in OVER:
            step.state = "CANCEL_PENDING"
            if step.driver and "cluster" not in step.args:
                await step.driver.end()
            step.end("CANCELLED", "cancelled")
        if step.running and "cluster" not in step.args:
            step.running.cancel()

    async def terminate(self, cluster: Cluster, code: str, message: str) -> None:
        """End a cluster, whatever runs on it."""
        if not cluster.alive:
            return
        failed = code not in {"USER_REQUEST", "ALL_STEPS_COMPLETED"}
        cluster.state, cluster.code, cluster.message = "TERMINATING", code, message
        for step in cluster.steps:
            step.end("CANCELLED" if step.state == "PENDING" else "FAILED", "Job terminated")
            if step.driver and step.driver.alive:
                await step.driver.end()
        cluster.state = "TERMINATED_WITH_ERRORS" if failed else "TERMINATED"
        cluster.ended = time()
        if cluster.living:
            cluster.living.cancel()

    async def close(self) -> None:
        for cluster in self.all.values():
            await self.terminate(cluster, "USER_REQUEST", "closed")
            tasks = [task for task in (cluster.living, *(step.running for step in cluster.steps)) if task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(step.driver.seen() for step in cluster.steps if step.driver))

    async def _live(self, cluster: Cluster) -> None:
        """Start, run what waits, and end after the idle time or with the last step."""
        if cluster.state == "STARTING":
            await asyncio.sleep(self.starts_in)
            cluster.state = "WAITING"
        for step in cluster.steps:
            self._start(cluster, step)
        stays = cluster.request["Instances"]["KeepJobFlowAliveWhenNoSteps"]
        while stays or not cluster.steps or any(step.state not in OVER for step in cluster.steps):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        with suppress(asyncio.CancelledError):
            await self.terminate(cluster, "ALL_STEPS_COMPLETED", "Steps completed")

    def _start(self, cluster: Cluster, step: Step) -> None:
        if step.state == "PENDING" and step.running is None:
            step.running = asyncio.create_task(self._follow(cluster, step))

    async def _follow(self, cluster: Cluster, step: Step) -> None:
        step.state, step.started, cluster.state = "RUNNING", time(), "RUNNING"
        await self._run(step)
        if cluster.alive and all(each.state in OVER for each in cluster.steps):
            cluster.state = "WAITING"
