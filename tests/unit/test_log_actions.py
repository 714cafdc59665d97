"""Every line that the services log names the action that it is about, in so many words."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import runmesh

PACKAGE = Path(runmesh.__file__).parent
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def lines(module: Path) -> Iterator[ast.Call]:
    """Yield what a module logs."""
    for node in ast.walk(ast.parse(module.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("log"), attr=level)) if level in LEVELS:
                yield node


def names_action(line: ast.Call) -> bool:
    """By structlog, or as `bus` does, which is a library for other programs, too."""
    return bool({"action", "extra"} & {each.arg for each in line.keywords})


def test_every_line_names_its_action() -> None:
    logged = [(module, line) for module in PACKAGE.rglob("*.py") for line in lines(module)]
    assert [f"{module}:{line.lineno}" for module, line in logged if not names_action(line)] == []
    assert len(logged) > 50


def test_a_librarys_line_is_about_the_library_unless_it_says_more() -> None:
    said = written_by("""
import logging
from runmesh.logs import configure
from runmesh.settings import Settings
configure("resolver", Settings(log_format="json"))
logging.getLogger("aiohttp.client").warning("Unclosed client session")
logging.getLogger("runmesh.bus.link").warning("connection to NATS lost", extra={"action": "connect"})
""")
    assert [json.loads(line)["action"] for line in said] == ["aiohttp.client", "connect"]


def test_a_hostile_task_gets_its_lines_and_shows_no_secret() -> None:
    told, refused, many = written_by("""
import json
import structlog
from runmesh import logs
from runmesh.events import ExecuteTask
from runmesh.settings import Settings

class Unspeakable:
    def __repr__(self):
        raise ValueError

logs.configure("executor ecs", Settings(log_format="json"))
log = structlog.get_logger("runmesh.worker")
task = ExecuteTask.model_construct(
    run="r1", block="load", attempt=1, executor_type="ecs", command=(), labels={},
    environment={"X": "[" * 200_000, "API_TOKEN": "hush-hush-1"}, config={"secrets": {"DB_PASSWORD": "database-login"}},
)
with logs.task_lines():
    logs.about(task)
    log.warning("no database-login for hush-hush-1", action="submit")
    log.warning("hush-hush-1", action="submit", error=Unspeakable())
    task.environment["TOKENS"] = json.dumps([f"hush-hush-{number}" for number in range(100_000)])
    log.warning("no answer for hush-hush-99999", action="submit")
""")
    assert json.loads(told)["event"] == "no database-login for ***"
    assert refused == "runmesh: a line of runmesh.worker can't be written: ValueError"
    shown = {name: value for name, value in json.loads(many).items() if value != "***"}
    assert shown.keys() == {"action", "level", "timestamp", "service", "executor", "run", "attempt"}


def written_by(program: str) -> list[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stderr.splitlines()
