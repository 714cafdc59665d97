"""Tracebacks without our own frames: a user sees the lines that a user wrote."""

import os
import traceback
from typing import Final, TextIO

_HERE: Final = os.path.dirname(os.path.abspath(__file__)) + os.sep  # noqa: PTH100, PTH120


def show(error: BaseException, stream: TextIO) -> None:
    """Print an exception as Python would, from the first frame that isn't ours."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_HERE):
        trace = trace.tb_next
    # One write: what blocks that run at the same time print doesn't mix.
    stream.write("".join(traceback.format_exception(type(error), error.with_traceback(trace), trace)))
