"""From the stored pieces of a task's output to its lines, numbered, each with the position behind it."""

from collections.abc import Iterable, Iterator

from runmesh.executor import LogLine, Position


def lines(pieces: Iterable[tuple[int, bytes]], since: Position, *, ended: bool) -> Iterator[LogLine]:
    """Yield the lines from a position on; the last one, if it isn't whole, only once the task has ended.

    Pieces are in order and without a gap; the first may begin before the position.
    """
    at, number = since.stdout
    rest = b""
    for start, content in pieces:
        if start > at + len(rest):
            break  # a piece between is not listed yet
        rest += content[at + len(rest) - start :]
    while rest and (ended or b"\n" in rest):
        line, newline, rest = rest.partition(b"\n")
        at, number = at + len(line) + len(newline), number + 1
        text = line.decode("utf-8", "replace").rstrip("\r")
        yield LogLine("stdout", number, text, Position(stdout=(at, number)))
