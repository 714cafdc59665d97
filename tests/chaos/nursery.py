"""Starts services in a moment: it has imported everything, and forks.

    python -m tests.chaos.nursery DIRECTORY

A service that is killed a hundred times would otherwise spend the test's time on its imports. Each child is a process
of its own in every respect that matters here, and dies with the nursery. One JSON object per line, on standard input
``{"id", "arguments", "environment"}`` starts a service, on standard output ``{"id", "pid"}`` tells that it was
started, and ``{"id", "ended"}`` that it is no more.
"""

import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

from runmesh.executors.local.processes import PR_SET_PDEATHSIG, ended_children, prctl
from tests.chaos import service

_LOG: Final = "services.log"


class Nursery:
    """The children, by process id."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.children: dict[int, int] = {}
        self.orders = b""

    def run(self) -> None:
        """Serve until standard input ends; then no child goes on."""
        readable, writable = os.pipe()
        os.set_blocking(writable, False)
        signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([0, readable], [], [])
            if readable in ready:
                os.read(readable, 4096)
                self._bury()
            if 0 in ready and not self._obey():
                return

    def _obey(self) -> bool:
        if not (data := os.read(0, 1 << 16)):
            return False
        *lines, self.orders = (self.orders + data).split(b"\n")
        for line in lines:
            self._start(json.loads(line))
        return True

    def _start(self, order: dict[str, Any]) -> None:
        pid = os.fork()
        if pid == 0:
            self._live(order)
        self.children[pid] = order["id"]
        _tell(id=order["id"], pid=pid)

    def _bury(self) -> None:
        for pid, _ in ended_children():
            _tell(id=self.children.pop(pid), ended=True)

    def _live(self, order: dict[str, Any]) -> NoReturn:
        """Be a service, and nothing of a nursery any more."""
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(Path(self.directory) / _LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for standard, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), log, log)):
            os.dup2(descriptor, standard)
        os.environ.update(order["environment"])
        code = 1
        try:
            service.main(self.directory, *order["arguments"])
            code = 0
        except BaseException as error:  # noqa: BLE001 - nothing may return into the nursery's loop
            sys.stderr.write(f"{order['arguments']} ended: {error!r}\n")
        finally:
            sys.stderr.flush()
            os._exit(code)


def _tell(**words: Any) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


if __name__ == "__main__":
    service.warm()
    Nursery(sys.argv[1]).run()
