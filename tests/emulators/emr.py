"""AWS EMR, EMR Serverless and S3 on this machine: steps run as local processes, with the SDK's own client in between.

    python -m tests.emulators.emr SOCKET

As a process it is served by serving.py. Limits: no nodes, no YARN but for its list of drivers, no Spark unless `spark`
says where a real spark-submit is: without it, the driver's script runs as it is.
"""

import argparse
import asyncio
import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

from tests.emulators.containers import BARE
from tests.emulators.hosting import hosted
from tests.emulators.mapreduce.api import Api
from tests.emulators.mapreduce.buckets import Buckets
from tests.emulators.mapreduce.clusters import OVER, Clusters, Step
from tests.emulators.mapreduce.jobs import Jobs
from tests.emulators.mapreduce.submits import Submit, order_of, start
from tests.emulators.port import Port
from tests.emulators.serving import Answer, Request, inherited, serve

BUCKET: Final = "lake"
STAGING: Final = f"s3://{BUCKET}/shop"
_ALIVE: Final = frozenset({"PENDING", "RUNNING", "CANCEL_PENDING"})


class Cloud:
    """An account in a region."""

    def __init__(
        self, directory: Path, inherited: Mapping[str, str], *, starts_in: float = 0.2, spark: str | None = None
    ) -> None:
        self.buckets = Buckets(BUCKET)
        self.clusters = Clusters(self._run, starts_in)
        self.jobs = Jobs(self._run)
        self.api = Api(self.clusters, self.jobs, self.buckets)
        self.history: list[dict[str, Any]] = []
        self.port = Port(self.api.application)
        self.slow_cancel = 0.0
        self.sdk = spark is not None
        """Steps find the real SDK: much slower."""
        self._directory, self._inherited, self._spark = directory, inherited, spark
        self._numbers = count(1)

    @property
    def environment(self) -> dict[str, str]:
        """Return what clients must find in theirs."""
        return {
            "AWS_ENDPOINT_URL": self.port.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "RUNMESH_EMR_STAGING": STAGING,
        }

    async def listen(self) -> None:
        """Begin to answer."""
        await self.port.listen()

    async def close(self) -> None:
        await self.clusters.close()
        await self.jobs.close()
        await self.port.deafen()

    async def _run(self, step: Step) -> None:
        """Run a step to its end."""
        if step.args[0] != "spark-submit":
            await self._kill(step)
            return
        submit = Submit.of(step.args)
        order = order_of(self.buckets.read(submit.script))["environment"]
        told = {name: order[f"RUNMESH_{name.upper()}"] for name in ("run", "block", "key")}
        self.history.append({**told, "name": told["key"], "attempt": 0, "resubmission": told["key"]})
        path = {**BARE, **self._inherited, **self.environment}
        directory = self._directory / f"{next(self._numbers)}"
        step.driver = await start(submit, self.buckets, directory, path, self._spark, sdk=self.sdk)
        code, errors = await step.driver.over()
        if code:
            failure = {"Reason": "Unknown Error.", "Message": errors.decode(errors="replace")[-200:]}
            step.end("FAILED", failure=failure)
        else:
            step.end("COMPLETED")

    async def _kill(self, step: Step) -> None:
        """Do what `yarn application -kill` does to all with a tag."""
        await asyncio.sleep(self.slow_cancel)
        for each in self.steps():
            if f"spark.yarn.tags={step.args[-1]}" in each.args and each.driver and each.driver.alive:
                await each.driver.end()
        step.end("COMPLETED")

    def steps(self) -> list[Step]:
        """Return all steps and jobs there ever were."""
        return [*(step for cluster in self.clusters.all.values() for step in cluster.steps), *self.jobs.all.values()]

    async def asked(self, request: Request) -> Answer:
        """Answer what only the omniscient may ask."""
        match request["do"]:
            case "history":
                return {"history": self.history}
            case "jobs":
                folders = {key.split("/")[-2] for key in self.buckets.objects[BUCKET] if key.endswith("/step.py")}
                active = {step.name for step in self.steps() if step.state not in OVER}
                return {"jobs": [[name, name] for name in sorted(folders | active)]}
            case "clusters":
                return {"clusters": [[each.id, each.state] for each in self.clusters.all.values()]}
            case "calls":
                return {"calls": dict(self.api.calls)}
        raise ValueError(f"unknown: {request}")


def cloud(
    inherited: Mapping[str, str] | None = None, *, starts_in: float = 0.2, spark: str | None = None
) -> AbstractAsyncContextManager[Cloud]:
    """Run it in this process for the length of the block; no step outlives it."""
    return hosted(partial(Cloud, inherited=inherited or {}, starts_in=starts_in, spark=spark))


async def main(socket: Path) -> None:
    """Serve until told to stop."""
    async with cloud(inherited(), spark=os.environ.get("EMR_SPARK")) as found:
        await serve(socket, found.asked, found.environment)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("socket", type=Path)
    asyncio.run(main(parser.parse_args().socket))
