"""Every feature of Mage's blocks in a real mesh: the project `features`, and what its blocks really did.

All its pipelines run at the same time in one mesh of server, resolver and executor, a process per task. Each block
leaves notes (`utils/notes.py` of the project): what it was given, when it began and ended, which callback ran.
"""

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from runmesh.client import Mesh
from runmesh.events import Cause, RunState, TaskFact
from runmesh.view import BlockView
from tests.eventually import eventually
from tests.local_mesh import local_mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one mesh for all

PROJECT: Final = Path(__file__).parents[1] / "fixtures" / "features"
AT_ONCE: Final[Mapping[str, Mapping[str, Any]]] = {
    "basics": {},
    "failing_tests": {},
    "conditions": {},
    "callbacks": {"allow_blocks_to_fail": True},
    "dynamic": {},
    "dynamic_nested": {},
    "dynamic_several": {},
    "dynamic_v2": {},
    "one_process": {},
    "one_process_fails": {"allow_blocks_to_fail": True},
    "process_killed": {},
    "process_stopped": {"timeout": 6},
    "retries": {},
    "retries_of_project": {},
    "block_timeout": {},
    "run_timeout": {"trigger_name": "hasty"},
    "variables": {
        "trigger_name": "nightly",
        "variables": {"of_run": "run"},
        "event": {"of_event": "event", "of_pipeline": "event"},
        "execution_date": "2026-01-02T03:04:05Z",
    },
    "commands": {"variables": {"greeting": "good morning"}},
    "blocks_may_fail": {"allow_blocks_to_fail": True},
    "block_limit": {},
}
"""The pipelines that need nobody while they run, and what is asked for with each."""


@dataclass(frozen=True)
class Ended:
    """A run that is over: its state, its blocks, and what they noted."""

    run: str
    state: RunState
    blocks: Mapping[str, BlockView]
    notes: list[dict[str, Any]]
    data: Path

    @property
    def states(self) -> dict[str, str]:
        return {name: str(block.state) for name, block in self.blocks.items()}

    def noted(self, what: str, block: str | None = None) -> list[dict[str, Any]]:
        """Return the notes of a kind, of one block or all, in the order of the children."""
        found = [note for note in self.notes if note["what"] == what and block in {None, note["block"]}]
        return sorted(found, key=lambda note: note.get("dynamic_block_index", 0))

    def inputs(self, block: str) -> list[list[Any]]:
        """Return what each run of a block got by position."""
        return [note["inputs"] for note in self.noted("began", block)]

    def times(self, what: str) -> list[float]:
        return sorted(note["at"] for note in self.noted(what))


class Features:
    """The mesh with the project, and the runs that were submitted at its start."""

    def __init__(self, mesh: Mesh, data: Path) -> None:
        self.mesh, self.data = mesh, data
        self.runs: dict[str, str] = {}

    async def submit(self, pipeline: str, **fields: Any) -> str:
        return await self.mesh.submit(pipeline, project="features", **fields)

    async def ended(self, pipeline: str, run: str | None = None) -> Ended:
        run = run or self.runs[pipeline]
        async with asyncio.timeout(200):
            last = await self.mesh.wait(run)
        view = await self.mesh.show(run)
        return Ended(run, last.state, view.blocks, self.notes(run), self.data)

    def notes(self, run: str) -> list[dict[str, Any]]:
        path = self.data / "notes" / run
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def features(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Features]:
    there = tmp_path_factory.mktemp("features")
    shutil.copytree(PROJECT, there / "projects" / "features")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MAGE_DATA_DIR", str(there / "data"))
        async with local_mesh(there / "projects", there / "state", slots=6) as mesh:
            features = Features(mesh, there / "data")
            for pipeline, fields in AT_ONCE.items():
                features.runs[pipeline] = await features.submit(pipeline, **fields)
            yield features


# --- blocks, their outputs and tests -----------------------------------------------------------------


async def test_outputs_go_from_block_to_block_and_sensors_preprocessers_and_tests_run_once(features: Features) -> None:
    ended = await features.ended("basics")
    assert ended.state is RunState.COMPLETED, ended.blocks
    assert [note["what"] for note in ended.notes] == ["asked", "prepared", "loaded"]
    report = ended.data / f"report-{ended.run}.json"
    assert json.loads(report.read_text()) == [[], 6, 6], (
        "nothing of the sensor, and the same of a block and its replica"
    )


