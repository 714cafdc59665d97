"""The children of dynamic blocks: when they are made, which may go, and what becomes of their block.

A block gets its fan as soon as it is known how many parts each of its inputs has. Its children then go one by one as
their own inputs complete, so that nobody waits for the slowest of a level. The block itself ends when all of them
have, in the state of the worst.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from itertools import chain, islice
from typing import Final

from runmesh.events import Cause, TaskState
from runmesh.projects.fanout import PARTED, Kind, item_of, positions, steps, width
from runmesh.resolver.fan import Fan, Items, members, nested_names, spread
from runmesh.resolver.plan import Plan, TaskPlan
from runmesh.resolver.state import State, TaskRecord
from runmesh.resolver.turn import Turn
from runmesh.subjects import CALLBACK, block_of

_MOST_NAMES: Final = 800_000
"""Bytes of what items and children are called: names compress badly, and a state must fit into a message."""


def records(turn: Turn, block: str) -> list[str]:
    """Name the children of a block that have a record: those that are out, or wait for another try."""
    if block not in turn.fans:
        return []
    return [name for name, record in turn.tasks.items() if _is_child(name, record, block)]


def _is_child(name: str, record: TaskRecord, block: str) -> bool:
    return record.index is not None and not record.callback and block_of(name) == block


def fan_out(turn: Turn) -> None:
    """Make the children of every block whose number of children is known now."""
    for block in turn.plan.fanning:
        if block not in turn.fans and block not in turn.tasks:
            _fan_out(turn, block)


def _fan_out(turn: Turn, block: str) -> None:
    task = turn.plan.tasks[block]
    factors = [_factor(turn, name, kind) for name, kind in task.inputs.items()]
    known = tuple(factor for factor in factors if factor is not None)
    if len(known) < len(factors):
        return
    fan = Fan(width=width(known), factors=known)
    if fan.width + sum(other.width for other in turn.fans.values()) > turn.plan.max_children:
        message = f"{fan.width:,} children: a run may have {turn.plan.max_children:,} in all (max_dynamic_children)"
        _refuse(turn, block, message)
        return
    fan = _named(turn, task, fan)
    names = fan.called(turn.items)
    if problem := too_long(turn, names) or _clash(turn, block, names):
        _refuse(turn, block, problem)
        return
    turn.fans[block] = fan
    turn.owe_task(block, TaskRecord(state=TaskState.RUNNING, attempt=0), TaskState.RUNNING, children=fan.width)


def _refuse(turn: Turn, block: str, message: str) -> None:
    turn.end(block, TaskState.FAILED, Cause.CONFIG, message)
    turn.fail(f"block {block!r} failed (config): {message}")


def _factor(turn: Turn, name: str, kind: Kind) -> int | None:
    """Return how many parts an upstream block has, None while that isn't known."""
    match kind:
        case Kind.ITEMS:
            return turn.items[name].count if name in turn.items else None
        case Kind.EACH:
            return turn.fans[name].width if name in turn.fans else None
        case Kind.ITEMS_OF_EACH:
            return sum(each.count for each in _nested(turn, name)) if turn.completed(name) else None
        case _:
            return 1


def _nested(turn: Turn | State, block: str) -> Iterator[Items]:
    """Yield what the children of a dynamic block returned, in their order."""
    fan, items = turn.fans[block], turn.items
    return (items[fan.name(block, child, items)] for child in range(fan.width))


def _named(turn: Turn, task: TaskPlan, fan: Fan) -> Fan:
    """Take the names that a dynamic block gives; where several inputs have parts, children go by their index."""
    parted = [(name, kind) for name, kind in task.inputs.items() if kind in PARTED]
    match parted:
        case [(name, Kind.ITEMS)]:
            return fan.model_copy(update={"named": name})
        case [(name, Kind.ITEMS_OF_EACH)]:
            return fan.model_copy(update={"names": nested_names(tuple(_nested(turn, name)))})
    return fan


def too_long(turn: Turn, more: Collection[str]) -> str | None:
    """Say that no state could take these names besides those that items and children have, if that is so."""
    if not more:
        return None
    known = (fan.called(turn.items) for fan in turn.fans.values())
    given = (items.names for items in turn.items.values())
    size = sum(len(name.encode()) for name in chain(more, *known, *given))
    return f"the names of all children take more than {_MOST_NAMES:,} bytes" if size > _MOST_NAMES else None


def _clash(turn: Turn, block: str, names: Collection[str]) -> str | None:
    """Say which name two children, or a child and another block, would have."""
    others = [name for name in turn.plan.tasks if name.startswith(f"{block}:")]
    twice = [f"{block}:{name}" for name, times in Counter(names).items() if times > 1]
    return next((f"two tasks would be called {name!r}" for name in (*others, *twice)), None)


