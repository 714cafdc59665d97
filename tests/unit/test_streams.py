"""Integration pipelines: which streams there are, and the tasks that they become."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from runmesh.errors import Invalid
from runmesh.events import RunRequest
from runmesh.projects import load_pipeline, load_project
from runmesh.projects.streams import MOST, Stream, streams_of
from runmesh.resolver import explain
from runmesh.resolver.explanation import Explanation
from runmesh.resolver.plan import plan
from runmesh.settings import Settings
from runmesh.subjects import CALLBACK

CATALOG = {"streams": [{"tap_stream_id": "apples", "destination_table": "fruit"}, {"tap_stream_id": "pears"}]}
SOURCE = "source: local\nconfig: {path: '{{ env_var(\"DATA\") }}'}\n"
BLOCKS: list[dict[str, Any]] = [
    {"uuid": "put", "type": "data_exporter", "language": "yaml", "upstream_blocks": ["change"]},
    {"uuid": "take", "type": "data_loader", "language": "yaml"},
    {"uuid": "change", "type": "transformer", "upstream_blocks": ["take"]},
]


class Fruit:
    """A project with one integration pipeline, `sync`."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "fruit"
        self.write("metadata.yaml", "runtime: mage\n")
        self.write("data_loaders/take.yaml", SOURCE)
        self.pipeline()
        self.catalog(CATALOG)

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def pipeline(self, *blocks: dict[str, Any], **more: Any) -> None:
        document = {"type": "integration", "blocks": list(blocks or BLOCKS), **more}
        self.write("pipelines/sync/metadata.yaml", yaml.safe_dump(document))

    def catalog(self, catalog: Any) -> None:
        self.write("pipelines/sync/data_integration_catalog.json", json.dumps({"catalog": catalog}))

    def streams(self) -> tuple[Stream, ...]:
        project = load_project(self.path, {})
        return streams_of(project, load_pipeline(project, "sync"))

    def ask(self, **request: Any) -> Explanation:
        return explain(self.path, "sync", request=request, environment={})


@pytest.fixture
def fruit(tmp_path: Path) -> Fruit:
    return Fruit(tmp_path)


def problems(found: Explanation) -> list[str]:
    return [f"{error.path}: {error.message}" for error in found.errors]


def after(found: Explanation) -> dict[str, tuple[str, ...]]:
    return {name: block.upstream for name, block in found.blocks.items()}


def test_each_stream_is_a_chain_of_tasks_and_streams_go_one_after_another(fruit: Fruit) -> None:
    found = fruit.ask()
    assert problems(found) == []
    assert after(found) == {
        "take:apples:0": (),
        "change:apples:0": ("take:apples:0",),
        "put:apples:0": ("change:apples:0",),
        "take:pears:0": ("put:apples:0",),
        "change:pears:0": ("take:pears:0",),
        "put:pears:0": ("change:pears:0",),
    }


def test_streams_that_may_run_in_parallel_wait_for_nobody_and_nobody_for_them(fruit: Fruit) -> None:
    names = ("a", "b", "c", "d")
    fruit.catalog({"streams": [{"tap_stream_id": name, "run_in_parallel": name in "bc"} for name in names]})
    first = {name: upstream for name, upstream in after(fruit.ask()).items() if name.startswith("take")}
    assert first == {"take:a:0": (), "take:b:0": (), "take:c:0": (), "take:d:0": ("put:a:0",)}


def test_a_task_runs_what_mages_scheduler_would(fruit: Fruit) -> None:
    command = fruit.ask(variables={"city": "Bern"}).blocks["put:apples:0"].command
    told = '{"destination_table":"fruit","index":0,"is_last_block_run":true,"selected_streams":["apples"]}'
    assert command == (
        *("mage", "run", str(fruit.path), "sync", "--block-uuid", "put:apples:0"),
        *("--executor-type", "local_python", "--execution-partition", "{run}"),
        *("--runtime-vars", '{"city":"Bern"}', "--template-runtime-configuration", told),
    )


def test_blocks_that_are_asked_for_run_for_each_stream(fruit: Fruit) -> None:
    assert after(fruit.ask(blocks={"names": ["put", "take"]})) == {
        "take:apples:0": (),
        "put:apples:0": ("take:apples:0",),
        "take:pears:0": ("put:apples:0",),
        "put:pears:0": ("take:pears:0",),
    }


def test_every_block_has_its_own_executor(fruit: Fruit) -> None:
    take, *others = (block | ({"executor_type": "k8s"} if block["uuid"] == "take" else {}) for block in BLOCKS)
    fruit.pipeline(take, *others)
    found = fruit.ask().blocks
    assert {name: block.executor_type for name, block in found.items() if "pears" in name} == {
        "take:pears:0": "k8s",
        "change:pears:0": "local_python",
        "put:pears:0": "local_python",
    }
    assert found["take:pears:0"].command[0] == "/app/run_app.sh"


def test_callbacks_of_a_block_are_those_of_its_streams(fruit: Fruit) -> None:
    tell = {"uuid": "tell", "type": "callback", "upstream_blocks": ["take"], "content": "@callback('failure')"}
    fruit.pipeline(callbacks=[tell])
    made = plan(fruit.ask(), RunRequest(pipeline="sync"), run="r", settings=Settings())
    assert made.task("take:apples:0").callbacks == ("failure",)
    assert made.task(f"{CALLBACK}take:apples:0").command[:5] == (
        *("runmesh-run", str(fruit.path), "sync", "--block-uuid", "take"),
    )


