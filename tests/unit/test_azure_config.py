"""What may be said of a container group, what is refused at planning, and what is asked for in the end."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runmesh.errors import Invalid, Rejected
from runmesh.executors.azure.config import Config
from runmesh.executors.azure.group import container_group
from runmesh.executors.azure.inherit import Base
from runmesh.executors.azure.naming import Place, group_name, tags, url
from runmesh.executors.azure.options import Options
from runmesh.executors.azure.sizes import wrong_size
from tests.emulators.arm.checks import check
from tests.executors.tasks import task_of
from tests.unit.shop import Shop, said

PLACE: dict[str, Any] = {"image": "etl:1", "location": "westeurope"}


def problems(tmp_path: Path, **config: Any) -> list[tuple[str, str | None]]:
    found = Shop(tmp_path).load({"executor_type": "azure_container_instance", "executor_config": config})
    return [(problem.path.rpartition("executor_config.")[2], problem.hint) for problem in found.errors]


def asked(config: Config, *command: str, storage_key: str | None = None, **environment: str) -> dict[str, Any]:
    task = task_of(config, *command, environment=environment)
    body = container_group(task, Base(), mesh="mesh", pool="default", storage_key=storage_key)
    check(group_name(task, "mesh"), body)
    return body


@pytest.mark.parametrize(
    ("config", "path", "hint"),
    [
        ({"cpu": 1.005}, "cpu", "1 or 1.01"),
        ({"cpu": 0}, "cpu", "0.01"),
        ({"memory": 1.55}, "memory", "1.5 or 1.6"),
        ({"memory": -1}, "memory", "0.1"),
        ({"memory": -1e300}, "memory", "0.1"),
        ({"cpu": float("inf")}, "cpu", None),
        ({"cpu": float("nan")}, "cpu", None),
        ({"memory": 1e300}, "memory", None),
        ({"imgae": "etl"}, "imgae", "did you mean 'image'?"),
        ({"restart_policy": "Always"}, "restart_policy", None),
        ({"volumes": [{"name": "d", "azure_flie": {}}]}, "volumes.0.azure_flie", "did you mean 'azureFile'?"),
        ({"volumes": [{"name": "d"}]}, "volumes.0", None),
        ({"gpu": {"count": 3, "sku": "V100"}}, "gpu.count", None),
        ({"tags": {f"t{n}": "" for n in range(41)}}, "tags", None),
    ],
)
def test_what_azure_never_takes_is_refused_at_planning(
    tmp_path: Path, config: dict[str, Any], path: str, hint: str | None
) -> None:
    [(where, what)] = problems(tmp_path, **config)
    assert where == path
    assert hint is None or what == hint


def test_limits_are_no_less_than_what_is_asked_for(tmp_path: Path) -> None:
    assert len(problems(tmp_path, cpu=2, limits={"cpu": 1})) == 1
    assert Config.model_validate({"cpu": 2, "memory": 2, "limits": {"cpu": 2, "memory": 4}}).limits is not None


def test_mages_keys_and_variables_are_enough(tmp_path: Path) -> None:
    environment = {"AZURE_SUBSCRIPTION_ID": "s", "AZURE_RESOURCE_GROUP_NAME": "g", "AZURE_CONTAINER_GROUP_NAME": "mage"}
    project = {"azure_container_instance_config": {"cpu": 2, "memory": 4}}
    found = Shop(tmp_path).load({"executor_type": "azure_container_instance"}, project=project, environment=environment)
    assert found.errors == ()
    names = {"subscription_id": "s", "resource_group_name": "g", "container_group_name": "mage"}
    assert said(found) == {"cpu": 2, "memory": 4, **names}


def test_all_that_may_be_said_is_asked_for_as_the_api_has_it() -> None:
    config = yaml.safe_load(
        """
        image: etl:1
        location: westeurope
        cpu: 2
        memory: 4
        gpu: {count: 1, sku: V100}
        limits: {cpu: 4, memory: 8}
        environment: {CITY: Bonn, PORT: 80, DEBUG: true}
        secure_environment: {TOKEN: t}
        volumes:
          - {name: data, azure_file: {share_name: s, storage_account_name: a}}
          - {name: code, gitRepo: {repository: "https://example.com/x.git", revision: abc}}
          - {name: tmp, empty_dir: {}}
        volume_mounts: [{name: data, mount_path: /data, read_only: true}]
        subnet_ids: /subnets/a
        identity: {type: SystemAssigned}
        image_registry_credentials: [{server: r, username: u, password: p}]
        dns: {name_servers: [10.0.0.4]}
        log_analytics: {workspace_id: w, workspace_key: k}
        priority: Spot
        zones: "2"
        tags: {team: data}
        """
    )
    body = asked(Config.model_validate(config), "echo", "two words", storage_key="key", OWN="x")
    properties = body["properties"]
    [container] = properties["containers"]
    assert container["properties"]["command"] == ["echo", "two words"]
    assert container["properties"]["resources"] == {
        "requests": {"cpu": 2, "memoryInGB": 4, "gpu": {"count": 1, "sku": "V100"}},
        "limits": {"cpu": 4, "memoryInGB": 8, "gpu": {"count": 1, "sku": "V100"}},
    }
    variables = {each["name"]: each for each in container["properties"]["environmentVariables"]}
    assert variables["TOKEN"] == {"name": "TOKEN", "secureValue": "t"}
    assert [variables[name]["value"] for name in ("CITY", "PORT", "DEBUG", "OWN")] == ["Bonn", "80", "true", "x"]
    assert properties["volumes"] == [
        {"name": "data", "azureFile": {"shareName": "s", "storageAccountName": "a", "storageAccountKey": "key"}},
        {"name": "code", "gitRepo": {"repository": "https://example.com/x.git", "revision": "abc"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    assert (properties["restartPolicy"], properties["priority"], body["zones"]) == ("Never", "Spot", ["2"])
    assert properties["subnetIds"] == [{"id": "/subnets/a"}]
    assert properties["diagnostics"] == {"logAnalytics": {"workspaceId": "w", "workspaceKey": "k"}}
    assert body["tags"]["team"] == "data"


def test_what_nothing_says_is_left_out() -> None:
    assert set(asked(Config(**PLACE), "true")["properties"]) == {"osType", "restartPolicy", "containers"}


def test_a_configured_volume_wins_over_an_inherited_one_of_its_name() -> None:
    inherited = ({"name": "data", "emptyDir": {}}, {"name": "code", "emptyDir": {}})
    base = Base(volumes=inherited, mounts=({"name": "code", "mountPath": "/x"},), image="theirs", location="eastus")
    config = Config.model_validate({"volumes": [{"name": "data", "git_repo": {"repository": "r"}}]})
    body = container_group(task_of(config, "true"), base, mesh="m", pool="p", storage_key=None)
    assert [set(each) for each in body["properties"]["volumes"]] == [{"name", "gitRepo"}, {"name", "emptyDir"}]
    assert body["properties"]["containers"][0]["properties"]["image"] == "theirs"


def test_a_null_is_what_azure_does_not_tell() -> None:
    variables = [{"name": "TOKEN", "value": None, "secureValue": None}]
    mounts = [{"name": "data", "mountPath": "/data"}]
    own: dict[str, Any] = {"environmentVariables": variables, "volumeMounts": mounts, "command": None}
    volumes: list[dict[str, Any]] = [{"name": "data", "emptyDir": {}, "secret": None}]
    found = Base.of_group({"properties": {"containers": [{"properties": own}], "volumes": volumes}})
    assert found.variables == ()
    assert found.volumes == ({"name": "data", "emptyDir": {}},)
    assert len(found.mounts) == 1


def test_a_share_without_a_key_is_rejected() -> None:
    volume = {"name": "d", "azure_file": {"share_name": "s", "storage_account_name": "a"}}
    with pytest.raises(Rejected, match=r"'a'.*AZURE_STORAGE_ACCOUNT_KEY"):
        asked(Config.model_validate({**PLACE, "volumes": [volume]}), "true")


OFFER = [
    {"osType": "Linux", "gpu": "None", "capabilities": {"maxCpu": 4, "maxMemoryInGB": 16, "maxGpuCount": 0}},
    {"osType": "Linux", "gpu": "V100", "capabilities": {"maxCpu": 24, "maxMemoryInGB": 448, "maxGpuCount": 4}},
]


@pytest.mark.parametrize(
    ("system", "cpu", "memory", "gpu", "wrong"),
    [
        ("Linux", 4, 16, None, None),
        ("Linux", 5, 20, None, "cpu 5 is more than the 4 that there is, memory 20 is more than the 16 that there is"),
        ("Linux", 6, 100, {"count": 4, "sku": "V100"}, None),
        ("Linux", 1, 1, {"count": 1, "sku": "P100"}, "there is no GPU P100 for Linux, but V100"),
        ("Windows", 99, 99, None, None),
    ],
)
def test_what_a_region_offers_is_known_before_the_call(
    system: str, cpu: float, memory: float, gpu: dict[str, Any] | None, wrong: str | None
) -> None:
    assert wrong_size(OFFER, system, cpu, memory, gpu) == wrong


@given(mesh=st.text(max_size=80), key=st.text(min_size=1, max_size=80))
def test_every_name_is_legal_and_the_keys_own(mesh: str, key: str) -> None:
    task = task_of(Config(), "true", key=key)
    name = group_name(task, mesh)
    assert re.fullmatch(r"(?!.*--)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name)
    assert name != group_name(task_of(Config(), "true", key=f"{key}x"), mesh)


@given(labels=st.dictionaries(st.text(), st.text(max_size=300), max_size=60))
def test_tags_are_legal_and_ours_are_never_crowded_out(labels: dict[str, str]) -> None:
    task = task_of(Config(tags={"team": "data"}), "true")
    found = tags(replace(task, labels=labels), {"theirs": "x"}, mesh="m", pool="p")
    assert len(found) <= 50
    assert (found["runmesh-key"], found["team"]) == ("key", "data")
    assert not any(re.search(r"[<>%&\\?/]", name) or len(value) > 256 for name, value in found.items())
    assert len({name.lower() for name in found}) == len(found)


def test_tags_that_azure_has_for_itself_or_cannot_tell_apart_are_still_legal() -> None:
    labels = {"azure-team": "a", "TEAM": "b", "Runmesh-Key": "c"}
    found = tags(replace(task_of(Config(tags={"team": "data"}), "true"), labels=labels), mesh="m", pool="p")
    assert (found["_azure-team"], found["team"], found["runmesh-key"]) == ("a", "data", "key")
    assert not {"TEAM", "Runmesh-Key", "azure-team"} & set(found)


def test_a_page_is_in_the_portal_of_its_cloud() -> None:
    handle = Place("s", "g").handle("n")
    assert url(handle, "https://management.azure.com").startswith("https://portal.azure.com/#resource/subscriptions/s/")
    assert url(handle, "https://management.usgovcloudapi.net").startswith("https://portal.azure.us/#resource/")
    assert Place.of(handle) == Place("s", "g")


def test_a_handle_says_the_place_again_whatever_its_name() -> None:
    place = Place("s", "my group (of 2)")
    assert Place.of(place.handle("n")) == place
    assert place.path == "/subscriptions/s/resourceGroups/my%20group%20%28of%202%29"


def test_where_the_reaper_looks_is_the_workers_own_place_and_those_that_are_listed() -> None:
    own = {"AZURE_SUBSCRIPTION_ID": "s", "AZURE_RESOURCE_GROUP_NAME": "g"}
    found = Options.of({**own, "RUNMESH_AZURE_RESOURCE_GROUPS": "other, t/far, g"})
    assert found.places == (Place("s", "g"), Place("s", "other"), Place("t", "far"))
    with pytest.raises(Invalid, match="'other' is in no subscription"):
        Options.of({"RUNMESH_AZURE_RESOURCE_GROUPS": "other"})
