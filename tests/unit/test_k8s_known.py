"""What is known of Jobs and pods, whichever of a list, a watch and an answer of our own comes first."""

from typing import Any

import pytest

from runmesh.clock import clock
from runmesh.executor import Handle
from runmesh.executors.kubernetes.known import JOBS, PODS, Known, handle_of, main_of, short

JOB: dict[str, Any] = {
    "metadata": {"name": "one", "namespace": "default", "uid": "u1", "managedFields": [{}]},
    "spec": {"suspend": False, "template": {"spec": {"containers": [{"name": "main", "image": "x", "args": ["y"]}]}}},
    "status": {"failed": 1},
}
OWNER = {"kind": "Job", "name": "one", "uid": "u1", "controller": True}
POD: dict[str, Any] = {
    "metadata": {"name": "one-x", "namespace": "default", "uid": "p1", "ownerReferences": [OWNER]},
    "spec": {"containers": [{"name": "main"}]},
    "status": {"phase": "Running"},
}
HANDLE = Handle("default/one/u1")


@pytest.fixture
def told() -> list[Handle]:
    return []


@pytest.fixture
def known(told: list[Handle]) -> Known:
    return Known(told.append)


def test_a_job_that_we_made_is_not_forgotten_by_a_list_that_was_asked_for_before(known: Known) -> None:
    asked = clock()
    assert known.created(JOB) == HANDLE == handle_of(JOB)
    known.replace(JOBS, "default", [], asked)
    assert known.get(HANDLE)


def test_a_job_that_we_made_is_gone_when_a_later_list_has_it_not(known: Known) -> None:
    known.created(JOB)
    known.replace(JOBS, "default", [], clock() + 1)
    assert known.get(HANDLE) is None
    assert known.is_gone(HANDLE)


def test_a_job_of_the_watch_is_gone_when_a_list_has_it_not(known: Known) -> None:
    known.created(JOB)
    known.tell(JOBS, JOB)
    known.replace(JOBS, "default", [], clock() - 1)
    assert known.get(HANDLE) is None


def test_a_list_of_one_namespace_says_nothing_of_another(known: Known) -> None:
    known.tell(JOBS, JOB)
    known.replace(JOBS, "other", [], clock() + 1)
    assert known.get(HANDLE)


def test_a_job_is_gone_only_when_its_pods_are(known: Known) -> None:
    known.tell(PODS, POD)
    known.tell(JOBS, JOB)
    known.tell(JOBS, JOB, deleted=True)
    assert not known.is_gone(HANDLE)
    known.tell(PODS, POD, deleted=True)
    assert known.is_gone(HANDLE)


def test_what_we_read_ourselves_never_replaces_what_the_watch_told(known: Known) -> None:
    newer = {**JOB, "status": {"failed": 2}}
    known.tell(JOBS, newer)
    known.created(JOB)
    entry = known.get(HANDLE)
    assert entry
    assert entry.job
    assert entry.job["status"] == {"failed": 2}


def test_only_news_is_told(known: Known, told: list[Handle]) -> None:
    known.tell(JOBS, JOB)
    known.tell(JOBS, JOB)
    assert told == [HANDLE]


def test_a_job_that_counts_more_pods_than_are_known_is_ahead_of_them(known: Known) -> None:
    known.tell(JOBS, JOB)
    known.tell(PODS, POD)
    entry = known.get(HANDLE)
    assert entry
    assert entry.behind
    known.tell(PODS, {**POD, "status": {"phase": "Failed"}})
    assert not entry.behind


def test_a_namespace_is_synced_when_jobs_and_pods_are(known: Known) -> None:
    known.replace(JOBS, "default", [], clock())
    assert not known.synced("default")
    known.replace(PODS, "default", [], clock())
    assert known.synced("default")


def test_an_object_is_kept_short_and_shortened_twice_it_is_the_same() -> None:
    found = short(JOB)
    assert "managedFields" not in found["metadata"]
    assert "args" not in str(found)
    assert short(found) == found


def test_a_job_that_is_gone_comes_back_with_no_late_answer(known: Known) -> None:
    known.tell(JOBS, JOB)
    known.tell(JOBS, JOB, deleted=True)
    known.created(JOB)
    known.tell(PODS, POD)
    assert known.get(HANDLE) is None
    assert list(known) == []


def test_a_job_whose_labels_were_others_for_a_while_is_there_again(known: Known) -> None:
    known.tell(JOBS, JOB)
    known.tell(JOBS, JOB, deleted=True)
    known.tell(JOBS, JOB)
    assert not known.is_gone(HANDLE)
    assert known.get(HANDLE)


def test_a_pod_that_goes_before_its_job_was_told_of_says_nothing_of_the_job(known: Known) -> None:
    known.tell(PODS, POD)
    known.tell(PODS, POD, deleted=True)
    assert not known.is_gone(HANDLE)


def test_a_pod_whose_job_was_deleted_alone_is_still_followed(known: Known) -> None:
    labels = {"batch.kubernetes.io/job-name": "one", "batch.kubernetes.io/controller-uid": "u1"}
    known.tell(JOBS, JOB)
    known.tell(PODS, POD)
    known.tell(JOBS, JOB, deleted=True)
    orphan = {**POD, "metadata": {**POD["metadata"], "ownerReferences": [], "labels": labels}}
    known.tell(PODS, {**orphan, "status": {"phase": "Succeeded"}})
    entry = known.get(HANDLE)
    assert entry
    assert [pod["status"]["phase"] for pod in entry.pods] == ["Succeeded"]


def test_the_jobs_own_container_is_known_among_those_that_the_cluster_put_before_it() -> None:
    ours = {"name": "main", "env": [{"name": "CITY"}, {"name": "RUNMESH_KEY"}]}
    pod = {**POD, "spec": {"containers": [{"name": "istio-proxy"}, ours]}}
    assert main_of(pod["spec"]) == "main"
    assert main_of(short(pod)["spec"]) == "main"
    assert main_of(POD["spec"]) == "main"
