"""A run as a person sees it: a tree of blocks with their states, and how far all of it is. View in, text out."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runmesh.cli.output import GLYPHS, duration
from runmesh.events import RunState, TaskState
from runmesh.view import BlockView, RunView

_DEEPEST: Final = 10
"""Deeper graphs are listed without indentation: a chain of a hundred blocks has no shape to show."""
_QUIET: Final = frozenset({"pending", TaskState.COMPLETED, TaskState.UPSTREAM_FAILED, TaskState.CANCELLED})
"""What is left out first where there is not enough room."""
_WIDEST: Final = 100
_OURS: Final = "runmesh-run: "
"""What the runtime itself writes last says less than the line before it."""
_NOTE_STYLES: Final = {"queued": "cyan", "retrying": "yellow", "cancelled": "yellow"}
_FOOT_STYLES: Final = {"failed": "red", "failing": "red", "cancelled": "yellow", "cancelling": "yellow"}


class Row(NamedTuple):
    """One block, and the branches that lead to it."""

    branch: str
    block: BlockView


def render(view: RunView, now: datetime, *, height: int | None = None) -> RenderableType:
    """Draw a run, within `height` rows where it must fit a screen."""
    if view.state == RunState.REJECTED:
        return Group(_head(view), *_problems(view))
    if view.state is None:
        return Group(_head(view), Text("\n  waiting for a resolver to take the request", "dim"))
    shown = rows(view.blocks)
    room = max(3, height - 7) if height else len(shown)
    if len(shown) > room:
        shown = [row for row in shown if row.block.state not in _QUIET][:room]
    parts: list[RenderableType] = [_head(view), Text()]
    if shown:
        parts += [_table(view, shown, now), *_failures(shown), Text()]
    if hidden := view.total - len(shown):
        parts += [_summary(view, hidden), Text()]
    return Group(*parts, _foot(view, now))


def rows(blocks: Mapping[str, BlockView]) -> list[Row]:
    """Order blocks as a tree, each under its first upstream block; a very deep one as a list."""
    children: dict[str | None, list[BlockView]] = {}
    for block in blocks.values():
        parent = next((name for name in block.upstream if name in blocks), None)
        children.setdefault(parent, []).append(block)
    drawn = list(_branches(children))
    if len(drawn) < len(blocks) or any(len(row.branch) > 3 * _DEEPEST for row in drawn):
        return [Row("", block) for block in blocks.values()]
    return drawn


def _branches(children: Mapping[str | None, Sequence[BlockView]]) -> Iterator[Row]:
    """Walk depth first, with a stack of our own: a chain may be longer than Python's."""
    waiting = [(block, "", "") for block in reversed(children.get(None, ()))]
    while waiting:
        block, branch, indent = waiting.pop()
        yield Row(branch, block)
        below = children.get(block.name, ())
        for index in range(len(below) - 1, -1, -1):
            last = index == len(below) - 1
            waiting.append((below[index], indent + ("└─ " if last else "├─ "), indent + ("   " if last else "│  ")))


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
            _note(view, block, now),
        )
    return table


def _name(row: Row) -> Text:
    glyph, style = GLYPHS[row.block.state]
    text = Text.assemble(" ", (row.branch, "bright_black"), (glyph, style), " ")
    text.append(row.block.name, "dim" if row.block.state == "pending" else "")
    if others := row.block.upstream[1:]:
        text.append(f" ← {', '.join(others[:3])}{', …' if len(others) > 3 else ''}", "bright_black")  # noqa: PLR2004
    return text


def _note(view: RunView, block: BlockView, now: datetime) -> Text:
    """Say why a block is not simply running or done."""
    reason = _line(block.reason)
    match block.state:
        case TaskState.FAILED:
            return _failure(block)
        case TaskState.RETRYING:
            wait = max(0.0, (block.due_at - now).total_seconds()) if block.due_at else 0
            reason = f"again in {wait:.0f} s: {last_words(block.log_tail) or reason}"
        case TaskState.UPSTREAM_FAILED:
            reason = "not run"
        case TaskState.COMPLETED:
            reason = "carried over" if view.retry_of and block.ended_at is None else ""
    return Text(reason, _NOTE_STYLES.get(block.state, "dim"))


def _failure(block: BlockView) -> Text:
    text = Text.assemble((f"{block.cause or 'failed'}: ", "red"), _line(block.reason) or f"exit code {block.exit_code}")
    if block.unconfirmed:
        text.append("; it may still be running", "yellow")
    return text


def _failures(shown: Sequence[Row]) -> Iterator[Text]:
    """Say below the tree, where there is room, what failed blocks wrote last."""
    for row in shown:
        if row.block.state == TaskState.FAILED and (last := last_words(row.block.log_tail)):
            yield Text.assemble("\n ", ("✗", "bold red"), f" {row.block.name}  ", (last, "dim"))


def last_words(log_tail: Sequence[str] | None) -> str | None:
    """Return the last line that the block itself wrote, which mostly says why it failed."""
    lines = (line.strip() for line in reversed(log_tail or ()))
    return next((line for line in lines if line and not line.startswith(_OURS)), None)


def _summary(view: RunView, hidden: int) -> Text:
    text = Text(f" … {hidden} more of {view.total}: ", "dim")
    for index, (state, count) in enumerate(sorted(view.counts.items())):
        text.append(", " if index else "").append(f"{count} {state}", GLYPHS.get(state, ("", ""))[1])
    return text


def _foot(view: RunView, now: datetime) -> RenderableType:
    done, total = view.done, max(1, view.total)
    colour = _FOOT_STYLES.get(str(view.state), "green")
    bar = ProgressBar(total=total, completed=done, width=40, complete_style=colour, finished_style=colour)
    foot = Table.grid(padding=(0, 2, 0, 0))
    foot.add_row(Text(""), bar, Text(f"{done} of {view.total}"), Text(duration(view.duration(now)), "dim"))
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
