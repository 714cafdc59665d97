"""The chart on a real cluster: it is installed, a run completes, it is gone again.

With RUNMESH_TEST_KUBECONFIG, and RUNMESH_TEST_MESH_IMAGE: an image of `deploy/Dockerfile` that the cluster can pull. A
Job that is installed along submits a run and watches it; helm waits until it is done.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy.helm import CHART, HELM, WITH_HELM, Json
from tests.shop import write_pipeline, write_project

KUBECONFIG: Final = os.environ.get("RUNMESH_TEST_KUBECONFIG", "")
IMAGE: Final = os.environ.get("RUNMESH_TEST_MESH_IMAGE", "")
RELEASE: Final = "runmesh-test"

pytestmark = [
    WITH_HELM,
    pytest.mark.skipif(
        not (KUBECONFIG and IMAGE), reason="RUNMESH_TEST_KUBECONFIG and RUNMESH_TEST_MESH_IMAGE name none"
    ),
    pytest.mark.timeout(900),
]


def test_a_run_completes_on_a_cluster_that_has_the_chart(tmp_path: Path) -> None:
    chart = tmp_path / "runmesh"
    shutil.copytree(CHART, chart)
    helm("dependency", "build", str(chart))
    (tmp_path / "values.json").write_text(json.dumps(values(tmp_path / "projects")))
    where = ("--namespace", RELEASE, "--kubeconfig", KUBECONFIG)
    waiting = ("--wait", "--wait-for-jobs", "--timeout", "10m")
    try:
        helm(
            "install", RELEASE, str(chart), *where, *waiting, "--create-namespace", "-f", str(tmp_path / "values.json")
        )
    finally:
        helm("uninstall", RELEASE, *where, "--wait")


def helm(*arguments: str) -> None:
    assert HELM
    done = subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def values(projects: Path) -> Json:
    """Return values with one project, which is in a ConfigMap, and a Job that runs it."""
    project = write_project(projects / "demo")
    write_pipeline(project, "hello", {"hello": []})
    files = {f"f{n}": file for n, file in enumerate(sorted(each for each in project.rglob("*") if each.is_file()))}
    items = [{"key": key, "path": str(file.relative_to(projects))} for key, file in files.items()]
    data = {key: file.read_text() for key, file in files.items()}
    mounted = {
        "volumes": [{"name": "projects", "configMap": {"name": "projects", "items": items}}],
        "volumeMounts": [{"name": "projects", "mountPath": "/projects"}],
    }
    repository, _, tag = IMAGE.rpartition(":")
    return {
        "image": {"repository": repository, "tag": tag},
        "resolver": mounted,
        "executors": {"local": {"type": "local_python", **mounted}},
        "nats": {
            "config": {"jetstream": {"fileStore": {"pvc": {"size": "2Gi"}}}},
            "extraResources": [configured("projects", data), submitting()],
        },
    }


def configured(name: str, data: dict[str, str]) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def submitting() -> Json:
    """Return a Job that completes when a run does."""
    container: dict[str, Any] = {
        "name": "submit",
        "image": IMAGE,
        "command": ["runmesh", "submit", "hello", "--project", "demo", "--watch"],
        "env": [{"name": "RUNMESH_NATS_URL", "value": f"nats://{RELEASE}-nats:4222"}],
    }
    pod = {"spec": {"restartPolicy": "OnFailure", "containers": [container]}}
    spec = {"backoffLimit": 10, "template": pod}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "submit"}, "spec": spec}
