"""`runmesh provision`, `runmesh resolver` and `runmesh executor`: what an operator runs."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from runmesh import executor as executors
from runmesh import settings, subjects
from runmesh.bus import provision as provision_bus
from runmesh.cli import output
from runmesh.cli.context import Json, mesh
from runmesh.cli.context import settings as found_settings
from runmesh.cli.exits import run as run_command
from runmesh.cli.exits import run_service
from runmesh.errors import Invalid, Problem, nearest
from runmesh.executor import Site
from runmesh.service import serve
from runmesh.settings import Settings

app = typer.Typer()

_TYPES: Final = f"{', '.join(subjects.ExecutorType)}, or another that a package brings."
_SLOTS: Final = "Jobs at once of local_python, submissions at once of all others."


@app.command("provision")
def provision(
    *,
    replicas: Annotated[
        int | None, typer.Option(min=1, max=5, help="Copies of every stream.", show_default="as the cluster allows")
    ] = None,
    json: Json = False,
) -> None:
    """Make every stream, consumer and bucket that the mesh needs, or bring them up to date. Safe to repeat.

    RUNMESH_POOLS names the pools, RUNMESH_ACK_WAIT the workers' lease.
    """
    here = found_settings()

    async def work() -> None:
        async with mesh() as connected:
            pools = dict.fromkeys(executors.installed_types(), here.pools)
            notes = await provision_bus(connected.bus, pools=pools, replicas=replicas, ack_wait=here.ack_wait)
        for note in notes:
            if json:
                output.emit({"done": note})
            else:
                output.out().print(note, markup=False)
        if not notes:
            output.say("everything is there already")

    run_command(work())


@app.command("resolver")
def resolver() -> None:
    """Run the service that turns requests into tasks and follows them to the end. Start as many as you like.

    RUNMESH_NATS_URL names the server, RUNMESH_PROJECTS_DIR the folder that holds the projects.
    """
    from runmesh.resolver import policy  # noqa: PLC0415 - `provision` needs none of it
    from runmesh.resolver.service import Resolver  # noqa: PLC0415 - likewise

    here = found_settings()
    settings.projects_of(here)
    policy.read(settings.environment())  # which may wait for a server otherwise, before it says what is wrong
    needs = [(subjects.REQUESTS, subjects.RESOLVER), (subjects.FACTS, subjects.RESOLVER)]
    run_service(serve("resolver", here, needs, lambda bus: Resolver(bus, here)))


@app.command("executor")
def executor(
    executor_type: Annotated[str, typer.Argument(metavar="TYPE", help=_TYPES)],
    *,
    pool: Annotated[str | None, typer.Option(help="The pool to work for.", show_default="default")] = None,
    slots: Annotated[int | None, typer.Option(min=1, help=_SLOTS, show_default="cores; 32")] = None,
) -> None:
    """Run the service that executes the tasks of one type. Start as many as you like, anywhere.

    RUNMESH_NATS_URL names the server. local_python and pyspark read projects at the path where the resolver has them.
    """
    from runmesh.cli.working import Working  # noqa: PLC0415 - `provision` needs none of it

    backend = _backend(executor_type)
    here = _overridden(found_settings(), {"pool": pool, "slots": slots})
    # Made only to hear now, before any server is waited for, whether its variables are good.
    backend.Executor(Site(here.mesh, here.pool, "", settings.environment(), here.state_dir))
    needs = [(subjects.execute_stream(executor_type), subjects.execute_consumer(here.pool))]
    run_service(serve(f"executor {executor_type}", here, needs, lambda bus: Working(bus, here, executor_type, backend)))


def _backend(executor_type: str) -> executors.Backend:
    if backend := executors.load(executor_type):
        return backend
    hint = nearest(executor_type, executors.installed_types())
    raise Invalid(Problem("TYPE", f"there is no executor for {executor_type!r}", hint))


def _overridden(here: Settings, given: Mapping[str, Any]) -> Settings:
    present = {name: value for name, value in given.items() if value is not None}
    return settings.load(**{**here.model_dump(exclude_unset=True), **present})
