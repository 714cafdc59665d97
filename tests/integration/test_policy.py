"""The policy of an installation, in the resolver that serves it."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from runmesh.bus import Bus
from runmesh.events import ExecuteTask
from tests.conftest import Address
from tests.eventually import eventually
from tests.shop import ask, commands, resolving, run_facts, settings_for, write_pipeline, write_project

POLICY = """
allow_inline: false
executors:
  local_python:
    enforce: true
    config: {kill_grace: 1}
    max: {start_timeout: 3600}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    project = write_project(tmp_path / "shop")
    write_pipeline(project, "one", {"a": []}, block={"executor_config": {"kill_grace": 60}})
    write_pipeline(project, "slow", {"a": []}, block={"executor_config": {"start_timeout": 7200}})
    return file


async def told(bus: Bus, run: str) -> list[str]:
    facts = await run_facts(bus, run)
    assert facts
    return [f"{problem.path}: {problem.message}" for problem in facts[-1].errors or ()]


async def sent(bus: Bus) -> list[ExecuteTask]:
    found = await commands(bus)
    assert found
    return found


async def test_a_resolver_holds_every_run_to_its_policy(bus: Bus, policy: Path) -> None:
    async with resolving(bus, settings_for(policy.parent, policy=policy, runtime="mage")):
        await asyncio.to_thread(policy.write_text, "executors: {}")  # it was read at the start
        await ask(bus, "run", {"id": "r1", "pipeline": "one"})
        (command,) = await eventually(lambda: sent(bus))
        assert command.config["kill_grace"] == 1
        assert command.command[0] == "mage"
        await ask(bus, "run", {"id": "r2", "pipeline": "slow"})
        (slow,) = await eventually(lambda: told(bus, "r2"))
        assert "start_timeout is 7200, the policy allows 3600 at most (policy.yaml)" in slow
        await ask(bus, "run", {"id": "r3", "pipeline": {"uuid": "mine", "blocks": []}})
        assert "request: pipeline: inline pipelines are not allowed here" in await eventually(lambda: told(bus, "r3"))


async def test_a_resolver_does_not_start_with_a_broken_policy(
    bus: Bus,  # noqa: ARG001 - it has provisioned the server
    nats_address: Address,
    policy: Path,
) -> None:
    await asyncio.to_thread(policy.write_text, "executors: {local_python: {enforse: true}}")
    named = {"NATS_URL": nats_address.url, "NATS_TOKEN": nats_address.token, "POLICY": str(policy)}
    environment = {**os.environ, **{f"RUNMESH_{name}": value for name, value in named.items()}}
    command = (sys.executable, "-m", "runmesh", "resolver")
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=PIPE)
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    assert process.returncode == 2
    problem = f"{policy}: executors.local_python.enforse: unknown key 'enforse' (did you mean 'enforce'?)"
    assert err.decode().splitlines() == [f"runmesh: {problem}"]
