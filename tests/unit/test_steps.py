"""The tasks that are no blocks: conditions before what Mage runs, callbacks after what could not run them itself."""

from pathlib import Path
from typing import Any

import pytest

from runmesh.events import RunRequest
from runmesh.resolver import explain
from runmesh.resolver.explanation import Explanation
from runmesh.resolver.plan import plan
from runmesh.settings import Settings
from tests.shop import write_project

CALLBACK = "@callback('failure')\ndef told(*args, **kwargs):\n    pass\n"
GATE = {"uuid": "gate", "type": "conditional", "upstream_blocks": ["load"]}
IN_ONE_PROCESS = {"run_pipeline_in_one_process": True}
BELL = {"uuid": "bell", "type": "callback", "upstream_blocks": ["load"]}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = write_project(tmp_path / "shop", remote_variables_dir="s3://bucket/variables")
    for folder, name, text in (("callbacks", "bell", CALLBACK), ("conditionals", "gate", "")):
        (project / folder).mkdir()
        (project / folder / f"{name}.py").write_text(text)
    return project


def asked(project: Path, *blocks: dict[str, Any], request: dict[str, Any] | None = None, **more: Any) -> Explanation:
    document = {"uuid": "pipe", "blocks": [{"type": "custom", **block} for block in blocks], **more}
    return explain(project, document, request=request, environment={})


def test_a_job_is_told_how_often_its_block_is_tried(project: Path) -> None:
    found = asked(project, {"uuid": "load", "retry_config": {"retries": 3}})
    assert found.blocks["load"].command[-2:] == ("--retries", "3")


def test_conditions_run_in_the_job_of_a_native_block_whose_outcome_is_needed(project: Path) -> None:
    found = asked(project, {"uuid": "load"}, conditionals=[GATE])
    assert (found.blocks["load"].conditional, dict(found.steps)) == (True, {})


def test_conditions_before_a_block_that_mage_runs_are_a_native_task_of_their_own(project: Path) -> None:
    load = {"uuid": "load", "upstream_blocks": ["first"], "executor_config": {"runtime": "mage"}}
    found = asked_on_disk(project, {"uuid": "first"}, load, conditionals=[GATE])
    step = found.steps["_condition:load"]
    assert (step.executor_type, step.upstream, step.conditional) == ("local_python", ("first",), True)
    assert step.command[0] == "runmesh-run"
    assert step.command[-1] == "--conditions-only"
    assert found.blocks["load"].upstream == ("first", "_condition:load")
    assert not found.blocks["load"].conditional


def asked_on_disk(project: Path, *blocks: dict[str, Any], **more: Any) -> Explanation:
    import yaml  # noqa: PLC0415 - only where a pipeline is written

    folder = project / "pipelines" / "pipe"
    folder.mkdir(parents=True, exist_ok=True)
    document = {"blocks": [{"type": "custom", **block} for block in blocks], **more}
    (folder / "metadata.yaml").write_text(yaml.safe_dump(document))
    return explain(project, "pipe", environment={})


def test_only_callbacks_that_name_the_status_are_run_as_a_task(project: Path) -> None:
    found = asked(project, {"uuid": "load", "executor_type": "k8s"}, callbacks=[BELL])
    assert found.blocks["load"].callbacks == ("failure",)
    step = found.steps["_callback:load"]
    assert (step.executor_type, step.timeout) == ("local_python", 600)
    assert step.command[-4:] == ("--callbacks", "{callback}", "--error", "{error}")


def test_a_block_without_callbacks_has_no_such_task(project: Path) -> None:
    assert not asked(project, {"uuid": "load"}).steps
    assert not asked(project, {"uuid": "load"}, request=IN_ONE_PROCESS).steps


def test_the_callbacks_of_one_process_are_one_task_for_all_blocks(project: Path) -> None:
    found = asked(project, {"uuid": "load"}, {"uuid": "other"}, callbacks=[BELL], request=IN_ONE_PROCESS)
    assert (found.pipeline.callbacks, set(found.steps)) == (("failure",), {"_callback:_pipeline"})
    step = found.steps["_callback:_pipeline"]
    assert (step.executor_type, step.timeout) == ("local_python", 600)
    assert step.command[-4:] == ("--callbacks", "{callback}", "--error", "{error}")
    assert "--block-uuid" not in step.command
    asking = RunRequest(pipeline="pipe", run_pipeline_in_one_process=True)
    made = plan(found, asking, run="run-1", settings=Settings())
    assert (set(made.tasks), set(made.callbacks)) == ({"_pipeline"}, {"_pipeline"})


