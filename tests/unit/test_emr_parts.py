"""The pure parts of `pyspark`: which cluster takes a step, what states mean, names, addresses, output, packages."""

import json
import shlex
import subprocess
import zipfile
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from runmesh.errors import Rejected, Unavailable
from runmesh.events import Cause
from runmesh.executor import LogLine, Phase, Position
from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.emr import cluster, packing, script
from runmesh.executors.amazon.emr.deciding import SETTLED, Cluster, Create, Use, Wait, decide
from runmesh.executors.amazon.emr.folder import Folder
from runmesh.executors.amazon.emr.handle import Address
from runmesh.executors.amazon.emr.naming import Mark, mark_of, step_name, stop_name
from runmesh.executors.amazon.emr.output import LONGEST_LINE, Lines
from runmesh.executors.amazon.emr.site import staging
from runmesh.executors.amazon.emr.step import arguments, job_driver, killing, outlives_its_step
from runmesh.executors.amazon.emr.verdict import Ending, Report, observed
from runmesh.executors.pyspark import Config
from tests.executors.tasks import task_of
from tests.unit.shop import Shop

OLD = SETTLED + 1


def a_cluster(number: int, state: str = "WAITING", steps: int = 0, seen: float = OLD) -> Cluster:
    return Cluster(f"j-{number}", state, steps, seen)


class TestDeciding:
    def test_without_a_cluster_one_is_created(self) -> None:
        assert decide([], most=15) == Create()

    def test_a_full_cluster_is_none(self) -> None:
        assert decide([a_cluster(1, "RUNNING", steps=15)], most=15) == Create()

    def test_one_with_room_is_used(self) -> None:
        assert decide([a_cluster(1, "RUNNING", steps=14)], most=15) == Use("j-1")

    def test_one_that_ends_is_not_used(self) -> None:
        assert decide([a_cluster(1, "TERMINATING")], most=15) == Create()

    def test_one_that_was_just_created_must_be_seen_by_all_first(self) -> None:
        assert decide([a_cluster(1, "STARTING", seen=1.0)], most=15) == Wait(SETTLED - 1.0)

    def test_one_that_has_started_does_not_wait_for_one_that_begins(self) -> None:
        found = [a_cluster(1, "STARTING", seen=0.0), a_cluster(2, "WAITING"), a_cluster(3, "STARTING", seen=0.0)]
        assert decide(found, most=15) == Use("j-2")

    def test_of_two_created_for_one_need_the_lowest_id_stays(self) -> None:
        found = [a_cluster(2, "STARTING"), a_cluster(1, "BOOTSTRAPPING")]
        assert decide(found, most=15) == Use("j-1", surplus=("j-2",))

    def test_one_that_began_since_another_was_full_stays(self) -> None:
        found = [a_cluster(1, "RUNNING", steps=14), a_cluster(2, "STARTING"), a_cluster(3, "STARTING")]
        assert decide(found, most=15) == Use("j-1", surplus=("j-3",))

    def test_one_that_has_steps_is_never_surplus(self) -> None:
        found = [a_cluster(1), a_cluster(2, "STARTING", steps=1), a_cluster(3, "RUNNING"), a_cluster(4, "WAITING")]
        assert decide(found, most=15) == Use("j-1")

    clusters = st.lists(
        st.builds(
            a_cluster,
            st.integers(1, 9),
            st.sampled_from(["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING", "TERMINATING"]),
            st.integers(0, 3),
            st.just(OLD),
        ),
        unique_by=lambda each: each.id,
    )

    @given(clusters, st.randoms(use_true_random=False))
    def test_all_workers_that_see_the_same_choose_the_same(self, found: list[Cluster], random: Any) -> None:
        shuffled = [*found]
        random.shuffle(shuffled)
        assert decide(found, most=2) == decide(shuffled, most=2)

    @given(clusters)
    def test_what_is_used_stays_and_what_goes_is_empty(self, found: list[Cluster]) -> None:
        by_id = {each.id: each for each in found}
        match decide(found, most=2):
            case Use(chosen, surplus):
                assert by_id[chosen].steps < 2
                assert chosen not in surplus
                assert not any(by_id[each].steps for each in surplus)
            case Create():
                assert all(each.steps >= 2 or each.state == "TERMINATING" for each in found)


