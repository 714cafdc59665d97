"""The named points of the crash matrix: where a service may be made to die, stand still or wait.

Nothing of this is in the product. A test-side main (`service.py`) wraps what a service is given, its bus and its
executor, and every call passes by here. A rule, one small file in the mesh's directory, names a point and a run, and
says what happens the first time that any process gets there. With a rule for each case, many cases share a mesh.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

_LOOK: Final = 0.01
_LONGEST_HOLD: Final = 60.0
POISON: Final = "poison"
"""How the runs are called whose request breaks the resolver."""
BREAKS: Final = "breaks"
"""How the runs are called that break every turn which knows that a task of theirs completed."""


class Point(StrEnum):
    """The points, in the order of a task's life."""

    REQUEST_TAKEN = "request taken"
    PLAN_STORED = "plan stored"
    EXECUTE_PUBLISHED = "execute published"
    CLAIMED = "claimed"
    BEFORE_SUBMIT = "before submit"
    SUBMITTED_NOT_RECORDED = "submitted but not recorded"
    RECORDED = "recorded"
    OBSERVING = "observing"
    FINISHED_NOT_REPORTED = "finished but not reported"
    REPORTED_NOT_ACKED = "reported but not acked"
    DURING_CANCEL = "during cancel"
    DURING_DRAIN = "during drain"
    DURING_RETRY_DELAY = "during retry delay"


class Step(NamedTuple):
    """One thing that a service does: which call, about what, with which content."""

    call: str
    about: str
    data: bytes = b""


class Act(StrEnum):
    """What happens at a point."""

    KILL_RESOLVER = "kill resolver"
    """Whoever got there, if it is one, else all of them."""
    KILL_WORKER = "kill worker"
    KILL_NATS = "kill nats"
    STOP = "stop"
    """SIGSTOP for the process that got there; the test continues it."""
    HOLD = "hold"
    """The process waits, deaf to everything, until the test lets it go."""


_DRAINED: Final = (b'"phase":"released"', b'"handed_back":true')
_WHERE: Final[dict[Point, Callable[[Step], bool]]] = {
    Point.REQUEST_TAKEN: lambda step: step.call == "take" and step.about.startswith("mesh.request.run."),
    Point.PLAN_STORED: lambda step: step.call == "write runs" and step.about.endswith(".plan"),
    Point.EXECUTE_PUBLISHED: lambda step: step.call == "publish" and step.about.startswith("mesh.execute."),
    Point.CLAIMED: lambda step: step.call == "write claims" and b'"phase":"claimed"' in step.data,
    Point.BEFORE_SUBMIT: lambda step: step.call == "write claims" and b'"phase":"submitting"' in step.data,
    Point.SUBMITTED_NOT_RECORDED: lambda step: step.call == "submit",
    Point.RECORDED: lambda step: step.call == "write claims" and b'"phase":"submitted"' in step.data,
    Point.OBSERVING: lambda step: step.call == "publish" and step.about.startswith("mesh.task.running."),
    Point.FINISHED_NOT_REPORTED: lambda step: step.call == "write claims" and b'"phase":"terminal"' in step.data,
    Point.REPORTED_NOT_ACKED: lambda step: step.call == "publish" and _ends(step.about),
    Point.DURING_CANCEL: lambda step: step.call == "cancel",
    Point.DURING_DRAIN: lambda step: step.call == "write claims" and any(said in step.data for said in _DRAINED),
    Point.DURING_RETRY_DELAY: lambda step: step.call == "publish" and step.about.startswith("mesh.task.retrying."),
}


def _is_poison(step: Step) -> bool:
    if step.call != "write runs":
        return False
    plan, state = step.about.endswith(".plan"), step.about.endswith(".state")
    if step.about.startswith(f"run.{POISON}-"):
        return plan
    return step.about.startswith(f"run.{BREAKS}-") and state and b'"state":"completed"' in step.data


