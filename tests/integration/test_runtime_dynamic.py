"""Dynamic blocks through `runmesh-run`: a process per child, and a whole pipeline in one (mage.md §6.8)."""

import json
from pathlib import Path

import pytest

from tests.integration.runtime_shop import Shop, block

NAMED = ("--run", "r", "--key", "k")
DYNAMIC = {"dynamic": True}
PARENT = "@custom\ndef f():\n    return [['a', 'b'], [{'block_uuid': 'one', 'x': 1}, {'x': 2}]]\n"
CHILD = """
@custom
def f(item, **kwargs):
    print(item, kwargs['x'], kwargs['dynamic_block_index'], kwargs['block_uuid'])
    return {'item': item}
"""
GRAND = (
    "@custom\ndef f(value, **kwargs):\n    print(value, kwargs['dynamic_block_index'])\n    return [[value['item']]]\n"
)
REDUCED = "@custom\ndef f(values):\n    print(values)\n"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.pipeline(
        block("fan", "custom", configuration=DYNAMIC),
        block("each", "custom", "fan"),
        block("grand", "custom", "each", configuration={"reduce_output": True}),
        block("all", "custom", "grand"),
    )
    for name, text in (("fan", PARENT), ("each", CHILD), ("grand", GRAND), ("all", REDUCED)):
        shop.write(f"custom/{name}.py", text)
    return shop


