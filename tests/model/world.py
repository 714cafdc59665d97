"""Everything at once: the server's deliveries, the platform's jobs, the processes' deaths, and all that they do."""

from collections.abc import Iterator

from tests.model import reaper, resolver
from tests.model.here import Here
from tests.model.rules import Rules, Scope
from tests.model.state import NOBODY, Life, Message, State, Step, Submission, Worker
from tests.model.worker import STEPS, arrives, handed_back


def start(scope: Scope) -> State:
    """The command is published, nobody has it yet."""
    idle = Worker((None,) * scope.submissions)
    return State((Submission(),) * scope.submissions, (idle,) * scope.workers, faults=scope.faults, local=scope.local)


def steps(rules: Rules, scope: Scope, state: State) -> Iterator[Step]:
    """All that can happen next."""
    for number in range(scope.workers):
        yield from _work(rules, scope, state, number)
        yield from _process(rules, scope, state, number)
    yield from resolver.steps(rules, scope, state)
    yield from _server(scope, state)
    yield from _platform(rules, scope, state)


# --- a worker -----------------------------------------------------------------------------------------


def _work(rules: Rules, scope: Scope, state: State, number: int) -> Iterator[Step]:
    """What a worker does. A zombie wakes before a call, and finds its lease gone after it."""
    worker = state.workers[number]
    if worker.status == "dead":
        return
    zombie = worker.status == "zombie" and rules.lease_is_checked
    for key, life in enumerate(worker.lives):
        if life:
            for step in STEPS[life.at](Here(rules, scope, state, number, key, life)):
                after = _dead(scope, step.after, number) if zombie and life.at != "wait" else step.after
                yield step._replace(after=after)
    for step in reaper.steps(rules, scope, state, number):
        yield step._replace(after=_dead(scope, step.after, number)) if zombie else step


def _process(rules: Rules, scope: Scope, state: State, number: int) -> Iterator[Step]:
    worker = state.workers[number]
    for what, after, fair in _changes(rules, scope, state, number, worker):
        yield Step(f"worker {number}", what, 0, after, fair)


def _changes(
    rules: Rules, scope: Scope, state: State, number: int, worker: Worker
) -> Iterator[tuple[str, State, bool]]:
    alive = worker.status in ("up", "draining")
    if alive and state.faults:
        yield from _faults(scope, state, number, worker)
    if worker.status == "zombie":
        yield "wakes, and finds its lease gone", _dead(scope, state, number), True
    if worker.status == "draining" and not any(worker.lives):
        gone = _dead(scope, state, number).worker(number, worker._replace(status="dead", record=False))
        yield "leaves", _without_processes(gone, number) if scope.local else gone, True
    if not alive and worker.record and not (scope.local and rules.supervisor_kills and _processes(state, number)):
        yield "its record expires", state.worker(number, worker._replace(record=False)), True
    if worker.status == "dead" and not worker.record:
        yield "starts under a new id", _started(state, number), True


def _faults(scope: Scope, state: State, number: int, worker: Worker) -> Iterator[tuple[str, State, bool]]:
    kinds, spent = scope.kinds, state.spent()
    busy = any(worker.lives) or (state.reaper is not None and state.reaper.worker == number)
    if "crash" in kinds and (busy or worker.status == "up"):
        yield "is killed", _dead(scope, spent, number), False
    if "zombie" in kinds and busy:
        zombie = spent.worker(number, worker._replace(status="zombie"))
        yield "is stopped for longer than its lease", zombie, False
    if "drain" in kinds and worker.status == "up":
        yield "begins to drain", spent.worker(number, worker._replace(status="draining")), False
    if "interrupted" in kinds:
        for key, life in enumerate(worker.lives):
            if life and life.at not in ("claim", "look", "take") and not (scope.local and life.at == "wait"):
                after = handed_back(_cut_off(spent, number, key), number, key)
                yield f"fails with a fault of our own [{key}]", after, False


def _dead(scope: Scope, state: State, number: int) -> State:
    """End a process: a call that it sent may arrive all the same."""
    for key in range(scope.submissions):
        if not scope.local:
            state = _cut_off(state, number, key)
    if state.reaper and state.reaper.worker == number:
        state = state._replace(reaper=None)
    return state.worker(number, Worker((None,) * scope.submissions, "dead", state.workers[number].record))


def _cut_off(state: State, number: int, key: int) -> State:
    life = state.workers[number].lives[key]
    if life is None or life.at != "wait":
        return state
    submission = state.submissions[key]
    return state.under(key, submission._replace(calls=submission.calls + 1))


