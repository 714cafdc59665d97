"""What may be said of a Cloud Run job, what is refused at planning, and what is asked for in the end."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmesh.errors import Rejected
from runmesh.executor import Handle
from runmesh.executors.google import naming
from runmesh.executors.google.config import Config
from runmesh.executors.google.inherit import Base
from runmesh.executors.google.naming import Place
from runmesh.executors.google.request import LONGEST, LONGEST_WITH_GPU, job
from runmesh.executors.google.sizes import SIZES, wrong_memory
from tests.executors.tasks import task_of
from tests.unit.shop import Shop

SERVICE = {
    "service_account": "mage@shop",
    "vpc_access": {"connector": "private"},
    "scaling": {"max_instance_count": 1},
    "volumes": [{"name": "data", "gcs": {"bucket": "a"}}, {"name": "keys", "secret": {"secret": "k"}}],
    "containers": [
        {"name": "proxy", "image": "proxy:1"},
        {
            "name": "mage",
            "image": "mage:1",
            "ports": [{"container_port": 6789}],
            "env": [{"name": name, "value": "1"} for name in ("RUNMESH_NATS_TOKEN", "A", "B")],
            "resources": {"limits": {"cpu": "2", "memory": "4Gi"}, "cpu_idle": True},
            "volume_mounts": [{"name": "data", "mount_path": "/data"}],
            "startup_probe": {"period_seconds": 5},
        },
    ],
}
"""What a service's template says."""


def problems(tmp_path: Path, **config: Any) -> list[tuple[str, str | None]]:
    found = Shop(tmp_path).load({"executor_type": "gcp_cloud_run", "executor_config": config})
    return [(problem.path.rpartition("executor_config.")[2], problem.hint) for problem in found.errors]


def asked(config: Config, base: Base | None = None, *, timeout: float | None = None, **environment: str) -> Any:
    task = task_of(config, "run", "it", environment=environment)
    vars_of = {name: getattr(task, name) for name in task.__dataclass_fields__}
    return job(type(task)(**{**vars_of, "timeout": timeout}), base or Base(), mesh="mesh", pool="default")


def template(found: Any) -> Any:
    return found["template"]["template"]


def container(found: Any) -> Any:
    [one] = template(found)["containers"]
    return one


@pytest.mark.parametrize(
    ("config", "path", "hint"),
    [
        ({"cpu": 3}, "cpu", "2 or 4"),
        ({"cpu": 16}, "cpu", "8"),
        ({"cpu": 1, "memory": "8Gi"}, "memory", "with cpu 1: memory 4Gi; 8Gi with cpu 2"),
        ({"cpu": 4, "memory": "512Mi"}, "memory", "with cpu 4: memory 2Gi; 512Mi with cpu 2"),
        ({"cpu": 8, "memory": "64Gi"}, "memory", "with cpu 8: memory 32Gi"),
        ({"cpu": 2, "memory": "8Gi", "gpu": 1}, "gpu", "cpu 4 or 8, and memory 16Gi at least"),
        ({"memory": "512"}, "memory", None),
        ({"projct_id": "x"}, "projct_id", "did you mean 'project_id'?"),
        ({"region": "Belgium"}, "region", None),
        ({"labels": {"Team": "data"}}, "labels", None),
        ({"parallelism": 4}, "parallelism", None),
        ({"max_retries": 11}, "max_retries", None),
        ({"volumes": [{"name": "x", "gcs": {"bucket": "a", "readonly": True}}]}, None, "did you mean 'read_only'?"),
    ],
)
def test_what_cloud_run_would_refuse_is_refused_at_planning(
    tmp_path: Path, config: dict[str, Any], path: str | None, hint: str | None
) -> None:
    [(where, said)] = problems(tmp_path, **config)
    assert path in (where, None)
    assert said == hint


@pytest.mark.parametrize(
    "config",
    [
        {"cpu": "2000m", "memory": "4G"},
        {"cpu": "4", "memory": "16Gi", "gpu": 1},
        {"execution_environment": "gen2"},
        {"vpcAccess": None, "vpc_access": {"networkInterfaces": [{"network": "default"}], "egress": "ALL_TRAFFIC"}},
        {
            "volumes": [{"name": "s", "emptyDir": {"sizeLimit": "1Gi"}}],
            "volume_mounts": [{"name": "s", "mountPath": "/s"}],
        },
        {"env": {"A": "1"}, "secrets": {"B": "b:3"}},
        {"timeout_seconds": 600},
    ],
)
def test_what_cloud_run_takes_is_taken(tmp_path: Path, config: dict[str, Any]) -> None:
    assert problems(tmp_path, **{key: value for key, value in config.items() if value is not None}) == []


def test_mages_time_limit_is_the_tasks(tmp_path: Path) -> None:
    found = Shop(tmp_path).load({"executor_type": "gcp_cloud_run", "executor_config": {"timeout_seconds": 600}})
    assert found.timeout == 600