async def test_a_block_whose_test_fails_has_failed_and_nothing_runs_below(features: Features) -> None:
    ended = await features.ended("failing_tests")
    assert (ended.state, ended.states) == (RunState.FAILED, {"wrong": "failed", "below": "upstream_failed"})
    assert "1 of 2 tests failed" in (ended.blocks["wrong"].reason or "")
    assert ended.notes == []


async def test_python_blocks_and_commands_alternate(features: Features) -> None:
    ended = await features.ended("commands")
    assert ended.state is RunState.COMPLETED, ended.blocks
    assert (ended.data / f"{ended.run}.said").read_text() == 'said shell {"greeting":"good morning"}\n'
    assert ended.inputs("after") == [[[], "before"]], "a command hands nothing on"


async def test_variables_come_from_run_over_trigger_over_pipeline_and_an_event_fills_gaps(features: Features) -> None:
    ended = await features.ended("variables")
    (given,) = ended.noted("began")
    names = ("of_pipeline", "of_trigger", "of_run", "of_event")
    assert [given[name] for name in names] == ["pipeline", "trigger", "run", "event"]
    assert given["event"] == {"of_event": "event", "of_pipeline": "event"}
    assert (given["trigger_name"], given["env"], given["pipeline_uuid"]) == ("nightly", "prod", "variables")
    assert (given["ds"], given["hr"]) == ("2026-01-02", "03")
    assert given["pipeline_run_id"] == given["execution_partition"] == ended.run


# --- conditions and callbacks ------------------------------------------------------------------------


async def test_conditions_decide_once_each_what_runs_and_what_is_left_out(features: Features) -> None:
    ended = await features.ended("conditions")
    assert ended.state is RunState.COMPLETED, ended.blocks
    left_out = dict.fromkeys(("unmet", "raising", "below_unmet"), "condition_failed")
    assert ended.states == dict.fromkeys(("stock", "met", "below_met"), "completed") | left_out
    assert Counter(note["block"] for note in ended.noted("began")) == {"stock": 1, "met": 2, "below_met": 1}
    asked = sorted((note["block"], note["of"]) for note in ended.noted("condition"))
    assert asked == [("is_met", "met"), ("is_met", "unmet"), ("is_unmet", "unmet")]
    assert "is_unmet" in (ended.blocks["unmet"].reason or "")
    assert "KeyError: 'price'" in (ended.blocks["raising"].reason or "")


async def test_each_callback_runs_once_and_changes_nothing(features: Features) -> None:
    ended = await features.ended("callbacks")
    assert ended.state is RunState.FAILED
    assert ended.states == {"fine": "completed", "broken": "failed", "killed": "failed", "own": "completed"}
    succeeded = sorted((note["block"], note["of"], note["data"]) for note in ended.noted("success"))
    assert succeeded == [("own_callback", "own", "mine"), ("tell", "fine", 7)]
    failed = {note["of"]: note for note in ended.noted("failure")}
    assert len(ended.noted("failure")) == len(failed) == 2
    assert (failed["broken"]["error"], failed["broken"]["attempts"]) == ("attempt 2 fails, as it was told", 2)
    assert "5 s" in failed["killed"]["error"], "it was killed, so that its callbacks are a task of their own"
    assert ended.noted("cancelled") == []


async def test_callbacks_of_a_cancelled_run_are_run(features: Features) -> None:
    run = await features.submit("cancelled")
    await eventually(lambda: features.notes(run))
    await features.mesh.cancel(run, reason="changed my mind")
    ended = await features.ended("cancelled", run)
    assert (ended.state, ended.states["slow"]) == (RunState.CANCELLED, "cancelled")
    assert [(note["what"], note["block"]) for note in ended.notes] == [("began", "slow"), ("cancelled", "tell")]
    assert ended.noted("cancelled")[0]["of"] == "slow"


# --- dynamic blocks ----------------------------------------------------------------------------------


