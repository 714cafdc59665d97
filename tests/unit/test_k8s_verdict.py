"""What Jobs, pods and events of a cluster mean: the end is the Job's condition, the cause is in its pod."""

from typing import Any

import pytest

from runmesh.events import Cause
from runmesh.executor import GONE, Observation, Phase
from runmesh.executors.kubernetes import naming
from runmesh.executors.kubernetes.verdict import observed

Json = dict[str, Any]


def condition(kind: str, reason: str = "", message: str = "", status: str = "True") -> Json:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def job(*conditions: Json, command: str = "runmesh-run", **container: Any) -> Json:
    main = {"name": "main", "command": [command], **container}
    return {
        "metadata": {"name": "j"},
        "spec": {"activeDeadlineSeconds": 120, "template": {"spec": {"containers": [main]}}},
        "status": {"conditions": list(conditions)},
    }


FAILED = condition("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")


def pod(
    phase: str = "Failed", *, main: Json | None = None, created: str = "2026-01-01T00:00:00Z", **status: Any
) -> Json:
    statuses = [{"name": "main", "state": main}] if main else []
    metadata = {"name": "p", "creationTimestamp": created} | status.pop("metadata", {})
    return {"metadata": metadata, "status": {"phase": phase, "containerStatuses": statuses, **status}}


def ended(code: int, reason: str = "Error", **more: Any) -> Json:
    return {"terminated": {"exitCode": code, "reason": reason, **more}}


def failed(*pods: Json, **container: Any) -> Observation:
    found = observed(job(FAILED, **container), pods)
    assert found.phase is Phase.FAILED
    return found


def about(found: Observation) -> tuple[Cause | None, str]:
    return found.cause, found.reason or ""


# --- phases ---------------------------------------------------------------------------------------


def test_a_job_that_the_api_does_not_know_is_gone() -> None:
    assert observed(None) == GONE


def test_a_complete_job_succeeded() -> None:
    assert observed(job(condition("Complete"))) == Observation(Phase.SUCCEEDED, exit_code=0)


@pytest.mark.parametrize("announced", ["SuccessCriteriaMet", "FailureTarget"])
def test_an_announced_end_is_none_yet(announced: str) -> None:
    assert observed(job(condition(announced)), [pod("Running")]).phase is Phase.RUNNING


def test_a_condition_that_does_not_hold_says_nothing() -> None:
    assert observed(job(condition("Failed", status="False")), [pod("Running")]).phase is Phase.RUNNING


def test_counters_say_nothing() -> None:
    counted = job()
    counted["status"] |= {"failed": 1, "succeeded": 1, "active": 0}
    assert observed(counted, [pod("Failed", main=ended(1))]).phase is Phase.RUNNING


@pytest.mark.parametrize("phase", ["Running", "Succeeded", "Failed", "Unknown"])
def test_a_job_whose_pod_has_started_runs(phase: str) -> None:
    assert observed(job(), [pod(phase)]).phase is Phase.RUNNING


def test_a_job_that_tries_again_still_runs() -> None:
    assert observed(job(), [pod("Failed", main=ended(1)), pod("Pending")]).phase is Phase.RUNNING


def test_a_job_without_a_pod_is_pending() -> None:
    assert observed(job()) == Observation(Phase.PENDING)
    assert observed({"metadata": {}, "spec": job()["spec"]}) == Observation(Phase.PENDING)


def test_the_jobs_annotation_says_where_to_look() -> None:
    annotated = job()
    annotated["metadata"]["annotations"] = {naming.URL: "https://x"}
    assert observed(annotated, url="https://y").url == "https://x"
    assert observed(job(), url="https://y").url == "https://y"


# --- causes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1, 3, 42, 255])
def test_an_exit_code_is_the_users_failure(code: int) -> None:
    found = failed(pod(main=ended(code)))
    assert (found.exit_code, *about(found)) == (code, Cause.USER, f"exit code {code}")


def test_the_last_words_are_in_the_reason() -> None:
    found = failed(pod(main=ended(1, message="Traceback:\n  line 1\nValueError: no such order\n\n")))
    assert about(found) == (Cause.USER, "exit code 1: ValueError: no such order")
    assert found.log_tail == ("Traceback:", "  line 1", "ValueError: no such order", "")


def test_lines_that_were_read_are_the_better_tail() -> None:
    found = observed(job(FAILED), [pod(main=ended(1, message="short"))], log_tail=("a", "b"))
    assert found.log_tail == ("a", "b")


def test_exit_code_2_of_our_runtime_is_wrong_configuration_and_of_others_their_own() -> None:
    assert failed(pod(main=ended(2))).cause is Cause.CONFIG
    assert failed(pod(main=ended(2)), command="mage").cause is Cause.USER
    assert failed(pod(main=ended(2)), env=[{"name": "RUNMESH_VARIABLES", "value": "{}"}]).cause is Cause.USER