def give_up_below(turn: Turn) -> None:
    """End, without beginning them, the children below what ended without completing."""
    for block, fan in tuple(turn.fans.items()):
        if fan.begun == fan.everyone:
            continue
        for state, lost in _lost(turn, block, fan):
            unbegun = lost & ~turn.fans[block].begun
            if unbegun:
                turn.fans[block] = turn.fans[block].end(state, unbegun)


def _lost(turn: Turn, block: str, fan: Fan) -> list[tuple[TaskState, int]]:
    """Return the children that can't run, by how they end: as in Mage, by a condition only if nothing failed."""
    ended = list(_ended_above(turn, block, fan))
    conditions = [(state, bits) for state, bits in ended if state is TaskState.CONDITION_FAILED]
    failures = [(TaskState.UPSTREAM_FAILED, bits) for state, bits in ended if state is not TaskState.CONDITION_FAILED]
    return [*failures, *conditions]


def _ended_above(turn: Turn, block: str, fan: Fan) -> Iterator[tuple[TaskState, int]]:
    """Yield how parts of the upstream blocks ended that did not complete, and which children needed those."""
    task = turn.plan.tasks[block]
    moves = dict(zip(task.inputs, zip(steps(fan.factors), fan.factors, strict=True), strict=True))
    for name in task.upstream:
        if task.inputs.get(name) is Kind.EACH and name in turn.fans:
            for state, bits in turn.fans[name].ended.items():
                if state is not TaskState.COMPLETED:
                    yield state, spread(bits, *moves[name], fan.width)
        elif turn.final(name) and not turn.completed(name):
            yield turn.tasks[name].state, fan.everyone


def give_up(turn: Turn, block: str) -> None:
    """Cancel the children of a block that have not begun."""
    fan = turn.fans[block]
    if unbegun := fan.everyone & ~fan.begun:
        turn.fans[block] = fan.end(TaskState.CANCELLED, unbegun)


def give_up_some(turn: Turn, names: Collection[str]) -> None:
    """Cancel those children among these names that have not begun."""
    for block, fan in tuple(turn.fans.items()):
        if any(name.startswith(f"{block}:") for name in names):
            unbegun = members(fan.everyone & ~fan.begun)
            chosen = sum(1 << child for child in unbegun if fan.name(block, child, turn.items) in names)
            turn.fans[block] = fan.end(TaskState.CANCELLED, chosen) if chosen else fan


def gather(turn: Turn) -> None:
    """End every block whose children have all ended."""
    for block, fan in tuple(turn.fans.items()):
        if fan.over and not turn.final(block):
            counts = ", ".join(f"{count:,} {state}" for state, count in fan.counts().items())
            turn.end(block, fan.state, fan.cause, f"{fan.width:,} children{': ' if counts else ''}{counts}")


def ready(turn: Turn, most: int) -> Iterator[tuple[str, int]]:
    """Yield the children that may go, at most so many."""
    found = ((block, index) for block in turn.fans if not turn.final(block) for index in members(_ready(turn, block)))
    return islice(found, max(most, 0))


def _ready(turn: Turn, block: str) -> int:
    task, fan = turn.plan.tasks[block], turn.fans[block]
    bits = fan.everyone & ~fan.begun
    for place, name in enumerate(task.inputs):
        if not bits or name not in task.upstream:
            continue
        if task.inputs[name] is Kind.EACH:
            bits &= spread(turn.fans[name].completed, steps(fan.factors)[place], fan.factors[place], fan.width)
        elif not turn.completed(name):
            return 0
    return bits


def part_of(plan: Plan, state: State, name: str, index: int | None) -> str:
    """Say which parts of its inputs a task gets, as the runtime's `--dynamic-index` reads it."""
    task = plan.task(name)
    inputs = tuple(task.inputs.items())
    if index is None:
        return "-:" + ",".join(f"*{state.fans[above].width}" if kind is Kind.ALL else "-" for above, kind in inputs)
    fan = state.fans[block_of(name.removeprefix(CALLBACK))]
    places = positions(index, fan.factors)
    return f"{index}:" + ",".join(_part(state, *each, place) for each, place in zip(inputs, places, strict=True))


def _part(state: State, name: str, kind: Kind, place: int) -> str:
    match kind:
        case Kind.ITEMS | Kind.EACH:
            return str(place)
        case Kind.ITEMS_OF_EACH:
            child, item = item_of(place, (each.count for each in _nested(state, name)))
            return f"{child}.{item}"
        case Kind.ALL:
            return f"*{state.fans[name].width}"
        case Kind.WHOLE:
            return "-"
