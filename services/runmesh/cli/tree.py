"""A run as a person sees it: a tree of blocks with their states, and how far all of it is. View in, text out."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runmesh.cli.output import GLYPHS, duration
from runmesh.events import RunState, TaskState
from runmesh.folding import apart
from runmesh.story import last_words
from runmesh.subjects import CONDITION
from runmesh.view import BlockView, RunView

_DEEPEST: Final = 10
"""Deeper graphs are listed without indentation: a chain of a hundred blocks has no shape to show."""
_QUIET: Final = frozenset(
    {"pending", TaskState.COMPLETED, TaskState.UPSTREAM_FAILED, TaskState.CONDITION_FAILED, TaskState.CANCELLED}
)
"""What is left out first where there is not enough room."""
_WIDEST: Final = 100
_TALLIED: Final = {
    TaskState.FAILED: "failed",
    TaskState.RETRYING: "retrying",
    TaskState.CANCELLED: "cancelled",
    TaskState.UPSTREAM_FAILED: "upstream failed",
    TaskState.CONDITION_FAILED: "condition not met",
}
"""What is said of children beside how many completed."""
_CALLBACKS: Final = {TaskState.FAILED: "failure", TaskState.CANCELLED: "cancelled"}
"""Which callbacks a task of their own runs, by how the block ended."""
_NOTE_STYLES: Final = {"queued": "cyan", "retrying": "yellow", "cancelled": "yellow"}
_FOOT_STYLES: Final = {"failed": "red", "failing": "red", "cancelled": "yellow", "cancelling": "yellow"}


class Role(StrEnum):
    """What a row is about."""

    BLOCK = "block"
    CHILD = "child"
    STEP = "step"


class Row(NamedTuple):
    """One line of the tree, and the branches that lead to it."""

    branch: str
    block: BlockView
    role: Role = Role.BLOCK
    label: str = ""
    """What it is called, where that is not its name."""
    beneath: str = ""
    """The branches that pass by what stands beneath a block."""

    @property
    def quiet(self) -> bool:
        """It gives way where there is not enough room."""
        return self.role is Role.STEP or self.block.state in _QUIET


def render(view: RunView, now: datetime, *, height: int | None = None) -> RenderableType:
    """Draw a run, within `height` rows where it must fit a screen."""
    if view.state == RunState.REJECTED:
        return Group(_head(view), *_problems(view))
    if view.state is None:
        return Group(_head(view), Text("\n  waiting for a resolver to take the request", "dim"))
    shown = [row for block in rows(view.blocks) for row in (block, *_beneath(block))]
    room = max(3, height - 7) if height else len(shown)
    if len(shown) > room:
        shown = [row for row in shown if not row.quiet][:room]
    parts: list[RenderableType] = [_head(view), Text()]
    if shown:
        parts += [_table(view, shown, now), *_failures(shown), Text()]
    blocks = sum(view.counts.values())
    if hidden := blocks - sum(row.role is Role.BLOCK for row in shown):
        parts += [_summary(view, hidden, blocks), Text()]
    return Group(*parts, _foot(view, now))


def rows(blocks: Mapping[str, BlockView]) -> list[Row]:
    """Order blocks as a tree, each under its first upstream block; a very deep one as a list."""
    children: dict[str | None, list[BlockView]] = {}
    for block in blocks.values():
        parent = next((name for name in block.upstream if name in blocks), None)
        children.setdefault(parent, []).append(block)
    drawn = list(_branches(children))
    if len(drawn) < len(blocks) or any(len(row.branch) > 3 * _DEEPEST for row in drawn):
        return [Row("", block, beneath="   ") for block in blocks.values()]
    return drawn


def _branches(children: Mapping[str | None, Sequence[BlockView]]) -> Iterator[Row]:
    """Walk depth first, with a stack of our own: a chain may be longer than Python's."""
    waiting = [(block, "", "") for block in reversed(children.get(None, ()))]
    while waiting:
        block, branch, indent = waiting.pop()
        below = children.get(block.name, ())
        yield Row(branch, block, beneath=indent + ("│  " if below else "   "))
        for index in range(len(below) - 1, -1, -1):
            last = index == len(below) - 1
            waiting.append((below[index], indent + ("└─ " if last else "├─ "), indent + ("   " if last else "│  ")))


def _beneath(row: Row) -> Iterator[Row]:
    """Draw beneath a block what is no block of its own: its first failed children, its conditions and callbacks."""
    for child in row.block.children.failed if row.block.children else ():
        yield Row(row.beneath, child, Role.CHILD)
    for step in row.block.steps:
        yield Row(row.beneath, step, Role.STEP, _step(row.block, step))


def _step(block: BlockView, step: BlockView) -> str:
    if apart(step.name)[0] == CONDITION:
        return "conditions"
    states = block.children.counts if block.children else (block.state,)
    kinds = [kind for state, kind in _CALLBACKS.items() if state in states]
    return f"callbacks ({kinds[0]})" if len(kinds) == 1 else "callbacks"


# --- parts -----------------------------------------------------------------------------------------


