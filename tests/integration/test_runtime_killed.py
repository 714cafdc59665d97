"""A whole pipeline whose process is killed: who is called back afterwards, by `--callbacks` without a block."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.integration.runtime_shop import SCRIPT, Shop, block

NAMED = ("--run", "r", "--key", "k")
WAITS = "open('{0}', 'w').close(); import time; time.sleep(600)"
TELLS = """
@callback('success')
def won(*args, **kwargs):
    print('success', kwargs['parent_block_uuid'], flush=True)
    open('told', 'w').close()
@callback('failure')
def lost(**kwargs):
    print('failure', kwargs['parent_block_uuid'], kwargs.get('dynamic_block_index'), kwargs['__error'])
@callback('cancelled')
def stopped(**kwargs):
    print('cancelled', kwargs['parent_block_uuid'])
"""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A block that is done, beside it one that waits, and one below that; all with callbacks."""
    shop = Shop(tmp_path)
    blocks = (block("done", "custom"), block("waits", "custom", "done"), block("below", "custom", "waits"))
    shop.pipeline(*blocks, callbacks=[block("tell", "callback", "done", "waits", "below")])
    custom(shop, "done", "return 1")
    custom(shop, "waits", WAITS.format("waiting"))
    custom(shop, "below", "return 1")
    shop.write("callbacks/tell.py", TELLS)
    return shop


def custom(shop: Shop, name: str, body: str) -> None:
    shop.write(f"custom/{name}.py", f"@custom\ndef f(*args, **kwargs):\n    {body}\n")


async def kill(shop: Shop, *files: str, flags: tuple[str, ...] = ()) -> str:
    """Run the pipeline until these files are there, kill it, and return what it wrote."""
    command = [sys.executable, SCRIPT, str(shop.path), "p", *NAMED, *flags]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, env=shop.environment())
    try:
        await eventually(lambda: all((shop.path / name).exists() for name in files))
    finally:
        process.kill()
        out, _ = await process.communicate()
    return out.decode()


def called(shop: Shop, status: str = "failure") -> list[str]:
    done = shop.run("--run", "r", "--key", "c", "--callbacks", status, "--error", "node lost")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("status", "expected"), [("failure", ["failure waits None node lost"]), ("cancelled", ["cancelled waits"])]
)
async def test_what_had_begun_is_called_back_once_and_nothing_else(
    shop: Shop, status: str, expected: list[str]
) -> None:
    assert await kill(shop, "waiting") == "success done\n"
    assert called(shop, status) == expected
    assert called(shop, status) == [], "a task that is lost itself is run again"


async def test_what_ran_beside_each_other_and_children_are_called_back(shop: Shop) -> None:
    blocks = (block("items", "custom", configuration={"dynamic": True}), block("waits", "custom", "items"))
    shop.pipeline(*blocks, callbacks=[block("tell", "callback", "waits")])
    custom(shop, "items", "return [[0, 1, 2]]")
    custom(shop, "waits", "import time; open(f'child{args[0]}', 'w').close(); time.sleep(args[0] != 1 and 600)")
    assert await kill(shop, "child0", "child2", "told", flags=("--concurrency", "3")) == "success waits\n"
    assert sorted(called(shop)) == ["failure waits 0 node lost", "failure waits 2 node lost"]


async def test_a_callback_in_whose_middle_the_process_died_is_not_called_again(shop: Shop) -> None:
    shop.write("callbacks/tell.py", f"@callback('failure')\ndef f(**kwargs):\n    {WAITS.format('calling')}\n")
    custom(shop, "waits", "raise ValueError('no stock')")
    await kill(shop, "calling")
    shop.write("callbacks/tell.py", TELLS)
    assert called(shop) == []


async def test_what_one_attempt_had_begun_and_no_other_has_run_is_called_back(shop: Shop) -> None:
    await kill(shop, "waiting", flags=("--retries", "2"))
    custom(shop, "done", WAITS.format("again"))
    assert await kill(shop, "again", flags=("--retries", "2", "--attempt", "2")) == ""
    assert called(shop) == ["failure waits None node lost", "failure done None node lost"]


async def test_what_another_attempt_has_run_is_not_called_back(shop: Shop) -> None:
    await kill(shop, "waiting", flags=("--retries", "1"))
    custom(shop, "waits", "return 1")
    again = shop.run(*NAMED, "--retries", "1", "--attempt", "2")
    assert (again.returncode, again.stdout) == (0, "success done\nsuccess waits\nsuccess below\n")
    assert called(shop) == []


def test_a_failure_that_is_not_tried_again_after_all_is_called_back(shop: Shop) -> None:
    custom(shop, "waits", "raise ValueError('no stock')")
    assert shop.run(*NAMED, "--retries", "1").stdout == "success done\n"
    assert shop.outcome("r/k")["callbacks"] == []
    assert called(shop) == ["failure waits None node lost"]


def test_a_process_that_called_back_itself_says_so(shop: Shop) -> None:
    custom(shop, "waits", "raise ValueError('no stock')")
    assert shop.run(*NAMED).stdout == "success done\nfailure waits None no stock\n"
    assert shop.outcome("r/k")["callbacks"] == ["failure"]
    assert called(shop) == []


def test_a_block_that_its_conditions_left_out_is_not_called_back(shop: Shop) -> None:
    conditionals = [block("when", "conditional", "done")]
    shop.pipeline(block("done", "custom"), callbacks=[block("tell", "callback", "done")], conditionals=conditionals)
    shop.write("conditionals/when.py", "@condition\ndef f(**kwargs): return False\n")
    assert shop.run(*NAMED).returncode == 0
    assert called(shop) == []


def test_a_process_that_never_began_anything_calls_nobody_back(shop: Shop) -> None:
    done = shop.run("--run", "r", "--key", "c", "--callbacks", "failure")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no block with callbacks was running: nobody is called back" in done.stderr


def test_notes_that_cannot_be_read_are_an_error_and_call_nobody_back(shop: Shop) -> None:
    notes = shop.variables / "shop/.runmesh/r/_pipeline.json"
    notes.parent.mkdir(parents=True)
    notes.write_text("{")
    done = shop.run("--run", "r", "--key", "c", "--callbacks", "failure")
    assert (done.returncode, done.stdout) == (1, "")
    assert str(notes) in shop.outcome("r/c")["error"]
