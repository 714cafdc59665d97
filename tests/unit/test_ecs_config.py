"""What may be said of a task on ECS, what is refused at planning, and what is asked for in the end."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unicodedata import category

import pytest
import yaml
from botocore.session import get_session
from hypothesis import given
from hypothesis import strategies as st

from runmesh.clock import clock
from runmesh.errors import Rejected
from runmesh.executor import Handle
from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.ecs.config import Config
from runmesh.executors.amazon.ecs.fargate import SIZES, wrong_memory
from runmesh.executors.amazon.ecs.fields import FIELDS
from runmesh.executors.amazon.ecs.inherit import Base
from runmesh.executors.amazon.ecs.interval import Interval
from runmesh.executors.amazon.ecs.known import Known
from runmesh.executors.amazon.ecs.naming import access_of, arn_of, handle_of, tags, token
from runmesh.executors.amazon.ecs.request import MOST_CHARACTERS, Target, overrides, run_task
from runmesh.platforms.turns import ENDED, LIVELY, SILENT, Turns
from tests.executors.tasks import task_of
from tests.unit.shop import Shop

PLACE = {"task_definition": "etl", "cluster": "prod", "subnets": ["subnet-1"]}


def problems(tmp_path: Path, **config: Any) -> list[tuple[str, str | None]]:
    found = Shop(tmp_path).load({"executor_type": "ecs", "executor_config": config})
    return [(problem.path.rpartition("executor_config.")[2], problem.hint) for problem in found.errors]


def asked(config: Config, *command: str, **environment: str) -> dict[str, Any]:
    task = task_of(config, *command, environment=environment)
    return run_task(task, Base(), Target("etl", "main"), mesh="mesh", pool="default")


@pytest.mark.parametrize(
    ("config", "path", "hint"),
    [
        ({"cpu": 300}, "cpu", "256 or 512"),
        ({"cpu": 1024}, "memory", "with cpu 1024: memory 2048; 1024 with cpu 512"),
        ({"cpu": 512, "memory": 2500}, "memory", "with cpu 512: memory 2048 or 3072"),
        ({"cpu": 256, "memory": 8192}, "memory", "with cpu 256: memory 2048; 8192 with cpu 1024"),
        ({"taks_definition": "etl"}, "taks_definition", "did you mean 'task_definition'?"),
        (
            {"overrides": {"containerOverrides": [{"name": "main", "enviroment": []}]}},
            None,
            "did you mean 'environment'?",
        ),
        ({"region": "Ireland"}, "region", None),
        ({"task_definition": {"containerDefinitions": []}}, "task_definition", None),
        ({"task_definition": {"containerDefinitions": [{"image": "x"}]}}, "task_definition", None),
        ({"task_definition": {"containerDefinitions": {"name": "x"}}}, "task_definition", None),
        (
            {"task_definition": {"containerDefinitions": [{"name": "x", "imgae": "y"}]}},
            "task_definition",
            "did you mean 'image'?",
        ),
        (
            {"task_definition": {"containerDefinitions": [{"name": "x", "secrets": [{"nam": "y"}]}]}},
            "task_definition",
            "did you mean 'name'?",
        ),
    ],
)
def test_what_ecs_would_refuse_is_refused_at_planning(
    tmp_path: Path, config: dict[str, Any], path: str | None, hint: str | None
) -> None:
    [(where, said)] = problems(tmp_path, **config)
    assert path in (where, None)
    assert said == hint


@pytest.mark.parametrize(
    "config",
    [
        {"cpu": 300, "memory": 300, "launch_type": "EC2"},
        {"cpu": "1 vCPU", "memory": "2 GB"},
        {"cpu": "1024", "memory": "2048"},
        {"capacity_provider_strategy": [{"capacity_provider": "machines"}], "cpu": 100},
        {
            "overrides": {
                "container_overrides": [{"name": "x", "memory_reservation": 5}],
                "ephemeral_storage": {"size_in_gib": 50},
            }
        },
        {"subnets": "subnet-1"},
        {"task_definition": {"network_mode": "awsvpc", "container_definitions": [{"name": "x", "docker_labels": {}}]}},
    ],
)
def test_what_ecs_takes_is_taken(tmp_path: Path, config: dict[str, Any]) -> None:
    assert problems(tmp_path, **config) == []


@given(cpu=st.sampled_from(list(SIZES)), memory=st.integers(1, 200_000))
def test_neighbours_of_a_combination_that_fargate_lacks_exist(cpu: int, memory: int) -> None:
    wrong = wrong_memory(cpu, memory)
    if wrong is None:
        assert memory in SIZES[cpu]
        return
    named = wrong[1].partition("memory ")[2].partition(";")[0]
    assert all(int(word) in SIZES[cpu] for word in named.split(" or "))


@pytest.mark.parametrize(
    "tags",
    [
        {"team": "data", "plain": None},
        [{"key": "team", "value": "data"}, "plain"],
        [{"Key": "team", "Value": "data"}, "plain"],
    ],
)
def test_tags_are_a_mapping_pairs_or_texts(tags: Any) -> None:
    assert Config(tags=tags).tags == {"team": "data", "plain": ""}


def test_names_of_fields_are_the_apis_in_either_spelling() -> None:
    one = {"overrides": {"container_overrides": [{"name": "x", "memory_reservation": 5}]}}
    other = {"overrides": {"containerOverrides": [{"name": "x", "memoryReservation": 5}]}}
    assert Config.canonical(one) == Config.canonical(other) == other


@pytest.mark.parametrize(
    "way_round",
    [{"overrides": {"memory": "99999"}}, {"network_configuration": {"awsvpcConfiguration": {"subnets": []}}}],
)
def test_a_policy_has_no_way_round(tmp_path: Path, way_round: dict[str, Any]) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(yaml.safe_dump({"executors": {"ecs": {"enforce": True, "config": {"subnets": ["subnet-9"]}}}}))
    environment = {"RUNMESH_POLICY": str(policy)}
    block = {"executor_type": "ecs", "executor_config": {**PLACE, **way_round}}
    [problem, *_] = Shop(tmp_path).load(block, environment=environment).errors
    assert "the policy forbids" in problem.message


def test_names_of_the_users_own_are_not_changed() -> None:
    theirs = {"name": "x", "docker_labels": {"memory_reservation": "y"}}
    config = {"task_definition": {"container_definitions": [theirs]}}
    [container] = Config.canonical(config)["task_definition"]["containerDefinitions"]
    assert container["dockerLabels"] == {"memory_reservation": "y"}


def test_what_a_definition_may_say_is_what_the_sdk_knows() -> None:
    shape = get_session().get_service_model("ecs").operation_model("RegisterTaskDefinition").input_shape
    theirs = dict(_fields(shape, ""))
    assert {where: set(names) for where, names in FIELDS.items()} == theirs | {"": theirs[""] - {"tags"}}


def _fields(shape: Any, where: str) -> Iterator[tuple[str, set[str]]]:
    if shape.type_name == "list":
        yield from _fields(shape.member, where)
    elif shape.type_name == "structure" and where != "tags":
        yield where, set(shape.members)
        for name, member in shape.members.items():
            yield from _fields(member, f"{where}.{name}" if where else name)


def test_what_is_overridden_is_asked_for() -> None:
    config = Config(
        **PLACE,
        gpu=1,
        launch_type="EC2",
        task_role_arn="arn:role",
        environment={"A": "2", "B": "3"},
        overrides={
            "executionRoleArn": "arn:start",
            "containerOverrides": [
                {"name": "main", "environment": [{"name": "A", "value": "1"}]},
                {"name": "sidecar", "command": ["serve"]},
            ],
        },
    )
    found = asked(config, "true", B="4")["overrides"]
    main, sidecar = found["containerOverrides"]
    variables = {each["name"]: each["value"] for each in main["environment"]}
    assert (found["taskRoleArn"], found["executionRoleArn"]) == ("arn:role", "arn:start")
    assert (variables["A"], variables["B"], variables["RUNMESH_KEY"]) == ("2", "4", "key")
    assert main["resourceRequirements"] == [{"type": "GPU", "value": "1"}]
    assert sidecar == {"name": "sidecar", "command": ["serve"]}


def test_a_strategy_takes_the_place_of_the_launch_type() -> None:
    config = Config(**PLACE, capacity_provider_strategy=[{"capacity_provider": "FARGATE_SPOT", "weight": 1}])
    found = asked(config, "true")
    assert found["capacityProviderStrategy"] == [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    assert "launchType" not in found


@given(st.integers(3000, 9000), st.sampled_from('a"ü🌊'))
def test_overrides_that_are_longer_than_ecs_takes_are_rejected(length: int, character: str) -> None:
    text = character * length
    short, long = (task_of(Config(**PLACE), "run", "--runtime-vars", each) for each in ("", text))
    fits = written(overrides(short, "main")) + written(text) - 2 <= MOST_CHARACTERS
    with nullcontext() if fits else pytest.raises(Rejected, match="the command is the longest"):
        overrides(long, "main")


def written(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


@given(st.text(max_size=99), st.text(min_size=1, max_size=99))
def test_a_token_is_legal_and_tells_meshes_and_keys_apart(mesh: str, key: str) -> None:
    found = token(mesh, key)
    assert 0 < len(found) <= 64
    assert found.isascii()
    assert token(f"{mesh}2", key) != found != token(mesh, f"{key}2")


@given(st.dictionaries(st.text(max_size=150), st.text(max_size=300), max_size=60))
def test_labels_become_tags_that_aws_takes(labels: dict[str, str]) -> None:
    task = replace(task_of(Config(**PLACE), "true"), labels={**labels, "aws:owner": "x\ty\n"})
    found = tags(task, mesh="mesh", pool="default")
    assert len(found) <= 50
    for name, value in found.items():
        assert 0 < len(name) <= 128
        assert len(value) <= 256
        assert not name.lower().startswith("aws:")
        assert not [each for each in name + value if category(each)[0] not in "LZN" and each not in "_.:/=+-@"]


@given(st.none() | st.text(min_size=1), st.none() | st.text(min_size=1))
def test_a_handle_holds_the_whole_address(endpoint: str | None, role: str | None) -> None:
    arn = "arn:aws:ecs:eu-west-1:1:task/prod/abc"
    access = Access("eu-west-1", endpoint, role)
    handle = handle_of(arn, access)
    assert (arn_of(handle), access_of(handle)) == (arn, access)


def test_what_changes_among_many_is_looked_at_soon_again() -> None:
    interval = Interval(2.0)
    for shard in range(20):
        interval.seen(changed=shard == 0, looked=100, tasks=2000)
    assert interval.seconds < 4 * 1.3 + 0.1


def test_an_interval_spares_the_account() -> None:
    interval = Interval(2.0)
    interval.seen(changed=True, looked=100, tasks=2000)
    assert 2000 / 100 / interval.seconds <= 5
    for _ in range(50):
        interval.seen(changed=False, looked=10, tasks=10)
    assert interval.seconds == 15
    interval.seen(changed=True, looked=10, tasks=10)
    assert interval.seconds == 2


def test_what_was_looked_at_in_a_quiet_time_is_not_stale_when_others_change() -> None:
    interval, handle = Interval(2.0), Handle("arn:aws:ecs:eu-west-1:1:task/prod/abc")
    for _ in range(20):
        interval.seen(changed=False, looked=10, tasks=10)
    known = Known(interval)
    known.see(handle, {"taskDefinitionArn": "etl:1", "lastStatus": "RUNNING"})
    interval.seen(changed=True, looked=10, tasks=10)
    entry = known.get(handle)
    assert entry
    assert entry.stale_at - clock() > 25


async def test_whose_task_has_ended_reads_first() -> None:
    turns, order = Turns(), []

    async def read(urgency: int) -> None:
        await turns.turn(urgency)
        order.append(urgency)

    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(read(urgency)) for urgency in (SILENT, LIVELY, ENDED, SILENT, ENDED)]
        await asyncio.sleep(0)
        async with turns.given(1000):
            await asyncio.gather(*readers)
    assert order == [ENDED, ENDED, LIVELY, SILENT, SILENT]
