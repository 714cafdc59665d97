"""Output of blocks that run at the same time: whole lines, never mixed.

`print` writes a line in pieces. Here each thread's pieces wait until a line is complete, which is then written at once.
"""

import sys
from _thread import allocate_lock, get_ident
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast


class _WholeLines:
    """Stands in for a text stream; all but writing is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = allocate_lock()
        self._begun: dict[int, str] = {}
        """By thread, the line that isn't complete yet."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the lines that are complete now, and keep the rest."""
        thread = get_ident()
        lines, newline, rest = (self._begun.pop(thread, "") + text).rpartition("\n")
        if rest:
            self._begun[thread] = rest
        if newline:
            with self._lock:
                self._stream.write(lines + newline)
        return len(text)

    def writelines(self, texts: Iterator[str]) -> None:
        """Write texts."""
        for text in texts:
            self.write(text)

    def flush(self) -> None:
        """Flush what is complete."""
        with self._lock:
            self._stream.flush()

    def end(self) -> None:
        """Write what no newline came for."""
        for text in self._begun.values():
            self._stream.write(f"{text}\n")
        self._stream.flush()


@contextmanager
def whole_lines() -> Iterator[None]:
    """Keep the lines that threads write to standard output and standard error whole, as long as this is open."""
    before = sys.stdout, sys.stderr
    standing_in = _WholeLines(sys.stdout), _WholeLines(sys.stderr)
    sys.stdout, sys.stderr = cast("tuple[TextIO, TextIO]", standing_in)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in standing_in:
            stream.end()
