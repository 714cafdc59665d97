"""Command blocks: any program as a block. Ours: Mage has none.

A command is a list of arguments that reaches the program as it is written: no shell reads it, nothing in it is
rendered. So whatever no system could pass on is refused while the document is read.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from runmesh.projects.fields import Fields, kind_of

COMMAND: Final = "command"
"""The type of a command block; it may be left out where there is a `command`."""
RESERVED: Final = "RUNMESH_"
"""Variables that begin so are the mesh's own."""
LONGEST_ARGUMENT: Final = 100_000
"""Bytes of one argument, and of a whole environment: Linux refuses a single text above 128 KiB."""
_SHELLS: Final = frozenset("|&;<>()$`\n")


def is_command(fields: Fields) -> bool:
    """Say whether a block's document is a command block's."""
    return fields.has(COMMAND) or fields.raw("type") == COMMAND


def read_command(fields: Fields) -> Mapping[str, Any]:
    """Read what only a command block has, as the fields of `Block`."""
    if fields.raw("type") not in (None, COMMAND):
        fields.problem("type", f"must be {COMMAND!r} where there is a command", lambda: "or leave it out")
    return {
        "type": COMMAND,
        "command": _command(fields),
        "image": _image(fields),
        "environment": _environment(fields),
    }


def _command(fields: Fields) -> tuple[str, ...]:
    value = fields.raw(COMMAND)
    if not isinstance(value, list):
        fields.problem(COMMAND, f"must be a list of arguments, not {kind_of(value)}", lambda: _as_list(value))
        return ()
    if not value:
        fields.problem(COMMAND, "is empty", lambda: "its first item is the program")
    elif value[0] == "":
        fields.problem(f"{COMMAND}[0]", "is empty", lambda: "it is the program")
    return tuple(_text(fields, f"{COMMAND}[{place}]", item) for place, item in enumerate(value))


def _as_list(value: object) -> str:
    """Show how a command line is written as a list; what needs a shell names it."""
    import shlex  # noqa: PLC0415 - only for a mistake: the runtime reads documents, too, and must start fast

    example = value if isinstance(value, str) and value.strip() else "python etl.py"
    words = ["sh", "-c", example]
    if not _SHELLS.intersection(example):
        with suppress(ValueError):  # a quote that isn't closed
            words = shlex.split(example)
    return f"write {COMMAND}: {json.dumps(words, ensure_ascii=False)[:500]}"


def _image(fields: Fields) -> str | None:
    image = fields.text("image")
    return _text(fields, "image", image) or None if image is not None else None


def _environment(fields: Fields) -> dict[str, str]:
    values = fields.mapping("environment")
    for name in values:
        if reason := _unfit_name(name):
            fields.problem("environment", f"{name[:200]!r} {reason}")
    environment = {name: _text(fields, f"environment.{name[:200]}", value) for name, value in values.items()}
    size = sum(_size(name) + _size(value) + 2 for name, value in environment.items())
    if size > LONGEST_ARGUMENT:
        fields.problem(
            "environment",
            f"takes {size // 1000:,} KB: more than the {LONGEST_ARGUMENT // 1000} KB that it may",
            lambda: "store what is large, and pass a reference",
        )
    return environment


def _unfit_name(name: str) -> str | None:
    if not name or "=" in name or not name.isprintable():
        return "is no name of a variable"
    return f"begins with {RESERVED}, as only the mesh's own do" if name.startswith(RESERVED) else None


def _text(fields: Fields, key: str, value: object) -> str:
    """Return what a program can be given; anything else is a problem."""
    if not isinstance(value, str):
        fields.problem(key, f"must be text, not {kind_of(value)}", lambda: f"in quotes: {json.dumps(str(value))}")
    elif "\0" in value:
        fields.problem(key, "holds a NUL")
    elif any("\ud800" <= character <= "\udfff" for character in value):
        fields.problem(key, "holds half a character")
    elif _size(value) > LONGEST_ARGUMENT:
        message = f"takes {_size(value) // 1000:,} KB: more than the {LONGEST_ARGUMENT // 1000} KB that it may"
        fields.problem(key, message, lambda: "store what is large, and pass a reference")
    else:
        return value
    return ""


def _size(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))
