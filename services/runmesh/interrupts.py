"""Signals that come before there is anything to end well.

The command line takes a while to import, and a `KeyboardInterrupt` in the middle of that may come out as anything. What
is the first process of a container doesn't even hear a signal that nobody handles. So until its work begins, a command
ends at SIGINT and SIGTERM as a shell would have it: at once, without a word, with 128 and the signal's number.
"""

import os
import signal


def end_at_once() -> None:
    """Let a signal end the process, unless somebody has it ignored (as a shell's `&` does)."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)


def end_well() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again, by which asyncio ends what it runs."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, _frame: object) -> None:
    os._exit(128 + number)
