"""How a block's source is executed: which function runs, with which arguments, and what its tests say."""

import sys
from pathlib import Path
from typing import Any

import pytest

from runmesh.errors import Invalid
from runmesh.runtime.code import Checked, Code, Source, misfit, outputs_of
from runmesh.runtime.failed import Failed

GUARD = """
if 'transformer' not in globals():
    from mage_ai.data_preparation.decorators import transformer
if 'test' not in globals():
    from mage_ai.data_preparation.decorators import test
"""


def code(text: str, kind: str = "transformer") -> Code:
    return Code(Source("clean", kind, text, "<shop/clean>", "shop.transformers.clean"))


def test_only_the_first_decorated_function_runs() -> None:
    block = code("@transformer\ndef a(): return 'first'\n@transformer\ndef b(): return 'second'\n")
    assert block.run([], {}) == ["first"]


def test_the_guard_that_mage_generates_works_without_mage() -> None:
    assert code(f"{GUARD}@transformer\ndef a(x): return x\n").run([5], {}) == [5]


def test_decorators_may_be_imported_without_any_guard() -> None:
    text = "from mage_ai.data_preparation.decorators import test, transformer as t\n@t\ndef a(): return 1\n"
    assert code(text).run([], {}) == [1]


def test_the_decorators_of_another_file_have_no_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other_block.py").write_text(f"{GUARD}@transformer\ndef other(): return 'theirs'\nhelp_value = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert code("from other_block import help_value\n@transformer\ndef a(): return help_value\n").run([], {}) == [3]


def test_a_second_block_of_the_process_gets_its_own_decorators() -> None:
    text = "from mage_ai.data_preparation.decorators import transformer\n@transformer\ndef a(): return {}\n"
    first, second = code(text.format(1)), code(text.format(2))
    assert (first.run([], {}), second.run([], {})) == ([1], [2])


def test_a_decorator_below_ours_does_not_hide_the_function() -> None:
    text = """
import functools
def twice(f):
    @functools.wraps(f)
    def inner(*a, **k):
        return f(*a, **k) * 2
    return inner
@transformer
@twice
def a(x):
    return x
"""
    assert code(text).run([4], {}) == [8]


def test_keywords_are_given_only_to_functions_that_take_them() -> None:
    assert code("@transformer\ndef a(**kw): return kw['x']\n").run([], {"x": 1}) == [1]
    assert code("@transformer\ndef a(): return 2\n").run([], {"x": 1}) == [2]


def test_preprocessers_run_first() -> None:
    text = "seen = []\n@preprocesser\ndef p(x): seen.append(x)\n@transformer\ndef a(x): return seen\n"
    assert code(text).run([7], {}) == [7]


def test_without_a_decorated_function_the_project_is_wrong() -> None:
    with pytest.raises(Invalid, match=r"block clean: .* decorates no function with @transformer"):
        code("def a(): pass\n").run([], {})


@pytest.mark.parametrize(
    ("parameters", "inputs", "fits"),
    [
        ("", 0, True), ("", 1, False), ("a", 1, True), ("a", 0, False), ("a", 2, False), ("a, b", 2, True),
        ("a, *rest", 1, True), ("a, *rest", 3, True), ("a, *rest", 0, False), ("*rest", 0, True),
        ("a, **kw", 1, True), ("a, **kw", 2, False), ("*args, **kw", 4, True),
        ("a, b=1", 1, False), ("a, b=1", 2, True),
    ],
)  # fmt: skip
def test_a_function_takes_one_argument_per_input(parameters: str, inputs: int, fits: bool) -> None:  # noqa: FBT001
    namespace: dict[str, Any] = {}
    exec(f"def f({parameters}): pass", namespace)  # noqa: S102 - the table is ours
    assert (misfit(namespace["f"], inputs) is None) is fits


def test_a_wrong_number_of_inputs_says_both_numbers() -> None:
    with pytest.raises(Invalid, match="block clean: load takes 1 inputs, and the upstream blocks give 2"):
        code("@transformer\ndef load(x): pass\n").run([1, 2], {})


@pytest.mark.parametrize(
    ("result", "outputs"),
    [
        (None, []), ((), []), ((1, 2), [1, 2]), ([1, 2], [1, 2]), (5, [5]), ({"a": 1}, [{"a": 1}]), ((None,), [None]),
        ((n for n in range(3)), [[0, 1, 2]]), ("text", ["text"]),
    ],
)  # fmt: skip
def test_results_become_outputs_as_in_mage(result: Any, outputs: list[Any]) -> None:
    assert outputs_of(result) == outputs


def test_tests_are_counted_and_failures_shown(capsys: pytest.CaptureFixture[str]) -> None:
    text = "@test\ndef good(x): assert x == 1\n@test\ndef bad(x, **kw): assert x == kw['y'], 'not y'\n"
    assert code(text).test([1], {"y": 2}) == Checked(passed=1, failed=1)
    shown = capsys.readouterr().out
    assert "FAIL: bad (block: clean)" in shown
    assert "AssertionError: not y" in shown
    assert "assert x == kw['y']" in shown
    assert "1/2 tests passed." in shown
    assert "runmesh" not in shown


def test_a_test_that_raises_anything_else_fails_the_block() -> None:
    with pytest.raises(Failed) as caught:
        code("@test\ndef broken(x): raise KeyError('k')\n").test([1], {})
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("text", ["raise SystemExit(0)", "1 / 0", "def broken(:"])
def test_whatever_the_source_raises_is_a_failure_with_its_cause(text: str) -> None:
    with pytest.raises(Failed) as caught:
        code(text)
    assert caught.value.__cause__ is not None


def test_a_generator_that_fails_is_the_users_failure() -> None:
    with pytest.raises(Failed):
        code("@transformer\ndef a():\n    yield 1\n    raise ValueError\n").run([], {})


def test_a_sensor_is_asked_until_it_says_yes(capsys: pytest.CaptureFixture[str]) -> None:
    text = "tries = []\n@sensor\ndef ready(*args, **kw):\n    tries.append(args)\n    return len(tries) == 3\n"
    code(text, "sensor").sense([1], {}, 0)
    assert capsys.readouterr().out.count("is not ready") == 2


def test_a_sensor_may_ignore_its_upstream_blocks() -> None:
    code("@sensor\ndef ready(): return True\n", "sensor").sense([1, 2], {}, 0)


def test_classes_of_a_source_know_their_module() -> None:
    made = code("class Row: pass\n@transformer\ndef a(): return Row()\n").run([], {})[0]
    assert type(made).__module__ == "shop.transformers.clean"
    assert sys.modules["shop.transformers.clean"].Row is type(made)


def test_future_annotations_and_dataclasses_work_in_a_source() -> None:
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass R:\n    a: int\n"
        "@transformer\ndef f(x: R | None): return R(1).a\n"
    )
    assert code(text).run([None], {}) == [1]