def _started(state: State, number: int) -> State:
    """Start anew: what the old process owned is owned by nobody."""
    for key, submission in enumerate(state.submissions):
        if submission.claim and submission.claim.owner == number:
            claim = submission.claim._replace(owner=NOBODY)
            state = state.under(key, submission._replace(claim=claim))
    for other, worker in enumerate(state.workers):
        for key, life in enumerate(worker.lives):
            if life and life.known and life.known.owner == number:
                state = state.life(other, key, life._replace(known=life.known._replace(owner=NOBODY)))
    return state.worker(number, state.workers[number]._replace(status="up", record=True))


# --- local processes ----------------------------------------------------------------------------------


def _processes(state: State, number: int) -> bool:
    return any(job.place == number for submission in state.submissions for job in submission.jobs)


def _without_processes(state: State, number: int) -> State:
    for key, submission in enumerate(state.submissions):
        jobs = tuple(job for job in submission.jobs if job.place != number)
        state = state.under(key, submission._replace(jobs=jobs))
    return state


# --- the server ---------------------------------------------------------------------------------------


def _server(scope: Scope, state: State) -> Iterator[Step]:
    message = state.message
    if message is None:
        return
    if message.waiting:
        for number, worker in enumerate(state.workers):
            if worker.status == "up" and not _same_as_one_before(state, number):
                yield Step(
                    "server", f"delivers to worker {number} [{message.key}]", message.key, _delivered(state, number)
                )
    else:
        beaten = _beaten(state, message)
        if not beaten or (state.faults and "copy" in scope.kinds):
            again = (state.spent() if beaten else state)._replace(message=message._replace(waiting=True))
            yield Step("server", f"ack_wait is over [{message.key}]", message.key, again, not beaten)
    if state.faults and "emptied" in scope.kinds:
        yield Step("server", "loses the message", message.key, state.spent().without_message(), fair=False)


def _same_as_one_before(state: State, number: int) -> bool:
    """Workers that have done nothing yet are alike: one of them is enough."""
    owners = {submission.claim.owner for submission in state.submissions if submission.claim}
    facts = {fact.by for submission in state.submissions for fact in submission.facts}
    blank = [n for n in range(number + 1) if n not in owners | facts and not any(state.workers[n].lives)]
    return number in blank and any(state.workers[n] == state.workers[number] for n in blank if n < number)


def _delivered(state: State, number: int) -> State:
    message = state.message
    assert message is not None
    held = state.workers[number].lives[message.key]
    life = held._replace(current=True) if held else Life()
    return state.life(number, message.key, life)._replace(message=message._replace(waiting=False))


def _beaten(state: State, message: Message) -> bool:
    """Whether somebody who is alive has the delivery, and says so in time."""
    lives = [worker.lives[message.key] for worker in state.workers if worker.status in ("up", "draining")]
    return any(life and life.current for life in lives)


# --- the platform -------------------------------------------------------------------------------------


def _platform(rules: Rules, scope: Scope, state: State) -> Iterator[Step]:
    for key, submission in enumerate(state.submissions):
        for what, after, fair in _happens(rules, scope, state, submission):
            spent = state if fair or what.startswith("a submit") else state.spent()
            yield Step("platform", f"{what} [{key}]", key, spent.under(key, after), fair)


def _happens(
    rules: Rules, scope: Scope, state: State, submission: Submission
) -> Iterator[tuple[str, Submission, bool]]:
    if submission.calls:
        fewer = submission._replace(calls=submission.calls - 1)
        yield "a submit arrives whose sender is gone", arrives(rules, fewer, NOBODY), False
        yield "a submit is lost", fewer, True
    if rules.supervisor_kills and _orphaned(state, submission):
        yield "the supervisor kills the process", submission._replace(jobs=()), True
    elif submission.running:
        yield from _ends(scope, state, submission)


def _ends(scope: Scope, state: State, submission: Submission) -> Iterator[tuple[str, Submission, bool]]:
    ended = tuple(job._replace(running=False) for job in submission.jobs)
    yield "the job ends", submission._replace(jobs=ended), True
    if state.faults and "vanished" in scope.kinds:
        yield "the node is lost, and the job with it", submission._replace(jobs=()), False


def _orphaned(state: State, submission: Submission) -> bool:
    return any(job.place >= 0 and state.workers[job.place].status in ("zombie", "dead") for job in submission.jobs)
