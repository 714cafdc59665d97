"""The command line without a mesh: help, usage, exit codes, small parts."""

import os
import subprocess
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from runmesh import __version__, local
from runmesh.cli import COMMANDS, _load, call
from runmesh.cli.children import Child
from runmesh.cli.doctor import disk, python, skew
from runmesh.cli.exits import exit_code
from runmesh.cli.output import duration, size, table
from runmesh.cli.runs import _span
from runmesh.errors import Conflict, Invalid, NotProvisioned, Problem, StreamFull, Unreachable
from runmesh.settings import load


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No mesh runs here, and no server listens where one is looked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNMESH_NATS_URL", "nats://127.0.0.1:9")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says_and_explains_itself(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _load(name).name == name
    assert call([name, "--help"]) == 0
    assert "Usage: runmesh" in capsys.readouterr().out


def test_help_is_as_wide_as_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    assert call(["explain", "--help"]) == 0
    assert "would reject the request. A value that Mage would answer otherwise is marked." in capsys.readouterr().out


def test_help_names_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert all(f" {name} " in text for name in COMMANDS)
    assert "130 interrupted" in text


def test_help_loads_nothing_of_the_mesh() -> None:
    program = "import sys; from runmesh.cli import call; call(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
    assert not [name for name in ("pydantic", "nats", "structlog", "jinja2", "yaml") if f"'{name}'" in loaded]


def test_a_locale_without_our_glyphs_shows_the_rest(tmp_path: Path) -> None:
    (tmp_path / "metadata.yaml").touch()
    (tmp_path / "pipelines" / "orders").mkdir(parents=True)
    (tmp_path / "pipelines" / "orders" / "metadata.yaml").touch()
    done = subprocess.run(
        [sys.executable, "-m", "runmesh", "explain", "order"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "there is no pipeline 'order'  ? did you mean 'orders'?" in done.stdout


def test_a_table_on_a_narrow_terminal_names_its_rows_whole() -> None:
    made = table("run", "state", "project", "pipeline", "took", "began")
    made.add_row("01JB0000000000000000000000", "completed", "shop", "orders", "8.2 s", "1 min ago")
    console = Console(file=StringIO(), width=40)
    console.print(made)
    assert "01JB0000000000000000000000 " in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_module_is_the_command_line_too() -> None:
    done = subprocess.run([sys.executable, "-m", "runmesh", "nonsense"], capture_output=True, text=True, check=False)
    assert done.returncode == 2


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["--version"]) == 0
    assert capsys.readouterr().out == f"runmesh {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sbmit"], "Did you mean 'submit'?"),
        (["show"], "Missing argument"),
        (["runs", "--since", "soon"], "--since: 'soon' is no length of time (such as 90s, 30m, 24h or 7d)"),
        (["runs", "--state", "complete"], "--state: 'complete' is no state of a run (did you mean 'completed'?)"),
        (["submit", "p", "--var", "day"], "--var: 'day' has no value (write --var day=value)"),
        (["submit", "p", "--upstream"], "--upstream/--downstream: of which block? (name it with --block)"),
        (["submit", "p"], "--project: say which project is meant"),
        (["validate"], "PROJECT: say which project is meant"),
        (["executor", "local_pyton"], "TYPE: there is no executor for 'local_pyton' (did you mean 'local_python'?)"),
        (["up", "."], "PROJECT_DIR: . is no project, and holds none"),
        (["explain", "a", "b", "c"], "arguments: too many"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_to_write(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert not captured.out


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RUNMESH_SLOTS", "many")
    assert call(["workers"]) == 2
    assert "RUNMESH_SLOTS" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["runs"], ["dead", "list"]])
