"""A real Prometheus beside a real mesh: what every query of the dashboard returns.

The mesh is a resolver, a local worker and one for an emulated cluster, each a process of its own as in production, and
goes through what the dashboard is for: runs that complete and that fail, requests that are refused, a message that
nobody can read, a platform that throttles, fails and takes no credentials. `make test-monitoring` runs this where there
is a Prometheus.
"""

import asyncio
import json
import os
import shutil
import socket
import sys
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from rich.console import Console
from rich.table import Table

from runmesh.bus import Bus, connect, provision
from runmesh.embedded import Server, embedded, leashed
from runmesh.events import FINAL_RUN_STATES, RunFact
from runmesh.subjects import FACTS, ExecutorType
from tests.deploy.monitoring import DIRECTORY, alerts, dashboard, queries
from tests.emulators.faults import Fault
from tests.emulators.k8s import Cluster, cluster
from tests.emulators.kubernetes.status import Status
from tests.eventually import eventually
from tests.shop import ask, dead_letters, states, write_pipeline, write_project

PROMETHEUS: Final = shutil.which("prometheus")
SERVICES: Final[Sequence[tuple[str, ...]]] = (("resolver",), ("executor", "local_python"), ("executor", "k8s"))
_PROGRAMS: Final = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
_BAD: Final = "@custom\ndef run(*args, **kwargs):\n    raise ValueError('on purpose')\n"
_ROUNDS: Final = 4
_INTERVAL: Final = "1m"
_PATIENCE: Final = 120.0
"""Seconds: what is lost between server and worker comes again after `ack_wait`, a minute."""

pytestmark = [
    pytest.mark.skipif(
        PROMETHEUS is None, reason="there is no prometheus on this machine (Debian: apt install prometheus)"
    ),
    pytest.mark.timeout(600),
]


async def test_every_query_of_the_dashboard_returns_data(tmp_path: Path) -> None:
    write_shop(tmp_path / "projects" / "shop", tmp_path / "variables")
    async with mesh(tmp_path) as (bus, platform, ports), prometheus(tmp_path, ports) as server:
        await eventually(lambda: server.all_up(len(SERVICES)))
        await go_through(bus, platform)
        found = await eventually(server.answers, within=60, every=1)
        show(found)
        assert await server.broken_rules() == []
        assert await server.firing() == {"RunmeshDeadLetters"}
        assert await server.values("executor") >= {"k8s", "local_python"}
        assert await server.values("mesh") == {"test"}
    assert len(found) == len(queries())


def write_shop(project: Path, variables: Path) -> None:
    write_project(project, variables_dir=str(variables), k8s_executor_config={"image": "emulated", "shared": True})
    (project / "custom" / "bad.py").write_text(_BAD)
    write_pipeline(project, "good", {"one": [], "two": ["one"]})
    write_pipeline(project, "wrong", {"bad": []})
    write_pipeline(project, "far", {"away": []}, block={"executor_type": "k8s"})


async def go_through(bus: Bus, platform: Cluster) -> None:
    """Let everything happen that a panel shows, over some time."""
    runs = []
    for number in range(_ROUNDS):
        troubles = (Status(429, "slow down"), Status(401, "Unauthorized"))
        platform.api.faults += [Fault("create jobs", refusal=refusal) for refusal in troubles]
        platform.api.faults.append(Fault("delete jobs", refusal=Status(503, "no leader")))
        for pipeline in ("good", "wrong", "far", "missing"):
            runs.append(f"{pipeline}-{number}")
            await ask(bus, "run", {"pipeline": pipeline, "id": runs[-1]})
        await ask(bus, "run", b"nonsense")
        await eventually(lambda: all_ended(bus, runs), within=_PATIENCE, every=0.5)
    assert len(await dead_letters(bus)) == _ROUNDS
    for pipeline, end in {"good": "completed", "wrong": "failed", "far": "completed", "missing": "rejected"}.items():
        assert end in await states(bus, f"{pipeline}-0")


async def all_ended(bus: Bus, runs: Sequence[str]) -> bool:
    facts = [RunFact.model_validate_json(message.data) async for message in bus.replay(FACTS, "mesh.run.>")]
    left = set(runs) - {fact.run for fact in facts if fact.state in FINAL_RUN_STATES}
    assert not left, f"{left} have not ended: {[(fact.run, str(fact.state)) for fact in facts if fact.run in left]}"
    return True


# --- the mesh ----------------------------------------------------------------------------------------


