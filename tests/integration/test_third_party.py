"""An executor that a package of somebody else's brings, under the entry-point group `runmesh.executors`."""

from pathlib import Path

import pytest

from runmesh.embedded import Server
from tests.integration.test_demo import clean_environment, runmesh_says, service
from tests.shop import write_pipeline, write_project


@pytest.fixture
def environment(tmp_path: Path, nats_server: Server) -> dict[str, str]:
    """Of a machine on which the package is installed."""
    packages = tmp_path / "packages"
    about = packages / "mars-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mars\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[runmesh.executors]\nmars = mars\n")
    (packages / "mars.py").write_text("from runmesh.executors.local_python import Config, Executor\n")
    return clean_environment(
        PYTHONPATH=str(packages),
        RUNMESH_NATS_URL=nats_server.url,
        RUNMESH_NATS_TOKEN=nats_server.token,
        RUNMESH_PROJECTS_DIR=str(tmp_path),
        RUNMESH_ALLOW_OVERRIDES="true",
    )


async def test_a_third_partys_executor_runs_what_is_asked_of_it(tmp_path: Path, environment: dict[str, str]) -> None:
    shop = write_project(tmp_path / "shop")
    write_pipeline(shop, "one", {"only": []})
    (shop / "custom" / "only.py").write_text("@custom\ndef run(*args, **kwargs):\n    return 1\n")

    async def says(*arguments: str) -> tuple[int | None, str]:
        return await runmesh_says(*arguments, cwd=tmp_path, environment=environment)

    _, text = await says("provision")
    assert "made consumer pool_default of EXECUTE_mars" in text, text
    async with (
        service("resolver", cwd=tmp_path, environment=environment),
        service("executor", "mars", cwd=tmp_path, environment=environment),
    ):
        code, text = await says("submit", "one", "--project", "shop", "--executor-type", "mars", "--watch")
    assert code == 0, text
    assert "mars" in text
    _, text = await says("permissions")
    assert "MSG.NEXT.EXECUTE_mars.pool_default" in text, text
