"""What one more attempt of a job repeats, where Mage tries again inside the job (mage.md §6.4 to §6.6)."""

from pathlib import Path

import pytest

from tests.integration.runtime_shop import Shop, block

FAILS_ONCE = "@custom\ndef f(**kwargs):\n    print('ran')\n    assert kwargs['retry']['attempts'] > 1\n"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def attempts(shop: Shop, count: int, *flags: str) -> list[tuple[int, list[str]]]:
    """Run so many attempts; return the exit code and the lines of each."""
    done = [shop.run(*flags, "--retries", str(count - 1), "--attempt", str(number + 1)) for number in range(count)]
    return [(each.returncode, each.stdout.splitlines()) for each in done]


def test_each_attempt_of_a_pipeline_in_one_process_asks_the_conditions_again(shop: Shop) -> None:
    shop.pipeline(block("only", "custom"), conditionals=[block("when", "conditional", "only")])
    shop.write("custom/only.py", FAILS_ONCE)
    shop.write("conditionals/when.py", "@condition\ndef f(**kwargs):\n    print('asked')\n    return True\n")
    assert attempts(shop, 2, "--run", "r", "--key", "k") == [(1, ["asked", "ran"]), (0, ["asked", "ran"])]


def test_a_block_whose_test_failed_is_tried_again(shop: Shop) -> None:
    text = "@custom\ndef f(**kwargs): return kwargs['retry']['attempts']\n"
    shop.one("custom", f"{text}@test\ndef t(attempt): assert attempt == 2\n")
    assert [code for code, _ in attempts(shop, 2, "--block-uuid", "only")] == [1, 0]


def test_each_attempt_of_a_pipeline_in_one_process_runs_all_blocks_again(shop: Shop) -> None:
    shop.pipeline(block("up", "custom"), block("only", "custom", "up"))
    shop.write("custom/up.py", "@custom\ndef f():\n    print('up')\n    return 1\n")
    shop.write("custom/only.py", FAILS_ONCE.replace("**", "up, **"))
    assert attempts(shop, 2) == [(1, ["up", "ran"]), (0, ["up", "ran"])]
