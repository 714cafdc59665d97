"""The resolver against a real nats-server: one message in, facts and commands out."""

import asyncio
import json
from pathlib import Path

import pytest

from runmesh import filters, subjects
from runmesh.bus import Bus
from runmesh.events import Cause, RunState, TaskState
from tests.eventually import eventually
from tests.shop import (
    answering,
    ask,
    commands,
    dead_letters,
    killable,
    report,
    resolving,
    run_facts,
    settings_for,
    states,
    task_facts,
    write_pipeline,
    write_project,
)

DIAMOND = {"load": [], "left": ["load"], "right": ["load"], "join": ["left", "right"]}


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    """A folder of projects with one in it."""
    project = write_project(tmp_path / "shop")
    write_pipeline(project, "diamond", DIAMOND)
    write_pipeline(project, "one", {"only": []})
    write_pipeline(project, "flaky", {"only": []}, block={"retry_config": {"retries": 1, "delay": 0.1}})
    write_pipeline(project, "remote", {"far": []}, executor_type="k8s")
    return tmp_path


async def ends(bus: Bus, run: str, state: str) -> None:
    async def ended() -> bool:
        return state in await states(bus, run)

    await eventually(ended)


async def test_one_message_runs_a_pipeline_to_its_end(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)), answering(bus) as taken:
        await ask(bus, "run", {"pipeline": "diamond", "id": "r1"})
        await ends(bus, "r1", "completed")
        assert taken[0].block == "load"
        assert taken[-1].block == "join"
        assert await states(bus, "r1") == ["accepted", "running", "completed"]
        last = (await run_facts(bus, "r1"))[-1]
        assert last.blocks is not None
        assert {block: (status.state, status.attempts) for block, status in last.blocks.items()} == dict.fromkeys(
            DIAMOND, (TaskState.COMPLETED, 1)
        )

        async def nothing_is_left() -> bool:
            active = await bus.bucket(subjects.RUNS).keys("active.*")
            info = await bus.stream_info(subjects.REQUESTS)
            return not active and info.messages == 0

        await eventually(nothing_is_left)


async def test_a_run_without_an_id_gets_one_from_its_place_in_the_stream(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)), answering(bus) as taken:
        await ask(bus, "run", {"pipeline": "one"})
        await ask(bus, "run", {"pipeline": "one"})
        await eventually(lambda: len(taken) == 2)
        first, second = (command.run for command in taken)
        assert len(first) == 26
        assert first != second


async def test_a_failed_block_is_tried_again_under_a_new_key(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)):
        await ask(bus, "run", {"pipeline": "flaky", "id": "r1"})
        (first,) = await eventually(lambda: commands(bus))
        await report(bus, first, TaskState.FAILED, Cause.USER)
        async with answering(bus) as taken:
            await ends(bus, "r1", "completed")
            assert {command.attempt for command in taken} >= {2}
        assert "retrying" in [str(fact.state) for fact in await task_facts(bus, "r1")]


async def test_the_same_request_twice_is_one_run(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)), answering(bus) as taken:
        for _ in range(3):
            await ask(bus, "run", {"id": "r1", "pipeline": "one"})
        await ask(bus, "run", {"pipeline": "one", "id": "last"})
        await ends(bus, "last", "completed")
        await ends(bus, "r1", "completed")
        assert sorted(command.run for command in taken) == ["last", "r1"]
        assert await dead_letters(bus) == []


async def test_another_request_under_the_same_id_is_a_dead_letter(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)), answering(bus):
        await ask(bus, "run", {"id": "r1", "pipeline": "one"})
        await ask(bus, "run", {"id": "r1", "pipeline": "diamond"})
        await ask(bus, "run", {"id": "r1", "pipeline": "nonsense"})

        async def two_letters() -> bool:
            return len(await dead_letters(bus)) == 2

        await eventually(two_letters)
        assert {letter["reason"] for letter in await dead_letters(bus)} == {"id_conflict"}
        await ends(bus, "r1", "completed")
        assert "rejected" not in await states(bus, "r1")


