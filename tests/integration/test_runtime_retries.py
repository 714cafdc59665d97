"""Blocks of a whole pipeline that fail: tried again in its process by their own rules, and those that may fail."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.integration.runtime_shop import SCRIPT, Shop, block

NAMED = ("--run", "r", "--key", "k")
TELLS = """
@callback('success')
def won(*args, **kwargs): print('success', kwargs['parent_block_uuid'], args)
@callback('failure')
def lost(**kwargs): print('failure', kwargs['parent_block_uuid'], kwargs['__error'], kwargs['retry']['attempts'])
"""
FAILS = "n = kwargs['retry']['attempts']; print(kwargs['block_uuid'], n); assert n > {0}, n; return n"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def custom(shop: Shop, name: str, body: str) -> None:
    shop.write(f"custom/{name}.py", f"@custom\ndef f(*args, **kwargs):\n    {body}\n")


def retried(name: str, *upstream: str, retries: int = 2, delay: float = 0) -> dict[str, object]:
    return block(name, "custom", *upstream, retry_config={"retries": retries, "delay": delay, "max_delay": 600})


def test_a_block_is_tried_again_by_its_own_rules_and_nothing_else_is(shop: Shop) -> None:
    callbacks, conditionals = [block("tell", "callback", "b")], [block("when", "conditional", "b")]
    blocks = (block("a", "custom"), retried("b", "a", delay=0.01), block("c", "custom", "b"))
    shop.pipeline(*blocks, callbacks=callbacks, conditionals=conditionals)
    custom(shop, "a", "print('a')")
    custom(shop, "b", FAILS.format(2))
    custom(shop, "c", "print('c', args)")
    shop.write("conditionals/when.py", "@condition\ndef f(*args, **kwargs):\n    print('asked')\n    return True\n")
    shop.write("callbacks/tell.py", TELLS)
    done = shop.run(*NAMED)
    assert done.stdout.splitlines() == ["a", "asked", "b 1", "b 2", "b 3", "success b (3,)", "c (3,)"]
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if " try " in line]
    assert said == [f"runmesh-run: block 'b': try {n} of 3 in {wait} s" for n, wait in ((2, 0.01), (3, 0.02))]
    outcome = shop.outcome("r/k")
    assert (outcome["blocks"], outcome.get("error")) == (dict.fromkeys("abc", "completed"), None)


def test_after_the_last_try_the_block_has_failed_and_calls_back_once(shop: Shop) -> None:
    shop.pipeline(retried("a"), callbacks=[block("tell", "callback", "a")])
    custom(shop, "a", FAILS.format(9))
    shop.write("callbacks/tell.py", TELLS)
    done = shop.run(*NAMED)
    assert (done.returncode, done.stdout.splitlines()) == (1, ["a 1", "a 2", "a 3", "failure a 3 3"])
    assert (shop.outcome("r/k")["blocks"], shop.outcome("r/k")["callbacks"]) == ({"a": "failed"}, ["failure"])
    done = shop.run(*NAMED, "--retries", "1")
    assert done.stdout.splitlines() == ["a 1", "a 2", "a 3"], "the process is tried again, which is the pipeline's"


def test_a_mistake_is_not_tried_again(shop: Shop) -> None:
    shop.pipeline(retried("a"), callbacks=[block("tell", "callback", "a")])
    shop.write("custom/a.py", "@custom\ndef f(x): print('never')\n")
    shop.write("callbacks/tell.py", "@callback('failure')\ndef lost(**kwargs): print('called')\n")
    done = shop.run(*NAMED)
    assert (done.returncode, done.stdout) == (2, "called\n")
    assert " try " not in done.stderr


def test_a_block_whose_test_fails_is_tried_again(shop: Shop) -> None:
    shop.pipeline(retried("a"))
    text = "@custom\ndef f(**kwargs): return kwargs['retry']['attempts']\n@test\ndef t(n): assert n == 2\n"
    shop.write("custom/a.py", text)
    assert shop.run(*NAMED).returncode == 0
    assert shop.outcome("r/k")["tests"] == {"passed": 1, "failed": 0}


def test_while_a_block_waits_for_its_next_try_others_have_its_place(shop: Shop) -> None:
    shop.pipeline(retried("a", delay=1), block("b", "custom"), block("c", "custom", "b"))
    custom(shop, "a", FAILS.format(1))
    for name in "bc":
        custom(shop, name, f"print('{name}')")
    done = shop.run("--concurrency", "1")
    assert (done.returncode, done.stdout.splitlines()) == (0, ["a 1", "b", "c", "a 2"]), done.stderr


def test_children_are_tried_again_each_by_itself(shop: Shop) -> None:
    shop.pipeline(block("p", "custom", configuration={"dynamic": True}), retried("c", "p"))
    custom(shop, "p", "return [[0, 1, 2]]")
    custom(shop, "c", "n = kwargs['retry']['attempts']; print(args[0], n); assert n > args[0]")
    done = shop.run(*NAMED)
    assert sorted(done.stdout.splitlines()) == ["0 1", "1 1", "1 2", "2 1", "2 2", "2 3"], done.stderr
    assert shop.outcome("r/k")["blocks"]["c"] == {"completed": 3}


def test_what_waits_is_not_tried_again_once_another_block_failed_for_good(shop: Shop) -> None:
    shop.pipeline(retried("a", delay=600), block("b", "custom"), callbacks=[block("tell", "callback", "a", "b")])
    custom(shop, "a", FAILS.format(1))
    custom(shop, "b", "raise ValueError('no stock')")
    shop.write("callbacks/tell.py", TELLS)
    done = shop.run(*NAMED, "--concurrency", "1")
    assert done.stdout.splitlines() == ["a 1", "failure b no stock 1", "failure a 1 1"], done.stderr
    outcome = shop.outcome("r/k")
    assert (done.returncode, outcome["blocks"]) == (1, {"a": "failed", "b": "failed"})
    assert outcome["callbacks"] == ["failure"], "nobody is left to call back for"


async def test_what_waited_when_the_process_was_killed_is_called_back(shop: Shop) -> None:
    shop.pipeline(retried("a", delay=600), callbacks=[block("tell", "callback", "a")])
    custom(shop, "a", "open('failed', 'w').close(); raise ValueError")
    shop.write("callbacks/tell.py", TELLS)
    command = [sys.executable, SCRIPT, str(shop.path), "p", *NAMED]
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE, env=shop.environment())
    assert process.stderr
    try:
        async with asyncio.timeout(60):
            while b"try 2 of 3 in 600 s" not in await process.stderr.readline():
                assert not process.stderr.at_eof()
        await eventually((shop.path / "failed").exists)
    finally:
        process.kill()
        await process.communicate()
    called = shop.run("--run", "r", "--key", "c", "--callbacks", "failure", "--error", "node lost")
    assert called.stdout == "failure a node lost 1\n"


def test_rules_that_are_wrong_are_found_before_anything_runs(shop: Shop) -> None:
    shop.pipeline(block("a", "custom"), block("b", "custom", "a", retry_config={"retrys": 2}))
    custom(shop, "a", "print('never')")
    done = shop.run()
    assert (done.returncode, done.stdout) == (2, "")
    assert "block b: retry_config: retrys" in done.stderr


def test_beside_a_failure_all_else_runs_where_blocks_may_fail(shop: Shop) -> None:
    blocks = (block("a", "custom"), block("b", "custom"), block("below", "custom", "a"), block("c", "custom", "b"))
    shop.pipeline(*blocks)
    custom(shop, "a", "raise ValueError('no stock')")
    for name in ("b", "below", "c"):
        custom(shop, name, f"print('{name}')")
    done = shop.run(*NAMED, "--allow-blocks-to-fail", "--concurrency", "1")
    assert (done.returncode, done.stdout.splitlines()) == (1, ["b", "c"]), "what failed is still told"
    states = {"a": "failed", "b": "completed", "below": "upstream_failed", "c": "completed"}
    assert shop.outcome("r/k")["blocks"] == states
    assert "these failed: a; the first: " in shop.outcome("r/k")["error"]
