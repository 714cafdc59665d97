"""The demo, every block of it on an emulated platform: `make demo-k8s`, `demo-ecs`, `demo-gcp`, `demo-azure`.

Jobs and tasks run on this machine, so they find the project and its variables where they are.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import yaml

from tests.emulators.running import running_azure, running_cloud_run, running_cluster, running_ecs

_FOLDER: Final = Path("deploy", "demo")
_NAMESPACE: Final = "penguins"
"""The demo's own."""


@dataclass(frozen=True)
class _Place:
    """What the demo is told, and where it is started."""

    environment: Mapping[str, str]
    directory: Path


@asynccontextmanager
async def _kubernetes(directory: Path, programs: str) -> AsyncIterator[_Place]:
    config = directory / "k8s.yaml"
    config.write_text(yaml.safe_dump({"image": "emulated", "shared": True}))
    async with running_cluster(directory / "cluster", "--namespace", _NAMESPACE, PATH=programs) as there:
        yield _Place({**there, "K8S_CONFIG_FILE": str(config), "KUBE_NAMESPACE": _NAMESPACE}, Path.cwd())


@asynccontextmanager
async def _ecs(directory: Path, programs: str) -> AsyncIterator[_Place]:
    """Nothing says cluster, definition and network: tasks have them of the one that the worker finds itself in."""
    _write_project(directory / _FOLDER, "ecs_config", "2 GB")
    async with running_ecs(directory / "aws", PATH=programs) as there:
        yield _Place(there, directory)


@asynccontextmanager
async def _cloud_run(directory: Path, programs: str) -> AsyncIterator[_Place]:
    """Nothing says which image: jobs have that of the service that GCP_SERVICE_NAME names."""
    _write_project(directory / _FOLDER, "gcp_cloud_run_config", "2Gi")
    async with running_cloud_run(directory / "google", PATH=programs) as there:
        yield _Place(there, directory)


@asynccontextmanager
async def _azure(directory: Path, programs: str) -> AsyncIterator[_Place]:
    """Nothing says which image and where: groups have those of the group that AZURE_CONTAINER_GROUP_NAME names."""
    _write_project(directory / _FOLDER, "azure_container_instance_config", "2")
    async with running_azure(directory / "azure", PATH=programs) as there:
        yield _Place(there, directory)


def _write_project(folder: Path, key: str, memory: str) -> None:
    """Copy the demo's project, and say of its memory what the platform understands."""
    shutil.copytree(_FOLDER, folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    project, pipeline = folder / "metadata.yaml", folder / "pipelines" / "penguins" / "metadata.yaml"
    project.write_text(f"{project.read_text()}\n{key}:\n  shared: true\n")
    of_jobs = "resource_limits:\n      memory: 2Gi"
    pipeline.write_text(pipeline.read_text().replace(of_jobs, f"memory: {memory}"))


_PLATFORMS: Final = {"k8s": _kubernetes, "ecs": _ecs, "gcp_cloud_run": _cloud_run, "azure_container_instance": _azure}


async def main(executor_type: str) -> int:
    """Run it; return its exit code."""
    programs = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    with TemporaryDirectory(prefix=f"demo-{executor_type}-") as directory:
        async with _PLATFORMS[executor_type](Path(directory), programs) as place:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "runmesh", "demo", "--executor-type", executor_type),
                cwd=place.directory,
                env={**os.environ, **place.environment},
            )
            code = await process.wait()
            _keep_report(place.directory)
            return code


def _keep_report(directory: Path) -> None:
    """Put the report where the demo says it is, if it was made in a copy of the project."""
    report = Path(_FOLDER, ".runmesh", "report.html")
    if (directory / report).exists() and directory != Path.cwd():
        report.parent.mkdir(exist_ok=True)
        shutil.copy(directory / report, report)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1] if sys.argv[1:] else "k8s")))
