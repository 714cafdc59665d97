"""`runmesh-run` as a process: exit codes, what it says, what it leaves behind, and who may run it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.eventually import eventually
from tests.integration.runtime_shop import SCRIPT, Shop, block

LOAD = """
if 'data_loader' not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if 'test' not in globals():
    from mage_ai.data_preparation.decorators import test

@data_loader
def load_data(*args, **kwargs):
    print('loading', kwargs['city'])
    return [1, 2, kwargs.get('extra', 3)]

@test
def test_output(output, *args) -> None:
    assert output == 1, 'The output is not one'
"""
TOTAL = "@transformer\ndef total(numbers, *args, **kwargs):\n    return {'total': sum(numbers)}\n"
EXPORT = "from utils.names import FILE\n@data_exporter\ndef export(data):\n    open(FILE, 'w').write(str(data))\n"
SHOP: Mapping[str, str] = {
    "data_loaders/load.py": LOAD,
    "transformers/total.py": TOTAL,
    "data_exporters/export.py": EXPORT,
    "utils/__init__.py": "",
    "utils/names.py": "FILE = 'result.txt'\n",
}


CHAIN = [
    block("load", "data_loader"),
    block("total", "transformer", "load"),
    block("export", "data_exporter", "total"),
]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.pipeline(*CHAIN)
    for name, text in SHOP.items():
        shop.write(name, text)
    return shop


def test_a_pipeline_runs_in_one_process(shop: Shop) -> None:
    done = shop.run()
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "loading Bern\n")
    assert (shop.path / "result.txt").read_text() == "{'total': 6}"


def test_blocks_of_one_run_hand_their_outputs_on_across_processes(shop: Shop) -> None:
    shared = ("--execution-partition", "3/20240101T000000", "--runtime-vars", '{"extra": 10, "city": "Rom"}')
    for uuid in ("load", "total", "export"):
        done = shop.run("--block-uuid", uuid, *shared)
        assert done.returncode == 0, done.stderr
    assert (shop.path / "result.txt").read_text() == "{'total': 13}"
    stored = shop.variables / "shop/pipelines/p/.variables/3/20240101T000000/total/output_0/data.json"
    assert json.loads(stored.read_text()) == {"total": 13}


def test_dataframes_travel_between_blocks(shop: Shop) -> None:
    shop.pipeline(block("load", "data_loader"), block("total", "transformer", "load"))
    frame = "import pandas as pd\n@data_loader\ndef a():\n    return pd.DataFrame({'n': [1, 2]})\n"
    shop.write("data_loaders/load.py", frame)
    shop.write("transformers/total.py", "@transformer\ndef a(frame):\n    print(type(frame).__name__, frame.n.sum())\n")
    assert shop.run().stdout == "DataFrame 3\n"


def test_objects_of_a_blocks_own_class_travel_to_the_next_process(shop: Shop) -> None:
    shop.pipeline(block("load", "data_loader"), block("total", "transformer", "load"))
    text = LOAD.split("@test", maxsplit=1)[0].replace("[1, 2, kwargs.get('extra', 3)]", "Row()")
    shop.write("data_loaders/load.py", f"{text}class Row:\n    n = 4\n")
    shop.write("transformers/total.py", "@transformer\ndef a(row):\n    print(row.n)\n")
    assert shop.run("--block-uuid", "load").returncode == 0
    done = shop.run("--block-uuid", "total")
    assert done.stdout == "4\n", done.stderr


def test_block_mode_always_runs_the_tests_and_pipeline_mode_only_if_asked(shop: Shop) -> None:
    shop.write("data_loaders/load.py", LOAD.replace("== 1", "== 2"))
    block_mode = shop.run("--block-uuid", "load")
    assert block_mode.returncode == 1
    assert "FAIL: test_output (block: load)" in block_mode.stdout
    assert block_mode.stderr == "runmesh-run: block 'load': 1 of 1 tests failed\n"
    assert shop.run().returncode == 0
    assert shop.run("--test").returncode == 1


def test_a_failure_shows_the_users_lines_and_none_of_ours(shop: Shop) -> None:
    shop.one("custom", "@custom\ndef f():\n    return helper()\ndef helper():\n    return 1 / 0\n")
    done = shop.run("--block-uuid", "only")
    assert done.returncode == 1
    assert f'File "{shop.path}/custom/only.py", line 5, in helper\n    return 1 / 0' in done.stderr
    assert "ZeroDivisionError: division by zero\nrunmesh-run: block 'only' failed\n" in done.stderr
    assert os.path.dirname(SCRIPT) not in done.stderr  # noqa: PTH120


@pytest.mark.parametrize("ending", ["sys.exit(0)", "sys.exit(2)", "exit()", "raise SystemExit"])
def test_a_block_that_exits_has_failed(ending: str, shop: Shop) -> None:
    shop.one("custom", f"import sys\n@custom\ndef f():\n    {ending}\n")
    assert shop.run("--block-uuid", "only").returncode == 1


def test_a_module_of_mage_that_is_missing_names_the_setting(shop: Shop) -> None:
    shop.one("custom", "from mage_ai.io.config import ConfigFileLoader\n@custom\ndef f(): pass\n")
    done = shop.run("--block-uuid", "only")
    assert done.returncode == 1
    assert "runtime: mage" in done.stderr


def test_a_value_that_cannot_be_stored_is_named(shop: Shop) -> None:
    shop.one("custom", "@custom\ndef f():\n    return 1, lambda: 2\n")
    done = shop.run("--block-uuid", "only")
    assert done.returncode == 1
    assert done.stderr.startswith("runmesh-run: block 'only': output_1 (function) can't be stored: ")


@pytest.mark.parametrize(
    ("blocks", "more", "message"),
    [
        ([block("only", "data_loader", language="sql")], {}, "can't run a sql data_loader block (set `runtime: mage`"),
        ([block("only", "dbt", language="yaml")], {}, "block only: the native runtime can't run a yaml dbt block"),
        ([block("only", "markdown", language="markdown")], {}, "can't run a markdown markdown block"),
        ([block("only", "custom", "up"), block("up", "custom", configuration={"dynamic": True})], {}, "child it is"),
        ([block("only", "custom")], {"type": "streaming"}, "streaming pipelines"),
        ([block("only", "custom"), block("ONLY", "custom")], {}, "outputs would be those of block ONLY"),
        ([block("only", "custom", "nobody")], {}, "there is no block 'nobody'"),
        ([block("only", "custom")], {}, "there is no file"),
        ([block("onyl", "custom")], {}, "no block 'only' (did you mean 'onyl'?)"),
    ],
)
def test_what_cannot_run_here_is_one_line_and_exit_2(
    blocks: list[dict[str, Any]], more: dict[str, Any], message: str, shop: Shop
) -> None:
    shop.pipeline(*blocks, **more)
    done = shop.run("--block-uuid", "only")
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_charts_and_notes_are_left_out_of_a_pipeline(shop: Shop) -> None:
    shop.pipeline(*CHAIN, block("notes", "markdown", language="markdown"), block("try", "scratchpad"))
    assert shop.run().returncode == 0


def test_nothing_runs_if_a_later_block_cannot(shop: Shop) -> None:
    shop.pipeline(*CHAIN, block("query", "transformer", "load", language="sql"))
    done = shop.run()
    assert (done.returncode, done.stdout) == (2, "")


def test_a_missing_project_pipeline_or_flag_is_exit_2(shop: Shop) -> None:
    assert shop.run(pipeline="q").returncode == 2
    assert shop.run("--nonsense").returncode == 2
    (shop.path / "metadata.yaml").unlink()
    assert shop.run().returncode == 2
    shop.path.rename(shop.path.with_name("gone"))
    assert shop.run().stderr == f"runmesh-run: PROJECT_PATH: there is no directory {shop.path}\n"


def test_help_shows_the_flags() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True)
    assert "--execution-partition P" in done.stdout


def test_a_block_whose_upstream_never_ran_says_so(shop: Shop) -> None:
    done = shop.run("--block-uuid", "total", "--execution-partition", "x")
    assert done.returncode == 2
    assert "upstream block load: it has no outputs at" in done.stderr


def test_the_outcome_says_what_happened(shop: Shop) -> None:
    shop.run("--block-uuid", "load", "--run", "r1", "--key", "k1", "--revision", "other")
    found = shop.outcome("r1/k1")
    assert found["exit_code"] == 0
    assert [output["type"] for output in found["outputs"]] == ["int"] * 3
    assert found["tests"] == {"passed": 1, "failed": 0}
    assert "planned with other" in found["warnings"][0]


def test_the_outcome_of_a_failure_is_left_too(shop: Shop) -> None:
    shop.one("custom", "@custom\ndef f():\n    raise ValueError\n")
    shop.run("--block-uuid", "only", "--run", "r1", "--key", "k2")
    assert shop.outcome("r1/k2")["exit_code"] == 1


def test_why_it_failed_is_left_in_one_line_where_the_platform_looks(shop: Shop, tmp_path: Path) -> None:
    words = tmp_path / "termination-log"
    shop.one("custom", "@custom\ndef f():\n    raise ValueError('no such\\norder')")
    assert shop.run("--block-uuid", "only", RUNMESH_TERMINATION_LOG=str(words)).returncode == 1
    assert words.read_text().endswith("ValueError: no such order")
    assert shop.run(pipeline="missing", RUNMESH_TERMINATION_LOG=str(words)).returncode == 2
    assert "missing" in words.read_text()
    words.unlink()
    shop.one("custom", "@custom\ndef f():\n    return 1")
    assert shop.run("--block-uuid", "only", RUNMESH_TERMINATION_LOG=str(words)).returncode == 0
    assert not words.exists()


def test_last_words_that_cannot_be_written_change_nothing(shop: Shop) -> None:
    assert shop.run(pipeline="missing", RUNMESH_TERMINATION_LOG="/nowhere/at/all").returncode == 2


def test_an_inline_pipeline_needs_no_document_of_the_project(shop: Shop) -> None:
    content = "@custom\ndef f(**kw):\n    print('inline', kw['pipeline_uuid'])\n    raise KeyError('here')\n"
    document = {"uuid": "made", "name": "made", "type": "python", "blocks": [block("only", "custom", content=content)]}
    done = shop.run("--pipeline-document", json.dumps(document), "--block-uuid", "only", pipeline="made")
    assert done.stdout == "inline made\n"
    assert "raise KeyError('here')" in done.stderr


def test_a_remote_variables_directory_beats_the_local_one(shop: Shop, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    shop.write("metadata.yaml", f"variables_dir: {shop.variables}\nremote_variables_dir: local://{remote}\n")
    done = [shop.run("--block-uuid", uuid, "--run", "r", "--key", uuid) for uuid in ("load", "total")]
    assert [process.returncode for process in done] == [0, 0], done[1].stderr
    assert (remote / "pipelines/p/.variables/total/output_0/data.json").read_text() == '{"total": 6}'
    assert (remote / ".runmesh/r/total.json").exists()
    assert not shop.variables.exists()


def test_mage_data_dir_beats_the_projects_setting(shop: Shop, tmp_path: Path) -> None:
    shop.run("--block-uuid", "load", MAGE_DATA_DIR=str(tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere/shop/pipelines/p/.variables/load/output_0").is_dir()


def test_a_block_finds_itself_its_project_and_its_siblings(shop: Shop) -> None:
    text = """
