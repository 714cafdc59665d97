"""The commands about runs, against a real server with facts published by hand."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from runmesh import subjects
from runmesh.bus import Bus
from runmesh.claims import Beat
from runmesh.cli import call
from runmesh.dead import bury
from runmesh.events import BlockStatus, RequestProblem, RunFact, TaskFact
from tests.conftest import Address
from tests.facts import RUN, graph, publish, requests, run_fact, statuses, task_fact, whole_run, write


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def values(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Coroutine[Any, Any, Done]]


@pytest.fixture
def runmesh(
    bus: Bus,  # noqa: ARG001 - it has emptied the server
    nats_address: Address,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Call the command line beside the test's own event loop."""
    monkeypatch.setenv("RUNMESH_NATS_URL", nats_address.url)
    monkeypatch.setenv("RUNMESH_NATS_TOKEN", nats_address.token)
    monkeypatch.setenv("RUNMESH_PROJECT", "shop")
    monkeypatch.chdir(tmp_path)

    async def command(*arguments: str) -> Done:
        capsys.readouterr()  # what the test's own services have logged
        code = await asyncio.to_thread(call, arguments)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return command


@asynccontextmanager
async def resolving(bus: Bus, *facts: RunFact | TaskFact, dead: str | None = None) -> AsyncIterator[None]:
    """Take requests as a resolver does: publish facts, or a dead letter, and acknowledge."""

    async def take() -> None:
        async with bus.consume(subjects.REQUESTS, subjects.RESOLVER, slots=1) as pump:
            async for message in pump:
                await publish(bus, *facts)
                if dead:
                    await bury(bus, message, service="resolver", reason=dead, error="no")
                await message.ack()

    taking = asyncio.create_task(take())
    try:
        yield
    finally:
        taking.cancel()
        await asyncio.wait({taking})


# --- submit ------------------------------------------------------------------------------------------


async def test_submit_prints_the_id_of_the_run_that_it_asks_for(runmesh: Command, bus: Bus) -> None:
    done = await runmesh(
        *("submit", "orders", "--var", "day=3", "--var", "name=monday", "--label", "team=a", "--timeout", "60"),
        *("--block", "load", "--downstream", "--executor-type", "k8s", "--allow-blocks-to-fail"),
    )
    assert done.code == 0
    assert "no resolver has taken it yet" in done.err
    [(subject, body)] = await requests(bus)
    assert subject == "mesh.request.run.shop"
    assert body["id"] == done.out.strip()
    assert body["variables"] == {"day": 3, "name": "monday"}
    assert body["blocks"] == {"names": ["load"], "upstream": False, "downstream": True}
    assert (body["labels"], body["timeout"], body["executor_type"]) == ({"team": "a"}, 60, "k8s")
    assert body["allow_blocks_to_fail"] is True


