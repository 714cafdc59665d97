"""How a run moves, rule by rule, and then for every pipeline that hypothesis can think of."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runmesh.claims import Stop
from runmesh.events import Cause, RunState, TaskState
from runmesh.projects import RetryPolicy
from runmesh.resolver.advance import advance, next_due
from runmesh.resolver.happened import Broken, Cancel, Claimed, Present, Tick
from runmesh.resolver.owed import owed
from runmesh.resolver.plan import Plan, accept
from runmesh.resolver.settling import give_up
from runmesh.resolver.state import State
from tests.unit.plans import NOW, begun, fact_of, plan_of

DONE, FAILED = TaskState.COMPLETED, TaskState.FAILED
DIAMOND = {"load": [], "left": ["load"], "right": ["load"], "join": ["left", "right"]}


def states(state: State) -> dict[str, str]:
    return {block: str(record.state) for block, record in state.tasks.items()}


def owed_kinds(state: State) -> list[str]:
    return [debt.kind if debt.kind != "run" else str(debt.run_state) for debt in state.outbox]


def ended(plan: Plan, state: State, block: str, end: TaskState = DONE, cause: Cause | None = None) -> State:
    return advance(plan, state, [fact_of(plan, state, block, end, cause)], NOW)


def test_a_new_run_dispatches_what_has_nothing_above_it() -> None:
    state = begun(plan_of(DIAMOND))
    assert states(state) == {"load": "queued"}
    assert state.state is RunState.RUNNING
    assert owed_kinds(state) == ["accepted", "running", "task", "execute"]


def test_a_task_is_ready_when_all_above_it_completed() -> None:
    plan = plan_of(DIAMOND)
    state = ended(plan, begun(plan), "load")
    assert states(state) == {"load": "completed", "left": "queued", "right": "queued"}
    state = ended(plan, state, "left")
    assert "join" not in state.tasks
    state = ended(plan, ended(plan, state, "right"), "join")
    assert state.state is RunState.COMPLETED
    assert state.ended_at == NOW


def test_a_pipeline_without_blocks_completes_at_once() -> None:
    assert begun(plan_of({})).state is RunState.COMPLETED


def test_a_failure_stops_the_rest_and_the_run_ends_when_all_tasks_have() -> None:
    plan = plan_of(DIAMOND)
    state = ended(plan, begun(plan), "load")
    state = ended(plan, state, "left", FAILED, Cause.USER)
    assert state.state is RunState.FAILING
    assert state.stopping == "all"
    assert states(state) == {"load": "completed", "left": "failed", "right": "queued", "join": "upstream_failed"}
    state = ended(plan, state, "right", TaskState.CANCELLED, Cause.CANCELLED)
    assert state.state is RunState.FAILED
    assert "block 'left' failed (user)" in str(state.reason)


def test_other_branches_go_on_where_blocks_may_fail() -> None:
    plan = plan_of(DIAMOND, request={"allow_blocks_to_fail": True})
    state = ended(plan, begun(plan), "load")
    state = ended(plan, state, "left", FAILED, Cause.USER)
    assert state.state is RunState.RUNNING
    state = ended(plan, state, "right")
    assert (state.state, state.reason) == (RunState.FAILED, "failed: left")


def test_the_users_retries_wait_their_delay_and_carry_a_new_key() -> None:
    plan = plan_of({"a": []}, retries=RetryPolicy(retries=2, delay=5, max_delay=8))
    state = begun(plan)
    first = fact_of(plan, state, "a", FAILED, Cause.USER)
    state = advance(plan, state, [first], NOW)
    assert state.tasks["a"].state is TaskState.RETRYING
    assert next_due(plan, state) == NOW + timedelta(seconds=5)
    assert advance(plan, state, [Tick()], NOW + timedelta(seconds=4)) is state
    again = advance(plan, state, [Tick()], NOW + timedelta(seconds=5))
    assert (again.tasks["a"].state, again.tasks["a"].attempt) == (TaskState.QUEUED, 2)
    assert advance(plan, again, [first], NOW) is again, "the fact of the attempt before changes nothing"
    third = ended(plan, again, "a", FAILED, Cause.TIMEOUT)
    assert next_due(plan, third) == NOW + timedelta(seconds=8), "max_delay caps one wait"
    last = advance(plan, third, [Tick()], NOW + timedelta(seconds=8))
    assert ended(plan, last, "a", FAILED, Cause.USER).state is RunState.FAILED


@pytest.mark.parametrize("cause", [Cause.LOST, Cause.INFRASTRUCTURE, Cause.CAPACITY])
def test_lost_work_never_spends_the_users_retries(cause: Cause) -> None:
    plan = plan_of({"a": []}, retries=RetryPolicy(retries=1, delay=0), infrastructure_retries=2)
    state, now = begun(plan), NOW
    for spent in (1, 2):
        state = advance(plan, state, [fact_of(plan, state, "a", FAILED, cause)], now)
        assert (state.tasks["a"].attempt, state.tasks["a"].spent) == (1, spent)
        now = next_due(plan, state) or now
        state = advance(plan, state, [Tick()], now)
        assert state.tasks["a"].resubmission == spent
    assert advance(plan, state, [fact_of(plan, state, "a", FAILED, cause)], now).state is RunState.FAILED


@pytest.mark.parametrize("cause", [Cause.CONFIG, Cause.UNVERIFIED, Cause.CANCELLED])
def test_what_no_retry_can_help_is_final(cause: Cause) -> None:
    plan = plan_of({"a": []}, retries=RetryPolicy(retries=5))
    assert ended(plan, begun(plan), "a", FAILED, cause).state is RunState.FAILED


def test_a_stop_that_could_not_be_confirmed_is_not_run_again() -> None:
    plan = plan_of({"a": []}, retries=RetryPolicy(retries=5))
    state = begun(plan)
    fact = fact_of(plan, state, "a", FAILED, Cause.TIMEOUT, unconfirmed=True)
    assert advance(plan, state, [fact], NOW).state is RunState.FAILED


def test_what_a_draining_worker_hands_back_is_queued_again_for_free() -> None:
    plan = plan_of({"a": []}, infrastructure_retries=0)
    state = begun(plan)
    state = advance(plan, state, [fact_of(plan, state, "a", FAILED, Cause.INFRASTRUCTURE, handed_back=True)], NOW)
    record = state.tasks["a"]
    assert (record.state, record.resubmission, record.spent, record.attempt) == (TaskState.QUEUED, 1, 0, 1)


def test_what_may_still_run_is_not_run_again_whoever_hands_it_back() -> None:
    plan = plan_of({"a": []})
    state = begun(plan)
    fact = fact_of(plan, state, "a", FAILED, Cause.UNVERIFIED, handed_back=True, unconfirmed=True)
    assert advance(plan, state, [fact], NOW).state is RunState.FAILED


def test_what_has_ended_is_not_commanded_again() -> None:
    plan = plan_of({"a": [], "b": ["a"]}, retries=RetryPolicy(retries=1, delay=5))
    state = begun(plan)
    assert owed_kinds(state).count("execute") == 1
    retrying = ended(plan, state, "a", FAILED, Cause.USER)
    assert "execute" not in owed_kinds(retrying), "another replica may have paid it, and this one can't know"
    (command,) = [debt for debt in ended(plan, state, "a").outbox if debt.kind == "execute"]
    assert command.block == "b"


def test_a_retry_that_finds_no_free_place_is_not_looked_at_until_there_is_one() -> None:
    plan = plan_of({"a": [], "b": []}, max_in_flight=1, retries=RetryPolicy(retries=1, delay=5), queue_timeout=60)
    state = ended(plan, begun(plan), "a", FAILED, Cause.USER)
    assert states(state) == {"a": "retrying", "b": "queued"}
    assert next_due(plan, state) == NOW + timedelta(seconds=60), "a due time in the past would be looked at for ever"
    assert states(advance(plan, state, [fact_of(plan, state, "b", DONE)], NOW + timedelta(seconds=9))) == {
        "a": "queued",
        "b": "completed",
    }


def test_a_reason_of_any_length_leaves_room_in_the_state() -> None:
    plan = plan_of({"a": []}, retries=RetryPolicy(retries=1, delay=0))
    state = begun(plan)
    for _ in range(2):
        fact = fact_of(plan, state, "a", FAILED, Cause.USER, reason="x" * 900_000)
        state = advance(plan, state, [fact], NOW)
    assert state.final
    assert len(state.model_dump_json()) < 10_000


def test_a_cancelled_run_waits_for_what_is_out() -> None:
    plan = plan_of(DIAMOND)
    state = advance(plan, begun(plan), [Cancel(reason="wrong day")], NOW)
    assert (state.state, state.stopping) == (RunState.CANCELLING, "all")
    assert states(state) == {"load": "queued", "left": "cancelled", "right": "cancelled", "join": "cancelled"}
    state = ended(plan, state, "load", TaskState.CANCELLED, Cause.CANCELLED)
    assert (state.state, state.reason) == (RunState.CANCELLED, "wrong day")


def test_a_failure_in_a_cancelled_run_is_not_retried() -> None:
    plan = plan_of({"a": []}, retries=RetryPolicy(retries=3))
    state = advance(plan, begun(plan), [Cancel()], NOW)
    assert ended(plan, state, "a", FAILED, Cause.USER).state is RunState.CANCELLED


def test_one_block_can_be_cancelled_and_only_what_is_below_it_falls() -> None:
    plan = plan_of(DIAMOND)
    state = ended(plan, begun(plan), "load")
    state = advance(plan, state, [Cancel(blocks=("left",))], NOW)
    assert (state.state, state.stopping) == (RunState.RUNNING, ("left",))
    state = ended(plan, state, "left", TaskState.CANCELLED, Cause.CANCELLED)
    assert states(state)["join"] == "upstream_failed"
    assert ended(plan, state, "right").state is RunState.FAILED


def test_the_runs_own_timeout_stops_it() -> None:
    plan = plan_of({"a": []}, request={"timeout": 30.0})
    state = begun(plan)
    assert next_due(plan, state) == NOW + timedelta(seconds=30)
    state = advance(plan, state, [Tick()], NOW + timedelta(seconds=30))
    assert (state.state, state.stopping) == (RunState.FAILING, "all")
    assert ended(plan, state, "a", TaskState.CANCELLED).state is RunState.FAILED


def test_no_more_tasks_are_out_than_the_run_may_have() -> None:
    plan = plan_of({f"b{i}": [] for i in range(5)}, max_in_flight=2)
    state = begun(plan)
    assert len(state.out()) == 2
    state = ended(plan, state, "b0")
    assert states(state) == {"b0": "completed", "b1": "queued", "b2": "queued"}


def test_a_task_without_a_worker_says_once_that_it_waits() -> None:
    plan = plan_of({"a": []}, executor_type="k8s")
    state = advance(plan, begun(plan), [Present(frozenset())], NOW)
    assert "no k8s worker of pool 'default'" in str(state.outbox[-1].reason)
    assert advance(plan, state, [Present(frozenset())], NOW) is state


def test_what_ends_a_run_is_not_that_it_waited_for_its_first_worker() -> None:
    plan = plan_of({"a": [], "b": ["a"]}, executor_type="k8s")
    state = advance(plan, accept(plan, now=NOW), [Present(frozenset())], NOW)
    assert state.outbox[1].reason == "waiting: no k8s worker of pool 'default' has reported"
    state = advance(plan, state, [Cancel(blocks=("a",))], NOW)
    assert next(item.event for item in owed(plan, state) if isinstance(item.event, Stop)).reason is None
    state = ended(plan, state, "a", TaskState.CANCELLED, Cause.CANCELLED)
    assert (state.state, state.reason) == (RunState.FAILED, "upstream cancelled")


def test_a_claimed_task_has_no_queue_timeout_any_more() -> None:
    plan = plan_of({"a": []}, queue_timeout=60)
    state = begun(plan)
    assert next_due(plan, state) == NOW + timedelta(seconds=60)
    key = fact_of(plan, state, "a", DONE).key
    assert next_due(plan, advance(plan, state, [Claimed("a", key)], NOW)) is None


def test_what_the_mesh_breaks_fails_with_its_reason() -> None:
    plan = plan_of({"a": []})
    state = advance(plan, begun(plan), [Broken("a bug")], NOW)
    assert ended(plan, state, "a").state is RunState.COMPLETED, "its only task completed before it could be stopped"


def test_what_no_turn_brings_to_an_end_is_given_up_as_it_stands() -> None:
    plan = plan_of(DIAMOND)
    state = give_up(begun(plan), "a bug", NOW)
    assert (state.state, state.reason, state.ended_at) == (RunState.FAILED, "a bug", NOW)
    assert owed_kinds(state) == ["accepted", "running", "stop", "failed"]
    assert [item.event for item in owed(plan, state)][2] == Stop(keys="all", reason="a bug")


def test_a_terminal_run_never_changes() -> None:
    plan = plan_of({"a": []})
    before = begun(plan)
    state = ended(plan, before, "a")
    late = fact_of(plan, before, "a", FAILED, Cause.USER)
    assert advance(plan, state, [late, Cancel(), Tick(), Broken("x")], NOW) is state


def test_a_late_fact_changes_nothing() -> None:
    plan = plan_of({"a": []})
    state = begun(plan)
    assert advance(plan, state, [fact_of(plan, state, "a", DONE, late=True)], NOW) is state


def test_a_state_is_stored_without_loss() -> None:
    plan = plan_of({f"b{i}": [f"b{i - 1}"] if i else [] for i in range(1000)})
    state = ended(plan, begun(plan), "b0")
    assert State.decode(state.encode()) == state
    assert Plan.decode(plan.encode()) == plan
    assert len(plan.encode()) < 100_000


graphs = (
    st.integers(1, 9)
    .flatmap(
        lambda size: st.tuples(*(st.lists(st.integers(0, max(0, i - 1)), unique=True, max_size=i) for i in range(size)))
    )
    .map(lambda ups: {f"b{i}": [f"b{j}" for j in above if j < i] for i, above in enumerate(ups)})
)
ends = st.sampled_from(
    [(DONE, None)] * 4 + [(FAILED, cause) for cause in Cause] + [(TaskState.CANCELLED, Cause.CANCELLED)]
)


@settings(max_examples=200, deadline=None)
@given(graph=graphs, data=st.data())
def test_every_run_ends_exactly_once_whatever_happens(graph: dict[str, list[str]], data: st.DataObject) -> None:
    plan = plan_of(
        graph,
        retries=RetryPolicy(retries=data.draw(st.integers(0, 2)), delay=1),
        request={"allow_blocks_to_fail": data.draw(st.booleans())},
        max_in_flight=data.draw(st.integers(1, 4)),
    )
    state, now, sent = begun(plan), NOW, set[tuple[str, int, int]]()
    cancels = data.draw(st.dictionaries(st.integers(0, 15), st.sampled_from([None, ("b0",)]), max_size=2))
    for step in range(200):
        if state.final:
            break
        executes = [(d.block, d.attempt, d.resubmission) for d in state.outbox if d.kind == "execute"]
        assert not sent.intersection(executes), "no submission is dispatched twice"
        sent.update(executes)
        for block, _, _ in executes:
            assert all(state.tasks[above].state is DONE for above in graph[block])
        assert len(state.out()) <= plan.max_in_flight
        state = state.owing(())
        assert State.decode(state.encode()) == state
        if step in cancels:
            state = advance(plan, state, [Cancel(cancels[step])], now)
        elif out := sorted(state.out()):
            end, cause = data.draw(ends)
            fact = fact_of(plan, state, data.draw(st.sampled_from(out)), end, cause)
            moved = advance(plan, state, [fact], now)
            assert advance(plan, moved.owing(()), [fact], now).tasks == moved.tasks, "again changes nothing"
            state = moved
        else:
            due = next_due(plan, state)
            assert due, "a run that has not ended waits for something"
            now = due
            state = advance(plan, state, [Tick()], now)
    assert state.final
    assert set(state.tasks) == set(graph)
    assert all(record.final for record in state.tasks.values())
    assert owed_kinds(state).count(str(state.state)) == 1
    assert (state.state is RunState.COMPLETED) == all(record.state is DONE for record in state.tasks.values())