@pytest.mark.parametrize(
    ("runtime", "place", "shared", "reason"),
    [
        ("native", "s3://bucket/variables", False, None),
        ("native", "/disk", True, None),
        ("native", "/disk", False, "which blocks have begun is stored locally on k8s"),
        ("mage", "s3://bucket/variables", False, "`mage run` of a whole pipeline calls nobody back"),
    ],
)
def test_where_nobody_knows_which_blocks_of_a_process_had_begun_it_is_said(
    project: Path, runtime: str, place: str, reason: str | None, *, shared: bool
) -> None:
    write_project(project, **{"remote_variables_dir" if "://" in place else "variables_dir": place})
    here = {"executor_type": "k8s", "executor_config": {"shared": shared, "runtime": runtime}}
    whole = {"callbacks": [BELL], "run_pipeline_in_one_process": True}
    found = asked_on_disk(project, {"uuid": "load"}, **here, **whole)
    said = [warning.message for warning in found.warnings if warning.path == "pipeline: callbacks"]
    assert [message.partition(": ")[2] for message in said] == ([reason] if reason else [])
    assert bool(found.steps) is bool(found.pipeline.callbacks) is (reason is None)


@pytest.mark.parametrize("uuid", ["_pipeline", "_condition:load", "_callback:load"])
def test_no_block_may_be_called_as_a_task_of_the_mesh(project: Path, uuid: str) -> None:
    assert any("the mesh's own" in error.message for error in asked(project, {"uuid": uuid}).errors)


def test_a_child_can_not_be_asked_for_without_its_dynamic_block(project: Path) -> None:
    source = {"uuid": "source", "configuration": {"dynamic": True}}
    each = {"uuid": "each", "upstream_blocks": ["source"]}
    (error,) = asked(project, source, each, request={"blocks": ["each"]}).errors
    assert "'each' runs once per item of 'source', which is not asked for" in error.message
    assert not asked(project, source, each, request={"blocks": ["source"]}).errors


def test_a_child_with_a_colon_in_its_name_is_refused(project: Path) -> None:
    source = {"uuid": "source", "configuration": {"dynamic": True}}
    found = asked(project, source, {"uuid": "a:b", "upstream_blocks": ["source"]})
    assert any("can't have a ':'" in error.message for error in found.errors)


@pytest.mark.parametrize("remote", [True, False])
def test_an_outcome_that_nobody_could_read_is_refused_before_anything_runs(project: Path, *, remote: bool) -> None:
    if not remote:
        write_project(project)
    source = {"uuid": "source", "configuration": {"dynamic": True}, "executor_type": "k8s"}
    problems = [error for error in asked(project, source).errors if "its outcome" in error.message]
    assert bool(problems) is not remote
    shared = source | {"executor_config": {"shared": True}}
    assert not [error for error in asked(project, shared).errors if "its outcome" in error.message]


def test_a_sensor_has_no_items(project: Path) -> None:
    found = asked(project, {"uuid": "source", "type": "sensor", "configuration": {"dynamic": True}})
    assert any("a sensor has no output" in error.message for error in found.errors)


@pytest.mark.parametrize(
    ("runtime", "said"),
    [
        ("native", ["block load: timeout"]),
        ("mage", ["block load: timeout", "block load: retry_config", "request: allow_blocks_to_fail"]),
    ],
)
def test_what_one_process_can_not_keep_of_single_blocks_is_said(project: Path, runtime: str, said: list[str]) -> None:
    load = {"uuid": "load", "retry_config": {"retries": 1}, "timeout": 5}
    request = {"run_pipeline_in_one_process": True, "allow_blocks_to_fail": True, "runtime": runtime}
    found = asked(project, load, request=request)
    assert [warning.path for warning in found.warnings if "has no effect" in warning.message] == said
    assert not [each for each in asked(project, load).warnings if "has no effect" in each.message]


def test_a_process_is_told_where_its_blocks_may_fail(project: Path) -> None:
    asks = {"run_pipeline_in_one_process": True, "allow_blocks_to_fail": True}
    assert "--allow-blocks-to-fail" in asked(project, {"uuid": "load"}, request=asks).pipeline.command
    asks = {"run_pipeline_in_one_process": True}
    assert "--allow-blocks-to-fail" not in asked(project, {"uuid": "load"}, request=asks).pipeline.command
