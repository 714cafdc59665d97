"""What an operator writes into variables of one executor type is read in one way."""

import pytest

from runmesh.errors import Invalid
from runmesh.platforms.environment import names, number


@pytest.mark.parametrize(("given", "expected"), [({}, 5.0), ({"RATE": ""}, 5.0), ({"RATE": "0.5"}, 0.5)])
def test_a_number_is_the_variables_or_the_default(given: dict[str, str], expected: float) -> None:
    assert number(given, "RATE", 5.0, least=0.5) == expected


@pytest.mark.parametrize("given", ["0.4", "-1", "nan", "inf", "many"])
def test_what_is_no_number_or_too_small_is_told_with_the_variables_name(given: str) -> None:
    with pytest.raises(Invalid, match=f"RATE: must be a number from 0.5 on, not '{given}'"):
        number({"RATE": given}, "RATE", 5.0, least=0.5)


@pytest.mark.parametrize(("given", "expected"), [("", ()), ("a", ("a",)), (" a, b,,c ", ("a", "b", "c"))])
def test_names_are_separated_by_commas(given: str, expected: tuple[str, ...]) -> None:
    assert names({"PLACES": given}, "PLACES") == expected
    assert names({}, "PLACES") == ()