def run(shop: Shop, name: str, *flags: str) -> str:
    done = shop.run("--block-uuid", name, *NAMED, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_of_children_in_a_process_each(shop: Shop) -> None:
    assert run(shop, "fan") == ""
    assert shop.outcome("r/k")["children"] == {"count": 2, "names": ["one", "1"]}
    assert run(shop, "each:one", "--dynamic-index", "0:0") == "a 1 0 one\n"
    assert run(shop, "each:1", "--dynamic-index", "1:1") == "b 2 1 each\n"
    assert shop.stored("each/1/output_0") == {"item": "b"}
    assert run(shop, "grand:0", "--dynamic-index", "0:0") == "{'item': 'a'} 0\n"
    assert run(shop, "grand:1", "--dynamic-index", "1:1") == "{'item': 'b'} 1\n"
    assert run(shop, "all", "--dynamic-index", "-:*2") == "['a', 'b']\n"


def test_the_same_run_in_one_process(shop: Shop) -> None:
    done = shop.run(*NAMED)
    lines = done.stdout.splitlines()
    assert sorted(lines[:2]) == ["a 1 0 one", "b 2 1 each"], done.stderr
    assert sorted(lines[2:4]) == ["{'item': 'a'} 0", "{'item': 'b'} 1"]
    assert lines[4:] == ["['a', 'b']"]
    both = {"completed": 2}
    assert shop.outcome("r/k")["blocks"] == {"fan": "completed", "each": both, "grand": both, "all": "completed"}
    assert shop.stored("each/0/output_0") == {"item": "a"}


def test_a_nested_fan_out_gives_every_item_of_every_child_in_order(shop: Shop) -> None:
    shop.pipeline(
        block("fan", "custom", configuration=DYNAMIC),
        block("inner", "custom", "fan", configuration=DYNAMIC),
        block("leaf", "custom", "inner", configuration={"reduce_output": True}),
        block("all", "custom", "leaf"),
    )
    shop.write("custom/fan.py", "@custom\ndef f(): return [['a', 'b']]\n")
    text = "n = 3 if item == 'a' else 2\n    return [[f'{item}{i}' for i in range(n)], [{'i': i} for i in range(n)]]"
    shop.write("custom/inner.py", f"@custom\ndef f(item):\n    {text}\n")
    shop.write("custom/leaf.py", "@custom\ndef f(item, **kw): return f'{item}-{kw[\"i\"]}'\n")
    expected = "['a0-0', 'a1-1', 'a2-2', 'b0-0', 'b1-1']\n"
    assert shop.run().stdout == expected
    assert run(shop, "inner:1", "--dynamic-index", "1:1") == ""
    assert shop.outcome("r/k")["children"] == {"count": 2}
    assert run(shop, "leaf:4", "--dynamic-index", "4:1.1") == ""
    assert shop.stored("leaf/4/output_0") == "b1-1"


def test_ten_thousand_children_run_in_one_process_in_seconds(shop: Shop) -> None:
    shop.pipeline(
        block("fan", "custom", configuration=DYNAMIC),
        block("each", "custom", "fan", configuration={"reduce_output": True}),
        block("all", "custom", "each"),
        cache_block_output_in_memory=True,
    )
    shop.write("custom/fan.py", "@custom\ndef f(): return [list(range(10000))]\n")
    shop.write("custom/each.py", "@custom\ndef f(n): return n\n")
    shop.write("custom/all.py", "@custom\ndef f(values): print(sum(values))\n")
    assert shop.run().stdout == f"{sum(range(10000))}\n"


def test_children_may_store_objects_of_their_blocks_own_class(shop: Shop) -> None:
    shop.pipeline(block("fan", "custom", configuration=DYNAMIC), block("each", "custom", "fan"))
    shop.write("custom/each.py", "class Row:\n    n = 1\n@custom\ndef f(item): return Row()\n")
    done = shop.run(*NAMED)
    assert done.returncode == 0, done.stderr


def test_a_failed_child_is_named_and_the_others_that_run_finish(shop: Shop) -> None:
    shop.write("custom/each.py", "@custom\ndef f(item):\n    assert item == 'a'\n    return {'item': item}\n")
    done = shop.run(*NAMED, "--concurrency", "2")
    assert done.returncode == 1
    outcome = shop.outcome("r/k")
    assert outcome["error"].startswith("these failed: each:1; the first: block 'each' failed: AssertionError")
    assert outcome["blocks"]["each"] == {"completed": 1, "failed": 1}
    assert outcome["blocks"]["grand"] == "upstream_failed"


def test_conditions_and_callbacks_of_children_see_their_child(shop: Shop) -> None:
    shop.pipeline(
        block("fan", "custom", configuration=DYNAMIC),
        block("each", "custom", "fan"),
        conditionals=[block("when", "conditional", "each")],
        callbacks=[block("after", "callback", "each")],
    )
    shop.write("conditionals/when.py", "@condition\ndef f(item, **kw): return kw['x'] == 2\n")
    text = "@callback('success')\ndef f(data, **kw): print(data, kw['dynamic_block_index'], kw['block_uuid'])\n"
    shop.write("callbacks/after.py", text)
    run(shop, "fan")
    assert run(shop, "each:one", "--dynamic-index", "0:0") == ""
    assert shop.outcome("r/k")["condition"]["met"] is False
    assert run(shop, "each:1", "--dynamic-index", "1:1") == "b 2 1 each\n{'item': 'b'} 1 after\n"
    assert shop.run(*NAMED).stdout.splitlines()[-1] == "{'item': 'b'} 1 after"
    assert shop.outcome("r/k")["blocks"]["each"] == {"condition_failed": 1, "completed": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("return 'text'", "block 'fan' is dynamic: it must return a list of items, not str"),
        ("return [{'a': 1}]", "block 'fan' is dynamic: it must return a list of items, not dict"),
        ("return [[1, 2], [{'block_uuid': 'x'}, {'block_uuid': 'x'}]]", "two children are called 'x'"),
    ],
)
def test_a_dynamic_block_that_returns_no_items_fails_and_stores_nothing(text: str, message: str, shop: Shop) -> None:
    shop.write("custom/fan.py", f"@custom\ndef f():\n    {text}\n")
    done = shop.run("--block-uuid", "fan", *NAMED)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert message in done.stderr
    assert message in shop.outcome("r/k")["error"]
    assert not (shop.variables / "shop/pipelines").exists()


def test_a_child_without_its_index_is_told_which_flag_is_missing(shop: Shop) -> None:
    done = shop.run("--block-uuid", "each:1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--dynamic-index: block each is below a dynamic block" in done.stderr


def test_children_of_a_remote_place_are_reduced(shop: Shop, tmp_path: Path) -> None:
    shop.write("metadata.yaml", f"remote_variables_dir: local://{tmp_path}/remote\n")
    assert shop.run().stdout.splitlines()[-1] == "['a', 'b']"
    stored = tmp_path / "remote/pipelines/p/.variables/each/1/output_0/data.json"
    assert json.loads(stored.read_text()) == {"item": "b"}
