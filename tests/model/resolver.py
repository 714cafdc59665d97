"""The resolvers, all replicas as one: what they do for the task (`runmesh.resolver`: lanes, arbiter, store)."""

from collections.abc import Iterator

from tests.model.rules import Rules, Scope
from tests.model.state import RESOLVER, Cause, Claim, Fact, Message, Resolver, State, Step
from tests.model.worker import told


def steps(rules: Rules, scope: Scope, state: State) -> Iterator[Step]:
    """What the resolvers can do next."""
    if state.resolver.sweeping is not None:
        yield _republishes(state, state.resolver.sweeping)
    if state.resolver.over:
        return
    yield from _takes_a_fact(scope, state)
    yield from _sweeps(rules, state)
    yield from _cancels(scope, state)
    yield from _ends_what_nobody_claimed(rules, scope, state)


def _step(what: str, key: int, after: State, *, fair: bool = True) -> Step:
    return Step("resolver", f"{what} [{key}]", key, after, fair)


def _takes_a_fact(scope: Scope, state: State) -> Iterator[Step]:
    key = state.resolver.submission
    for fact in state.submissions[key].facts:
        for what, after in _advanced(scope, state.resolver, fact):
            yield _step(f"takes the fact, {what}", key, state._replace(resolver=after))


def _advanced(scope: Scope, resolver: Resolver, fact: Fact) -> Iterator[tuple[str, Resolver]]:
    """Go on after a terminal fact: the run is over, or the task is submitted again."""
    yield "the run is over", resolver._replace(over=True)
    final = fact.unconfirmed or fact.cause in ("cancelled", "config") or resolver.cancel
    if not final and resolver.submission + 1 < scope.submissions:
        yield "submits again", resolver._replace(submission=resolver.submission + 1, claimed=False)


def _sweeps(rules: Rules, state: State) -> Iterator[Step]:
    """Look at the claim; give the command again where there is no end. A command that is owed goes the same way."""
    key = state.resolver.submission
    submission = state.submissions[key]
    claim = submission.claim
    if claim and claim.fact:
        if claim.fact not in submission.facts:
            after = state.under(key, told(submission, claim.fact))
            yield _step("finds a terminal claim, and tells it", key, after)
    elif state.message is None and state.resolver.sweeping is None and (rules.sweep_republishes or claim is None):
        sweeping = state.resolver._replace(sweeping=key)
        yield _step("sees a task that is out", key, state._replace(resolver=sweeping))


def _republishes(state: State, key: int) -> Step:
    after = state._replace(resolver=state.resolver._replace(sweeping=None))
    if state.message is None:
        return _step("publishes the command", key, after._replace(message=Message(key)))
    return _step("has the command refused", key, after)


def _cancels(scope: Scope, state: State) -> Iterator[Step]:
    key = state.resolver.submission
    if scope.cancel and not state.resolver.cancel:
        cancelled = state.resolver._replace(cancel=True)
        yield _step("is asked to cancel", key, state._replace(resolver=cancelled), fair=False)
    if state.resolver.cancel and not state.cancelling:
        yield _step("writes the cancel record", key, state._replace(cancelling=True))


def _ends_what_nobody_claimed(rules: Rules, scope: Scope, state: State) -> Iterator[Step]:
    key = state.resolver.submission
    claim = state.submissions[key].claim
    if state.resolver.claimed or (claim and not claim.open):
        return
    if claim and rules.resolver_creates:
        if state.resolver.cancel and not rules.gone_claim_is_seen:
            claimed = state.resolver._replace(claimed=True)
            yield _step("finds that a worker has it", key, state._replace(resolver=claimed))
        return
    if state.resolver.cancel:
        yield _step("creates the claim: cancelled", key, _ended(state, key, "cancelled"))
    if state.faults and "queue timeout" in scope.kinds:
        after = _ended(state.spent(), key, "capacity")
        yield _step("creates the claim: queue_timeout", key, after, fair=False)


def _ended(state: State, key: int, cause: Cause) -> State:
    return state.swap(key, Claim(RESOLVER, phase="terminal", fact=Fact(cause, RESOLVER)))
