"""How far a whole pipeline is: which steps may run now, and how its blocks ended (pure).

A block's steps may run when all blocks above it are over. A dynamic child has one step for every combination of what
its upstream blocks offer, in the order of `itertools.product`, which is Mage's. After the first failure nothing more
starts, unless blocks may fail. What is below a block that failed, or whose conditions weren't met, is left out, as that
block; of children, what is below them.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from typing import Final

from runmesh.projects import Block, Pipeline
from runmesh.projects.fanout import Kind, is_child, kinds
from runmesh.runtime.failed import Failed
from runmesh.runtime.steps import Part, Step

MOST_CHILDREN: Final = 100_000
"""Of one block in one process."""
COMPLETED: Final = "completed"
_WORST_FIRST: Final = ("failed", "cancelled", "upstream_failed", "condition_failed")


class _Fan:
    """The children of one block; `lost` says what becomes of those below each that didn't complete."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.ended: Counter[str] = Counter()
        self.lost: dict[int, str] = {}

    def end(self, child: int, state: str) -> bool:
        """Note how a child ended; say whether all have."""
        self.ended[state] += 1
        if state != COMPLETED:
            self.lost[child] = _below(state)
        return self.ended.total() == self.width

    @property
    def state(self) -> str:
        return next((state for state in _WORST_FIRST if self.ended[state]), COMPLETED)