def test_without_a_server_a_command_exits_4(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command) == 4
    text = capsys.readouterr().err
    assert "runmesh up" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            Invalid(Problem("a", "wrong", "right"), Problem("b", "odd")),
            2,
            "runmesh: a: wrong (right)\nrunmesh: b: odd\n",
        ),
        (NotProvisioned("no stream FACTS"), 1, "runmesh: no stream FACTS (run `runmesh provision`)\n"),
        (ExceptionGroup("tasks", [Conflict("x"), ExceptionGroup("more", [Conflict("x")])]), 1, "runmesh: x\n"),
        (
            ExceptionGroup("tasks", [Conflict("x"), Unreachable("away `runmesh up`")]),
            4,
            "runmesh: x\nrunmesh: away `runmesh up`\n",
        ),
        (StreamFull("REQUESTS is full"), 1, "try again later"),
        (ValueError("odd\nlines"), 1, "runmesh: ValueError: odd lines (RUNMESH_LOG_LEVEL=debug shows where)\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_is_one_line_and_a_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(error) == code
    assert said in capsys.readouterr().err


def test_a_traceback_is_shown_only_to_who_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNMESH_LOG_LEVEL", "debug")
    exit_code(ValueError("odd"))
    assert "ValueError: odd\nrunmesh:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.844, "0.84 s"), (12.44, "12.4 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (273600, "3 d 4 h")],
)
def test_durations_are_readable(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_sizes_are_readable() -> None:
    assert [size(n) for n in (999, 1500, 84_700_000_000, 2e15)] == ["999 B", "1.5 KB", "84.7 GB", "2000.0 TB"]


def test_since_takes_seconds_minutes_hours_and_days() -> None:
    assert [_span(text) for text in ("90s", "30m", "24h", "7d")] == [
        timedelta(seconds=90),
        timedelta(minutes=30),
        timedelta(days=1),
        timedelta(days=7),
    ]


def test_the_doctor_judges_what_it_sees() -> None:
    assert [python((3, 10)).verdict, python((3, 12)).verdict] == ["fail", "ok"]
    assert [disk(10).verdict, disk(10**12).verdict] == ["warn", "ok"]
    assert [skew(-30).verdict, skew(0.1).verdict, skew(0).verdict] == ["warn", "ok", "ok"]
    assert [skew(-30).what, skew(0.1).what] == ["30.0 s behind the server's", "0.1 s ahead of the server's"]


def test_the_doctor_fails_without_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["doctor"]) == 1
    assert (
        "✗ connection    no NATS server at nats://127.0.0.1:9: [Errno 111] Connect call failed"
        in capsys.readouterr().out
    )


# --- the mesh on this machine ------------------------------------------------------------------------


def announced(directory: Path, pid: int, project: str | None = "shop") -> local.LocalMesh:
    return local.LocalMesh("nats://127.0.0.1:1", "secret", pid, 10, str(directory), project)


def test_the_mesh_that_runs_here_is_found_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local.announced(announced(tmp_path, os.getpid()), tmp_path) as path:
        assert path.stat().st_mode & 0o777 == 0o600
        named = load(state_dir=tmp_path)
        assert local.located(named) is named
        monkeypatch.delenv("RUNMESH_NATS_URL")
        found = local.located(load(state_dir=tmp_path))
        assert (found.nats_url, found.nats_token, found.projects_dir) == ("nats://127.0.0.1:1", "secret", tmp_path)
        assert found.ack_wait == 10
    assert local.find(load(state_dir=tmp_path)) is None


def test_what_a_killed_mesh_left_behind_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNMESH_NATS_URL")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with local.announced(announced(tmp_path, gone.pid), tmp_path):
        assert local.find(load(state_dir=tmp_path)) is None


def test_an_unreadable_file_is_no_mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNMESH_NATS_URL")
    for content in ("{", "[]", '{"url": 1}', "null"):
        (tmp_path / local.FILE).write_text(content)
        assert local.find(load(state_dir=tmp_path)) is None


# --- children ------------------------------------------------------------------------------------------


async def test_a_child_that_was_stopped_before_it_started_ends() -> None:
    child = Child("service", ("--help",), {})
    child.stop()
    await child.run()