async def test_children_get_an_item_each_with_its_metadata_and_a_reduced_block_is_one_list(features: Features) -> None:
    ended = await features.ended("dynamic")
    assert ended.state is RunState.COMPLETED, ended.blocks
    greeted = [(note["dynamic_block_index"], note["inputs"], note["age"]) for note in ended.notes if "age" in note]
    assert sorted(greeted) == [(0, ["ann"], 30), (1, ["bob"], 40), (2, ["cid"], 50)]
    assert ended.inputs("shout") == [["for_ann"], ["for_bob"], ["greet"]]
    assert [note["inputs"][0] for note in ended.noted("began", "all")] == [["shout"] * 3]
    assert ended.blocks["greet"].children
    assert dict(ended.blocks["greet"].children.counts) == {"completed": 3}
    tasks = {fact.block async for fact in features.mesh.watch(ended.run) if isinstance(fact, TaskFact)}
    assert tasks >= {"greet:for_ann", "greet:for_bob", "greet:2"}


async def test_a_dynamic_block_below_a_dynamic_block_fans_out_over_the_items_of_all(features: Features) -> None:
    ended = await features.ended("dynamic_nested")
    assert ended.state is RunState.COMPLETED, ended.blocks
    assert ended.inputs("inner") == [["a"], ["b"]]
    assert ended.inputs("leaf") == [["x"], ["y"], ["z"]] * 2
    assert ended.inputs("all") == [[["leaf"] * 6]]


async def test_a_block_below_several_dynamic_blocks_runs_for_every_combination(features: Features) -> None:
    ended = await features.ended("dynamic_several")
    assert ended.state is RunState.COMPLETED, ended.blocks
    assert ended.inputs("shirts") == [[size, "whole", colour] for size in "sm" for colour in ("red", "blue", "tan")]


async def test_the_words_of_v2_mean_the_same(features: Features) -> None:
    ended = await features.ended("dynamic_v2")
    assert ended.state is RunState.COMPLETED, ended.blocks
    assert (ended.inputs("reduced"), ended.inputs("of_reduced")) == ([[1], [2]], [[["reduced"] * 2]])
    assert (ended.inputs("each"), ended.inputs("gathers")) == ([[1], [2]], [[["each"] * 2]])


# --- a whole pipeline as one task --------------------------------------------------------------------


async def test_branches_of_a_pipeline_in_one_process_run_at_the_same_time(features: Features) -> None:
    ended = await features.ended("one_process")
    assert ended.state is RunState.COMPLETED, ended.blocks
    assert set(ended.blocks) == {"_pipeline"}
    began = Counter(note["block"] for note in ended.noted("began"))
    assert began == {"left": 1, "right": 1, "each": 2, "join": 1}, "left and right waited for each other"
    assert ended.inputs("join") == [[{"stock": 3}, ["each", "each"]]]
    assert [(note["of"], note["data"]) for note in ended.noted("success")] == [("join", "joined")]
    assert not list((ended.data / "features" / "pipelines").glob("one_process/**/output_0")), "all stayed in memory"


async def test_blocks_of_one_process_are_tried_again_in_it_and_the_rest_goes_on_beside_one_that_may_fail(
    features: Features,
) -> None:
    ended = await features.ended("one_process_fails")
    assert (ended.state, ended.states) == (RunState.FAILED, {"_pipeline": "failed"})
    assert ended.blocks["_pipeline"].attempt == 1
    attempts = {name: [note["attempt"] for note in ended.noted("began", name)] for name in ("late", "fails")}
    assert attempts == {"late": [1, 2, 3], "fails": [1, 2]}
    assert {note["block"] for note in ended.noted("ended")} == {"late", "below_late"}
    assert [note["of"] for note in ended.noted("success")] == ["late"]
    assert [note["of"] for note in ended.noted("failure")] == ["fails"]


async def test_what_a_process_was_running_when_it_was_killed_is_called_back_once(features: Features) -> None:
    ended = await features.ended("process_killed")
    assert (ended.state, ended.blocks["_pipeline"].attempt) == (RunState.FAILED, 2)
    assert Counter(note["of"] for note in ended.noted("success")) == {"done": 2}
    assert Counter(note["of"] for note in ended.noted("failure")) == {"slow": 1, "kills": 1}
    assert ended.noted("cancelled") == []


async def test_what_a_process_was_running_when_its_run_was_cancelled_is_called_back(features: Features) -> None:
    run = await features.submit("process_stopped")
    await eventually(lambda: any(note["block"] == "slow" for note in features.notes(run)))
    await features.mesh.cancel(run, reason="changed my mind")
    ended = await features.ended("process_stopped", run)
    assert ended.state is RunState.CANCELLED
    assert [(note["what"], note["of"]) for note in ended.notes if "of" in note] == [
        ("success", "done"),
        ("cancelled", "slow"),
    ]