class TestVerdict:
    @pytest.mark.parametrize(
        ("state", "phase", "cause"),
        [
            ("PENDING", Phase.PENDING, Cause.CAPACITY),
            ("RUNNING", Phase.RUNNING, None),
            ("CANCEL_PENDING", Phase.RUNNING, None),
            ("COMPLETED", Phase.SUCCEEDED, None),
            ("CANCELLED", Phase.FAILED, Cause.CANCELLED),
            ("INTERRUPTED", Phase.FAILED, Cause.INFRASTRUCTURE),
            ("FAILED", Phase.FAILED, Cause.USER),
            ("SUCCESS", Phase.SUCCEEDED, None),
            ("QUEUED", Phase.PENDING, Cause.CAPACITY),
            ("A_NEW_ONE", Phase.UNKNOWN, None),
        ],
    )
    def test_a_state_has_a_meaning(self, state: str, phase: Phase, cause: Cause | None) -> None:
        seen = observed(state)
        assert (seen.phase, seen.cause) == (phase, cause)

    def test_the_reported_exit_code_counts(self) -> None:
        seen = observed("FAILED", why="Unknown Error.", report=Report(3, ("last",)))
        assert (seen.exit_code, seen.reason, seen.log_tail) == (3, "exit code 3", ("last",))

    def test_what_the_runtime_says_is_wrong_is_the_configurations_fault(self) -> None:
        assert observed("FAILED", report=Report(2, native=True)).cause is Cause.CONFIG
        assert observed("FAILED", report=Report(2)).cause is Cause.USER

    @pytest.mark.parametrize("state", ["PENDING", "RUNNING", "CANCELLED", "FAILED"])
    def test_a_dead_cluster_takes_its_steps_along(self, state: str) -> None:
        ending = Ending("TERMINATED_WITH_ERRORS", "BOOTSTRAP_FAILURE", "bootstrap action 1 failed")
        seen = observed(state, ending=ending)
        assert (seen.phase, seen.cause) == (Phase.FAILED, Cause.INFRASTRUCTURE)
        assert seen.reason == ("the cluster is TERMINATED_WITH_ERRORS: BOOTSTRAP_FAILURE: bootstrap action 1 failed")

    def test_a_cluster_that_nobody_could_start_is_the_configurations_fault(self) -> None:
        message = "The VPC/subnet configuration was invalid: Subnet not found: subnet-1"
        seen = observed("CANCELLED", ending=Ending("TERMINATED_WITH_ERRORS", "VALIDATION_ERROR", message))
        assert (seen.cause, message in str(seen.reason)) == (Cause.CONFIG, True)
        full = Ending("TERMINATED_WITH_ERRORS", "VALIDATION_ERROR", "EC2 is out of capacity")
        assert observed("PENDING", ending=full).cause is Cause.INFRASTRUCTURE

    def test_a_step_that_came_as_its_cluster_ended_idle_has_not_failed(self) -> None:
        seen = observed("CANCELLED", ending=Ending("TERMINATING", "ALL_STEPS_COMPLETED", "Steps completed"))
        assert (seen.cause, "ALL_STEPS_COMPLETED" in str(seen.reason)) == (Cause.INFRASTRUCTURE, True)

    def test_a_step_that_failed_before_its_cluster_ended_is_the_users(self) -> None:
        ending = Ending("TERMINATED", "ALL_STEPS_COMPLETED", "Steps completed")
        assert observed("FAILED", ending=ending).cause is Cause.USER
        assert observed("FAILED", ending=Ending("TERMINATED", "INTERNAL_ERROR"), report=Report(1)).cause is Cause.USER

    def test_a_program_that_was_stopped_from_outside_did_not_fail(self) -> None:
        seen = observed("FAILED", report=Report(143, stopped=True))
        assert (seen.cause, seen.reason) == (Cause.INFRASTRUCTURE, "EMR stopped it")

    def test_a_step_that_waits_says_for_what(self) -> None:
        assert observed("PENDING", ending=Ending("STARTING")).reason == "the cluster is STARTING"


