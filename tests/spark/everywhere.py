"""One pipeline whose six blocks run on the six executor types: what the first returns is what the last one gets.

Every platform is an emulator on this machine, so all blocks find the project and its variables where they are; Spark is
real. `make test-spark` runs this where there is Java.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from runmesh.bus import connect, provision
from runmesh.cli.up import services, settings_for
from runmesh.embedded import Server, embedded, leashed
from runmesh.events import RunState
from runmesh.subjects import ExecutorType
from tests.emulators.emr import STAGING
from tests.emulators.running import running_azure, running_cloud_run, running_cluster, running_ecs, running_emr
from tests.shop import write_pipeline, write_project
from tests.spark.blocks import HOME, spark_environment

TYPES: Final = tuple(ExecutorType)
_CONFIGS: Final[Mapping[str, Any]] = {
    "k8s_executor_config": {"image": "emulated", "shared": True},
    "ecs_config": {"region": "eu-west-1", "shared": True},
    "emr_config": {"region": "eu-central-1", "shared": True},
    "gcp_cloud_run_config": {"shared": True},
    "azure_container_instance_config": {"shared": True},
}
_BLOCK: Final = """
@custom
def run(*upstream, **kwargs):
    been = [*upstream[0]['been'], '{kind}'] if upstream else ['{kind}']
    {line}
    return {{'been': been}}
"""
_ON_SPARK: Final = "assert kwargs['spark'].range(10).count() == 10"
_LAST: Final = "open({path!r}, 'w').write(','.join(been))"


@pytest.mark.skipif(not shutil.which("java"), reason="Spark needs Java")
@pytest.mark.timeout(300)
async def test_data_passes_through_all_six_executor_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = tmp_path / "result.json"
    write_shop(tmp_path / "projects" / "shop", tmp_path / "variables", result)
    monkeypatch.setenv("EMR_SPARK", str(HOME / "bin"))
    async with platforms(tmp_path) as there:
        for name, value in there.items():
            monkeypatch.setenv(name, value)
        here = settings_for(tmp_path / "projects").model_copy(update={"state_dir": tmp_path / "state"})
        async with embedded(tmp_path / "nats") as server, services(here, server, also="k8s") as (mesh, _):
            async with workers(server, tmp_path / "state"):
                run = await mesh.submit("orders", project="shop", timeout=240)
                ended = await mesh.wait(run)
            assert ended.state is RunState.COMPLETED, ended
    assert result.read_text().split(",") == list(TYPES)


def write_shop(project: Path, variables: Path, result: Path) -> None:
    """Write a chain of blocks, each on a type of its own, that add their type's name to what they get."""
    write_project(project, variables_dir=str(variables), **_CONFIGS)
    for kind in TYPES:
        line = _ON_SPARK if kind is ExecutorType.PYSPARK else "pass"
        if kind is TYPES[-1]:
            line = _LAST.format(path=str(result))
        (project / "custom" / f"on_{kind}.py").write_text(_BLOCK.format(line=line, kind=kind))
    names = [f"on_{kind}" for kind in TYPES]
    write_pipeline(project, "orders", {name: names[max(0, n - 1) : n] for n, name in enumerate(names)})
    path = project / "pipelines" / "orders" / "metadata.yaml"
    text = path.read_text()
    for kind in TYPES:
        text = text.replace(f"name: on_{kind}\n", f"name: on_{kind}\n  executor_type: {kind}\n")
    path.write_text(text)


@asynccontextmanager
async def platforms(directory: Path) -> AsyncIterator[dict[str, str]]:
    """Run all five; yield what workers find in their environment."""
    programs = {"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"}
    async with AsyncExitStack() as stack:
        ecs = await stack.enter_async_context(running_ecs(directory / "ecs", **programs))
        emr = await stack.enter_async_context(running_emr(directory / "emr", **spark_environment()))
        found = [
            await stack.enter_async_context(running(directory / running.args[0], **programs))
            for running in (running_cluster, running_cloud_run, running_azure)
        ]
        of_ecs = {f"AWS_ENDPOINT_URL_{name}": ecs["AWS_ENDPOINT_URL"] for name in ("ECS", "LOGS", "EC2")}
        both = {name: value for each in (*found, ecs, emr) for name, value in each.items()}
        yield {**both, **of_ecs, "RUNMESH_EMR_STAGING": STAGING}


@asynccontextmanager
async def workers(server: Server, state: Path) -> AsyncIterator[None]:
    """Run a worker for every type that has none yet."""
    kinds = [str(kind) for kind in TYPES if kind not in (ExecutorType.LOCAL_PYTHON, ExecutorType.K8S)]
    async with connect(server.url, name="test", token=server.token) as bus:
        await provision(bus, pools=dict.fromkeys(kinds, ()))
    told = {"RUNMESH_NATS_URL": server.url, "RUNMESH_NATS_TOKEN": server.token, "RUNMESH_STATE_DIR": str(state)}
    processes = [
        await asyncio.create_subprocess_exec(
            *leashed(sys.executable, "-m", "runmesh", "executor", kind), env={**os.environ, **told}
        )
        for kind in kinds
    ]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        await asyncio.gather(*(process.wait() for process in processes))