@pytest.mark.parametrize(
    "text",
    [
        "name: nightly\nblocks:\n- uuid: a\n  command: [echo, 'a b']\n  environment: {DAY: '1'}\n",
        '{"name": "nightly", "blocks": [\n\t{"uuid": "a", "command": ["echo", "a b"], "environment": {"DAY": "1"}}]}',
    ],
    ids=["yaml", "json"],
)
async def test_submit_sends_a_pipeline_from_a_file(runmesh: Command, bus: Bus, tmp_path: Path, text: str) -> None:
    (tmp_path / "dag").write_text(text)
    done = await runmesh("submit", "--pipeline-file", "dag", "--project", "cron", "--id", RUN, "--json")
    assert done.values == [{"run": RUN, "project": "cron", "pipeline": "nightly"}]
    [(subject, body)] = await requests(bus)
    assert subject == "mesh.request.run.cron"
    block = {"uuid": "a", "command": ["echo", "a b"], "environment": {"DAY": "1"}}
    assert body["pipeline"] == {"name": "nightly", "blocks": [block]}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "pipeline: say which one (by its name, or with --pipeline-file)"),
        (["orders", "--pipeline-file", "dag"], "pipeline: say which one (by its name, or with --pipeline-file)"),
        (["--pipeline-file", "nowhere"], "nowhere: can't be read: No such file or directory"),
        (["--pipeline-file", "list"], "list: must be a mapping of keys to values"),
        (["--pipeline-file", "broken"], "broken:2: is no YAML"),
    ],
)
async def test_a_file_that_is_no_pipeline_is_refused_here(
    runmesh: Command, bus: Bus, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    for name, text in {"dag": "blocks: []", "list": "[1]", "broken": "blocks: ["}.items():
        (tmp_path / name).write_text(text)
    done = await runmesh("submit", *arguments)
    assert done.code == 2
    assert done.err.startswith(f"runmesh: {expected}")
    assert await requests(bus) == []


async def test_submit_as_json_writes_nothing_else_on_stdout(runmesh: Command, bus: Bus) -> None:
    async with resolving(bus, run_fact("accepted")):
        done = await runmesh("submit", "orders", "--id", RUN, "--json")
    assert (done.code, done.values) == (0, [{"run": RUN, "project": "shop", "pipeline": "orders"}])
    assert not done.err


async def test_a_rejected_request_exits_3_and_says_why(runmesh: Command, bus: Bus) -> None:
    problem = RequestProblem(path="pipeline", message="there is no pipeline 'oders'", hint="did you mean 'orders'?")
    async with resolving(bus, run_fact("rejected", errors=(problem,))):
        done = await runmesh("submit", "oders", "--id", RUN)
        watched = await runmesh("submit", "oders", "--id", RUN, "--watch")
    assert done.code == watched.code == 3
    assert "rejected: pipeline: there is no pipeline 'oders' (did you mean 'orders'?)" in done.err
    assert "pipeline: there is no pipeline 'oders' (did you mean 'orders'?)" in watched.out


async def test_an_id_that_is_taken_is_said_even_if_that_run_completed(runmesh: Command, bus: Bus) -> None:
    await publish(bus, *whole_run())
    for follow in ([], ["--watch"]):
        async with resolving(bus, dead="id_conflict"):
            done = await runmesh("submit", "orders", "--id", RUN, "--var", f"day={len(follow)}", *follow)
        assert done.code == 2
        assert "runmesh: request: no (refused as id_conflict)" in done.err


async def test_a_request_that_no_resolver_could_read_is_refused_here(runmesh: Command, bus: Bus) -> None:
    done = await runmesh("submit", "orders", "--id", "no.dots")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("runmesh: id: ")
    assert await requests(bus) == []


@pytest.mark.parametrize(("end", "code"), [("completed", 0), ("failed", 1), ("cancelled", 1)])
async def test_submit_and_watch_exits_as_the_run_ends(runmesh: Command, bus: Bus, end: str, code: int) -> None:
    async with resolving(bus, *whole_run(end)):
        done = await runmesh("submit", "orders", "--id", RUN, "--watch")
    assert done.code == code
    assert "report on local_python" in done.out
    assert ("runmesh retry" in done.err) == (end != "completed")


# --- watch, logs -----------------------------------------------------------------------------------------


async def test_watching_off_a_terminal_prints_a_line_for_each_change(runmesh: Command, bus: Bus) -> None:
    await publish(bus, *whole_run("failed"))
    done = await runmesh("watch", RUN)
    assert done.code == 1
    assert [line.split(maxsplit=1)[1] for line in done.out.splitlines()] == [
        f"○ accepted         run {RUN} of orders",
        f"● running          run {RUN} of orders",
        "● running          load on local_python",
        "✓ completed        load on local_python",
        "● running          report on local_python",
        "✗ failed           report on local_python: user: exit code 1: KeyError: 'age'",
        f"✗ failed           run {RUN} of orders",
    ]
    assert f"runmesh logs {RUN} report" in done.err


async def test_watching_as_json_writes_the_facts(runmesh: Command, bus: Bus) -> None:
    await publish(bus, *whole_run())
    done = await runmesh("watch", RUN, "--json")
    assert (done.code, done.err) == (0, "")
    assert [value["type"] for value in done.values][-2:] == [
        "dev.runmesh.task.completed.v1",
        "dev.runmesh.run.completed.v1",
    ]


async def test_an_unknown_run_exits_2(runmesh: Command) -> None:
    for command in ("watch", "show", "logs", "cancel", "retry"):
        done = await runmesh(command, "ghost")
        assert (done.code, done.out) == (2, "")
        assert done.err == "runmesh: run: nothing is known of 'ghost' (`runmesh runs` lists the latest)\n"


async def test_logs_name_the_block_unless_it_was_asked_for(runmesh: Command, bus: Bus) -> None:
    await publish(bus, *whole_run())
    await write(bus, "load", "one", "[bold]two")
    await write(bus, "report", "three", stream="stderr")
    assert (await runmesh("logs", RUN)).out == "load │ one\nload │ [bold]two\nreport │ three\n"
    assert (await runmesh("logs", RUN, "report")).out == "three\n"
    assert [value["stream"] for value in (await runmesh("logs", RUN, "--json")).values] == ["stdout", "stderr"]


async def test_following_logs_ends_with_the_run(runmesh: Command, bus: Bus) -> None:
    facts = whole_run()
    await publish(bus, *facts[:4])
    following = asyncio.create_task(runmesh("logs", RUN, "-f"))
    await write(bus, "load", "one")
    await publish(bus, *facts[4:])
    assert (await following).out == "load │ one\n"


async def test_logs_of_a_block_that_the_run_has_not_exit_2(runmesh: Command, bus: Bus) -> None:
    await publish(bus, *whole_run())
    done = await runmesh("logs", RUN, "laod")
    assert done.code == 2
    assert "did you mean 'load'?" in done.err


def fanned() -> list[RunFact | TaskFact]:
    return [
        run_fact("accepted", blocks=graph({"source": (), "each": ("source",)})),
        task_fact("source", "completed", 1, n=3),
        task_fact("each", "running", 1, n=0, attempt=0, children=3),
        task_fact("each:0", "completed", 2, n=3),
        task_fact("each:north", "failed", 2, n=3, cause="user", reason="exit code 1"),
    ]


def failed_after(facts: list[RunFact | TaskFact]) -> list[RunFact | TaskFact]:
    each = BlockStatus(state="failed", children={"completed": 1, "failed": 1, "cancelled": 1})
    reason = "3 children: 1 completed, 1 failed, 1 cancelled"
    return [
        *facts,
        task_fact("each", "failed", 3, n=1, attempt=0, cause="user", reason=reason),
        run_fact("failed", 3, blocks={**statuses(source="completed"), "each": each}),
    ]


async def test_logs_of_children_are_named_and_found_by_their_block(runmesh: Command, bus: Bus) -> None:
    await publish(bus, *fanned())
    for name in ("source", "each:0", "each:north", "_callback:each:north"):
        await write(bus, name, f"of {name}")
    assert (await runmesh("logs", RUN)).out.splitlines()[2:] == [
        "each:north │ of each:north",
        "callbacks of each:north │ of _callback:each:north",
    ]
    assert (await runmesh("logs", RUN, "each")).out == "each:0 │ of each:0\neach:north │ of each:north\n"
    assert (await runmesh("logs", RUN, "each:north")).out == "of each:north\n"
    assert (await runmesh("logs", RUN, "eahc:north")).code == 2
    following = asyncio.create_task(runmesh("logs", RUN, "each", "-f"))
    await publish(bus, *failed_after([]))
    assert (await following).out == "each:0 │ of each:0\neach:north │ of each:north\n"


async def test_watch_and_show_count_children_and_name_one_that_failed(runmesh: Command, bus: Bus) -> None:
    await publish(bus, *failed_after(fanned()))
    watched = await runmesh("watch", RUN)
    assert f"runmesh logs {RUN} each:north" in watched.err
    assert [line.split(maxsplit=1)[1] for line in watched.out.splitlines()][2:5] == [
        "● running          each on local_python: 3 children",
        "● running          each: 1/3",
        "✗ failed           each:north on local_python: user: exit code 1",
    ]
    assert "1/3 · 1 failed · 1 cancelled" in (await runmesh("show", RUN)).out
    [value] = (await runmesh("show", RUN, "--json")).values
    children = value["blocks"][1]["children"]
    assert children["counts"] == {"completed": 1, "failed": 1, "cancelled": 1}
    assert [child["name"] for child in children["failed"]] == ["each:north"]
    facts = (await runmesh("watch", RUN, "--json")).values
    assert [fact["block"] for fact in facts if "block" in fact] == ["source", "each", "each:0", "each:north", "each"]


async def test_a_run_that_waits_for_its_place_says_so(runmesh: Command, bus: Bus) -> None:
    reason = "waiting: 1 of 1 runs of this pipeline are running (pipeline_run_limit)"
    await publish(bus, run_fact("accepted", blocks=graph({"load": ()}), reason=reason))
    assert reason in (await runmesh("show", RUN)).out
    watching = asyncio.create_task(runmesh("watch", RUN))
    await publish(bus, run_fact("cancelled", 1, blocks=statuses(load="cancelled")))
    assert f"accepted         run {RUN} of orders: {reason}" in (await watching).out


# --- runs, show ------------------------------------------------------------------------------------------


async def test_runs_are_listed_and_chosen_by_state_and_project(runmesh: Command, bus: Bus) -> None:
    await publish(bus, *whole_run("failed", run="first"), *whole_run(run="second"), run_fact("accepted", run="third"))
    assert [value["run"] for value in (await runmesh("runs", "--json")).values] == ["third", "second", "first"]
    assert [value["run"] for value in (await runmesh("runs", "--json", "--state", "failed")).values] == ["first"]
    assert [value["run"] for value in (await runmesh("runs", "--json", "--limit", "1")).values] == ["third"]
    assert (await runmesh("runs", "--json", "--project", "other")).out == ""
    table = (await runmesh("runs")).out.splitlines()
    assert table[0].split() == ["run", "state", "project", "pipeline", "took", "began"]
    assert table[2].split()[:5] == ["second", "✓", "completed", "shop", "orders"]


async def test_no_runs_are_no_table(runmesh: Command) -> None:
    done = await runmesh("runs", "--since", "2h")
    assert (done.code, done.out, done.err) == (0, "", "no runs within 2h\n")


async def test_show_draws_a_run_and_writes_it_as_json(runmesh: Command, bus: Bus) -> None:
    await publish(
        bus, run_fact("accepted"), task_fact("load", "queued", 1, executor_type="k8s", reason="no worker of k8s")
    )
    assert "no worker of k8s" in (await runmesh("show", RUN)).out
    [value] = (await runmesh("show", RUN, "--json")).values
    assert (value["state"], value["blocks"][0]["reason"]) == ("accepted", "no worker of k8s")


# --- cancel, retry -----------------------------------------------------------------------------------------


async def test_cancel_asks_for_blocks_with_the_reason(runmesh: Command, bus: Bus) -> None:
    await publish(bus, *whole_run()[:4])
    assert (await runmesh("cancel", RUN, "load", "--reason", "wrong day")).code == 0
    assert await requests(bus) == [
        ("mesh.request.cancel.shop", {"run": RUN, "blocks": ["load"], "reason": "wrong day"})
    ]


async def test_one_child_is_cancelled_by_its_name(runmesh: Command, bus: Bus) -> None:
    await publish(bus, *fanned())
    assert (await runmesh("cancel", RUN, "each:2")).code == 0
    [(_, body)] = await requests(bus)
    assert body == {"run": RUN, "blocks": ["each:2"]}


async def test_cancelling_a_block_that_the_run_has_not_is_refused(runmesh: Command, bus: Bus) -> None:
    await publish(bus, *whole_run()[:4])
    done = await runmesh("cancel", RUN, "load", "repport:3")
    assert (done.code, done.err) == (
        2,
        f"runmesh: block: run {RUN} has no block 'repport:3' (did you mean 'report'?)\n",
    )
    assert await requests(bus) == []


async def test_cancelling_what_has_ended_asks_for_nothing(runmesh: Command, bus: Bus) -> None:
    await publish(bus, *whole_run())
    done = await runmesh("cancel", RUN)
    assert done.code == 0
    assert "has ended already, completed" in done.err
    assert await requests(bus) == []


async def test_retry_prints_the_new_run(runmesh: Command, bus: Bus) -> None:
    await publish(bus, *whole_run("failed"))
    done = await runmesh("retry", RUN, "--json")
    [(subject, body)] = await requests(bus)
    assert done.values == [{"run": body["id"], "retry_of": RUN}]
    assert (subject, body["run"]) == ("mesh.request.retry.shop", RUN)
    assert "no resolver has taken it yet" in done.err


# --- workers, dead letters, doctor -------------------------------------------------------------------------


async def test_workers_are_listed_with_what_waits_for_them(runmesh: Command, bus: Bus) -> None:
    assert "runmesh executor local_python" in (await runmesh("workers")).err
    said = Beat(since=datetime.now(UTC), slots=32, held=3, host="node", version="1")
    await bus.bucket(subjects.WORKERS).put(subjects.worker("k8s", "default", "w1"), said.encode())
    await bus.publish(subjects.execute("k8s", "default", "shop", RUN, "load"), b"{}")
    [value] = (await runmesh("workers", "--json")).values
    assert (value["executor_type"], value["held"], value["waiting"]) == ("k8s", 3, 1)
    assert "w1" in (await runmesh("workers")).out


async def one_dead_letter(bus: Bus) -> None:
    await bus.publish("mesh.request.run.shop", b"\xff not json", headers={"traceparent": "00-1"}, message_id="m1")
    async with bus.consume(subjects.REQUESTS, subjects.RESOLVER, slots=1) as pump:
        message = await anext(pump)
        await bury(bus, message, service="resolver", reason="undecodable", error="not JSON")
        await message.ack(confirmed=True)


async def test_a_dead_letter_is_listed_shown_and_published_again(runmesh: Command, bus: Bus) -> None:
    assert (await runmesh("dead", "list")).err == "no dead letters\n"
    await one_dead_letter(bus)
    [value] = (await runmesh("dead", "list", "--json")).values
    assert (value["number"], value["service"], value["reason"]) == (1, "resolver", "undecodable")
    assert "mesh.request.run.shop" in (await runmesh("dead", "list")).out
    assert "\\xff not json" in (await runmesh("dead", "show", "1")).out
    assert (await runmesh("dead", "replay", "1")).code == 0
    async with bus.consume(subjects.REQUESTS, subjects.RESOLVER, slots=1) as pump:
        message = await anext(pump)
    assert (message.data, message.headers["traceparent"]) == (b"\xff not json", "00-1")
    assert (await runmesh("dead", "list")).err == "no dead letters\n"


async def test_a_dead_letter_is_dropped_for_good(runmesh: Command, bus: Bus) -> None:
    await one_dead_letter(bus)
    assert (await runmesh("dead", "drop", "1")).code == 0
    assert (await bus.stream_info(subjects.DEAD)).messages == 0
    again = await runmesh("dead", "drop", "1")
    assert (again.code, again.err) == (
        2,
        "runmesh: number: there is no dead letter 1 (`runmesh dead list` shows them)\n",
    )


async def test_the_doctor_says_what_is_missing_and_what_to_do(runmesh: Command, bus: Bus) -> None:
    found = {value["check"]: value for value in (await runmesh("doctor", "--json")).values}
    assert found["provisioned"]["verdict"] == found["clock"]["verdict"] == "ok"
    assert (found["resolver"]["verdict"], found["resolver"]["next"]) == ("fail", "start one: `runmesh resolver`")
    assert found["workers"]["verdict"] == "warn"
    await bus.api("STREAM.DELETE.LOGS")
    done = await runmesh("doctor")
    assert done.code == 1
    assert "missing: LOGS" in done.out
    assert "run `runmesh provision`" in done.out


async def test_the_doctor_says_where_credentials_come_from_that_are_refused(
    runmesh: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNMESH_NATS_TOKEN", "wrong")
    *_, found = (await runmesh("doctor", "--json")).values
    assert (found["what"], found["verdict"]) == ("NATS refuses the credentials of runmesh client: a token", "fail")
    assert "RUNMESH_NATS_TOKEN" in found["next"]


async def test_provision_mends_that_and_then_has_nothing_to_do(runmesh: Command, bus: Bus) -> None:
    await runmesh("provision")
    await bus.api("STREAM.DELETE.LOGS")
    assert (await runmesh("provision")).out.strip() == "made stream LOGS"
    assert (await runmesh("provision")).err == "everything is there already\n"


@pytest.mark.usefixtures("runmesh")
async def test_watching_that_is_interrupted_exits_130(bus: Bus) -> None:
    await publish(bus, *whole_run()[:4])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "runmesh", "watch", RUN, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout
    assert "accepted" in (await process.stdout.readline()).decode()
    process.send_signal(2)
    _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")
