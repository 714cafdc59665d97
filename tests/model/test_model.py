"""The claim protocol keeps its promises in every state that the model can reach, and the search sees who breaks one."""

from functools import cache
from typing import Any, get_args

import pytest

from tests.model.invariants import INVARIANTS, over_means_over
from tests.model.rules import Rules, Scope
from tests.model.run import ORDINARY, search
from tests.model.search import Found
from tests.model.state import Cause, State
from tests.model.worker import STEPS


@cache
def searched(name: str) -> tuple[Found, frozenset[object]]:
    """What was found in a scope, and the places and ends that were met there."""
    made = search(ORDINARY[name])
    return made.run(), frozenset(met for state in made.states for met in _met(state))


def _met(state: State) -> set[object]:
    places = {life.at for worker in state.workers for life in worker.lives if life}
    facts = {fact for submission in state.submissions for fact in submission.facts}
    return {*places, *(fact.cause for fact in facts), *("unconfirmed" for fact in facts if fact.unconfirmed)}


@pytest.mark.parametrize("name", ORDINARY)
def test_every_promise_is_kept_in_every_state(name: str) -> None:
    found, _ = searched(name)
    assert found.broken is None, f"\n{found.broken}"


def test_the_model_gets_everywhere_and_tasks_end_in_every_way() -> None:
    met = {one for name in ORDINARY for one in searched(name)[1]}
    assert met >= {*STEPS, *get_args(Cause), "unconfirmed"}


CONTROLS: dict[str, tuple[str, dict[str, Any]]] = {
    "derived_name": ("never_two_jobs", {"cancel": False}),
    "owner_must_be_gone": ("over_means_over", {"cancel": False}),
    "find_first": ("over_means_over", {"cancel": False}),
    "find_window": ("over_means_over", {"cancel": False}),
    "claim_then_fact": ("one_terminal_fact", {}),
    "claim_then_ack": ("no_ack_before_the_end", {}),
    "copy_is_nakked": ("no_ack_before_the_end", {}),
    "unreadable_is_nakked": ("no_ack_before_the_end", {"faults": 2, "kinds": ("copy", "unreadable")}),
    "lease_is_checked": ("over_means_over", {"cancel": False}),
    "stop_then_cancel": ("a_stop_is_named", {}),
    "cancel_is_read": ("cancelled_starts_nothing", {}),
    "jobs_then_claims": ("the_reaper_spares_the_open", {}),
    "supervisor_kills": ("over_means_over", {"local": True, "cancel": False}),
    "resolver_creates": ("over_means_over", {}),
    "gone_claim_is_seen": ("a_cancel_needs_no_worker", {}),
    "sweep_republishes": ("never_stuck", {"faults": 2, "kinds": ("crash", "emptied"), "cancel": False}),
    "swap_compares": ("one_terminal_fact", {}),
}
"""For each rule, the promise that falls first when it is broken, and where."""


@pytest.mark.parametrize("rule", CONTROLS)
def test_a_broken_rule_is_seen(rule: str) -> None:
    falls, scope = CONTROLS[rule]
    found = search(Scope(**scope), Rules(**{rule: False})).run()
    assert found.broken is not None, "nobody noticed"
    assert found.broken.invariant == falls, f"\n{found.broken}"


def test_a_call_later_than_its_window_breaks_one_promise_only() -> None:
    """A job may run after its task has ended, then; never two under one key, and the reaper removes it."""
    others = tuple(promise for promise in INVARIANTS.of_states if promise is not over_means_over)
    found = search(Scope(), Rules(find_window=False), INVARIANTS._replace(of_states=others)).run()
    assert found.broken is None, f"\n{found.broken}"


def test_every_rule_has_its_control() -> None:
    assert set(CONTROLS) == set(Rules.__dataclass_fields__)


def test_a_trace_tells_each_step_and_the_promise() -> None:
    found = search(Scope(faults=0), Rules(cancel_is_read=False)).run()
    first, *steps, last = str(found.broken).splitlines()
    assert first == "cancelled_starts_nothing: Whoever begins to submit after the cancel was written sends no submit."
    assert "resolver   writes the cancel record [0]" in "\n".join(steps)
    assert steps[-1].endswith("worker 0   sends submit [0]")
    assert "cancelling=True" in last