class TestNames:
    @given(st.text(max_size=300), st.text(max_size=300))
    def test_a_step_is_found_by_its_name_whatever_its_block_is_called(self, pipeline: str, block: str) -> None:
        mark = Mark.of("mesh", "default", "abc")
        task = task_of(Config(), "true", key="abc")
        name = step_name(replace(task, pipeline=pipeline, block=block), mark)
        assert mark_of(name) == mark
        assert len(name) <= 256
        assert mark_of(stop_name("s-1")) is None

    def test_a_step_of_anybody_else_is_not_ours(self) -> None:
        assert mark_of("run_mage_block_daily_load") is None

    @given(
        st.sampled_from(["lake", "a.b-c"]), st.sampled_from(["", "x/y", "é/ü"]), st.sampled_from([None, "http://h:1"])
    )
    def test_a_handle_says_all_of_an_address(self, bucket: str, prefix: str, endpoint: str | None) -> None:
        access = Access("eu-central-1", endpoint, "arn:aws:iam::1:role/r" if endpoint else None)
        address = Address(access, "j-1", "s-1", Folder(bucket, prefix))
        assert Address.of(address.handle) == address


class TestSteps:
    def test_our_runtime_runs_on_yarn_once_and_can_be_found_there(self) -> None:
        argv = arguments(task_of(Config(), "runmesh-run", "/shop", "daily"), "s3://b/step.py", "s3://b/code.zip")
        assert outlives_its_step(argv)
        assert {"spark.yarn.maxAppAttempts=1", "spark.yarn.tags=key"} <= set(argv)

    def test_a_command_block_runs_on_the_primary_node(self) -> None:
        assert not outlives_its_step(arguments(task_of(Config(), "sh", "-c", "true"), "s3://b/step.py", None))

    @pytest.mark.parametrize(
        ("theirs", "ours"),
        [("spark.yarn.maxAppAttempts=4", "1"), ("spark.yarn.submit.waitAppCompletion=false", "true")],
    )
    def test_nobodys_arguments_let_yarn_try_again_or_the_step_end_first(self, theirs: str, ours: str) -> None:
        config = Config(spark_submit_args=("--conf", theirs))
        argv = arguments(task_of(config, "runmesh-run", "/shop", "daily"), "s3://b/step.py", None)
        key = theirs.partition("=")[0]
        assert [word for word in argv if word.startswith(key)][-1] == f"{key}={ours}"

    def test_files_to_bring_along_are_added_to_ours(self) -> None:
        config = Config(
            spark_jars=("s3://b/a.jar",),
            spark_submit_args=("--py-files", "s3://b/mine.zip", "--name", "x", "--jars=s3://b/b.jar"),
        )
        argv = arguments(task_of(config, "runmesh-run", "/shop", "daily"), "s3://b/step.py", "s3://b/code.zip")
        assert argv[3:9] == [
            *("--jars", "s3://b/a.jar,s3://b/b.jar", "--py-files", "s3://b/code.zip,s3://b/mine.zip", "--name", "x")
        ]

    @given(st.lists(st.text(alphabet=" ab\"'\\$=-")))
    def test_arguments_are_one_text_for_serverless(self, words: list[str]) -> None:
        task = task_of(Config(spark_submit_args=tuple(words)), "true")
        assert (
            shlex.split(job_driver(task, "s3://b/step.py", None)["sparkSubmit"].get("sparkSubmitParameters", ""))
            == words
        )

    @pytest.mark.parametrize(("answers", "code"), [(True, 0), (False, 1)])
    def test_applications_are_killed_or_it_is_said_that_they_were_not(
        self, tmp_path: Path, *, answers: bool, code: int
    ) -> None:
        listed = 'echo "application_1_2\tstep.py\nTotal: application_1_2"' if answers else "exit 255"
        (tmp_path / "yarn").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n[ $2 = -kill ] || {listed}\n')
        (tmp_path / "yarn").chmod(0o755)
        argv = killing("stop", "abc")["HadoopJarStep"]["Args"]
        done = subprocess.run(argv, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False)
        asked = (tmp_path / "asked").read_text().splitlines()
        assert (done.returncode, asked[1:]) == (code, ["application -kill application_1_2"] if answers else [])
        assert "-appTags abc" in asked[0]

    def test_a_script_holds_its_order(self) -> None:
        text = script.program({"command": ["echo", 'it\'s "so"\n'], "code": None}).decode()
        [line] = [line for line in text.splitlines() if line.startswith("ORDER = ")]
        scope: dict[str, str] = {}
        exec(line, scope)  # noqa: S102 - it is our own
        assert json.loads(scope["ORDER"])["command"] == ["echo", 'it\'s "so"\n']