async def test_a_cancel_that_comes_first_is_found_by_the_request(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)), answering(bus) as taken:
        await ask(bus, "cancel", {"run": "r1", "reason": "never mind"})

        async def noted() -> bool:
            return bool(await bus.bucket(subjects.RUNS).get(subjects.run_state("r1")))

        await eventually(noted)
        await ask(bus, "run", {"id": "r1", "pipeline": "one"})
        await ends(bus, "r1", "cancelled")
        assert taken == []
        assert (await run_facts(bus, "r1"))[0].reason == "never mind"


async def test_a_task_that_nobody_took_is_cancelled_by_the_resolver(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)):
        await ask(bus, "run", {"id": "r1", "pipeline": "diamond"})
        await eventually(lambda: commands(bus))
        await ask(bus, "cancel", {"run": "r1", "reason": "wrong day"})
        await ends(bus, "r1", "cancelled")
        facts = await task_facts(bus, "r1")
        assert {fact.block for fact in facts if fact.state is TaskState.CANCELLED} == set(DIAMOND)
        claims = await bus.bucket(subjects.CLAIMS).entries()
        assert [json.loads(claim.value)["phase"] for claim in claims] == ["terminal"]
        assert await bus.bucket(subjects.RUNS).get(subjects.cancelling("r1"))


async def test_a_task_that_nobody_takes_in_time_ends_for_lack_of_capacity(bus: Bus, projects: Path) -> None:
    settings = settings_for(projects, queue_timeout=0.3, infrastructure_retries=0)
    async with resolving(bus, settings):
        await ask(bus, "run", {"id": "r1", "pipeline": "remote"})
        await ends(bus, "r1", "failed")
        (failed,) = [fact for fact in await task_facts(bus, "r1") if fact.state is TaskState.FAILED]
        assert failed.cause is Cause.CAPACITY


async def test_a_run_that_waits_for_a_worker_says_so(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)):
        await ask(bus, "run", {"id": "r1", "pipeline": "remote"})
        await ends(bus, "r1", "running")
        assert "no k8s worker" in str((await run_facts(bus, "r1"))[-1].reason)
        async with answering(bus, "k8s"):
            await ends(bus, "r1", "completed")


async def test_a_retry_runs_only_what_did_not_complete(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)):
        async with answering(bus, left=TaskState.FAILED):
            await ask(bus, "run", {"id": "r1", "pipeline": "diamond"})
            await ends(bus, "r1", "failed")
        async with answering(bus) as taken:
            await ask(bus, "retry", {"run": "r1", "id": "r2"})
            await ends(bus, "r2", "completed")
        done = {fact.block for fact in await task_facts(bus, "r1") if fact.state is TaskState.COMPLETED}
        assert {command.block for command in taken} == set(DIAMOND) - done
        assert "load" in done
        command = taken[0].command
        assert command[command.index("--execution-partition") + 1] == "r1"
        assert (await run_facts(bus, "r2"))[0].retry_of == "r1"


async def test_a_retry_of_a_block_that_the_run_has_not_is_rejected_under_the_run_s_pipeline(
    bus: Bus, projects: Path
) -> None:
    async with resolving(bus, settings_for(projects)), answering(bus):
        await ask(bus, "run", {"id": "r1", "pipeline": "one"})
        await ends(bus, "r1", "completed")
        await ask(bus, "retry", {"run": "r1", "id": "r2", "blocks": ["onyl"]})
        await ends(bus, "r2", "rejected")
        (fact,) = await run_facts(bus, "r2")
        assert fact.pipeline == "one"
        assert fact.reason == "blocks: run 'r1' has no block 'onyl' (did you mean 'only'?)"


