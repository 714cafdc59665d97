"""Conditional blocks, as `runmesh-run` runs them: whether a block may run, and why not (mage.md §6.5)."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.runtime_shop import Shop, block

ONLY = "@custom\ndef f(*args, **kwargs):\n    print('ran', *args)\n    return 5\n"
NAMED = ("--run", "r", "--key", "k")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A block `only` below `up`, and a conditional `when` attached to it."""
    shop = Shop(tmp_path)
    conditionals = [block("when", "conditional", "only")]
    shop.pipeline(block("up", "custom"), block("only", "custom", "up"), conditionals=conditionals)
    shop.write("custom/up.py", "@custom\ndef f():\n    return {'n': 1}\n")
    shop.write("custom/only.py", ONLY)
    shop.run("--block-uuid", "up")
    return shop


def when(shop: Shop, body: str, signature: str = "*args, **kwargs") -> None:
    shop.write("conditionals/when.py", f"@condition\ndef evaluate({signature}):\n    {body}\n")


def condition(shop: Shop, *flags: str) -> tuple[Any, str, str]:
    done = shop.run("--block-uuid", "only", *NAMED, *flags)
    assert done.returncode == 0, done.stderr
    return shop.outcome("r/k").get("condition"), done.stdout, done.stderr


def test_a_block_whose_condition_is_met_runs(shop: Shop) -> None:
    when(shop, "return True")
    assert condition(shop) == ({"met": True}, "ran {'n': 1}\n", "")


def test_a_block_without_conditions_has_none_in_its_outcome(shop: Shop) -> None:
    shop.run("--block-uuid", "up", *NAMED)
    assert "condition" not in shop.outcome("r/k")


def test_a_condition_that_is_not_met_lets_nothing_run_and_exits_0(shop: Shop) -> None:
    when(shop, "return 0")
    found, out, err = condition(shop)
    assert found == {"met": False, "block": "when", "reason": "evaluate returned false"}
    assert out == ""
    assert err == "runmesh-run: block 'only' is left out, its condition 'when' isn't met: evaluate returned false\n"
    assert shop.outcome("r/k")["outputs"] == []


def test_conditions_get_the_inputs_of_their_block_and_its_keywords(shop: Shop) -> None:
    keys = "'block_uuid', 'parent_block_uuid', 'pipeline_uuid', 'city', 'configuration'"
    body = f"print(args, [kwargs[k] for k in ({keys})], kwargs['pipeline_run'].id)"
    when(shop, f"{body}\n    return True")
    assert condition(shop)[1].startswith("({'n': 1},) ['when', 'only', 'p', 'Bern', {}] r\n")


def test_a_condition_without_keywords_is_called_without_them(shop: Shop) -> None:
    when(shop, "return data['n'] == 1", "data")
    assert condition(shop)[0] == {"met": True}


def test_a_condition_that_raises_counts_as_false_and_the_reason_is_kept(shop: Shop) -> None:
    when(shop, "raise ValueError('no\\nstock')")
    found, out, err = condition(shop)
    assert (found["met"], found["reason"], out) == (False, "ValueError: no stock", "")
    assert "conditionals/when.py" in err


@pytest.mark.parametrize("text", ["def broken(:", "import sys\nsys.exit(0)", "1 / 0"])
def test_a_conditional_source_that_raises_counts_as_false(text: str, shop: Shop) -> None:
    shop.write("conditionals/when.py", text)
    assert condition(shop)[0]["met"] is False


def test_all_condition_functions_must_be_met_and_each_is_asked_once(shop: Shop) -> None:
    text = "@condition\ndef first(*a, **k):\n    print('first')\n    return 0\n"
    text += "@condition\ndef second(*a, **k):\n    print('second')\n    return True\n"
    shop.write("conditionals/when.py", text)
    found, out, _ = condition(shop)
    assert (found["reason"], out) == ("first returned false", "first\nsecond\n")


def test_all_conditional_blocks_must_be_met_and_the_first_that_is_not_is_named(shop: Shop) -> None:
    conditionals = [block(name, "conditional", "only") for name in ("when", "stock", "date")]
    shop.pipeline(block("up", "custom"), block("only", "custom", "up"), conditionals=conditionals)
    for name, answer in (("when", True), ("stock", False), ("date", False)):
        shop.write(f"conditionals/{name}.py", f"@condition\ndef f(*a, **k):\n    return {answer}\n")
    assert condition(shop)[0] == {"met": False, "block": "stock", "reason": "f returned false"}


def test_a_conditional_block_without_a_condition_is_a_mistake(shop: Shop) -> None:
    shop.write("conditionals/when.py", "def evaluate(*a, **k):\n    return True\n")
    done = shop.run("--block-uuid", "only", *NAMED)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "runmesh-run: conditional when: it decorates no function with @condition\n"
    assert shop.outcome("r/k")["error"] == "conditional when: it decorates no function with @condition"


def test_a_conditional_block_without_a_file_is_a_mistake(shop: Shop) -> None:
    done = shop.run("--block-uuid", "only")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"runmesh-run: conditional when: there is no file {shop.path}/conditionals/when.py\n"


def test_conditions_only_evaluates_them_and_nothing_else(shop: Shop) -> None:
    callbacks = [block("after", "callback", "only")]
    query = block("only", "custom", "up", language="sql")
    shop.pipeline(
        block("up", "custom"), query, conditionals=[block("when", "conditional", "only")], callbacks=callbacks
    )
    shop.write("callbacks/after.py", "@callback\ndef f(): print('called')\n")
    for answer in (False, True):
        when(shop, f"return {answer}")
        found, out, _ = condition(shop, "--conditions-only")
        assert (found["met"], out, shop.outcome("r/k")["callbacks"]) == (answer, "", [])


def test_callbacks_do_not_run_if_the_condition_is_not_met(shop: Shop) -> None:
    more = {"conditionals": [block("when", "conditional", "only")], "callbacks": [block("after", "callback", "only")]}
    shop.pipeline(block("up", "custom"), block("only", "custom", "up"), **more)
    shop.write("callbacks/after.py", "@callback\ndef f(): print('called')\n")
    when(shop, "return False")
    assert condition(shop)[1] == ""


def test_conditions_that_were_met_are_not_asked_again_in_a_run(shop: Shop) -> None:
    shop.write("custom/only.py", "import os\n@custom\ndef f(*a, **k):\n    os.remove('stock')\n    raise ValueError\n")
    shop.write("stock", "")
    when(shop, "import os\n    print('asked')\n    return os.path.exists('stock')")
    first, second = (shop.run("--block-uuid", "only", *NAMED, "--retries", "1", "--attempt", n) for n in "12")
    assert (first.returncode, first.stdout) == (1, "asked\n")
    assert (second.returncode, second.stdout) == (1, "")
    assert shop.outcome("r/k")["condition"] == {"met": True}
    other = shop.run("--block-uuid", "only", "--run", "other", "--key", "k")
    assert (other.returncode, other.stdout) == (0, "asked\n")


def test_a_condition_that_changes_its_inputs_changes_nothing_for_the_block(shop: Shop) -> None:
    when(shop, "args[0].clear()\n    return True")
    assert condition(shop)[1] == "ran {'n': 1}\n"


def test_a_sensor_with_a_condition_that_is_not_met_is_not_asked(shop: Shop) -> None:
    shop.pipeline(block("only", "sensor"), conditionals=[block("when", "conditional", "only")])
    shop.write("sensors/only.py", "@sensor\ndef f():\n    print('asked')\n    return True\n")
    when(shop, "return False")
    assert condition(shop)[1] == ""
