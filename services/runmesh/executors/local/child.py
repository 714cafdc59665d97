"""A job's first moments: a child of the supervisor that is forked ahead, waits, and then becomes the job's command.

Forking an interpreter, and the copying of whatever the child touches first, takes a few milliseconds, which is most of
what starting a job costs. So it is done while there is nothing to start: the child even becomes a job once that can't
run, which touches all that the real one will.
"""

import json
import os
import signal
from contextlib import ExitStack, suppress
from typing import Any, Final, NoReturn

from runmesh.executors.local.processes import PR_SET_PDEATHSIG, prctl

_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_REHEARSAL: Final = json.dumps(
    {"stdout": os.devnull, "stderr": os.devnull, "directory": os.sep, "command": [os.sep], "environment": {}}
).encode()
"""A job that ends where its command should begin: nothing runs a directory."""


class Child:
    """A process that waits for its message. Making it raises OSError."""

    __slots__ = ("_orders", "pid", "starting")

    def __init__(self) -> None:
        with ExitStack() as unless_forked:
            orders, self._orders = _pipe(unless_forked)
            self.starting, failure = _pipe(unless_forked)
            """Readable with the reason when the command can't run, and at its end when it runs."""
            supervisor, self.pid = os.getpid(), os.fork()
            unless_forked.pop_all()
        if self.pid == 0:
            os.close(self._orders)
            _wait(supervisor, orders, failure)
        os.close(orders)
        os.close(failure)

    def become(self, message: bytes) -> None:
        """Let it be the job of a message. Raises OSError, and leaves nothing behind, if it isn't there any more."""
        try:
            with os.fdopen(self._orders, "wb") as orders:
                orders.write(message)
        except OSError:
            os.close(self.starting)
            raise


def _pipe(closing: ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        closing.callback(os.close, end)
    return ends


def _wait(supervisor: int, orders: int, failure: int) -> NoReturn:
    """Be the child, from its fork on. Only its command, or its end, leaves here: nothing returns to the loop."""
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == supervisor:
            with suppress(OSError):  # the job itself will say what is wrong
                _become(_REHEARSAL, failure=os.open(os.devnull, os.O_WRONLY))
            with os.fdopen(orders, "rb") as waiting:
                message = waiting.read()
            if message:
                _become(message, failure)
    finally:
        os._exit(127)


def _become(order: bytes, failure: int) -> None:
    """Be the job. Writes stage, errno and error if that is impossible."""
    stage, message = "fork", json.loads(order)
    try:
        for standard, (path, flags) in enumerate(
            ((os.devnull, os.O_RDONLY), (message["stdout"], _APPEND), (message["stderr"], _APPEND))
        ):
            os.dup2(os.open(path, flags, 0o600), standard)
        stage = "directory"
        os.chdir(message["directory"])
        stage = "command"
        os.execvpe(message["command"][0], message["command"], message["environment"])  # noqa: S606 - it is the job
    except BaseException as error:  # noqa: BLE001 - nothing may return into the supervisor's loop
        complaint = [stage, getattr(error, "errno", None), _complaint(stage, message, error)]
        os.write(failure, json.dumps(complaint).encode())


def _complaint(stage: str, message: dict[str, Any], error: BaseException) -> str:
    about = {"directory": message["directory"], "command": message["command"][0]}.get(stage, stage)
    return f"{about[:200]}: {getattr(error, 'strerror', None) or error}"
