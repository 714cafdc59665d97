"""`make demo-spark`: the pipeline of `deploy/spark` as a step of an emulated EMR, on a real Spark, `local[2]`."""

import asyncio
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from runmesh.cli import output
from runmesh.cli.exits import Exit
from runmesh.cli.follow import ended_with, shown
from runmesh.cli.tree import render
from runmesh.cli.up import services, settings_for
from runmesh.embedded import embedded
from tests.emulators.running import running_emr
from tests.spark.blocks import HOME, spark_environment

_PROJECT: Final = Path(__file__).parents[2] / "deploy" / "spark"
_AT_MOST: Final = 600.0
_QUIET: Final = "ignore::FutureWarning"
"""Of what Spark says about the pandas that is here."""


async def main(directory: Path) -> Exit:
    """Run it, and show how it went and what it said."""
    output.say("starting NATS, a resolver, an emulated EMR, and a worker for it")
    output.say("a cluster must be seen by all workers for five seconds before its first step; Spark takes ten more")
    os.environ["EMR_SPARK"] = str(HOME / "bin")
    async with running_emr(directory / "aws", **spark_environment(), PYTHONWARNINGS=_QUIET) as there:
        os.environ.update(there)
        here = settings_for(_PROJECT.parent).model_copy(update={"state_dir": directory})
        async with (
            embedded(directory / "nats") as server,
            services(here, server, also="pyspark") as (mesh, _),
        ):
            started = await mesh.submit("islands", project=_PROJECT.name, timeout=_AT_MOST)
            view = await shown(mesh, started)
            output.out().print(render(view, output.now()))
            output.say("what it printed:")
            async for said in mesh.logs(started):
                output.out().print("\n".join(said.lines), markup=False)
    return ended_with(view)


if __name__ == "__main__":
    with TemporaryDirectory(prefix="demo-spark-") as folder:
        sys.exit(asyncio.run(main(Path(folder))))
