"""Kubernetes quantities, compared as the amounts that they are."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmesh.executors.kubernetes.quantities import quantity

WHOLE = st.integers(min_value=0, max_value=10**12)
DECIMAL = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"]
BINARY = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("500m", Fraction(1, 2)),
        ("2", Fraction(2)),
        ("1Gi", Fraction(2**30)),
        ("1G", Fraction(10**9)),
        ("0.5", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("1.", Fraction(1)),
        ("1.5Gi", Fraction(3 * 2**29)),
        ("1e3", Fraction(1000)),
        ("12E-1", Fraction(6, 5)),
        ("3E", Fraction(3 * 10**18)),
        ("-1", Fraction(-1)),
        ("+100n", Fraction(1, 10**7)),
        (4, Fraction(4)),
        (0.1, Fraction(1, 10)),
    ],
)
def test_a_quantity_is_an_exact_amount(text: object, amount: Fraction) -> None:
    assert quantity(text) == amount


@pytest.mark.parametrize(
    "value",
    [
        *("", "lots", "Gi", "1 Gi", "1gi", "1K", "1mi", "0x10", "1_000", "--1", "1e", "1e3Gi", "1e999", "9" * 31, "٣"),
        *("1\n", " 1", float("nan"), float("inf"), True, None, [], {"cpu": 1}),
    ],
)
def test_what_is_no_quantity_has_no_amount(value: object) -> None:
    assert quantity(value) is None


@given(WHOLE, st.sampled_from([*DECIMAL, *BINARY]))
def test_a_suffix_multiplies(number: int, suffix: str) -> None:
    one = quantity(f"1{suffix}")
    assert one is not None
    assert quantity(f"{number}{suffix}") == number * one


@pytest.mark.parametrize(("suffixes", "step"), [(DECIMAL, 1000), (BINARY, 1024)])
@given(number=WHOLE)
def test_every_suffix_is_one_step_above_the_one_before(suffixes: list[str], step: int, number: int) -> None:
    amounts = [quantity(f"{number}{suffix}") for suffix in suffixes]
    for lower, upper in pairwise(amounts):
        assert lower is not None
        assert upper == lower * step


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
def test_numbers_are_ordered_as_python_orders_them(number: float) -> None:
    amount = quantity(number)
    assert amount is not None
    assert (amount > 4) == (number > 4)
    assert (amount < 0) == (number < 0)


@given(st.decimals(min_value=0, max_value=10**9, places=3))
def test_text_and_thousandths_are_the_same_amount(number: object) -> None:
    assert quantity(f"{number}") == quantity(f"{int(number * 1000)}m")  # type: ignore[operator]


@given(st.text())
def test_no_text_is_an_accident(text: str) -> None:
    amount = quantity(text)
    assert amount is None or isinstance(amount, Fraction)
