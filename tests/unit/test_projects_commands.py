"""Command blocks as documents say them: what is taken as it is written, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from runmesh.errors import Invalid
from runmesh.projects import Block, Project, Templates, load_pipeline

NOWHERE = Project("cron", Path("/nowhere"), {}, Templates({}))


def read(**block: Any) -> Block:
    """Read a pipeline of one command block."""
    document = {"blocks": [{"uuid": "load", "command": ["true"], **block}]}
    return load_pipeline(NOWHERE, document).blocks["load"]


def told(**block: Any) -> str:
    """Return what is wrong with a command block, as a person reads it."""
    with pytest.raises(Invalid) as refused:
        read(**block)
    return "\n".join(str(problem).removeprefix("pipeline: blocks[0].") for problem in refused.value.problems)


def test_a_block_with_a_command_needs_no_type() -> None:
    assert read().type == read(type="command").type == "command"


def test_a_block_of_another_type_has_no_command() -> None:
    assert told(type="custom") == "type: must be 'command' where there is a command (or leave it out)"


def test_arguments_stay_as_they_are_written() -> None:
    argv = ["/bin/echo", "", "a  b", "'$HOME' \"", "{{ env_var('X') }}", "--run", "{run}", "naïve 🌊", "\n"]
    assert read(command=argv).command == tuple(argv)


def test_image_and_environment_are_kept() -> None:
    block = read(image="alpine:3", environment={"DAY": "1", "a.b": ""}, timeout=5, retry_config={"retries": 1})
    assert (block.image, block.environment) == ("alpine:3", {"DAY": "1", "a.b": ""})
    assert (block.timeout, block.retry_config) == (5, {"retries": 1})


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            "python etl.py --day 'a b'",
            'must be a list of arguments, not text (write command: ["python", "etl.py", "--day", "a b"])',
        ),
        ("a | b", 'must be a list of arguments, not text (write command: ["sh", "-c", "a | b"])'),
        ("echo 'open", 'must be a list of arguments, not text (write command: ["sh", "-c", "echo \'open"])'),
        ({"a": 1}, 'must be a list of arguments, not a mapping (write command: ["python", "etl.py"])'),
        ([], "is empty (its first item is the program)"),
    ],
)
def test_what_is_no_list_of_arguments_is_refused(command: object, expected: str) -> None:
    assert told(command=command) == f"command: {expected}"


def test_a_command_block_without_a_command_is_refused() -> None:
    assert told(type="command", command=None).startswith("command: must be a list of arguments, not empty")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ([""], "command[0]: is empty (it is the program)"),
        (["a", "b\0"], "command[1]: holds a NUL"),
        (["a", "\ud800"], "command[1]: holds half a character"),
        (["sleep", 5], 'command[1]: must be text, not a number (in quotes: "5")'),
        (["a", ["b"]], "command[1]: must be text, not a list"),
        (["a", "é" * 60_000], "command[1]: takes 120 KB: more than the 100 KB that it may (store what is large"),
    ],
)
def test_an_argument_that_no_system_takes_is_refused(command: object, expected: str) -> None:
    assert told(command=command).startswith(expected)


def test_an_argument_of_100_kb_is_taken() -> None:
    assert read(command=["a", "x" * 100_000]).command[1] == "x" * 100_000


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (["A=1"], "environment: must be a mapping, not a list"),
        ({"A": 1}, 'environment.A: must be text, not a number (in quotes: "1")'),
        ({"A": None}, "environment.A: must be text, not empty"),
        ({"A": "x\0"}, "environment.A: holds a NUL"),
        ({"": "x"}, "environment: '' is no name of a variable"),
        ({"A=B": "x"}, "environment: 'A=B' is no name of a variable"),
        ({"A\0": "x"}, "environment: 'A\\x00' is no name of a variable"),
        ({"RUNMESH_RUN": "x"}, "environment: 'RUNMESH_RUN' begins with RUNMESH_, as only the mesh's own do"),
        ({f"V{n}": "x" * 1000 for n in range(1000)}, "environment: takes 1,005 KB: more than the 100 KB that it may"),
        ({"V": "x" * 1_000_000}, "environment.V: takes 1,000 KB: more than the 100 KB that it may"),
    ],
)
def test_an_environment_that_no_system_takes_is_refused(environment: object, expected: str) -> None:
    assert told(environment=environment).startswith(expected)


def test_all_that_is_wrong_is_told_at_once() -> None:
    wrong = told(command=["", 1], environment={"A=": "1", "B": 2}, image=[], timeout="soon")
    assert [line.split(":")[0] for line in wrong.splitlines()] == [
        *("command[0]", "command[1]", "image", "environment", "environment.B", "timeout"),
    ]