def test_a_signal_has_its_name() -> None:
    assert about(failed(pod(main=ended(137)))) == (Cause.USER, "exit code 137 (SIGKILL)")
    assert about(failed(pod(main=ended(143)))) == (Cause.USER, "exit code 143 (SIGTERM)")


def test_out_of_memory_is_the_users_and_names_the_limit() -> None:
    oom = pod(main=ended(137, "OOMKilled"))
    assert about(failed(oom, resources={"limits": {"memory": "1Gi"}})) == (
        Cause.USER,
        "OOMKilled: it went over its memory limit of 1Gi",
    )
    assert "it has no limit" in about(failed(oom))[1]
    assert failed(oom).exit_code == 137


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("StartError", Cause.CONFIG),
        ("ContainerCannotRun", Cause.CONFIG),
        ("ContainerStatusUnknown", Cause.INFRASTRUCTURE),
    ],
)
def test_what_ended_a_container_may_say_more_than_its_code(reason: str, cause: Cause) -> None:
    found = failed(pod(main=ended(128, reason, message='exec: "nope": executable file not found in $PATH')))
    assert about(found) == (cause, f'{reason}, exit code 128: exec: "nope": executable file not found in $PATH')


@pytest.mark.parametrize("reason", ["PreemptionByScheduler", "EvictionByEvictionAPI", "DeletionByTaintManager"])
def test_a_disrupted_pod_is_no_fault_of_the_user_whatever_its_code(reason: str) -> None:
    found = failed(pod(main=ended(143), conditions=[condition("DisruptionTarget", reason, "of node a")]))
    assert (found.exit_code, *about(found)) == (143, Cause.INFRASTRUCTURE, f"{reason}: of node a")


@pytest.mark.parametrize(
    ("reason", "message", "cause"),
    [
        (
            "Evicted",
            "The node was low on resource: memory. Container x was using 2Gi, which exceeds 0",
            Cause.INFRASTRUCTURE,
        ),
        ("Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi", Cause.USER),
        ("Evicted", "The node had condition: [DiskPressure]", Cause.INFRASTRUCTURE),
        ("NodeLost", "Node a which was running pod p is unresponsive", Cause.INFRASTRUCTURE),
        ("NodeShutdown", "Pod was terminated in response to imminent node shutdown", Cause.INFRASTRUCTURE),
        ("OutOfcpu", "Node didn't have enough resource: cpu", Cause.INFRASTRUCTURE),
        ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline", Cause.TIMEOUT),
        ("SomethingNew", "that nobody knows yet", Cause.INFRASTRUCTURE),
    ],
)
def test_what_the_cluster_did_to_a_pod_is_told_in_its_words(reason: str, message: str, cause: Cause) -> None:
    assert about(failed(pod(reason=reason, message=message))) == (cause, f"{reason}: {message}")