@pytest.mark.parametrize(
    ("verb", "body", "project", "said"),
    [
        ("retry", {"run": "nobody", "id": "x1"}, "shop", "has no run 'nobody'"),
        ("run", {"pipeline": "diamnd", "id": "x1"}, "shop", "diamond"),
        ("run", {"pipeline": "one", "id": "x1"}, "shopp", "shop"),
        ("run", {"pipeline": "one", "id": "x1", "executer_type": "k8s"}, "shop", "did you mean 'executor_type'?"),
        ("run", {"pipeline": "one", "id": "x1", "executor_type": "k9s"}, "shop", "k8s"),
        ("run", {"pipeline": "one", "id": "x1", "blocks": ["onli"]}, "shop", "only"),
        ("run", {"pipeline": 5, "id": "x1"}, "shop", "pipeline"),
        ("run", {"id": "x1"}, "shop", "is required"),
        ("run", {"pipeline": "../../etc", "id": "x1"}, "shop", "pipeline"),
        ("run", {"pipeline": "one", "id": "x1"}, "..", "project"),
    ],
)
async def test_a_request_that_is_wrong_is_rejected_with_all_that_is_wrong(
    bus: Bus, projects: Path, verb: str, body: dict[str, object], project: str, said: str
) -> None:
    async with resolving(bus, settings_for(projects)), answering(bus):
        await ask(bus, verb, body, project=project)
        await ends(bus, "x1", "rejected")
        (fact,) = await run_facts(bus, "x1")
        assert said in " ".join(f"{error.path} {error.message} {error.hint}" for error in fact.errors or ())
        await ask(bus, "run", {"pipeline": "one", "id": "good"})
        await ends(bus, "good", "completed")


async def test_a_retry_of_a_run_that_runs_or_completed_is_rejected_and_disturbs_nothing(
    bus: Bus, projects: Path
) -> None:
    async with resolving(bus, settings_for(projects)):
        await ask(bus, "run", {"id": "r1", "pipeline": "one"})
        await ends(bus, "r1", "running")
        await ask(bus, "retry", {"run": "r1", "id": "early"})
        await ends(bus, "early", "rejected")
        async with answering(bus) as taken:
            await ends(bus, "r1", "completed")
            await ask(bus, "retry", {"run": "r1", "id": "late"})
            await ends(bus, "late", "rejected")
            await ask(bus, "retry", {"run": "r1", "id": "again", "blocks": ["only"]})
            await ends(bus, "again", "completed")
        assert [command.run for command in taken] == ["r1", "again"]


@pytest.mark.parametrize("body", [b"nonsense", b"[1]", b"\xff\x00", b"", b'{"pipeline":', b"[" * 100_000])
async def test_what_is_no_request_is_a_dead_letter(bus: Bus, projects: Path, body: bytes) -> None:
    async with resolving(bus, settings_for(projects)), answering(bus):
        await ask(bus, "run", body)
        await ask(bus, "run", {"pipeline": "one", "id": "good"})
        await ends(bus, "good", "completed")
        (letter,) = await eventually(lambda: dead_letters(bus))
        assert (letter["subject"], letter["reason"]) == ("mesh.request.run.shop", "undecodable")


@pytest.mark.parametrize("run", ["a.b", "a b", "a/b", "..", "ü", "a\0b", "*", ">", "", "x" * 65])
async def test_an_id_that_is_no_token_is_rejected_under_another_id(bus: Bus, projects: Path, run: str) -> None:
    async with resolving(bus, settings_for(projects)):
        await ask(bus, "run", {"pipeline": "one", "id": run})

        async def rejected() -> list[bytes]:
            return [m.data async for m in bus.replay(subjects.FACTS, "mesh.run.rejected.>")]

        (fact,) = await eventually(rejected)
        assert [error["path"] for error in json.loads(fact)["errors"]] == ["id"]


async def test_a_request_as_large_as_a_message_may_be_is_answered(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)), answering(bus):
        await ask(bus, "run", {"pipeline": "one", "id": "big", "variables": {"x": "y" * (bus.payload_limit - 300)}})
        await ends(bus, "big", "rejected")


async def test_a_resolver_that_dies_is_followed_by_one_that_goes_on(bus: Bus, projects: Path) -> None:
    settings = settings_for(projects)
    async with killable(bus, settings) as first:
        for number in range(20):
            await ask(bus, "run", {"pipeline": "diamond", "id": f"r{number}"})
        await eventually(lambda: commands(bus))
        first.cancel()
        await asyncio.wait({first})
    async with resolving(bus, settings), answering(bus):
        for number in range(20):
            await ends(bus, f"r{number}", "completed")
            assert await states(bus, f"r{number}") == ["accepted", "running", "completed"]


