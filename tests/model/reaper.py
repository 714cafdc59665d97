"""The reaper (`runmesh.worker.reaper`), without its second round: that one protects logs, not tasks."""

from collections.abc import Iterator

from tests.model.rules import Rules, Scope
from tests.model.state import Reaper, State, Step


def steps(rules: Rules, scope: Scope, state: State, worker: int) -> Iterator[Step]:
    """What the reaper of a worker can do next; a round at a time in the whole world."""
    if state.reaper is None:
        yield from _begin(rules, scope, state, worker)
    elif state.reaper.worker == worker:
        yield _go_on(scope, state, state.reaper)


def _step(worker: int, what: str, key: int, state: State, reaper: Reaper | None) -> Step:
    return Step(f"worker {worker}", f"reaper {what} [{key}]", key, state._replace(reaper=reaper))


def _begin(rules: Rules, scope: Scope, state: State, worker: int) -> Iterator[Step]:
    for key in range(scope.submissions):
        if not rules.jobs_then_claims:
            if _unowned(state, worker, key):
                yield _step(worker, "reads no open claim", key, state, Reaper(worker, key, "list"))
        elif _listed(scope, state, worker, key):
            yield _step(worker, "lists the job", key, state, Reaper(worker, key, "judge"))


def _go_on(scope: Scope, state: State, reaper: Reaper) -> Step:
    worker, key, _ = reaper
    match reaper.at:
        case "judge":
            doomed = _unowned(state, worker, key)
            what = "reads no open claim" if doomed else "spares the job"
            return _step(worker, what, key, state, Reaper(worker, key, "remove") if doomed else None)
        case "list":
            listed = _listed(scope, state, worker, key)
            what = "lists the job" if listed else "finds nothing"
            return _step(worker, what, key, state, Reaper(worker, key, "remove") if listed else None)
        case "remove":
            removed = state.under(key, state.submissions[key]._replace(jobs=()))
            return _step(worker, "removes the job", key, removed, None)


def _listed(scope: Scope, state: State, worker: int, key: int) -> bool:
    return any(not scope.local or job.place == worker for job in state.submissions[key].jobs)


def _unowned(state: State, worker: int, key: int) -> bool:
    claim = state.submissions[key].claim
    return state.workers[worker].lives[key] is None and (claim is None or not claim.open)