def test_a_deadline_is_a_timeout() -> None:
    over = condition("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    cause, reason = about(observed(job(over), [pod(main=ended(143))]))
    assert cause is Cause.TIMEOUT
    assert "120" in reason


def test_a_job_that_failed_without_a_pod_lost_it() -> None:
    cause, reason = about(failed())
    assert cause is Cause.INFRASTRUCTURE
    assert "gone" in reason


def test_a_pod_that_failed_without_a_word_is_the_clusters_fault() -> None:
    assert failed(pod()).cause is Cause.INFRASTRUCTURE


DELETED = {"deletionTimestamp": "2026-01-01T00:01:00Z", "deletionGracePeriodSeconds": 30}


@pytest.mark.parametrize(
    ("finished", "cause"), [("2026-01-01T00:00:29Z", Cause.USER), ("2026-01-01T00:00:31Z", Cause.INFRASTRUCTURE)]
)
def test_a_pod_that_somebody_deleted_did_not_fail_by_itself(finished: str, cause: Cause) -> None:
    assert failed(pod(main=ended(1, finishedAt=finished), metadata=DELETED)).cause is cause


def test_of_several_pods_the_last_says_why() -> None:
    first = pod(main=ended(1), created="2026-01-01T00:00:00Z")
    last = pod(main=ended(137, "OOMKilled"), created="2026-01-01T00:05:00Z")
    assert "OOMKilled" in about(failed(last, first))[1]


def test_a_container_beside_the_jobs_is_named() -> None:
    beside = [{"name": "clone", "state": ended(128, message="fatal: repository not found")}]
    found = failed(pod(initContainerStatuses=beside))
    assert about(found) == (Cause.USER, "container clone: exit code 128: fatal: repository not found")
    both = failed(pod(main=ended(1), initContainerStatuses=beside))
    assert about(both) == (Cause.USER, "exit code 1")


def test_a_sidecar_that_is_stopped_when_another_container_fails_is_not_to_blame() -> None:
    found = job(FAILED)
    found["spec"]["template"]["spec"]["initContainers"] = [
        {"name": "proxy", "restartPolicy": "Always"},
        {"name": "load", "resources": {"limits": {"memory": "64Mi"}}},
    ]
    beside = [{"name": "proxy", "state": ended(143)}, {"name": "load", "state": ended(137, "OOMKilled")}]
    seen = observed(found, [pod(initContainerStatuses=beside)])
    words = "container load: OOMKilled: it went over its memory limit of 64Mi"
    assert (seen.exit_code, *about(seen)) == (137, Cause.USER, words)


def test_a_container_that_was_started_again_until_the_job_had_enough_is_the_users() -> None:
    found = job(FAILED)
    found["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"
    assert observed(found).cause is Cause.USER


def test_a_reason_is_short() -> None:
    assert len(about(failed(pod(main=ended(1, message="x" * 4000))))[1]) <= 500


# --- what a job waits for -------------------------------------------------------------------------


def waits(found: Observation) -> tuple[Cause | None, str | None]:
    assert found.phase is Phase.PENDING
    return found.cause, found.reason


def test_an_unschedulable_pod_waits_for_capacity_in_the_schedulers_words() -> None:
    words = "0/3 nodes are available: 3 Insufficient memory."
    scheduled = condition("PodScheduled", "Unschedulable", words, status="False")
    assert waits(observed(job(), [pod("Pending", conditions=[scheduled])])) == (
        Cause.CAPACITY,
        f"Unschedulable: {words}",
    )


def test_a_volume_that_does_not_exist_is_wrong_configuration() -> None:
    words = '0/1 nodes are available: persistentvolumeclaim "data" not found.'
    scheduled = condition("PodScheduled", "Unschedulable", words, status="False")
    assert waits(observed(job(), [pod("Pending", conditions=[scheduled])]))[0] is Cause.CONFIG


@pytest.mark.parametrize(
    ("reason", "message", "cause"),
    [
        ("ErrImagePull", 'failed to pull image "x": not found', Cause.CONFIG),
        ("ErrImagePull", "pull access denied, repository does not exist", Cause.CONFIG),
        ("ImagePullBackOff", 'Back-off pulling image "x"', Cause.CONFIG),
        ("ImagePullBackOff", 'Back-off pulling image "x": ErrImagePull: dial tcp: i/o timeout', Cause.CAPACITY),
        ("ErrImagePull", "toomanyrequests: You have reached your pull rate limit", Cause.CAPACITY),
        ("InvalidImageName", 'couldn\'t parse image name "X:"', Cause.CONFIG),
        ("CreateContainerConfigError", 'secret "s" not found', Cause.CONFIG),
        ("ErrImageNeverPull", 'Container image "x" is not present with pull policy of Never', Cause.CONFIG),
    ],
)
def test_a_container_that_can_not_start_says_why(reason: str, message: str, cause: Cause) -> None:
    waiting = {"waiting": {"reason": reason, "message": message}}
    assert waits(observed(job(), [pod("Pending", main=waiting)])) == (cause, f"{reason}: {message}")


def test_an_init_container_that_can_not_start_says_why() -> None:
    beside = [{"name": "i", "state": {"waiting": {"reason": "InvalidImageName"}}}]
    waiting = pod("Pending", main={"waiting": {"reason": "PodInitializing"}}, initContainerStatuses=beside)
    assert waits(observed(job(), [waiting])) == (Cause.CONFIG, "InvalidImageName")


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_a_container_that_is_being_made_is_no_trouble(reason: str) -> None:
    assert waits(observed(job(), [pod("Pending", main={"waiting": {"reason": reason}})])) == (None, None)


def test_a_suspended_job_waits_for_capacity() -> None:
    found = observed(job(condition("Suspended", "JobSuspended", "Job suspended")))
    assert waits(found) == (Cause.CAPACITY, "suspended: Job suspended")


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ('Error creating: pods "j" is forbidden: exceeded quota: q, requested: cpu=1, used: cpu=4', Cause.CAPACITY),
        ('Error creating: pods "j" is forbidden: error looking up service account n/s: "s" not found', Cause.CONFIG),
        ('Error creating: pods "j" is forbidden: violates PodSecurity "restricted:latest"', Cause.CONFIG),
        ('Error creating: admission webhook "policy" denied the request', Cause.CONFIG),
        ("Error creating: Internal error occurred: failed calling webhook: connection refused", Cause.CAPACITY),
    ],
)
def test_a_job_whose_pod_the_cluster_refuses_says_why(message: str, cause: Cause) -> None:
    older = {"type": "Warning", "reason": "Other", "message": "x", "lastTimestamp": "2026-01-01T00:00:00Z"}
    event = {"type": "Warning", "reason": "FailedCreate", "message": message, "lastTimestamp": "2026-01-01T00:01:00Z"}
    normal = {"type": "Normal", "reason": "Scheduled", "lastTimestamp": "2026-01-01T00:02:00Z"}
    assert waits(observed(job(), events=[older, event, normal])) == (cause, f"FailedCreate: {message}")