def _ends(subject: str) -> bool:
    return subject.startswith(("mesh.task.completed.", "mesh.task.failed.", "mesh.task.cancelled."))


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to whom, the first time that anything of a run gets to a point."""

    name: str
    point: Point
    act: Act
    run: str
    keys: tuple[str, ...]
    """Of the run's task that matters, one for each submission: claims and handles know nothing of runs."""
    before: bool = False
    """Before the call of the point, instead of after its answer."""
    pool: str | None = None
    """Whose workers die where a resolver gets there: a case that has a pool to itself is in no other's way."""

    def fits(self, point: Point, step: Step, *, before: bool) -> bool:
        """Say whether this is the place."""
        text = step.about.encode() + step.data
        about_it = any(name.encode() in text for name in (self.run, *self.keys))
        return (self.point, self.before) == (point, before) and about_it


class Rules:
    """The rules of one mesh, and which of them have come true: files, since many processes share them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._rules, self.hits, self._let_go = (directory / name for name in ("rules", "hits", "let_go"))
        for made in (self._rules, self.hits, self._let_go, directory / "pids"):
            made.mkdir(parents=True, exist_ok=True)

    def add(self, rule: Rule) -> None:
        """Make a rule, before its run is requested."""
        new = self.directory / f"{rule.name}.new"
        new.write_text(json.dumps(asdict(rule)))
        new.rename(self._rules / rule.name)

    def there(self) -> list[Rule]:
        """Read all that have not come true."""
        names = {path.name for path in self._rules.iterdir()} - {path.name for path in self.hits.iterdir()}
        found = [json.loads((self._rules / name).read_text()) for name in names]
        return [Rule(**rule | {"point": Point(rule["point"]), "act": Act(rule["act"])}) for rule in found]

    def hit(self, name: str) -> int | None:
        """Return the process that got to a rule's point, if one has."""
        path = self.hits / name
        return int(path.read_text()) if path.exists() else None

    def claim(self, rule: Rule) -> bool:
        """Be the one for whom a rule comes true: there is one only."""
        mine = self.directory / f"{rule.name}.{os.getpid()}"
        mine.write_text(str(os.getpid()))
        try:
            (self.hits / rule.name).hardlink_to(mine)
        except FileExistsError:
            return False
        finally:
            mine.unlink()
        return True

    def let_go(self, name: str) -> None:
        """Let a process go on that is held."""
        (self._let_go / name).touch()

    def wait(self, name: str) -> None:
        """Be held: nothing else happens in this process."""
        deadline = time.monotonic() + _LONGEST_HOLD
        while not (self._let_go / name).exists() and time.monotonic() < deadline:
            time.sleep(_LOOK)


class Points:
    """What every wrapped call of one process passes by."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def reach(self, step: Step, *, before: bool) -> None:
        """Be before a call, or after its answer. It may be the end. Raises what poison is made of."""
        points = [point for point, is_here in _WHERE.items() if is_here(step)]
        for point in points:
            for rule in self._rules.there():
                if rule.fits(point, step, before=before) and self._rules.claim(rule):
                    self._do(rule)
        if before and _is_poison(step):
            raise ZeroDivisionError(step.about)

    def _do(self, rule: Rule) -> None:
        match rule.act:
            case Act.STOP:
                os.kill(os.getpid(), signal.SIGSTOP)
            case Act.HOLD:
                self._rules.wait(rule.name)
            case killing:
                victims = pids(self._rules.directory, killing.value.removeprefix("kill "), rule.pool)
                kill([os.getpid()] if os.getpid() in victims else victims)


def note(directory: Path, kind: str) -> None:
    """Note that this process is one of a kind; of a worker, its pool too."""
    (directory / "pids" / f"{kind}.{os.getpid()}").write_text(os.environ.get("RUNMESH_POOL", ""))


def pids(directory: Path, kind: str, pool: str | None = None) -> list[int]:
    """Return the processes of a kind that run in a mesh, resolver, worker or nats: of workers, perhaps of one pool."""
    noted = [path for path in (directory / "pids").glob(f"{kind}.*") if _is_in(path, pool)]
    return [pid for pid in (int(path.suffix[1:]) for path in noted) if _is_of(directory, pid)]


def _is_in(noted: Path, pool: str | None) -> bool:
    with suppress(OSError):
        return pool is None or noted.read_text() in ("", pool)
    return False


def _is_of(directory: Path, pid: int) -> bool:
    """Say whether a process is one of the mesh: its number may have been given to another since it was noted."""
    with suppress(OSError):
        return str(directory).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def kill(processes: Collection[int]) -> None:
    """SIGKILL."""
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
