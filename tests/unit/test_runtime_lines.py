# ruff: noqa: T201 - what is printed is the point
"""Lines of blocks that run at the same time stay whole."""

import sys
from threading import Barrier, Thread

import pytest

from runmesh.runtime.lines import whole_lines


def test_pieces_of_a_line_wait_until_it_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    with whole_lines():
        print("a", end="")
        sys.stderr.write("other\n")
        print(flush=True, end="b")
        assert capsys.readouterr() == ("", "other\n")
        print("c\nd", end="")
        assert capsys.readouterr().out == "abc\n"
    assert capsys.readouterr().out == "d\n"


def test_threads_do_not_mix_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    barrier = Barrier(4)

    def talk(name: int) -> None:
        barrier.wait(10)
        for _ in range(200):
            print(name, name, name, sep="-")

    with whole_lines():
        threads = [Thread(target=talk, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines) == sorted(f"{name}-{name}-{name}" for name in range(4) for _ in range(200))


def test_all_but_writing_is_the_streams_own() -> None:
    before = sys.stdout
    with whole_lines():
        assert sys.stdout is not before
        assert sys.stdout.encoding == before.encoding
        sys.stdout.writelines(["x\n", "y\n"])
    assert sys.stdout is before