async def test_an_emptied_work_queue_is_filled_again_by_the_sweep(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)):
        await ask(bus, "run", {"pipeline": "one", "id": "r1"})
        (command,) = await eventually(lambda: commands(bus))
        await bus.api("STREAM.PURGE.EXECUTE_local_python")
        (again,) = await eventually(lambda: commands(bus))
        assert again == command


async def test_two_resolvers_share_the_work(bus: Bus, projects: Path) -> None:
    settings = settings_for(projects)
    async with resolving(bus, settings), resolving(bus, settings), answering(bus) as taken:
        for number in range(30):
            await ask(bus, "run", {"pipeline": "diamond", "id": f"r{number}"})
        for number in range(30):
            await ends(bus, f"r{number}", "completed")
            assert await states(bus, f"r{number}") == ["accepted", "running", "completed"]
        assert len({command.key for command in taken}) == 120


async def test_a_cancel_from_another_project_changes_nothing(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)):
        await ask(bus, "run", {"pipeline": "one", "id": "r1"})
        await eventually(lambda: commands(bus))
        await ask(bus, "cancel", {"run": "r1"}, project="other")
        (letter,) = await eventually(lambda: dead_letters(bus))
        assert letter["reason"] == "wrong_project"
        assert await states(bus, "r1") == ["accepted", "running"]


async def test_a_cancel_of_what_is_no_block_of_the_run_is_a_dead_letter(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)):
        await ask(bus, "run", {"pipeline": "diamond", "id": "r1"})
        await eventually(lambda: commands(bus))
        await ask(bus, "cancel", {"run": "r1", "blocks": ["laod", "load"]})
        (letter,) = await eventually(lambda: dead_letters(bus))
        assert letter["reason"] == "invalid"
        assert letter["error"] == "blocks: run 'r1' has no block 'laod' (did you mean 'load'?)"
        await ask(bus, "cancel", {"run": "r1", "blocks": ["load:7"]})  # a child that may still come
        await ask(bus, "cancel", {"run": "r1"})
        await ends(bus, "r1", "cancelled")
        assert len(await dead_letters(bus)) == 1


async def test_an_id_of_another_project_is_a_conflict_that_says_so(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)):
        await ask(bus, "cancel", {"run": "r1"}, project="other")
        await ask(bus, "run", {"pipeline": "one", "id": "r1"})
        (letter,) = await eventually(lambda: dead_letters(bus))
        assert (letter["reason"], letter["error"]) == ("id_conflict", "run 'r1' is of another project")


async def test_the_api_answers_wrong_requests_at_once(bus: Bus, projects: Path) -> None:
    async with (
        resolving(bus, settings_for(projects)) as resolver,
        answering(bus),
        bus.serve("runmesh-resolver", "0.0.0", "test", resolver.endpoints()),
    ):
        answer = await bus.request(subjects.api("submit", "shop"), b'{"pipeline":"one"}')
        run = json.loads(answer.data)["run"]
        await ends(bus, run, str(RunState.COMPLETED))
        wrong = await bus.request(subjects.api("submit", "shop"), b'{"pipeline":"two"}')
        assert "two" in str(dict(wrong.headers))
        shown = await bus.request(subjects.api("run", "shop"), json.dumps({"run": run}).encode())
        assert json.loads(shown.data)["state"] == "completed"
        explained = await bus.request(subjects.api("explain", "shop"), b'{"pipeline":"remote"}')
        assert json.loads(explained.data)["blocks"]["far"]["executor_type"] == "k8s"


async def test_a_rejection_carries_the_trace_of_its_request(bus: Bus, projects: Path) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with resolving(bus, settings_for(projects)):
        await ask(bus, "run", {"pipeline": "nonsense", "id": "r1"}, headers={"traceparent": trace})
        await ends(bus, "r1", "rejected")
        (subject, _) = filters.facts_of_run("r1")
        assert [m.headers["traceparent"] async for m in bus.replay(subjects.FACTS, subject)] == [trace]
