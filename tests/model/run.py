"""The worlds that are searched: small ones with every test run, large ones by `make model`."""

from collections.abc import Iterator
from functools import partial
from time import process_time
from typing import Final

from tests.model import world
from tests.model.invariants import INVARIANTS, reached
from tests.model.rules import Rules, Scope
from tests.model.search import Invariants, Search

ORDINARY: Final = {
    "remote": Scope(),
    "local": Scope(local=True),
    "two submissions": Scope(submissions=2, kinds=("crash",)),
    "three workers": Scope(workers=3, kinds=("crash",)),
    "killed and stopped": Scope(faults=2, kinds=("crash", "zombie"), cancel=False),
    "unanswered": Scope(faults=2, kinds=("answer lost", "silence")),
}
LARGE: Final = {
    "remote, two faults": Scope(faults=2),
    "local, two faults": Scope(local=True, faults=2),
    "two submissions, any fault": Scope(submissions=2),
    "two local submissions, any fault": Scope(submissions=2, local=True),
    "three workers, two killed or stopped": Scope(workers=3, faults=2, kinds=("crash", "zombie")),
    "three killed or drained": Scope(faults=3, kinds=("crash", "drain"), cancel=False),
}


def search(scope: Scope, rules: Rules | None = None, invariants: Invariants = INVARIANTS) -> Search:
    """Make ready to search one world, by the protocol's rules and for all promises unless others are given."""
    return Search(world.start(scope), partial(world.steps, rules or Rules(), scope), invariants, reached)


def table() -> Iterator[str]:
    """Search them all, and tell a line of each; the first promise that is not kept ends it, with the trace."""
    yield f"{'':38}{'states':>10}{'steps':>12}{'depth':>7}{'seconds':>9}"
    for name, scope in (ORDINARY | LARGE).items():
        began = process_time()
        found = search(scope).run()
        seconds = process_time() - began
        yield f"{name:38}{found.states:>10,}{found.steps:>12,}{found.depth:>7}{seconds:>9.1f}"
        if found.broken:
            raise SystemExit(str(found.broken))
