"""How long it is until what has ended is begun again."""

from itertools import accumulate

from runmesh.clock import longer


def test_what_was_well_for_long_is_followed_as_soon_as_the_first_one() -> None:
    lives = [1.0, 1.0, 3600.0, 1.0]
    pauses = accumulate(lives, lambda pause, lived: longer(pause, lived=lived, first=0.5), initial=0.25)
    assert list(pauses)[1:] == [0.5, 1.0, 0.5, 1.0]


def test_no_pause_is_longer_than_half_a_minute() -> None:
    assert longer(20.0, lived=1.0, first=0.5) == longer(30.0, lived=60.0, first=0.5) == 30.0
