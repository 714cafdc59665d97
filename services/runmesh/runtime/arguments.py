"""The flags of `runmesh-run PROJECT_PATH PIPELINE`: those of `mage run`, and a few of ours.

================================== =====================================================================================
``--block-uuid U``                 run this block only (and always its tests)
``--execution-partition P``        the directory below `.variables` that holds this run's outputs
``--runtime-vars V``               run variables: JSON, `@path` or `@URL`
``--pipeline-run-id N``            Mage's id of the run, where there is no `--run`
``--test`` / ``--no-test``         run the tests of a whole pipeline's blocks, too, or not (default: with `--run`)
``--skip-sensors``                 sensors count as satisfied
``--executor-type``, ``--block-run-id``, ``--callback-url``, ``--template-runtime-configuration``: accepted, not needed
ours:
``--run ID --key KEY``             name the outcome file
``--attempt N``, ``--retries R``   failure callbacks run on the last attempt, N > R (default: 1, and no others)
``--event E``                      what the run was started by, as `--runtime-vars`: `event`, and variables not set else
``--dynamic-index I:POS,…``        which child of dynamic blocks this is, and what it gets: see `steps`
``--conditions-only``              evaluate the block's conditions, and nothing else
``--callbacks S --error TEXT``     run the block's callbacks for `failure` or `cancelled`, and nothing else; without a
                                   block those of all that a whole pipeline's process had begun when it was killed
``--concurrency N``                blocks that run at once in a whole pipeline (default: the processors, at least 2)
``--allow-blocks-to-fail``         of a whole pipeline, after a failure run all that isn't below it
``--spark``                        have a Spark session, which blocks get as `spark`: for spark-submit
``--trigger-name T``               what started the run
``--execution-date D``             ISO 8601, UTC unless it says otherwise (default: now)
``--pipeline-document D``          the pipeline's document, JSON or `@path`, instead of the project's own
``--revision DIGEST``              warn where the project's digest differs
``--variables-dir DIR``            beats every other place for variables; a directory, or an fsspec URL
``--sensor-interval S``            seconds between two tries of a sensor (default 60, as Mage)
================================== =====================================================================================

Exit codes: 0 done; 1 the user's code failed, or an output could not be stored; 2 the project, the arguments or an
input is wrong.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from runmesh.errors import Invalid, Problem, nearest
from runmesh.projects.addons import STATUSES
from runmesh.runtime.failed import Failed

LARGEST_DOCUMENT: Final = 16_000_000
"""Bytes of run variables, or of a pipeline's document."""
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TIMEOUT: Final = 30.0
"""Seconds that a URL may take to answer."""


class Arguments(NamedTuple):
    """What the flags said; a field is its flag with `_` for `-`."""

    project_path: str
    pipeline: str
    execution_date: datetime
    block_uuid: str | None = None
    execution_partition: str | None = None
    runtime_vars: Mapping[str, Any] = {}
    pipeline_run_id: str | None = None
    test: bool | None = None
    skip_sensors: bool = False
    run: str | None = None
    key: str | None = None
    attempt: int = 1
    trigger_name: str | None = None
    pipeline_document: Mapping[str, Any] | None = None
    revision: str | None = None
    variables_dir: str | None = None
    sensor_interval: float = 60.0
    retries: int = 0
    event: Mapping[str, Any] = {}
    dynamic_index: str | None = None
    conditions_only: bool = False
    callbacks: str | None = None
    error: str | None = None
    concurrency: int | None = None
    spark: bool = False
    allow_blocks_to_fail: bool = False


def parse(argv: Sequence[str]) -> Arguments:
    """Read the flags, and the documents that they name; raises `Invalid`, or `Failed` if a URL doesn't answer.

    Not argparse: importing and setting it up takes longer than all the rest of a small block.
    """
    positional: list[str] = []
    flags: dict[str, Any] = {"execution_date": datetime.now(UTC)}
    words = iter(argv)
    for word in words:
        if not word.startswith("--"):
            positional.append(word)
        elif word in _SWITCHES:
            flags.update([_SWITCHES[word]])
        else:
            _read_flag(word, words, flags)
    if len(positional) != 2:  # noqa: PLR2004 - PROJECT_PATH and PIPELINE
        raise _wrong(
            f"PROJECT_PATH and PIPELINE are needed, there are {positional}", "runmesh-run PROJECT_PATH PIPELINE …"
        )
    if bool(flags.get("run")) != bool(flags.get("key")):
        raise _wrong("--run and --key belong together")
    if flags.get("conditions_only") and not flags.get("block_uuid"):
        raise _wrong("--conditions-only needs --block-uuid")
    if flags.get("callbacks") and not (flags.get("block_uuid") or flags.get("run")):
        raise _wrong("--callbacks needs --block-uuid, or the --run of a whole pipeline")
    return Arguments(positional[0], positional[1], **flags)


