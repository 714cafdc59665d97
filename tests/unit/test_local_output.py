"""Output is cut into the same lines however it happens to be read."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmesh.executor import LogLine, Position
from runmesh.executors.local.output import LONGEST_LINE, Output
from tests.eventually import eventually


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return written(tmp_path)


def written(directory: Path, stdout: bytes = b"", stderr: bytes = b"") -> Output:
    output = Output(directory / "stdout", directory / "stderr")
    output.stdout.write_bytes(stdout)
    output.stderr.write_bytes(stderr)
    return output


async def read(output: Output, since: Position | None = None) -> list[LogLine]:
    ended: asyncio.Future[None] = asyncio.Future()
    ended.set_result(None)
    return [line async for line in output.follow(since or Position(), ended)]


@given(
    parts=st.lists(
        st.one_of(st.binary(max_size=30), st.integers(LONGEST_LINE - 3, LONGEST_LINE + 3).map(lambda n: b"x" * n)),
        max_size=4,
    )
)
async def test_nothing_is_lost_and_positions_add_up(
    parts: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = b"\n".join(parts)
    output = written(tmp_path_factory.mktemp("output"), stdout=content)
    lines = await read(output)
    ends = [0] + [line.position.stdout[0] for line in lines]
    pieces = [content[start:end] for start, end in pairwise(ends)]
    assert b"".join(pieces) == content
    assert [piece.removesuffix(b"\n").decode(errors="replace") for piece in pieces] == [line.text for line in lines]
    for at in range(len(lines)):
        assert await read(output, lines[at].position) == lines[at + 1 :]


async def test_a_line_that_grows_while_it_is_read_comes_whole(output: Output) -> None:
    ended: asyncio.Future[None] = asyncio.Future()
    lines: list[str] = []

    async def follow() -> None:
        lines.extend([line.text async for line in output.follow(Position(), ended)])

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(follow())
        with output.stdout.open("ab", 0) as file:
            for part in (b"one ", b"line\ntw", b"o\n", b"three"):
                file.write(part)
                await asyncio.sleep(0.06)
        ended.set_result(None)
    assert lines == ["one line", "two", "three"]


async def test_an_overlong_line_is_never_cut_inside_a_character(tmp_path: Path) -> None:
    text = "a" + "🌊" * LONGEST_LINE
    lines = await read(written(tmp_path, stdout=text.encode()))
    assert "".join(line.text for line in lines) == text
    assert len(lines) == 5


def test_the_tail_of_nothing_is_nothing(output: Output) -> None:
    assert output.tail() == ()


def test_the_tail_is_bounded(tmp_path: Path) -> None:
    tail = written(tmp_path, stderr=b"\n".join([b"x" * 100_000] * 30)).tail()
    assert 1 <= len(tail) <= 20
    assert max(map(len, tail)) <= 2000


def test_the_tail_has_twenty_lines_with_those_of_stderr_last(tmp_path: Path) -> None:
    stdout = b"".join(b"out %d\n" % i for i in range(100))
    tail = written(tmp_path, stdout=stdout, stderr=b"first\nsecond\n").tail()
    assert tail == (*(f"out {i}" for i in range(82, 100)), "first", "second")


def test_output_that_was_removed_may_be_removed_again(output: Output) -> None:
    output.remove()
    output.remove()
    assert not output.stdout.exists()
    assert output.tail() == ()


async def test_what_is_written_faster_than_it_is_read_is_left_out_but_for_its_end(tmp_path: Path) -> None:
    content = b"".join(b"line %07d\n" % number for number in range(1, 1_000_001))
    lines = await read(written(tmp_path, stdout=content))
    mark, *rest = [line.text for line in lines]
    assert [rest[0], rest[-1]] == [f"line {1_000_001 - len(rest):07}", "line 1000000"]
    assert mark == f"… {len(content) - 13 * len(rest):,} bytes left out: written faster than they are read"
    assert lines[-1].position.stdout == (len(content), len(lines))


async def test_the_disk_holds_little_of_what_was_read(tmp_path: Path) -> None:
    output, ended = written(tmp_path), asyncio.Future[None]()
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read_until(output, ended))
        with output.stdout.open("ab", 0) as file:
            for _ in range(40):
                file.write(b"x" * 1023 * 1024 + b"\n" * 1024)
                await eventually(lambda: on_disk(output) < 6 * 2**20, every=0.01)
        file_size = output.stdout.stat().st_size
        ended.set_result(None)
    seen = reading.result()
    assert file_size == seen == 40 * 2**20
    assert on_disk(output) < 3 * 2**20


def on_disk(output: Output) -> int:
    return output.stdout.stat().st_blocks * 512


async def read_until(output: Output, ended: "asyncio.Future[None]") -> int:
    """Follow the output to its end; return how many bytes there were."""
    return [line.position.stdout[0] async for line in output.follow(Position(), ended)][-1]


async def test_a_flood_on_one_stream_does_not_hide_the_other(tmp_path: Path) -> None:
    output = written(tmp_path, stdout=b"flood\n" * 150_000, stderr=b"the error\n")
    streams = [line.stream for line in await read(output)]
    assert streams.index("stderr") < 60_000