class Progress:
    """The blocks of one pipeline, of which `order` are run, upstream first; one that failed ends all, or may fail."""

    def __init__(self, pipeline: Pipeline, order: tuple[str, ...], *, may_fail: bool = False) -> None:
        self._blocks, self._order, self._may_fail = pipeline.blocks, order, may_fail
        self._kinds = kinds(pipeline, order)
        self._waits = {uuid: {name for name in self._upstream(uuid) if name in self._kinds} for uuid in order}
        self._below: dict[str, list[str]] = {uuid: [] for uuid in order}
        for uuid, upstream in self._waits.items():
            for name in upstream:
                self._below[name].append(uuid)
        self._states: dict[str, str] = {}
        self._fans: dict[str, _Fan] = {}
        self._items: dict[tuple[str, int | None], int] = {}
        self._pending: deque[Iterator[Step]] = deque()
        self.failed: list[str] = []
        """The steps that failed."""
        self.refused: Failed | None = None
        """Why a block can't fan out."""
        for uuid in [uuid for uuid, upstream in self._waits.items() if not upstream]:
            self._open(uuid)

    @property
    def is_stopped(self) -> bool:
        """Whether nothing more begins, as something failed."""
        return bool(self.failed) and not self._may_fail

    def next(self) -> Step | None:
        """Return a step that may run now, in turns of all blocks that may; None if there is none yet, or no more."""
        while self._pending and not self.is_stopped:
            step = next(self._pending[0], None)
            if step is None:
                self._pending.popleft()
                continue
            self._pending.rotate(-1)
            return step
        return None

    def end(self, step: Step, state: str, items: int | None) -> None:
        """Note how a step ended, and how many items it returned if it is dynamic."""
        uuid = step.block.uuid
        if items is not None:
            self._items[uuid, step.child] = items
        if state == "failed":
            self.failed.append(step.name)
        if step.child is None:
            self._close(uuid, state)
        elif self._fans[uuid].end(step.child, state):
            self._close(uuid, self._fans[uuid].state)

    def report(self) -> dict[str, str | dict[str, int]]:
        """Return the state of every block, counts of states where it has children; what never began was cancelled."""
        states: dict[str, str] = {}
        report: dict[str, str | dict[str, int]] = {}
        for uuid in self._order:
            report[uuid] = states[uuid] = self._states.get(uuid) or self._unfinished(uuid, states)
            if uuid in self._fans:
                fan = self._fans[uuid]
                rest = fan.width - fan.ended.total()
                report[uuid] = dict(fan.ended) | ({"cancelled": rest} if rest else {})
        return report

    def _unfinished(self, uuid: str, states: Mapping[str, str]) -> str:
        if uuid in self._fans:
            return "failed" if self._fans[uuid].ended["failed"] else "cancelled"
        above = {states.get(name) for name in self._upstream(uuid)}
        return "cancelled" if above.isdisjoint({"failed", "upstream_failed"}) else "upstream_failed"

    def _close(self, uuid: str, state: str) -> None:
        over = [(uuid, state)]
        while over:
            uuid, state = over.pop()
            self._states[uuid] = state
            for name in self._below[uuid]:
                self._waits[name].discard(uuid)
                if not self._waits[name] and not self.is_stopped and (ended := self._open(name)):
                    over.append((name, ended))

    def _open(self, uuid: str) -> str | None:
        """Offer the steps of a block; return its state if it is over at once."""
        upstream = list(zip(self._upstream(uuid), self._kinds[uuid], strict=True))
        above = [self._states.get(name, COMPLETED) for name, kind in upstream if not self._by_child(name, kind)]
        if worst := next((state for state in _WORST_FIRST if state in above), None):
            return _below(worst)
        block = self._blocks[uuid]
        if is_child(self._kinds[uuid]):
            return self._fan_out(block, upstream)
        parts = tuple(part for name, kind in upstream for part in self._parts(name, kind))
        self._pending.append(iter([Step(block, None, parts)]))
        return None

    def _fan_out(self, block: Block, upstream: list[tuple[str, Kind]]) -> str | None:
        width = prod(self._count(name, kind) for name, kind in upstream)
        if width > MOST_CHILDREN:
            most = f"the most in one process is {MOST_CHILDREN:,}"
            self.refused = Failed(f"block {block.uuid!r} would run {width:,} times, {most}")
            self.failed.append(block.uuid)
            return "failed"
        fan = self._fans[block.uuid] = _Fan(width)
        steps = []
        for child, parts in enumerate(product(*(self._parts(name, kind) for name, kind in upstream))):
            if lost := self._lost(block, parts):
                fan.end(child, lost)
            else:
                steps.append(Step(block, child, parts))
        self._pending.append(iter(steps))
        return None if steps else fan.state

    def _lost(self, block: Block, parts: tuple[Part, ...]) -> str | None:
        """Return how a child ends at once, if one above it didn't complete."""
        inputs = zip(block.upstream_blocks, parts, strict=True)
        above = {self._fans[name].lost.get(part.child) for name, part in inputs if part.child is not None}
        return next((state for state in _WORST_FIRST if state in above), None)

    def _by_child(self, name: str, kind: Kind) -> bool:
        """Say whether a child of an upstream block that was left out leaves out only what is below that child."""
        return kind is Kind.EACH and name in self._fans

    def _count(self, name: str, kind: Kind) -> int:
        """Return how many parts an upstream block offers."""
        match kind:
            case Kind.ITEMS:
                return self._items[name, None]
            case Kind.EACH:
                return self._fans[name].width
            case Kind.ITEMS_OF_EACH:
                return sum(self._items[name, child] for child in range(self._fans[name].width))
        return 1

    def _parts(self, name: str, kind: Kind) -> list[Part]:
        """Return what an upstream block offers: one part for all, or one for each child of the block below."""
        match kind:
            case Kind.ITEMS:
                return [Part(item=item) for item in range(self._items[name, None])]
            case Kind.EACH:
                return [Part(child=child) for child in range(self._fans[name].width)]
            case Kind.ITEMS_OF_EACH:
                children = range(self._fans[name].width)
                return [Part(child, item) for child in children for item in range(self._items[name, child])]
            case Kind.ALL:
                return [Part(children=self._fans[name].width)]
        return [Part()]

    def _upstream(self, uuid: str) -> tuple[str, ...]:
        return self._blocks[uuid].upstream_blocks


def _below(state: str) -> str:
    """Return what becomes of what is below a block, or a child, that ended so."""
    return "upstream_failed" if state == "failed" else state