@pytest.mark.parametrize("asked", [True, False, None])
def test_one_process_is_nothing_that_integration_knows(fruit: Fruit, asked: bool | None) -> None:  # noqa: FBT001
    fruit.pipeline(run_pipeline_in_one_process=True)
    assert not fruit.ask(run_pipeline_in_one_process=asked).pipeline.whole


# --- the catalog ---------------------------------------------------------------------------------------


def test_the_catalog_of_the_source_goes_before_the_file_and_that_before_the_document(fruit: Fruit) -> None:
    fruit.pipeline(data_integration={"catalog": {"streams": [{"tap_stream_id": "of_document"}]}})
    assert [stream.name for stream in fruit.streams()] == ["apples", "pears"]
    fruit.write("data_loaders/take.yaml", f"{SOURCE}catalog: {{streams: [{{tap_stream_id: of_source}}]}}\n")
    assert [stream.name for stream in fruit.streams()] == ["of_source"]
    fruit.write("data_loaders/take.yaml", SOURCE)
    (fruit.path / "pipelines/sync/data_integration_catalog.json").unlink()
    assert fruit.streams() == (Stream("of_document", "of_document"),)


def test_what_a_stream_is_called_at_its_destination_is_its_own_name_unless_something_is_said(fruit: Fruit) -> None:
    assert fruit.streams() == (Stream("apples", "fruit"), Stream("pears", "pears"))


def listed(*streams: Any) -> dict[str, Any]:
    return {"streams": list(streams)}


@pytest.mark.parametrize(
    ("catalog", "expected"),
    [
        (None, "lists 0 streams"),
        (listed(), "lists 0 streams"),
        (listed(*({"tap_stream_id": str(n)} for n in range(MOST + 1))), f"lists {MOST + 1:,} streams"),
        (listed({}), "tap_stream_id: is missing"),
        (listed({"tap_stream_id": "../x"}), "is no path below"),
        (listed({"tap_stream_id": "a\x00"}), "control character"),
        (listed({"tap_stream_id": "a"}, {"tap_stream_id": "a"}), "is the name of another stream"),
        (listed({"tap_stream_id": "a", "destination_table": "{{ x }}"}), "a template, which only Mage's scheduler"),
        (listed({"tap_stream_id": "a", "destination_table": []}), "must be text"),
        (listed("a"), "must be a mapping"),
        ("a", "must be a mapping"),
    ],
)
def test_a_catalog_that_is_wrong_is_an_error_and_nothing_runs(fruit: Fruit, catalog: Any, expected: str) -> None:
    fruit.catalog(catalog)
    with pytest.raises(Invalid, match=expected.replace("(", r"\(")):
        fruit.streams()
    assert any(expected in problem for problem in problems(fruit.ask()))


@pytest.mark.parametrize("text", ["", "[", "[]", "[" * 100_000, '{"catalog": {"streams": [NaN]}}'])
def test_a_file_that_is_no_catalog_is_an_error_with_its_name(fruit: Fruit, text: str) -> None:
    fruit.write("pipelines/sync/data_integration_catalog.json", text)
    assert any("data_integration_catalog.json" in problem for problem in problems(fruit.ask()))


def test_tables_that_are_named_by_a_pattern_are_refused(fruit: Fruit) -> None:
    patterned = "config: {_patterns: {destination_table: 'x_{{ stream }}'}}\n"
    fruit.write("data_loaders/take.yaml", patterned)
    assert any("names its tables by a pattern" in problem for problem in problems(fruit.ask()))


# --- what can't be ---------------------------------------------------------------------------------------


def test_the_native_runtime_says_that_mage_is_needed(fruit: Fruit) -> None:
    found = fruit.ask(runtime="native")
    assert "the native runtime can't run integration pipelines" in problems(found)[0]
    assert "`runtime: mage`" in (found.errors[0].hint or "")


TAKE, CHANGE = BLOCKS[1], BLOCKS[2]


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([TAKE], "one destination (data_exporter), and this has 0"),
        ([*BLOCKS, TAKE | {"uuid": "other"}], "one source (data_loader), and this has 2"),
        ([*BLOCKS, CHANGE | {"uuid": "branch"}], "block take: upstream_blocks: an integration pipeline is one chain"),
        ([*BLOCKS, {"uuid": "say", "type": "command", "command": ["true"]}], "with command blocks, such as 'say'"),
    ],
)
def test_blocks_that_are_no_chain_are_refused(fruit: Fruit, blocks: list[dict[str, Any]], expected: str) -> None:
    fruit.pipeline(*blocks)
    assert any(expected in problem for problem in problems(fruit.ask()))


def test_conditions_of_streams_are_refused(fruit: Fruit) -> None:
    fruit.pipeline(conditionals=[{"uuid": "gate", "type": "conditional", "upstream_blocks": ["take"], "content": ""}])
    assert any("can't be asked for each stream" in problem for problem in problems(fruit.ask()))