class TestNeeds:
    def test_the_same_configuration_is_the_same_need_whatever_the_tags(self) -> None:
        one, other = (self.need(Config(tags={"team": team})) for team in "ab")
        assert one == other

    def test_another_machine_or_bootstrap_script_is_another_need(self) -> None:
        found = {self.need(Config()), self.need(Config(slave_instance_count=2)), self.need(Config(), bootstrap="other")}
        assert len(found) == 3

    def need(self, config: Config, bootstrap: str = "s3://b/bootstrap") -> str:
        return cluster.need(config, log_uri="s3://b/logs", bootstrap=bootstrap)

    def test_idle_clusters_end_by_themselves(self) -> None:
        stays = cluster.run_job_flow(Config(idle_timeout=600), mesh="m", pool="p", log_uri="l", bootstrap="b")
        assert stays["AutoTerminationPolicy"] == {"IdleTimeout": 600}
        assert stays["Instances"]["KeepJobFlowAliveWhenNoSteps"] is True


class TestOutput:
    TEXT = b"one\ntwo\r\n\nf\xc3\xbcnf\nlast"

    @given(st.lists(st.integers(1, len(TEXT) - 1), unique=True), st.integers(0, 5))
    def test_lines_are_the_same_however_they_were_cut_and_read(self, cuts: list[int], read: int) -> None:
        edges = [0, *sorted(cuts), len(self.TEXT)]
        pieces = [(first, self.TEXT[first:last]) for first, last in pairwise(edges)]
        whole = said(pieces)
        assert [line.text for line in whole] == ["one", "two", "", "fünf", "last"]
        since = whole[read - 1].position if read else Position()
        later = [piece for piece in pieces if piece[0] + len(piece[1]) > since.stdout[0]]
        assert said(later, since) == whole[read:]

    def test_a_line_that_is_not_whole_waits(self) -> None:
        lines = Lines(Position())
        assert [line.text for line in lines.take(0, b"one\ntw")] == ["one"]
        assert lines.wants == 6
        assert [line.text for line in lines.take(6, b"o\n")] == ["two"]

    def test_an_overlong_line_comes_in_parts_and_keeps_little(self) -> None:
        lines = Lines(Position())
        parts = [*lines.take(0, b"x" * (2 * LONGEST_LINE + 1))]
        assert [len(part.text) for part in parts] == [LONGEST_LINE, LONGEST_LINE]
        assert [line.text for line in lines.take(lines.wants, b"y\nz")] == ["xy"]
        assert [line.position.stdout for line in lines.rest()] == [(2 * LONGEST_LINE + 4, 4)]


def said(pieces: list[tuple[int, bytes]], since: Position | None = None) -> list[LogLine]:
    lines = Lines(since or Position())
    return [*(line for start, content in pieces for line in lines.take(start, content)), *lines.rest()]


