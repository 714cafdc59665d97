"""The emulated cluster answers the official client as a real one does."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from kubernetes_asyncio import client, watch
from kubernetes_asyncio.client import ApiClient, ApiException, BatchV1Api, Configuration, CoreV1Api

from tests.emulators.k8s import Cluster, cluster
from tests.eventually import eventually


@pytest.fixture
async def emulated() -> AsyncIterator[Cluster]:
    async with cluster() as found:
        yield found


@pytest.fixture
async def api(emulated: Cluster) -> AsyncIterator[ApiClient]:
    configuration = Configuration(host=emulated.port.url)
    async with ApiClient(configuration) as found:
        yield found


@pytest.fixture
def batch(api: ApiClient) -> BatchV1Api:
    return BatchV1Api(api)


def job(name: str = "one", *command: str, **changes: Any) -> Any:
    container = {"name": "main", "image": "python:3", "command": list(command or ("true",))} | changes
    pod = {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 1}
    metadata = {"name": name, "labels": {"app": "test"}}
    return {"metadata": metadata, "spec": {"backoffLimit": 0, "template": {"spec": pod}}}


async def refused(batch: BatchV1Api, document: Any) -> tuple[int | None, str]:
    with pytest.raises(ApiException) as refusal:
        await batch.create_namespaced_job("default", document, field_validation="Strict")
    return refusal.value.status, str(refusal.value.body)


async def finished(batch: BatchV1Api, name: str) -> list[str]:
    async def conditions() -> list[str]:
        found = await batch.read_namespaced_job(name, "default")
        types = [condition.type for condition in found.status.conditions or ()]
        return types if {"Complete", "Failed"} & {*types} else []

    return await eventually(conditions)


async def test_a_job_runs_to_its_condition(batch: BatchV1Api) -> None:
    await batch.create_namespaced_job("default", job())
    assert await finished(batch, "one") == ["SuccessCriteriaMet", "Complete"]
    await batch.create_namespaced_job("default", job("two", "false"))
    assert await finished(batch, "two") == ["FailureTarget", "Failed"]
    found = await batch.read_namespaced_job("two", "default")
    assert found.status.failed == 1


async def test_a_name_is_there_once(batch: BatchV1Api) -> None:
    await batch.create_namespaced_job("default", job())
    status, body = await refused(batch, job())
    assert status == 409
    assert '"reason":"AlreadyExists"' in body


@pytest.mark.parametrize("name", ["Capital", "under_score", "x" * 64, "-dash"])
async def test_a_name_is_legal(batch: BatchV1Api, name: str) -> None:
    assert (await refused(batch, job(name)))[0] == 422


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        ({"imagePullPolice": "Always"}, 400, "unknown field"),
        ({"command": "true"}, 400, "cannot unmarshal string"),
        ({"image": ""}, 422, "spec.template.spec.containers[0].image: Required value"),
        ({"resources": {"limits": {"memory": "lots"}}}, 422, "quantities must match"),
        ({"volumeMounts": [{"name": "nowhere", "mountPath": "/x"}]}, 422, "Not found"),
    ],
)
async def test_a_manifest_is_checked(batch: BatchV1Api, wrong: dict[str, Any], code: int, said: str) -> None:
    status, body = await refused(batch, job(**wrong))
    assert status == code
    assert said in body


async def test_a_quantity_may_be_a_number(batch: BatchV1Api) -> None:
    await batch.create_namespaced_job("default", job(resources={"limits": {"cpu": 2, "memory": "1Gi"}}))
    flag = {"limits": {"cpu": True}}
    assert (await refused(batch, job("flag", resources=flag)))[0] == 400


async def test_a_job_deleted_in_the_foreground_goes_after_its_pods(batch: BatchV1Api, api: ApiClient) -> None:
    await batch.create_namespaced_job("default", job("stubborn", "sh", "-c", "trap '' TERM; echo on; sleep 300"))
    core = CoreV1Api(api)

    async def runs() -> bool:
        return [pod.status.phase for pod in (await core.list_namespaced_pod("default")).items] == ["Running"]

    await eventually(runs)
    await batch.delete_namespaced_job("stubborn", "default", propagation_policy="Foreground")
    found = await batch.read_namespaced_job("stubborn", "default")
    assert found.metadata.deletion_timestamp is not None
    assert found.metadata.finalizers == ["foregroundDeletion"]

    async def gone() -> bool:
        return not (await batch.list_namespaced_job("default")).items

    await eventually(gone)
    assert not (await core.list_namespaced_pod("default")).items


async def test_a_list_has_pages_and_a_selector(batch: BatchV1Api) -> None:
    for number in range(5):
        await batch.create_namespaced_job("default", job(f"job-{number}"))
    first = await batch.list_namespaced_job("default", limit=2, label_selector="app=test")
    second = await batch.list_namespaced_job("default", limit=10, _continue=first.metadata._continue)  # noqa: SLF001 - the SDK's own name
    assert [item.metadata.name for item in [*first.items, *second.items]] == [f"job-{n}" for n in range(5)]
    assert not (await batch.list_namespaced_job("default", label_selector="app=other")).items


async def test_a_watch_tells_what_changes_since_a_version(batch: BatchV1Api, emulated: Cluster) -> None:
    version = (await batch.list_namespaced_job("default")).metadata.resource_version
    await batch.create_namespaced_job("default", job())
    told = []
    async with watch.Watch() as watching:
        stream = watching.stream(batch.list_namespaced_job, "default", resource_version=version, timeout_seconds=10)
        async for event in stream:
            told.append(event["type"])
            if any(condition.type == "Complete" for condition in event["object"].status.conditions or ()):
                break
    assert told[0] == "ADDED"
    assert set(told[1:]) == {"MODIFIED"}
    emulated.store.compact()
    async with watch.Watch() as watching:
        with pytest.raises(ApiException) as old:
            await anext(watching.stream(batch.list_namespaced_job, "default", resource_version=version))
    assert old.value.status == 410


async def test_a_log_is_read_with_times_and_by_its_end(batch: BatchV1Api, api: ApiClient) -> None:
    await batch.create_namespaced_job("default", job("says", "sh", "-c", "seq 5"))
    await finished(batch, "says")
    core = CoreV1Api(api)
    [pod] = (await core.list_namespaced_pod("default")).items
    name = pod.metadata.name
    assert await core.read_namespaced_pod_log(name, "default", tail_lines=2) == "4\n5\n"
    stamped = await core.read_namespaced_pod_log(name, "default", timestamps=True)
    assert [line.split()[1] for line in stamped.splitlines()] == ["1", "2", "3", "4", "5"]
    assert pod.status.container_statuses[0].state.terminated.exit_code == 0
    assert isinstance(pod, client.V1Pod)
