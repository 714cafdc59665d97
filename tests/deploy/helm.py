"""The chart as helm renders it, with an empty chart in place of the official one of NATS, which no test can fetch."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

Json = dict[str, Any]

CHART: Final = Path(__file__).parents[2] / "deploy" / "chart"
RELEASE: Final = "prod"
NAMESPACE: Final = "mesh"
_BESIDE: Final = Path(sys.executable).with_name("helm")
HELM: Final = str(_BESIDE) if _BESIDE.exists() else shutil.which("helm")
"""The helm that is installed with the tests (where there is a wheel), else that of the machine."""
WITH_HELM: Final = pytest.mark.skipif(
    HELM is None, reason="there is no helm on this machine, and no wheel of it for it"
)

NEWEST: Final = kubernetes_validate.latest_version()
_MONITORING: Final = "monitoring.coreos.com/v1"
CUSTOM: Final = {"ScaledObject": "keda.sh/v1alpha1", "ServiceMonitor": _MONITORING, "PrometheusRule": _MONITORING}
"""Kinds that Kubernetes doesn't know by itself."""


class Chart:
    """A copy of the chart, whose dependency is there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        shutil.copytree(CHART, directory, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
        dependency = yaml.safe_load((CHART / "Chart.yaml").read_text())["dependencies"][0]
        stand_in = directory / "charts" / dependency["name"]
        stand_in.mkdir(parents=True)
        described = {"apiVersion": "v2", "name": dependency["name"], "version": dependency["version"]}
        (stand_in / "Chart.yaml").write_text(json.dumps(described))
        self._rendered = cache(self._render)

    def render(self, values: Mapping[str, Any] | None = None) -> list[Json]:
        """Return every manifest. Raises `AssertionError` with what helm says where it refuses."""
        rendered = self._rendered(json.dumps(values or {}))
        assert rendered.returncode == 0, rendered.stderr
        return [document for document in yaml.load_all(rendered.stdout, yaml.CSafeLoader) if document]

    def refused(self, values: Mapping[str, Any]) -> list[str]:
        """Return the lines with which helm refuses these values."""
        rendered = self._rendered(json.dumps(values))
        assert rendered.returncode != 0
        return [line.removeprefix("- ") for line in rendered.stderr.splitlines() if line]

    def lint(self) -> str:
        """Return what `helm lint` says."""
        return _helm("lint", "--strict", str(self._directory)).stdout

    def _render(self, values: str) -> subprocess.CompletedProcess[str]:
        return _helm(
            "template", RELEASE, str(self._directory), "--namespace", NAMESPACE, "--values", "-", values=values
        )


def _helm(*arguments: str, values: str = "") -> subprocess.CompletedProcess[str]:
    assert HELM
    return subprocess.run([HELM, *arguments], input=values, capture_output=True, text=True, check=False)


def of_kind(documents: list[Json], kind: str) -> dict[str, Json]:
    """Return the manifests of one kind by their names, without the release's."""
    return {
        document["metadata"]["name"].removeprefix(f"{RELEASE}-runmesh-"): document
        for document in documents
        if document["kind"] == kind
    }


def pods(documents: list[Json]) -> dict[str, Json]:
    """Return the pods of the services, and of the Job that provisions, by their components."""
    workloads = [document for document in documents if document["kind"] in {"Deployment", "Job"}]
    return {each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"]["template"] for each in workloads}


def container(pod: Json) -> Json:
    """Return the one container of a pod."""
    [only] = pod["spec"]["containers"]
    found: Json = only
    return found


def environment(pod: Json) -> dict[str, str]:
    """Return the variables of a pod that are written in it."""
    return {each["name"]: each["value"] for each in container(pod)["env"] if "value" in each}


def validate(document: Json, version: str = NEWEST) -> None:
    """Raise `ValidationError` unless this version of Kubernetes knows every field and takes its value."""
    if document["kind"] in CUSTOM:
        assert document["apiVersion"] == CUSTOM[document["kind"]]
    else:
        kubernetes_validate.validate(document, version, strict=True)


def only(kind: str, **more: Any) -> Json:
    """Return values with one executor, called `one`."""
    return {"executors": {"local": None, "one": {"type": kind, **more}}}
