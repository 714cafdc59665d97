"""A resolver or a worker as in production, but for the points that its calls pass by. It is run to be killed.

    python -m tests.chaos.service DIRECTORY resolver
    python -m tests.chaos.service DIRECTORY worker TYPE [random-keys]

`random-keys` is the control of the proof: every submission gets a name of its own, as if tasks had no keys.
Lost work is tried again after a moment instead of after ten seconds: kills are many here, and time is short. With
CHAOS_KEEP in the environment, ended runs are forgotten after so many seconds instead of 30 days.
"""

import os
import sys
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import typer
from botocore.session import get_session

from runmesh import settings, subjects
from runmesh.cli.exits import run_service
from runmesh.cli.working import Working
from runmesh.executor import Backend
from runmesh.executors import azure_container_instance, ecs, gcp_cloud_run, k8s, local_python, pyspark
from runmesh.executors.amazon import session
from runmesh.executors.amazon.emr import observing, staging  # noqa: F401 - as below
from runmesh.executors.kubernetes import client  # noqa: F401 - the nursery imports all that its children need
from runmesh.resolver import budgets, retention
from runmesh.resolver.service import Resolver
from runmesh.service import serve
from tests.chaos.jumping import CLOCK, follow
from tests.chaos.points import Points, Rules, note
from tests.chaos.wrapping import pointed, wrapped
from tests.emulators import remote
from tests.emulators.platform import SOCKET

REMOTE: Final = "k8s"
"""What the platform of the tests plays."""
KEEP: Final = "CHAOS_KEEP"
_AGAIN: Final = {"_FIRST_DELAY": 0.2, "_LONGEST_DELAY": 2.0}


def resolver(points: Points) -> Coroutine[Any, Any, None]:
    """Return the resolver's life."""
    vars(budgets).update(_AGAIN)
    if keep := float(os.environ.get(KEEP, "0")):
        retention.Retention.__init__.__defaults__ = (timedelta(seconds=keep),)
        vars(retention).update(_EVERY=keep / 10)
    here = settings.load()
    needs = [(subjects.REQUESTS, subjects.RESOLVER), (subjects.FACTS, subjects.RESOLVER)]
    return serve("resolver", here, needs, lambda bus: Resolver(wrapped(bus, points), here))


def worker(points: Points, kind: str, *, random_keys: bool) -> Coroutine[Any, Any, None]:
    """Return the worker's life."""
    here = settings.load()
    backend = pointed(_backend(kind), points, random_keys=random_keys)
    needs = [(subjects.execute_stream(kind), subjects.execute_consumer(here.pool))]
    return serve(f"executor {kind}", here, needs, lambda bus: Working(wrapped(bus, points), here, kind, backend))


def _backend(kind: str) -> Backend:
    if kind == "local_python":
        return Backend(local_python.Executor, local_python.Config)
    if kind == "ecs":
        return Backend(Ecs, ecs.Config)
    if kind == "pyspark":
        return Backend(Spark, pyspark.Config)
    if kind == "gcp_cloud_run":
        return Backend(CloudRun, gcp_cloud_run.Config)
    if kind == "azure_container_instance":
        return Backend(Azure, azure_container_instance.Config)
    return remote.BACKEND if SOCKET in os.environ else Backend(Kubernetes, k8s.Config)


class Kubernetes(k8s.Executor):
    """The real one, on a cluster that answers at once."""

    find_window = 2.0


class Ecs(ecs.Executor):
    """The real one, on an emulated cloud that answers soon."""

    find_window = 4.0


class CloudRun(gcp_cloud_run.Executor):
    """The real one, on an emulated cloud that answers soon."""

    gone_window = 1.5
    find_window = 4.0


class Azure(azure_container_instance.Executor):
    """The real one, on an emulated cloud that answers soon."""

    gone_window = 1.5
    find_window = 4.0


class Spark(pyspark.Executor):
    """The real one, which looks again sooner, on an emulated cloud that answers at once."""

    poll_interval = 0.7
    output_every = 3.0
    gone_window = 1.5
    find_window = 4.0


def warm() -> None:
    """Read what the SDK knows of services before the nursery forks, where its children will call them."""
    if "AWS_ENDPOINT_URL" in os.environ:
        sdk = get_session()
        sdk.register_component("data_loader", session.descriptions())
        for name in ("s3", "emr", "ecs", "logs"):
            sdk.create_client(name, "eu-central-1")
    if "GCP_PROJECT_ID" in os.environ:
        import_module("runmesh.executors.google.session")
    if "AZURE_TENANT_ID" in os.environ:
        import_module("runmesh.executors.azure.arm")


def main(directory: str, kind: str, *more: str) -> None:
    """Run a service until it drains, or dies."""
    rules = Rules(Path(directory))
    note(rules.directory, kind)
    points = Points(rules)
    if clock := os.environ.get(CLOCK):
        follow(Path(clock))
    with suppress(typer.Exit):
        run_service(
            resolver(points) if kind == "resolver" else worker(points, more[0], random_keys="random-keys" in more)
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
