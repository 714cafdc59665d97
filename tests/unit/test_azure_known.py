"""What is looked at first, where there are more groups than looks."""

from typing import Any

from runmesh.executor import Handle
from runmesh.executors.azure.known import Known

RUNS: dict[str, Any] = {
    "properties": {
        "provisioningState": "Succeeded",
        "containers": [{"properties": {"instanceView": {"currentState": {"state": "Running"}}}}],
    }
}


def crowd(size: int = 50) -> tuple[Known, list[Handle]]:
    """Return groups that have run for long, and are all due by now."""
    known, handles = Known(), [Handle(f"{number:03}") for number in range(size)]
    for handle in handles:
        entry = known.add(handle)
        entry.since -= 1000
        entry.look()
        entry.looked -= 100
        entry.listed("Succeeded")
        entry.told(RUNS, "")
    return known, handles


def test_a_group_whose_listing_changed_comes_before_all_that_are_due() -> None:
    known, handles = crowd()
    known.add(handles[-1]).listed(None)
    assert next(known.due(handles)) == handles[-1]


def test_a_group_that_is_deleted_comes_before_all_that_are_due() -> None:
    known, handles = crowd()
    known.add(handles[-1]).deleted()
    assert next(known.due(handles)) == handles[-1]


def test_what_is_short_does_not_wait_for_what_is_long() -> None:
    known, handles = crowd()
    entry = known.add(handles[-1])
    entry.since, entry.looked = entry.looked + 90, entry.looked + 95  # ten seconds old, looked at five seconds ago
    entry.told(RUNS, "")
    assert next(known.due(handles)) == handles[-1]


def test_a_look_that_brought_nothing_lets_others_go_first() -> None:
    known, handles = crowd()
    denied = known.add(handles[-1])
    denied.soon()
    denied.look()
    assert handles[-1] not in known.due(handles)


def test_an_old_listing_is_no_change() -> None:
    known, handles = crowd(1)
    entry = known.add(handles[0])
    entry.looked += 100
    for state in ("Creating", "Creating", None, None):
        entry.listed(state)
        entry.told(RUNS, "")
    entry.listed(None)
    assert list(known.due(handles)) == []