def _read_flag(word: str, words: Iterable[str], flags: dict[str, Any]) -> None:
    flag, equals, value = word.partition("=")
    if flag not in _CONVERTERS and flag not in _UNUSED:
        raise _wrong(f"there is no flag {flag}", nearest(flag, [*_CONVERTERS, *_SWITCHES]))
    text = value if equals else next(iter(words), None)
    if text is None:
        raise _wrong(f"{flag} needs a value")
    if flag in _UNUSED:
        return
    try:
        flags[flag[2:].replace("-", "_")] = _CONVERTERS[flag](text)
    except ValueError as error:
        raise _wrong(f"{flag}: {error}") from None


def _wrong(message: str, hint: str | None = None) -> Invalid:
    return Invalid(Problem("", message, hint))


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is no name of 1 to 64 letters, digits, '_' or '-'")
    return text


def _date(text: str) -> datetime:
    date = datetime.fromisoformat(text)
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:  # noqa: PLR2004 - more is no count
        raise ValueError(f"{text[:80]!r} is no whole number")
    return int(text)


def _some(text: str) -> int:
    return max(1, _count(text))


def _status(text: str) -> str:
    if text not in STATUSES:
        raise ValueError(f"{text[:80]!r} is none of {', '.join(STATUSES)}")
    return text


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{text[:80]!r} is no number of seconds")
    return seconds


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(_read(text[1:]) if text.startswith("@") else text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - it becomes a message
    return document


def _read(source: str) -> bytes:
    try:
        data = _read_url(source) if "://" in source else _read_file(source)
    except FileNotFoundError:
        raise ValueError(f"there is no {source}") from None
    except OSError as error:
        raise Failed(f"{source} can't be read: {error}") from None
    if len(data) > LARGEST_DOCUMENT:
        raise ValueError(f"{source} is larger than {LARGEST_DOCUMENT:,} bytes")
    return data


def _read_file(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - it is a text from the command line
        return file.read(LARGEST_DOCUMENT + 1)


def _read_url(url: str) -> bytes:
    if not url.startswith(("http://", "https://")):
        from runmesh.runtime.places import as_os_error, open_remote  # noqa: PLC0415 - fsspec only where it is needed

        files, path = open_remote(url)
        with as_os_error(), files.open(path, "rb") as file:
            return bytes(file.read(LARGEST_DOCUMENT + 1))
    from urllib.error import HTTPError  # noqa: PLC0415 - slow to import
    from urllib.request import urlopen  # noqa: PLC0415

    try:
        with urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310 - http or https
            return bytes(answer.read(LARGEST_DOCUMENT + 1))
    except HTTPError as error:
        if error.code in {404, 410}:
            raise FileNotFoundError(url) from None
        raise


_SWITCHES: Final = {
    "--test": ("test", True),
    "--no-test": ("test", False),
    "--skip-sensors": ("skip_sensors", True),
    "--conditions-only": ("conditions_only", True),
    "--spark": ("spark", True),
    "--allow-blocks-to-fail": ("allow_blocks_to_fail", True),
}
_UNUSED: Final = ("--executor-type", "--block-run-id", "--callback-url", "--template-runtime-configuration")
_CONVERTERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "--block-uuid": str,
    "--execution-partition": str,
    "--runtime-vars": _document,
    "--pipeline-run-id": str,
    "--run": _name,
    "--key": _name,
    "--attempt": int,
    "--trigger-name": str,
    "--execution-date": _date,
    "--pipeline-document": _document,
    "--revision": str,
    "--variables-dir": str,
    "--sensor-interval": _seconds,
    "--retries": _count,
    "--event": _document,
    "--dynamic-index": str,
    "--callbacks": _status,
    "--error": str,
    "--concurrency": _some,
}
