"""A job's first moments: the supervisor's fork, and the child until it is the command."""

import json
import os
import signal
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, Final, NoReturn

from runmesh.executors.local.processes import PR_SET_PDEATHSIG, prctl

_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def fork(message: dict[str, Any]) -> tuple[int, int]:
    """Return the child's pid, and the pipe that ends when its command runs. Raises OSError.

    As much as possible is done before the fork: what the child touches has to be copied for it.
    """
    with ExitStack() as opened:
        streams = []
        for path, flags in ((os.devnull, os.O_RDONLY), (message["stdout"], _APPEND), (message["stderr"], _APPEND)):
            streams.append(os.open(path, flags, 0o600))
            opened.callback(os.close, streams[-1])
        starting, failure = os.pipe()
        opened.callback(os.close, failure)
        supervisor, pid = os.getpid(), _forked(starting)
        if pid == 0:
            _become(message, supervisor, failure, streams)
    return pid, starting


def _forked(starting: int) -> int:
    try:
        return os.fork()
    except OSError:
        os.close(starting)
        raise


def _become(message: dict[str, Any], supervisor: int, failure: int, streams: Iterable[int]) -> NoReturn:
    """Be the job: in the child, after the fork. Writes stage, errno and error if that is impossible."""
    stage = "fork"
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(127)
        for standard, descriptor in enumerate(streams):
            os.dup2(descriptor, standard)
        stage = "directory"
        os.chdir(message["directory"])
        stage = "command"
        os.execvpe(message["command"][0], message["command"], message["environment"])  # noqa: S606 - it is the job
    except BaseException as error:  # noqa: BLE001 - nothing may return into the supervisor's loop
        complaint = [stage, getattr(error, "errno", None), _complaint(stage, message, error)]
        os.write(failure, json.dumps(complaint).encode())
    os._exit(127)


def _complaint(stage: str, message: dict[str, Any], error: BaseException) -> str:
    about = {"directory": message["directory"], "command": message["command"][0]}.get(stage, stage)
    return f"{about[:200]}: {getattr(error, 'strerror', None) or error}"