@asynccontextmanager
async def mesh(directory: Path) -> AsyncIterator[tuple[Bus, Cluster, Sequence[int]]]:
    """Run all services; yield a connection, the cluster, and where the services' figures are."""
    async with (
        embedded(directory / "nats") as server,
        connect(server.url, name="test", token=server.token) as bus,
        cluster({"PATH": _PROGRAMS}) as platform,
        AsyncExitStack() as stack,
    ):
        await provision(bus, pools=dict.fromkeys(ExecutorType, ()))
        (directory / "kubeconfig").write_text(yaml.safe_dump(platform.kubeconfig()))
        ports = [_free_port() for _ in SERVICES]
        for command, port in zip(SERVICES, ports, strict=True):
            told = _told(directory, server, port)
            await stack.enter_async_context(running(sys.executable, "-m", "runmesh", *command, environment=told))
        yield bus, platform, ports


def _told(directory: Path, server: Server, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "KUBECONFIG": str(directory / "kubeconfig"),
        "RUNMESH_NATS_URL": server.url,
        "RUNMESH_NATS_TOKEN": server.token,
        "RUNMESH_PROJECTS_DIR": str(directory / "projects"),
        "RUNMESH_STATE_DIR": str(directory / "state"),
        "RUNMESH_HEALTH_PORT": str(port),
        "RUNMESH_LOG_LEVEL": "warning",
    }


@asynccontextmanager
async def running(*command: str, environment: Mapping[str, str]) -> AsyncIterator[None]:
    """Run a program for the length of the block."""
    process = await asyncio.create_subprocess_exec(*leashed(*command), env=environment)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


# --- Prometheus --------------------------------------------------------------------------------------


class Prometheus:
    """A server's API."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/"

    async def get(self, what: str, **query: str) -> Any:
        """Ask. Raises `OSError` with what it says if it refuses."""
        url = f"{self._url}{what}?{urllib.parse.urlencode(query)}"
        return json.loads(await asyncio.to_thread(_read, url))["data"]

    async def all_up(self, count: int) -> bool:
        """Whether all services were scraped."""
        try:
            up = (await self.get("query", query="up"))["result"]
        except OSError:
            return False
        return [sample["value"][1] for sample in up] == ["1"] * count

    async def answers(self) -> dict[tuple[str, str], str]:
        """Return what every query finds, by its panel and itself. Raises `AssertionError` for one without data."""
        found = {}
        for query in queries(interval=_INTERVAL, whole=_INTERVAL):
            samples = (await self.get("query", query=query.text))["result"]
            values = [sample["value"][1] for sample in samples]
            assert any(value not in ("NaN", "+Inf") for value in values), f"{query.panel}: {query.text} finds {values}"
            found[query.panel, query.text] = ", ".join(sorted(f"{float(value):.3g}" for value in values))
        return found

    async def values(self, variable: str) -> set[str]:
        """Return what a variable of the dashboard offers."""
        [asked] = [each for each in dashboard()["templating"]["list"] if each["name"] == variable]
        series, label = asked["query"]["query"].removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        return set(await self.get(f"label/{label}/values", **{"match[]": series.replace("$mesh", ".*")}))

    async def firing(self) -> set[str]:
        """Return the alerts that fire."""
        return {
            each["labels"]["alertname"] for each in (await self.get("alerts"))["alerts"] if each["state"] == "firing"
        }

    async def broken_rules(self) -> list[str]:
        """Return the alerts that could not be evaluated, or never were."""
        rules = [rule for group in (await self.get("rules"))["groups"] for rule in group["rules"]]
        assert len(rules) == len(alerts())
        return [rule["name"] for rule in rules if rule["health"] != "ok"]


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own
        found: bytes = answer.read()
        return found


@asynccontextmanager
async def prometheus(directory: Path, ports: Sequence[int]) -> AsyncIterator[Prometheus]:
    """Run one that looks at the services every second."""
    targets = [{"targets": [f"127.0.0.1:{port}" for port in ports], "labels": {"mesh": "test"}}]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(DIRECTORY / "alerts.yaml")],
        "scrape_configs": [{"job_name": "runmesh", "static_configs": targets}],
    }
    (file := directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    assert PROMETHEUS
    port = _free_port()
    options = [f"--config.file={file}", f"--storage.tsdb.path={directory / 'tsdb'}", "--log.level=error"]
    async with running(PROMETHEUS, *options, f"--web.listen-address=127.0.0.1:{port}", environment=os.environ):
        yield Prometheus(port)


def show(found: Mapping[tuple[str, str], str]) -> None:
    """Print what was found, for whoever wants to see it (`pytest -s`)."""
    table = Table("panel", "values", title="what the dashboard shows")
    for (panel, _), values in found.items():
        table.add_row(panel, values)
    Console().print(table)
