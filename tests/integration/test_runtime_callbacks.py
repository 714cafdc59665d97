"""Callback blocks, as `runmesh-run` runs them: when, with what, and what they can't change (mage.md §6.5)."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.runtime_shop import Shop, block

NAMED = ("--run", "r", "--key", "k")
FINE = "@custom\ndef f(*args, **kwargs):\n    print('ran')\n    return {'n': 1}\n"
FAILS = "@custom\ndef f():\n    raise ValueError('no stock')\n"
ALL = """
@callback('success')
def won(data, **kwargs):
    print('success', data)
@callback('failure')
def lost(**kwargs):
    print('failure', repr(kwargs['__error']), kwargs['__input'], kwargs['retry'], kwargs['parent_block_uuid'])
@callback('cancelled')
def stopped(**kwargs):
    print('cancelled', kwargs['block_uuid'], '__input' in kwargs)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A block `only` with a callback block `after`."""
    shop = Shop(tmp_path)
    shop.pipeline(block("only", "custom"), callbacks=[block("after", "callback", "only")])
    shop.write("custom/only.py", FINE)
    shop.write("callbacks/after.py", ALL)
    return shop


def run(shop: Shop, *flags: str) -> tuple[int, list[str], Any]:
    done = shop.run("--block-uuid", "only", *NAMED, *flags)
    return done.returncode, done.stdout.splitlines(), shop.outcome("r/k")


def callback(shop: Shop, text: str) -> None:
    shop.write("callbacks/after.py", text)


def test_a_success_callback_gets_the_outputs_by_position(shop: Shop) -> None:
    code, out, outcome = run(shop)
    assert (code, out, outcome["callbacks"]) == (0, ["ran", "success {'n': 1}"], ["success"])
    assert "error" not in outcome


def test_several_outputs_come_as_a_list_like_for_a_block_below(shop: Shop) -> None:
    shop.write("custom/only.py", "@custom\ndef f():\n    return 1, 2\n")
    assert run(shop)[1] == ["success [1, 2]"]


def test_a_callback_that_takes_keywords_only_gets_the_outputs_as_input(shop: Shop) -> None:
    callback(shop, "@callback('success')\ndef f(**kw): print(kw['__input'])\n")
    assert run(shop)[1] == ["ran", "{'only': {'n': 1}, 'df_1': {'n': 1}}"]


def test_callbacks_get_the_keywords_of_mage(shop: Shop) -> None:
    keys = "('block_uuid', 'parent_block_uuid', 'pipeline_uuid', 'city', 'retry', 'env')"
    text = f"print([kw[k] for k in {keys}], kw['pipeline_run'].id, kw['pipeline_run'].variables, '__error' in kw)"
    callback(shop, f"@callback('success')\ndef f(*args, **kw):\n    {text}\n")
    expected = "['after', 'only', 'p', 'Rom', {'attempts': 1}, 'prod'] r {'city': 'Rom'} False"
    assert run(shop, "--runtime-vars", '{"city": "Rom"}')[1][1] == expected


def test_a_failure_callback_gets_the_error_and_no_outputs(shop: Shop) -> None:
    shop.write("custom/only.py", FAILS)
    code, out, outcome = run(shop)
    expected = "failure ValueError('no stock') {'only': [], 'df_1': []} {'attempts': 1} only"
    assert (code, out, outcome["callbacks"]) == (1, [expected], ["failure"])
    assert outcome["error"] == "block 'only' failed: ValueError: no stock"


def test_a_failure_callback_runs_on_the_last_attempt_only(shop: Shop) -> None:
    shop.write("custom/only.py", FAILS)
    assert run(shop, "--retries", "2", "--attempt", "2")[1] == []
    assert shop.outcome("r/k")["callbacks"] == []
    code, out, outcome = run(shop, "--retries", "2", "--attempt", "3")
    assert (code, outcome["callbacks"]) == (1, ["failure"])
    assert "{'attempts': 3}" in out[0]


def test_a_block_that_fails_a_test_calls_back_with_its_outputs(shop: Shop) -> None:
    shop.write("custom/only.py", f"{FINE}@test\ndef t(x): assert x == 2\n")
    code, out, _ = run(shop)
    assert code == 1
    assert out[-1].startswith("failure Failed(\"block 'only': 1 of 1 tests failed\") {'only': {'n': 1}, 'df_1'")


@pytest.mark.parametrize(
    ("changed", "text"),
    [("custom/only.py", "def f(): pass\n"), ("custom/only.py", "@custom\ndef f(a, b): pass\n")],
)
def test_a_mistake_is_final_whatever_retries_there_are(changed: str, text: str, shop: Shop) -> None:
    shop.write(changed, text)
    code, out, outcome = run(shop, "--retries", "5")
    assert (code, len(out), outcome["exit_code"], outcome["callbacks"]) == (2, 1, 2, ["failure"])
    assert outcome["error"].startswith("block only: ")


def test_a_block_that_this_runtime_cannot_run_calls_back_too(shop: Shop) -> None:
    shop.pipeline(block("only", "custom", language="sql"), callbacks=[block("after", "callback", "only")])
    assert run(shop)[2]["callbacks"] == ["failure"]


def test_a_bare_callback_is_for_success_and_gets_no_arguments(shop: Shop) -> None:
    callback(shop, "@callback\ndef f(*args, **kw): print('called', args, kw)\n@callback()\ndef g(*a): print(a)\n")
    assert run(shop)[1] == ["ran", "({'n': 1},)", "called () {}"]
    shop.write("custom/only.py", FAILS)
    assert run(shop)[1] == []


def test_the_legacy_decorators_get_keywords_only(shop: Shop) -> None:
    text = "@on_success\ndef f(*args, **kw): print('won', args, kw['parent_block_uuid'], '__input' in kw)\n"
    callback(shop, f"{text}@on_failure\ndef g(**kw): print('lost', kw['__error'])\n")
    assert run(shop)[1] == ["ran", "won () only False"]
    shop.write("custom/only.py", FAILS)
    assert run(shop)[1] == ["lost no stock"]


def test_decorators_may_be_imported_from_mage(shop: Shop) -> None:
    guard = "if 'callback' not in globals():\n    from mage_ai.data_preparation.decorators import callback\n"
    text = (
        "from mage_ai.data_preparation.decorators import callback as c\n@c('success')\ndef f(**kw): print('called')\n"
    )
    callback(shop, guard + text)
    assert run(shop)[1] == ["ran", "called"]


@pytest.mark.parametrize(
    "text",
    [
        "@callback('success')\ndef f(**kw): raise KeyError('mine')\n",
        "@callback('success')\ndef f(**kw): raise SystemExit(3)\n",
        "@callback('won')\ndef f(**kw): pass\n",
        "def broken(:\n",
    ],
)
def test_a_callback_that_raises_is_told_and_changes_nothing(text: str, shop: Shop) -> None:
    callback(shop, text)
    code, out, outcome = run(shop)
    assert (code, out, outcome["exit_code"]) == (0, ["ran"], 0)
    assert outcome["warnings"] == ["the success callback 'after' of block 'only' failed"]


def test_a_callback_with_a_wrong_status_names_those_there_are(shop: Shop) -> None:
    callback(shop, "@callback('won')\ndef f(**kw): pass\n")
    done = shop.run("--block-uuid", "only")
    assert "@callback('won'): the status must be one of cancelled, failure, success" in done.stderr


def test_a_callback_that_raises_does_not_keep_others_from_running(shop: Shop) -> None:
    shop.pipeline(block("only", "custom"), callbacks=[block(name, "callback", "only") for name in ("after", "later")])
    callback(shop, "@callback('success')\ndef f(**kw): raise KeyError\n")
    shop.write("callbacks/later.py", "@callback('success')\ndef f(**kw): print('later')\n")
    assert run(shop)[1] == ["ran", "later"]


def test_a_callback_file_that_does_not_exist_is_a_warning(shop: Shop) -> None:
    (shop.path / "callbacks/after.py").unlink()
    code, out, outcome = run(shop)
    assert (code, out) == (0, ["ran"])
    assert outcome["warnings"] == ["callback 'after' of block 'only' has no file: it doesn't run"]


def test_has_callback_names_the_file_of_the_blocks_own_callback(shop: Shop) -> None:
    shop.pipeline(block("only", "custom", has_callback=True))
    shop.write("callbacks/only_callback.py", "@callback('success')\ndef f(**kw): print(kw['block_uuid'])\n")
    assert run(shop)[1] == ["ran", "only_callback"]


def test_a_callback_that_is_attached_twice_runs_once(shop: Shop) -> None:
    own = [block("only_callback", "callback", "only")]
    shop.pipeline(block("only", "custom", has_callback=True), callbacks=own)
    shop.write("callbacks/only_callback.py", "@callback('success')\ndef f(**kw): print('once')\n")
    assert run(shop)[1] == ["ran", "once"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [("failure", ["failure Failed('node lost') {'only': [], 'df_1': []} {'attempts': 1} only"]),
     ("cancelled", ["cancelled after False"])],
)  # fmt: skip
def test_callbacks_only_runs_those_of_one_status_and_never_the_block(
    status: str, expected: list[str], shop: Shop
) -> None:
    code, out, outcome = run(shop, "--callbacks", status, "--error", "node lost")
    assert (code, out, outcome["callbacks"]) == (0, expected, [status])


def test_a_failure_callback_has_an_error_even_if_none_is_known(shop: Shop) -> None:
    expected = 'failure Failed("the block\'s job could not run") '
    assert run(shop, "--callbacks", "failure", "--error", "")[1][0].startswith(expected)


def test_callbacks_of_one_child_need_no_index_of_it(shop: Shop) -> None:
    callbacks = [block("after", "callback", "only")]
    fan = block("fan", "custom", configuration={"dynamic": True})
    shop.pipeline(fan, block("only", "custom", "fan"), callbacks=callbacks)
    done = shop.run("--block-uuid", "only:3", "--callbacks", "cancelled")
    assert (done.returncode, done.stdout) == (0, "cancelled after False\n"), done.stderr
    done = shop.run("--block-uuid", "only:3", "--callbacks", "cancelled", "--dynamic-index", "3:3")
    assert (done.returncode, done.stdout) == (0, "cancelled after False\n"), done.stderr


def test_callbacks_only_exits_0_even_if_a_callback_raises(shop: Shop) -> None:
    callback(shop, "@callback('cancelled')\ndef f(**kw): raise KeyError('mine')\n")
    assert run(shop, "--callbacks", "cancelled")[0] == 0


def test_the_blocks_of_one_process_share_the_context_with_their_callbacks(shop: Shop) -> None:
    shop.write("custom/only.py", "@custom\ndef f(**kw):\n    kw['context']['seen'] = 7\n")
    callback(shop, "@callback('success')\ndef f(**kw): print(kw['context'])\n")
    assert run(shop)[1] == ["{'seen': 7}"]