class TestPackages:
    def test_a_package_has_the_project_and_our_runtime(self, tmp_path: Path) -> None:
        shop = Shop(tmp_path)
        shop.ask()
        (shop.path / ".variables").mkdir()
        (shop.path / ".variables" / "secret").write_text("x")
        package = packing.package(shop.path)
        with zipfile.ZipFile(BytesIO(package.content())) as archive:
            names = set(archive.namelist())
        assert {"shop/metadata.yaml", "runmesh/runtime/__main__.py", "runmesh/errors.py"} <= names
        assert not [name for name in names if ".variables" in name or "pyc" in name]

    def test_it_is_named_by_its_content(self, tmp_path: Path) -> None:
        shop = Shop(tmp_path)
        shop.ask()
        one = packing.package(shop.path).name
        assert packing.package(shop.path).name == one
        (shop.path / "more.py").write_text("")
        assert packing.package(shop.path).name != one

    def test_one_that_changes_while_it_is_packed_is_packed_later(self, tmp_path: Path) -> None:
        shop = Shop(tmp_path)
        shop.ask()
        package = packing.package(shop.path)
        assert package.name
        (shop.path / "metadata.yaml").write_text("changed: since\n")
        with pytest.raises(Unavailable, match="was changed"):
            package.content()

    def test_a_project_that_the_worker_does_not_have_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Rejected, match="project_path"):
            packing.package(tmp_path / "nowhere")


class TestStaging:
    def test_the_projects_remote_variables_are_where_things_go(self, tmp_path: Path) -> None:
        shop = Shop(tmp_path)
        shop.ask(project={"remote_variables_dir": "s3://lake/shop/"})
        task = task_of(Config(), "runmesh-run", str(shop.path), "orders")
        assert staging(task, {}) == "s3://lake/shop"
        assert staging(task, {"RUNMESH_EMR_STAGING": "s3://other"}) == "s3://other"

    @pytest.mark.parametrize("remote", [None, "s3://bucket/path_prefix"])
    def test_a_project_without_is_refused(self, tmp_path: Path, remote: str | None) -> None:
        shop = Shop(tmp_path)
        shop.ask(project={"remote_variables_dir": remote} if remote else {})
        with pytest.raises(Rejected, match="remote_variables_dir"):
            staging(task_of(Config(), "runmesh-run", str(shop.path), "orders"), {})


class TestConfig:
    def test_spark_properties_may_be_numbers_and_booleans(self) -> None:
        found = Config.model_validate({"master_spark_properties": {"spark.x": 10, "spark.y": True}})
        assert found.master_spark_properties == {"spark.x": "10", "spark.y": "true"}

    @pytest.mark.parametrize("tags", [{"a": 1}, [{"Key": "a", "Value": "1"}], [{"key": "a", "value": 1}]])
    def test_tags_may_be_spelt_in_many_ways(self, tags: Any) -> None:
        assert Config.model_validate({"tags": tags}).tags == {"a": "1"}

    @pytest.mark.parametrize(
        ("config", "says"),
        [
            ({"cluster_id": "mine"}, "cluster_id"),
            ({"application_id": "00x"}, "execution_role_arn"),
            ({"application_id": "00x", "cluster_id": "j-1"}, "choose one"),
            ({"idle_timeout": 5}, "from 60"),
            ({"staging": "/shared"}, "s3://bucket/prefix"),
            ({"scaling_policy": {"minimum_capacity_units": 3}}, "minimum_capacity_units"),
            ({"region": "Frankfurt"}, "no name of a region"),
            ({"runtime": "mage"}, "can't run on EMR"),
            ({"slave_market": "spot"}, "SPOT"),
        ],
    )
    def test_what_cannot_be_is_refused_at_planning(self, config: dict[str, Any], says: str) -> None:
        with pytest.raises(ValidationError, match=says):
            Config.model_validate(config)

    def test_an_unknown_key_is_named_with_the_nearest(self, tmp_path: Path) -> None:
        project = {"emr_config": {"slave_instance_cuont": 2}}
        found = Shop(tmp_path).load(project=project, type="pyspark")
        assert "did you mean 'slave_instance_count'?" in str(found.errors)