import os, sys
from shop.utils.names import FILE as by_project
from utils.names import FILE as by_folder
@custom
def f(**kw):
    print(by_project == by_folder, os.getcwd() == kw['repo_path'], os.path.basename(__file__), __name__)
    print(any('site-packages' in p or p.endswith('runtime') for p in sys.path if not p.startswith(sys.prefix)))
"""
    shop.one("custom", text)
    done = shop.run("--block-uuid", "only")
    assert done.stdout.splitlines() == ["True True only.py shop.custom.only", "False"], done.stderr


def test_a_sensor_waits_and_can_be_skipped(shop: Shop) -> None:
    text = "import os\n@sensor\ndef f():\n    found = os.path.exists('flag')\n    open('flag', 'w').close()\n"
    shop.one("sensor", f"{text}    return found\n")
    done = shop.run("--block-uuid", "only", "--sensor-interval", "0")
    assert (done.returncode, done.stdout.count("not ready")) == (0, 1)
    shop.one("sensor", "@sensor\ndef f(): return False\n")
    assert shop.run("--block-uuid", "only", "--skip-sensors").returncode == 0


def test_a_block_below_a_sensor_gets_nothing_from_it(shop: Shop) -> None:
    shop.pipeline(block("wait", "sensor"), block("only", "custom", "wait"))
    shop.write("sensors/wait.py", "@sensor\ndef f(): return True\n")
    shop.write("custom/only.py", "@custom\ndef f(x):\n    print(x)\n")
    assert shop.run().stdout == "[]\n"


async def test_prints_arrive_while_the_block_runs_and_sigterm_ends_it(shop: Shop, tmp_path: Path) -> None:
    shop.one("custom", "import time\n@custom\ndef f():\n    print('started')\n    time.sleep(600)\n")
    log = tmp_path / "log"
    command = [sys.executable, SCRIPT, str(shop.path), "p", "--block-uuid", "only"]
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(*command, stdout=stream, stderr=stream, env=shop.environment())
    try:
        await eventually(lambda: log.read_text() == "started\n")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await process.wait() == -signal.SIGTERM
        assert log.read_text() == "started\n"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_odd_characters_are_printed_whatever_the_locale(shop: Shop) -> None:
    shop.one("custom", "@custom\ndef f():\n    print('\\ud800 ü')\n")
    assert shop.run("--block-uuid", "only", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii").returncode == 0


def test_an_interpreter_without_yaml_is_told_what_to_install(shop: Shop, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    command = [str(tmp_path / "bare/bin/python"), SCRIPT, str(shop.path), "p"]
    done = subprocess.run(command, capture_output=True, text=True, env=shop.environment(), check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("runmesh-run: yaml is missing in this interpreter (install it: ")
    assert done.stderr.count("\n") == 1


def test_an_interpreter_without_runmesh_runs_it_with_its_own_packages(shop: Shop, tmp_path: Path) -> None:
    venv.create(tmp_path / "foreign", with_pip=False, symlinks=True)
    packages = next((tmp_path / "foreign").glob("lib/python*/site-packages"))
    (packages / "yaml").symlink_to(Path(yaml.__file__).parent)
    text = "from importlib.util import find_spec as f\n@custom\ndef look():\n    print(f('pandas'), f('nats'))\n"
    shop.one("custom", text)
    command = [str(tmp_path / "foreign/bin/python"), SCRIPT, str(shop.path), "p", "--block-uuid", "only"]
    done = subprocess.run(command, capture_output=True, text=True, env=shop.environment(), check=False)
    assert (done.returncode, done.stdout) == (0, "None None\n"), done.stderr


def test_a_block_without_dataframes_imports_nothing_heavy(shop: Shop) -> None:
    heavy = {"pandas", "polars", "pyarrow", "numpy", "fsspec", "jinja2", "asyncio", "argparse", "logging", "pydantic"}
    text = f"import sys\n@custom\ndef f(*args, **kw):\n    print({heavy} & set(sys.modules))\n    return {{'a': 1}}\n"
    shop.one("custom", text)
    assert shop.run("--block-uuid", "only").stdout == "set()\n"