async def test_what_a_process_was_running_when_its_run_took_too_long_is_called_back(features: Features) -> None:
    ended = await features.ended("process_stopped")
    assert (ended.state, ended.states) == (RunState.FAILED, {"_pipeline": "cancelled"})
    began, over = ({note["block"] for note in ended.noted(what)} for what in ("began", "ended"))
    assert {note["of"] for note in ended.noted("cancelled")} == began - over
    assert began <= {"done", "slow"}


# --- trying again, and giving up ---------------------------------------------------------------------


async def test_retries_are_those_of_block_over_pipeline_over_project(features: Features) -> None:
    ended = await features.ended("retries")
    assert ended.state is RunState.COMPLETED, ended.blocks
    attempts = {name: [note["attempt"] for note in ended.noted("began", name)] for name in ended.blocks}
    assert attempts == {"of_block": [1, 2, 3, 4], "of_pipeline": [1, 2, 3]}


async def test_the_projects_retries_hold_where_nothing_else_is_said(features: Features) -> None:
    ended = await features.ended("retries_of_project")
    assert ended.state is RunState.FAILED
    assert {name: block.attempt for name, block in ended.blocks.items()} == {"fails_once": 2, "fails_twice": 2}
    assert ended.states == {"fails_once": "completed", "fails_twice": "failed"}


async def test_a_block_that_takes_too_long_is_stopped_and_tried_again(features: Features) -> None:
    ended = await features.ended("block_timeout")
    assert ended.state is RunState.FAILED
    slow = ended.blocks["slow"]
    assert (slow.state, slow.cause, slow.attempt) == ("failed", Cause.TIMEOUT, 2)
    assert ended.noted("ended") == []


async def test_a_run_that_takes_too_long_is_stopped_and_ends_as_its_trigger_says(features: Features) -> None:
    ended = await features.ended("run_timeout")
    assert (ended.state, ended.states) == (RunState.CANCELLED, {"slow": "cancelled", "below": "cancelled"})
    assert ended.noted("ended") == []


async def test_a_run_goes_on_beside_a_failure_where_blocks_may_fail(features: Features) -> None:
    ended = await features.ended("blocks_may_fail")
    assert ended.state is RunState.FAILED
    fine = dict.fromkeys(("beside", "below_beside"), "completed")
    assert ended.states == {"fails": "failed", "below": "upstream_failed"} | fine
    assert {note["block"] for note in ended.noted("ended")} == {"beside", "below_beside"}


# --- how much at once --------------------------------------------------------------------------------


async def test_no_more_blocks_of_a_run_are_out_than_its_limit(features: Features) -> None:
    ended = await features.ended("block_limit")
    assert ended.state is RunState.COMPLETED, ended.blocks
    assert overlaps(ended) == 0
    assert len(ended.times("ended")) == 3


def overlaps(*runs: Ended) -> int:
    """Count the blocks that began before the one that began before them had ended."""
    began = sorted(at for ended in runs for at in ended.times("began"))
    over = sorted(at for ended in runs for at in ended.times("ended"))
    return sum(later < earlier for later, earlier in zip(began[1:], over, strict=False))


async def test_runs_over_the_limit_wait_for_their_turn(features: Features) -> None:
    runs = [await features.submit("runs_wait") for _ in range(3)]
    ended = [await features.ended("runs_wait", run) for run in runs]
    assert [run.state for run in ended] == [RunState.COMPLETED] * 3
    assert overlaps(*ended) == 0


async def test_runs_over_the_limit_are_skipped_where_the_pipeline_says_so(features: Features) -> None:
    first = await features.submit("runs_are_skipped")
    await eventually(lambda: features.notes(first))
    second = await features.ended("runs_are_skipped", await features.submit("runs_are_skipped"))
    assert (second.state, second.notes) == (RunState.CANCELLED, [])
    meeting = features.data / "notes" / f"{first}.meets"
    await eventually(meeting.is_dir)
    (meeting / "guest").touch()
    assert (await features.ended("runs_are_skipped", first)).state is RunState.COMPLETED
