"""Whole pipelines in one process: by the DAG, independent blocks at the same time, until one fails."""

from pathlib import Path

import pytest

from tests.integration.runtime_shop import Shop, block

NAMED = ("--run", "r", "--key", "k")
MEET = """
import os, time
@custom
def f(*args, **kwargs):
    open('{own}', 'w').close()
    for _ in range(3000):
        if os.path.exists('{other}'):
            return '{own}'
        time.sleep(0.01)
    raise TimeoutError('{other} never began')
"""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def custom(shop: Shop, name: str, body: str) -> None:
    shop.write(f"custom/{name}.py", f"@custom\ndef f(*args, **kwargs):\n    {body}\n")


def test_independent_blocks_run_at_the_same_time(shop: Shop) -> None:
    shop.pipeline(block("a", "custom"), block("b", "custom"), block("c", "custom", "a", "b"))
    shop.write("custom/a.py", MEET.format(own="a", other="b"))
    shop.write("custom/b.py", MEET.format(own="b", other="a"))
    custom(shop, "c", "print(args)")
    done = shop.run(*NAMED)
    assert (done.returncode, done.stdout) == (0, "('a', 'b')\n"), done.stderr
    assert shop.outcome("r/k")["blocks"] == dict.fromkeys("abc", "completed")


def test_no_more_blocks_run_at_once_than_asked_for(shop: Shop) -> None:
    names = [f"b{number}" for number in range(6)]
    shop.pipeline(*(block(name, "custom") for name in names))
    count = "c = kwargs['context']; c[kwargs['block_uuid']] = 1; print(len(c)); time.sleep(0.02)"
    for name in names:
        custom(shop, name, f"import time; {count}; del c[kwargs['block_uuid']]")
    assert set(shop.run("--concurrency", "1").stdout.split()) == {"1"}
    assert max(shop.run("--concurrency", "3").stdout.split()) <= "3"


def test_a_pipeline_that_is_a_chain_runs_in_the_main_thread(shop: Shop) -> None:
    shop.pipeline(block("a", "custom"), block("b", "custom", "a"))
    for name in "ab":
        custom(shop, name, "import sys; print('threading' in sys.modules, 'asyncio' in sys.modules)")
    assert shop.run().stdout == "False False\n" * 2


def test_what_runs_finishes_what_is_below_a_failure_does_not_start_and_every_failure_is_named(shop: Shop) -> None:
    shop.pipeline(block("a", "custom"), block("b", "custom"), block("c", "custom", "a"), block("d", "custom", "b"))
    shop.write("custom/a.py", MEET.format(own="a", other="b").replace("return", "raise ValueError('one')  #"))
    shop.write("custom/b.py", MEET.format(own="b", other="a").replace("return", "raise KeyError('two')  #"))
    for name in "cd":
        custom(shop, name, "print('never')")
    done = shop.run(*NAMED)
    assert (done.returncode, done.stdout) == (1, "")
    assert "ValueError: one" in done.stderr
    assert "KeyError: 'two'" in done.stderr
    outcome = shop.outcome("r/k")
    assert outcome["blocks"] == {"a": "failed", "b": "failed", "c": "upstream_failed", "d": "upstream_failed"}
    named = outcome["error"].partition(";")[0]
    assert named in {"these failed: a, b", "these failed: b, a"}
    assert f"runmesh-run: {outcome['error']}\n" in done.stderr


def test_a_block_that_is_wrong_in_every_way_is_exit_2(shop: Shop) -> None:
    shop.pipeline(block("a", "custom"), block("b", "custom", "a"))
    custom(shop, "a", "return 1")
    shop.write("custom/b.py", "@custom\ndef f(x, y): pass\n")
    done = shop.run(*NAMED)
    assert done.returncode == 2
    assert shop.outcome("r/k")["blocks"] == {"a": "completed", "b": "failed"}


def test_a_block_whose_condition_is_not_met_and_what_is_below_are_left_out_and_said(shop: Shop) -> None:
    conditionals = [block("when", "conditional", "a")]
    shop.pipeline(block("a", "custom"), block("b", "custom", "a"), block("c", "custom"), conditionals=conditionals)
    for name in "abc":
        custom(shop, name, f"print('{name}')")
    shop.write("conditionals/when.py", "@condition\ndef f(**kwargs): return False\n")
    done = shop.run(*NAMED)
    assert (done.returncode, done.stdout) == (0, "c\n")
    assert "runmesh-run: left out, as conditions weren't met: a, b\n" in done.stderr
    assert shop.outcome("r/k")["blocks"] == {"a": "condition_failed", "b": "condition_failed", "c": "completed"}


def test_each_block_runs_its_own_callbacks_once(shop: Shop) -> None:
    callbacks = [block("after", "callback", "a", "b")]
    shop.pipeline(block("a", "custom"), block("b", "custom", "a"), callbacks=callbacks)
    custom(shop, "a", "return 1")
    custom(shop, "b", "raise ValueError")
    text = "@callback('{0}')\ndef {0}(**kw): print('{0}', kw['parent_block_uuid'])\n"
    shop.write("callbacks/after.py", text.format("success") + text.format("failure"))
    assert shop.run().stdout == "success a\nfailure b\n"
    assert shop.run("--retries", "1").stdout == "success a\n"


def test_tests_run_in_a_run_of_the_mesh_unless_told_otherwise(shop: Shop) -> None:
    shop.pipeline(block("a", "custom"))
    shop.write("custom/a.py", "@custom\ndef f(): return 1\n@test\ndef t(x): assert x == 2\n")
    assert shop.run(*NAMED).returncode == 1
    assert shop.outcome("r/k")["tests"] == {"passed": 0, "failed": 1}
    assert shop.run(*NAMED, "--no-test").returncode == 0
    assert shop.run().returncode == 0


def test_outputs_stay_in_memory_if_the_pipeline_says_so(shop: Shop) -> None:
    blocks = (
        block("p", "custom", configuration={"dynamic": True}),
        block("c", "custom", "p"),
        block("d", "custom", "c"),
    )
    shop.pipeline(*blocks, cache_block_output_in_memory=True)
    custom(shop, "p", "return [[1, 2]]")
    custom(shop, "c", "return lambda: args[0] * 10")
    custom(shop, "d", "print(args[0]())")
    done = shop.run(*NAMED)
    assert sorted(done.stdout.split()) == ["10", "20"], done.stderr
    assert not (shop.variables / "shop/pipelines").exists()


def test_prints_of_blocks_that_run_at_the_same_time_stay_whole_lines(shop: Shop) -> None:
    names = [f"b{number}" for number in range(4)]
    shop.pipeline(*(block(name, "custom") for name in names))
    for name in names:
        custom(shop, name, f"[print('{name}', '{name}', '{name}') for _ in range(300)]")
    lines = shop.run("--concurrency", "4").stdout.splitlines()
    assert sorted(lines) == sorted(f"{name} {name} {name}" for name in names for _ in range(300))


def test_a_block_that_exits_in_a_thread_has_failed(shop: Shop) -> None:
    shop.pipeline(block("a", "custom"), block("b", "custom"))
    for name in "ab":
        custom(shop, name, "raise SystemExit(0)")
    assert shop.run().returncode == 1
