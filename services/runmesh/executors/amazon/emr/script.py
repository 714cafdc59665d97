"""The program of every step: it runs on EMR, where nothing of Runmesh is installed, as spark-submit's script.

Its own text, with what it is to do in the place of `ORDER`, is what `program` returns and what is stored in S3. It
runs the task's command as a child process, which inherits the way to Spark's JVM, and passes its output on: to its
own, for EMR's logs, and to S3 every few seconds, in pieces named by their first byte, since EMR needs minutes. When
the child has failed, its exit code and last lines go to S3 too: EMR reports none. Where S3 refuses, the task goes on.

It needs nothing but Python, and botocore for S3 (the runtime needs more: see the bootstrap script).
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections import deque
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

ORDER = "{}"
TAIL = 20
PIECE = 4_000_000
"""Bytes of output that wait for S3 at most; then the child waits."""
GRACE = 10.0
_LONGEST_LINE = 4096
_READ = 65536
"""Bytes of a line that are read at once."""


def program(order: dict[str, object]) -> bytes:
    """Return the script that does this: `command` with its `environment`, and what `staging` says besides."""
    text = Path(__file__).read_text(encoding="utf-8")
    return text.replace('ORDER = "{}"', f"ORDER = {json.dumps(order)!r}", 1).encode()


class Store:
    """The task's folder in S3. The SDK is imported at its first use: a silent task needs none."""

    def __init__(self, folder: str) -> None:
        url = urlsplit(folder)
        self._bucket, self._prefix = url.netloc, url.path.strip("/")
        self._client: Any = None
        self.works = True

    def put(self, name: str, data: bytes) -> None:
        """Store, or say why that can't be done."""
        try:
            if self._client is None:
                from botocore.session import get_session  # noqa: PLC0415

                self._client = get_session().create_client("s3")
            self._client.put_object(Bucket=self._bucket, Key=f"{self._prefix}/{name}", Body=data)
        except Exception as error:  # noqa: BLE001 - the SDK's own are many, and none may end the task
            self.works = False
            print(f"runmesh: {name} can't be stored: {error!r}", file=sys.stderr)  # noqa: T201


class Output:
    """The child's output: passed on as it comes, stored in pieces, its last lines kept."""

    def __init__(self, store: Store, every: float) -> None:
        self._store, self._every = store, every
        self._waiting = bytearray()
        self._stored = 0
        self._changed = threading.Condition()
        self._ended = False
        self._tail: deque[bytes] = deque(maxlen=TAIL)

    @property
    def tail(self) -> list[str]:
        """The last lines."""
        return [line.decode("utf-8", "replace") for line in self._tail]

    def follow(self, stream: IO[bytes]) -> None:
        """Read to the end; another thread stores."""
        storing = threading.Thread(target=self._keep_storing)
        storing.start()
        begins = True
        while line := stream.readline(_READ):
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            if begins:
                self._tail.append(line.rstrip(b"\r\n")[:_LONGEST_LINE])
            begins = line.endswith(b"\n")
            with self._changed:
                self._waiting += line
                self._changed.notify_all()
                self._changed.wait_for(lambda: len(self._waiting) < PIECE or not self._store.works)
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        storing.join()

    def _keep_storing(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                self._changed.wait_for(lambda: self._ended, timeout=self._every)
                piece = bytes(self._waiting)
                ended = self._ended
            if piece and self._store.works:  # what comes behind a gap would never be shown
                self._store.put(f"output/{self._stored:015d}", piece)
            with self._changed:
                del self._waiting[: len(piece)]
                self._stored += len(piece)
                self._changed.notify_all()
                if ended and not self._waiting:
                    return


def unpacked(code: str, directory: str) -> str:
    """Unpack what spark-submit brought along (`--py-files`); return where."""
    name = code.rsplit("/", 1)[-1]
    found = next((path for path in sys.path if path.rsplit("/", 1)[-1] == name), name)
    with zipfile.ZipFile(found) as archive:
        archive.extractall(directory)
    return directory


def command_of(order: dict[str, Any], directory: str) -> list[str]:
    """Return the argv: our runtime's is run from its place, with the project's."""
    if not order["code"]:
        return list(order["command"])
    there = unpacked(order["code"], directory)
    _, _, *flags = order["command"]
    return [sys.executable, f"{there}/runmesh/runtime/__main__.py", f"{there}/{order['project']}", *flags, "--spark"]


def watch(child: subprocess.Popen[bytes]) -> threading.Event:
    """End the child when we are told to end, and when spark-submit is gone, which ends nothing by itself.

    Return what is set then.
    """
    parent, stopped = os.getppid(), threading.Event()

    def stop(*_: object) -> None:
        stopped.set()
        child.terminate()
        timer = threading.Timer(GRACE, child.kill)
        timer.daemon = True
        timer.start()

    def look() -> None:
        pause = threading.Event()
        while child.poll() is None and os.getppid() == parent:
            pause.wait(1.0)
        if child.poll() is None:
            stop()

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=look, daemon=True).start()
    return stopped


def main() -> int:
    """Run the task; return its exit code."""
    order = json.loads(ORDER)
    store = Store(order["folder"])
    output = Output(store, order["every"])
    with tempfile.TemporaryDirectory(prefix="runmesh-") as directory:
        try:
            child = subprocess.Popen(  # noqa: S603 - it is what we are for
                command_of(order, directory),
                env={**os.environ, **order["environment"]},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            print(f"runmesh: {error}", file=sys.stderr)  # noqa: T201
            store.put("report.json", json.dumps({"exit_code": 127, "tail": [str(error)]}).encode())
            return 127
        stopped = watch(child)
        if child.stdout:
            output.follow(child.stdout)
        code = child.wait()
    code = code if code >= 0 else 128 - code
    if code:
        told = {"native": bool(order["code"]), "stopped": stopped.is_set()}
        store.put("report.json", json.dumps({"exit_code": code, "tail": output.tail, **told}).encode())
    return code


if __name__ == "__main__":
    sys.exit(main())
