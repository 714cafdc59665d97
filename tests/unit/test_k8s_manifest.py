"""From a task to its Job: what is configured, what is inherited, what is the mesh's own."""

from collections.abc import Mapping
from typing import Any

import pytest

from runmesh.errors import Rejected
from runmesh.executor import Task
from runmesh.executors.kubernetes import naming
from runmesh.executors.kubernetes.config import Config
from runmesh.executors.kubernetes.inherit import Base
from runmesh.executors.kubernetes.manifest import manifest

SERVER = {
    "metadata": {"name": "mage-0", "namespace": "mage"},
    "spec": {
        "schedulerName": "custom",
        "nodeSelector": {"pool": "web"},
        "tolerations": [{"key": "web"}],
        "imagePullSecrets": [{"name": "registry"}],
        "affinity": {"nodeAffinity": {}},
        "serviceAccountName": "server",
        "volumes": [{"name": name} for name in ("project", "cache", "nats", "kube-api-access-x")],
        "containers": [
            {"name": "proxy", "image": "proxy:1"},
            {
                "name": "mage",
                "image": "mage:1",
                "env": [
                    {"name": "A", "value": "inherited"},
                    {"name": "B", "value": "$(A)"},
                    {"name": "RUNMESH_NATS_TOKEN", "value": "hush"},
                    {"name": "RUNMESH_NATS_CREDENTIALS", "value": "/etc/nats/mesh/user.creds"},
                ],
                "envFrom": [{"secretRef": {"name": "s"}}],
                "volumeMounts": [
                    {"name": "project", "mountPath": "/project"},
                    {"name": "cache", "mountPath": "/cache"},
                    {"name": "nats", "mountPath": "/etc/nats", "readOnly": True},
                    {"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
                ],
            },
        ],
    },
}


def job(
    config: Mapping[str, Any] | None = None,
    *,
    base: Base | None = None,
    command: tuple[str, ...] = ("runmesh-run",),
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    settled = Config.model_validate(config or {})
    task = Task("key", "run", "load", 2, 0, "shop", "orders", command, environment or {}, settled, labels={"team": "ä"})
    return manifest(task, base or Base(image="base:1"), mesh="mesh", pool="gpu")


def pod(*arguments: Any, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = job(*arguments, **more)["spec"]["template"]["spec"]
    return found


def container(*arguments: Any, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = pod(*arguments, **more)["containers"][0]
    return found


def env(*arguments: Any, **more: Any) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container(*arguments, **more)["env"]}


INHERITED = Base.of_pod(SERVER, "mage")


# --- what is configured ---------------------------------------------------------------------------


def test_a_job_without_configuration_runs_the_command_once() -> None:
    found = job(command=("runmesh-run", "/project", "orders"))
    assert found["spec"]["backoffLimit"] == 0
    assert pod()["restartPolicy"] == "Never"
    assert container(command=("a", "b"))["command"] == ["a", "b"]
    assert found["metadata"]["namespace"] == "default"


def test_every_field_of_pod_container_and_job_reaches_the_manifest() -> None:
    found = job(
        {
            "runtime_class_name": "gvisor",
            "security_context": {"fs_group": 1, "run_as_user": 2},
            "container": {"working_dir": "/w", "lifecycle": {"pre_stop": {"sleep": {"seconds": 1}}}},
            "job": {"backoff_limit": 3, "ttl_seconds_after_finished": 60, "pod_failure_policy": {"rules": []}},
            "grace_period": 5,
        }
    )
    spec = found["spec"]["template"]["spec"]
    assert spec["runtimeClassName"] == "gvisor"
    assert spec["securityContext"] == {"fsGroup": 1}
    assert spec["terminationGracePeriodSeconds"] == 5
    assert spec["containers"][0]["securityContext"] == {"runAsUser": 2}
    assert spec["containers"][0]["workingDir"] == "/w"
    assert spec["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": 1}}}
    assert (found["spec"]["backoffLimit"], found["spec"]["ttlSecondsAfterFinished"]) == (3, 60)


def test_resources_come_from_the_top() -> None:
    found = container({"resource_limits": {"nvidia.com/gpu": 1}, "resource_requests": {"cpu": "500m"}})
    assert found["resources"] == {"limits": {"nvidia.com/gpu": 1}, "requests": {"cpu": "500m"}}


def test_sidecars_start_first_and_end_with_the_job() -> None:
    found = pod({"sidecars": [{"name": "proxy", "image": "p"}], "init_containers": [{"name": "setup", "image": "s"}]})
    assert found["initContainers"] == [
        {"name": "proxy", "image": "p", "restartPolicy": "Always"},
        {"name": "setup", "image": "s"},
    ]
    assert len(found["containers"]) == 1


def test_a_job_for_a_queue_is_suspended_and_labelled() -> None:
    found = job({"queue_name": "batch"})
    assert found["spec"]["suspend"] is True
    assert found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "batch"
    assert job({"queue_name": "batch", "suspend": False})["spec"]["suspend"] is False
    assert "suspend" not in job()["spec"]


def test_volumes_that_no_container_mounts_are_left_out() -> None:
    volumes: list[dict[str, Any]] = [{"name": name, "empty_dir": {}} for name in ("mine", "theirs", "nobodys")]
    found = pod(
        {
            "volumes": volumes,
            "container": {"volume_mounts": [{"name": "mine", "mount_path": "/m"}]},
            "sidecars": [{"name": "s", "volume_mounts": [{"name": "theirs", "mount_path": "/t"}]}],
        }
    )
    assert [volume["name"] for volume in found["volumes"]] == ["mine", "theirs"]


def test_labels_and_annotations_are_on_the_job_and_on_its_pods() -> None:
    found = job({"metadata": {"labels": {"team": "a"}, "annotations": {"x": "y"}, "name": "ignored"}})
    for metadata in (found["metadata"], found["spec"]["template"]["metadata"]):
        assert metadata["labels"].items() >= {"team": "a", naming.KEY: "key", naming.POOL: "gpu"}.items()
        annotations = {"x": "y", "runmesh.dev/run": "run", "labels.runmesh.dev/team": "ä"}
        assert metadata["annotations"].items() >= annotations.items()
    assert found["metadata"]["name"] == "mesh-data-prep-block-key"


def test_what_the_mesh_knows_its_jobs_by_is_nobody_elses_to_set() -> None:
    mine = {naming.KEY: "stolen"}
    found = job(
        {"labels": mine, "annotations": mine, "patch": {"metadata": {"labels": mine, "name": "x", "namespace": "y"}}}
    )
    assert naming.key_of(found) == "key"
    assert found["metadata"]["labels"][naming.KEY] == "key"
    assert (found["metadata"]["name"], found["metadata"]["namespace"]) == ("mesh-data-prep-block-key", "default")


def test_a_person_is_told_where_to_look() -> None:
    found = job({"url": "https://console/{namespace}/jobs/{name}?run={run}&block={block}"})
    told = "https://console/default/jobs/mesh-data-prep-block-key?run=run&block=load"
    assert found["metadata"]["annotations"][naming.URL] == told
    assert naming.URL not in job()["metadata"]["annotations"]


def test_a_job_without_an_image_is_rejected() -> None:
    with pytest.raises(Rejected, match="no image"):
        job(base=Base())


def test_two_tasks_share_nothing_that_could_be_changed() -> None:
    config = {"tolerations": [{"key": "a"}], "patch": {"spec": {"template": {"spec": {"hostname": "x"}}}}}
    job(config)["spec"]["template"]["spec"]["tolerations"].append("changed")
    assert pod(config)["tolerations"] == [{"key": "a"}]


# --- the environment ------------------------------------------------------------------------------


def test_a_variable_is_there_once_and_the_nearest_wins() -> None:
    config = {
        "container": {"env": [{"name": "A", "value": "container"}, {"name": "C", "value": "container"}]},
        "environment": {"C": "environment", "D": "environment", "E": "environment"},
    }
    found = env(config, base=INHERITED, environment={"D": "task", "RUNMESH_KEY": "stolen"})
    names = [each["name"] for each in container(config, base=INHERITED)["env"]]
    assert len(names) == len(set(names))
    assert {name: found[name] for name in "ABCDE"} == {
        "A": "container",
        "B": "$(A)",
        "C": "environment",
        "D": "task",
        "E": "environment",
    }
    assert found["RUNMESH_KEY"] == "key"
    assert (found["RUNMESH_RUN"], found["RUNMESH_BLOCK"], found["RUNMESH_ATTEMPT"]) == ("run", "load", "2")


def test_what_the_mesh_says_is_never_expanded() -> None:
    argument = "$(A) $$(A) $HOME $$ $(id) $"
    assert container(command=("x", argument))["command"] == ["x", "$$(A) $$$$(A) $HOME $$$ $$(id) $"]
    assert env(environment={"X": "$(A)"})["X"] == "$$(A)"


def test_what_a_configuration_refers_to_is_expanded_as_kubernetes_does() -> None:
    assert env({"environment": {"X": "$(A)/x"}})["X"] == "$(A)/x"


def test_the_job_is_told_where_its_last_words_go() -> None:
    assert env()["RUNMESH_TERMINATION_LOG"] == "/dev/termination-log"
    assert env({"container": {"termination_message_path": "/tmp/x"}})["RUNMESH_TERMINATION_LOG"] == "/tmp/x"  # noqa: S108


# --- what is inherited ----------------------------------------------------------------------------


def test_a_job_inherits_what_its_configuration_does_not_say() -> None:
    found = pod(base=INHERITED)
    assert found["containers"][0]["image"] == "mage:1"
    assert found["containers"][0]["envFrom"] == [{"secretRef": {"name": "s"}}]
    assert [mount["mountPath"] for mount in found["containers"][0]["volumeMounts"]] == ["/project", "/cache"]
    assert [volume["name"] for volume in found["volumes"]] == ["project", "cache"]
    assert found["tolerations"] == [{"key": "web"}]
    assert found["nodeSelector"] == {"pool": "web"}
    assert found["schedulerName"] == "custom"
    assert found["imagePullSecrets"] == [{"name": "registry"}]
    assert job(base=INHERITED)["metadata"]["namespace"] == "mage"


def test_neither_affinity_nor_service_account_nor_our_own_settings_are_inherited() -> None:
    found = pod(base=INHERITED)
    assert "affinity" not in found
    assert found["serviceAccountName"] == "default"
    assert "RUNMESH_NATS_TOKEN" not in env(base=INHERITED)
    assert "nats" not in {volume["name"] for volume in found["volumes"]}


def test_what_is_configured_wins_over_what_is_inherited() -> None:
    config = {
        "namespace": "mine",
        "image": "mine:1",
        "tolerations": [{"key": "mine"}],
        "node_selector": {"pool": "mine"},
        "image_pull_secrets": "mine",
        "scheduler_name": "mine",
        "env_from": [{"config_map_ref": {"name": "mine"}}],
        "volumes": [{"name": "project", "empty_dir": {}}],
        "container": {"volume_mounts": [{"name": "mine", "mount_path": "/cache"}]},
    }
    found = pod(config, base=INHERITED)
    mine = found["containers"][0]
    assert mine["image"] == "mine:1"
    assert mine["envFrom"] == [{"configMapRef": {"name": "mine"}}, {"secretRef": {"name": "s"}}]
    assert mine["volumeMounts"] == [
        {"name": "mine", "mountPath": "/cache"},
        {"name": "project", "mountPath": "/project"},
    ]
    assert found["volumes"] == [{"name": "project", "emptyDir": {}}]
    assert (found["tolerations"], found["nodeSelector"]) == ([{"key": "mine"}], {"pool": "mine"})
    assert (found["imagePullSecrets"], found["schedulerName"]) == ([{"name": "mine"}], "mine")
    assert job(config, base=INHERITED)["metadata"]["namespace"] == "mine"


@pytest.mark.parametrize("empty", [None, ""])
def test_what_is_configured_as_empty_is_inherited_as_in_mage(empty: str | None) -> None:
    found = pod({"image": empty, "pod": {"scheduler_name": empty, "tolerations": []}}, base=INHERITED)
    assert found["containers"][0]["image"] == "mage:1"
    assert (found["schedulerName"], found["tolerations"]) == ("custom", [{"key": "web"}])


@pytest.mark.parametrize(
    ("name", "image"), [("mage", "mage:1"), ("proxy", "proxy:1"), ("other", "proxy:1"), (None, "proxy:1")]
)
def test_the_container_is_the_named_one_or_else_the_first(name: str | None, image: str) -> None:
    assert Base.of_pod(SERVER, name).image == image


def test_a_bare_pod_is_inherited_from_as_well() -> None:
    bare = {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "only", "image": "i"}]}}
    assert Base.of_pod(bare) == Base(image="i")