def _head(view: RunView) -> RenderableType:
    state = str(view.state or "requested")
    glyph, style = GLYPHS[state]
    title = Text.assemble((f"{glyph} {state}", style), "  ", (view.pipeline or "", "bold"))
    if view.project:
        title.append(f"  {view.project}", "dim")
    head = Table.grid(expand=False, padding=(0, 3, 0, 0))
    head.add_row(title, Text(view.run, "dim"), Text(f"retry of {view.retry_of}" if view.retry_of else "", "dim"))
    return head if view.state != RunState.REJECTED else Group(head, Text())


def _table(view: RunView, shown: Sequence[Row], now: datetime) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(no_wrap=True, style="dim")
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis")
    for row in shown:
        block = row.block
        table.add_row(
            _name(row),
            block.executor_type or "",
            f"try {block.attempt}" if block.attempt > 1 else "",
            Text(duration(block.duration(now)), "" if block.state == TaskState.RUNNING else "dim"),
            _note(view, row, now),
        )
    return table


def _name(row: Row) -> Text:
    glyph, style = GLYPHS[row.block.state]
    text = Text.assemble(" ", (row.branch, "bright_black"), (glyph, style), " ")
    quiet = row.role is Role.STEP or row.block.state == "pending"
    text.append(row.label or row.block.name, "dim" if quiet else "")
    if others := row.block.upstream[1:]:
        text.append(f" ← {', '.join(others[:3])}{', …' if len(others) > 3 else ''}", "bright_black")  # noqa: PLR2004
    return text


def _note(view: RunView, row: Row, now: datetime) -> Text:
    """Say why a block is not simply running or done; of one with children, how many are."""
    block = row.block
    if block.children:
        return _tally(block) if block.children.total else Text("no items", "dim")
    reason = _line(block.reason)
    match block.state:
        case TaskState.FAILED:
            return _failure(block, last_words(block.log_tail) if row.role is Role.CHILD else None)
        case TaskState.RETRYING:
            wait = max(0.0, (block.due_at - now).total_seconds()) if block.due_at else 0
            reason = f"again in {wait:.0f} s: {last_words(block.log_tail) or reason}"
        case TaskState.UPSTREAM_FAILED:
            reason = "not run"
        case TaskState.CONDITION_FAILED:
            reason = reason or "not run"
        case TaskState.COMPLETED:
            reason = "carried over" if view.retry_of and block.ended_at is None else ""
    return Text(reason, _NOTE_STYLES.get(block.state, "dim"))


def _failure(block: BlockView, last: str | None) -> Text:
    text = Text.assemble((f"{block.cause or 'failed'}: ", "red"), _line(block.reason) or f"exit code {block.exit_code}")
    if last and last not in text.plain:
        text.append(f": {_line(last)}", "dim")
    if block.unconfirmed:
        text.append("; it may still be running", "yellow")
    return text


def _tally(block: BlockView) -> Text:
    text = Text()
    for index, (words, state) in enumerate(tally(block)):
        text.append(" · " if index else "", "dim").append(words, GLYPHS[state][1] if index else "")
    return text


def tally(block: BlockView) -> Iterator[tuple[str, str]]:
    """Yield how many children of a block completed, then what else there is to say of them, each with its state."""
    counts, total = block.children.counts if block.children else {}, block.children.total if block.children else 0
    yield f"{counts.get(TaskState.COMPLETED, 0):,}/{total:,}", TaskState.COMPLETED
    for state, word in _TALLIED.items():
        if count := counts.get(state):
            yield f"{count:,} {word}", state
    if block.ended and (left := counts.get("pending")):
        yield f"{left:,} not run", "pending"


def _failures(shown: Sequence[Row]) -> Iterator[Text]:
    """Say below the tree, where there is room, what failed blocks wrote last."""
    for row in shown:
        failed = row.role is Role.BLOCK and row.block.state == TaskState.FAILED
        if failed and (last := last_words(row.block.log_tail)):
            yield Text.assemble("\n ", ("✗", "bold red"), f" {row.block.name}  ", (last, "dim"))


def _summary(view: RunView, hidden: int, blocks: int) -> Text:
    text = Text(f" … {hidden} more of {blocks}: ", "dim")
    for index, (state, count) in enumerate(sorted(view.counts.items())):
        text.append(", " if index else "").append(f"{count} {state}", GLYPHS.get(state, ("", ""))[1])
    return text


def _foot(view: RunView, now: datetime) -> RenderableType:
    done, total = view.done, max(1, view.total)
    colour = _FOOT_STYLES.get(str(view.state), "green")
    bar = ProgressBar(total=total, completed=done, width=40, complete_style=colour, finished_style=colour)
    foot = Table.grid(padding=(0, 2, 0, 0))
    foot.add_row(Text(""), bar, Text(f"{done:,} of {view.total:,}"), Text(duration(view.duration(now)), "dim"))
    if view.reason and view.state != RunState.RUNNING:
        return Group(foot, Text(f"\n {_line(view.reason)}", colour))
    return foot


def _problems(view: RunView) -> Iterator[RenderableType]:
    for problem in view.errors:
        yield Text.assemble(" ", (problem.path or "request", "bold"), "  ", problem.message)
        if problem.hint:
            yield Text(f"   → {problem.hint}", "cyan")
    if not view.errors and view.reason:
        yield Text(f" {view.reason}")


def _line(text: str | None) -> str:
    """Keep one line of a reason: what ran may have written a page."""
    first = next(iter((text or "").strip().splitlines()), "")
    return first if len(first) <= _WIDEST else f"{first[:_WIDEST]}…"
