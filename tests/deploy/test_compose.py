"""deploy/compose.yaml: that it means what it says. docs/containers.md tells where it was tried."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from runmesh.executor import load
from runmesh.settings import PREFIX, Settings
from runmesh.subjects import ExecutorType

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCUMENT = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: Mapping[str, Any] = DOCUMENT["services"]
OURS = {name: service for name, service in SERVICES.items() if name != "nats"}
EMR_STAGING = "RUNMESH_EMR_STAGING"
"""A variable of one executor, and no setting of the mesh."""


@pytest.fixture(params=list(OURS.values()), ids=list(OURS))
def service(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    found: Mapping[str, Any] = request.param
    return found


def test_every_executor_has_a_service_that_only_its_profile_starts() -> None:
    executors = {kind: SERVICES[kind] for kind in ExecutorType}
    assert all(load(kind) for kind in executors)
    assert all(service["command"] == f"executor {kind}" for kind, service in executors.items())
    profiles = {kind: service.get("profiles") for kind, service in executors.items()}
    assert profiles == {kind: None if kind == "local_python" else [kind] for kind in ExecutorType}


def test_one_image_is_built_in_one_way() -> None:
    ways = {(service["image"], str(service["build"])) for service in OURS.values()}
    assert len(ways) == len({service["image"] for service in OURS.values()})


def test_what_an_image_holds_is_locked(service: Mapping[str, Any]) -> None:
    extra = service["build"]["args"].get("EXTRAS", "base")
    assert (DEPLOY / f"requirements/{extra}.txt").is_file()


def test_no_service_may_do_more_than_it_must(service: Mapping[str, Any]) -> None:
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_every_setting_that_it_names_exists(service: Mapping[str, Any]) -> None:
    named = {name for name in service["environment"] if name.startswith(PREFIX)} - {EMR_STAGING}
    assert named <= {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


def test_nobody_else_reaches_nats() -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["nats"]["ports"])
    token = SERVICES["local_python"]["environment"]["RUNMESH_NATS_TOKEN"]
    assert SERVICES["nats"]["command"][-2:] == ["--auth", token]


def test_a_local_worker_has_the_time_to_drain() -> None:
    seconds = int(SERVICES["local_python"]["stop_grace_period"].removesuffix("s"))
    assert seconds > Settings.model_fields["grace"].default


def test_what_is_mounted_is_there_or_is_a_volume(service: Mapping[str, Any]) -> None:
    for mount in service["volumes"]:
        source = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", mount).partition(":")[0]
        assert source in DOCUMENT["volumes"] or source.startswith("~") or (DEPLOY / source).is_dir()