@given(cpu=st.sampled_from(list(SIZES)), memory=st.integers(1, 70_000))
def test_the_neighbour_of_a_size_that_cloud_run_lacks_exists(cpu: int, memory: int) -> None:
    if wrong := wrong_memory(cpu, memory):
        assert not SIZES[cpu][0] <= memory <= SIZES[cpu][1]
        for named in re.findall(r"with cpu (\d)", wrong[1]):
            assert int(named) in SIZES


def test_variables_have_two_spellings_that_merge() -> None:
    short = {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}], "environment": {"B": "2"}}
    assert Config.canonical(short) == {"environment": {"A": "1", "B": "2"}}
    assert Config.canonical_paths("env.A") == ("environment.A",)


def test_one_call_creates_and_starts_one_task_without_retries() -> None:
    found = asked(Config(image="etl:1", secrets={"KEY": "key:3"}), A="x")
    assert found["start_execution_token"] == "run"  # noqa: S105
    assert (found["template"]["task_count"], found["template"]["parallelism"]) == (1, 1)
    assert (template(found)["max_retries"], template(found)["timeout"]) == (0, f"{LONGEST}s")
    assert container(found)["command"] == ["run", "it"]
    assert container(found)["resources"]["limits"] == {"cpu": "1", "memory": "512Mi"}
    variables = {each["name"]: each for each in container(found)["env"]}
    assert variables["KEY"]["value_source"] == {"secret_key_ref": {"secret": "key", "version": "3"}}
    assert (variables["A"]["value"], variables["RUNMESH_KEY"]["value"]) == ("x", "key")


@pytest.mark.parametrize(
    ("timeout", "config", "seconds"),
    [
        (None, {}, LONGEST),
        (None, {"gpu": 1, "cpu": 4, "memory": "16Gi"}, LONGEST_WITH_GPU),
        (600.0, {}, 660),
        (1e9, {}, LONGEST),
    ],
)
def test_cloud_runs_own_limit_is_behind_the_meshs(timeout: float | None, config: dict[str, Any], seconds: int) -> None:
    assert template(asked(Config(image="etl:1", **config), timeout=timeout))["timeout"] == f"{seconds}s"


def test_a_job_takes_after_the_service_and_its_configuration_wins() -> None:
    config = Config(
        image="etl:2",
        memory="8Gi",
        environment={"B": "2"},
        volumes=[{"name": "data", "gcs": {"bucket": "b"}}],
        service_account="etl@shop",
    )
    found = asked(config, Base.of(SERVICE))
    assert template(found)["service_account"] == "etl@shop"
    assert template(found)["vpc_access"] == {"connector": "private"}
    assert [each["name"] for each in template(found)["volumes"]] == ["data", "keys"]
    assert template(found)["volumes"][0]["gcs"] == {"bucket": "b"}
    assert container(found)["image"] == "etl:2"
    assert container(found)["resources"] == {"limits": {"cpu": "2", "memory": "8Gi"}}
    assert container(found)["volume_mounts"] == [{"name": "data", "mount_path": "/data"}]
    assert [(each["name"], each["value"]) for each in container(found)["env"]][:2] == [("A", "1"), ("B", "2")]
    assert not {"startup_probe", "ports", "name"} & container(found).keys()


def test_a_gpu_is_asked_for_with_its_kind() -> None:
    found = asked(Config(image="etl:1", gpu=1, cpu=8, memory="32Gi"))
    assert template(found)["node_selector"] == {"accelerator": "nvidia-l4"}
    assert container(found)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    with pytest.raises(Rejected, match="a GPU needs more beside it"):
        asked(Config(image="etl:1", gpu=1))


@given(st.text(max_size=80), st.text(min_size=1, max_size=99))
def test_names_are_legal_and_tell_meshes_and_keys_apart(mesh: str, key: str) -> None:
    found = naming.job_id(task_of(Config(), key=key), mesh)
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", found)
    assert len(found) + len(naming.TOKEN) < 63
    assert found != naming.job_id(task_of(Config(), key=f"{key}2"), mesh)
    for name, value in naming.labels(task_of(Config(), key=key), mesh=mesh, pool="default").items():
        assert re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name)
        assert re.fullmatch(r"[a-z0-9_-]{0,63}", value)


@given(st.none() | st.text(min_size=1))
def test_a_handle_holds_the_whole_address(credentials: str | None) -> None:
    place = Place("shop-project", "europe-west1", credentials)
    handle = place.handle_of("job-1")
    assert Place.of(handle) == place
    assert naming.job_of(handle) == "projects/shop-project/locations/europe-west1/jobs/job-1"
    assert naming.execution_of(handle).endswith("/jobs/job-1/executions/job-1-run")


def test_a_page_for_people_is_the_executions() -> None:
    handle = Handle("projects/shop/locations/europe-west1/jobs/a")
    page = "https://console.cloud.google.com/run/jobs/executions/details/europe-west1/a-run/tasks?project=shop"
    assert naming.url(handle) == page
