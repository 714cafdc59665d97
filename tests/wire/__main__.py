"""``make record``: write what this version says on the wire below tests/fixtures/wire, for all later ones to read."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import runmesh
from runmesh.errors import Undecodable
from runmesh.schemas import documents
from tests.wire.messages import Spoken
from tests.wire.models import RECORDS, meaning, model_of, read
from tests.wire.released import RELEASES, view_of
from tests.wire.scenes import everything, half_done

RUNS = (
    "refused",
    "cancelled",
    "retries",
    "dynamic",
    "conditions",
    "callbacks",
    "run_timeout",
    "limited-2",
    "elsewhere",
)
"""The runs whose facts are kept whole, with what a client makes of them."""


def record(folder: Path) -> None:
    """Run everything, and write what was said. A release is recorded once: what it said does not change."""
    if folder.exists():
        sys.exit(f"{folder} is there: raise the version, or delete it if {folder.name} was never released")
    with tempfile.TemporaryDirectory() as there:
        heard = asyncio.run(everything(Path(there)))
    with tempfile.TemporaryDirectory() as there:
        left = asyncio.run(half_done(Path(there)))
    folder.mkdir(parents=True)
    _write(folder / "messages.json", list(_one_of_each(heard)))
    _write(folder / "runs.json", [_run(run, heard) for run in RUNS])
    _write(folder / "half_done.json", left)
    _write(folder / "schemas.json", [_schemas()])


def _one_of_each(heard: Iterable[Spoken]) -> Iterator[dict[str, Any]]:
    """Keep one message for everything that a model can hold."""
    seen = set()
    for message in heard:
        model = model_of(message.subject)
        if model is None or not message.data:
            continue
        if (body := _read(model, message)) and (shape := _shape(body)) not in seen:
            seen.add(shape)
            yield {**message.plain(), "means": meaning(body)}


def _read(model: type[BaseModel], message: Spoken) -> BaseModel | None:
    try:
        return read(model, message.headers, message.data)
    except Undecodable:  # it is among what is said
        return None


def _shape(body: BaseModel) -> tuple[object, ...]:
    """Return what tells messages apart that are read alike: fields that are set, words and flags."""
    words = tuple(str(getattr(body, name, "")) for name in ("state", "cause", "phase", "encoding"))
    flags = (word for word in getattr(body, "command", ()) if word.startswith("--"))
    return (type(body), *words, *flags, *sorted(body.model_fields_set))


def _run(run: str, heard: Iterable[Spoken]) -> dict[str, Any]:
    facts = [each for each in heard if each.subject.startswith(("mesh.run.", "mesh.task.")) and _is_of(run, each)]
    return {"run": run, "facts": [fact.plain() for fact in facts], "view": view_of(run, facts)}


def _is_of(run: str, fact: Spoken) -> bool:
    return run in fact.subject.split(".")[5:]


def _schemas() -> dict[str, Any]:
    published = {name: json.loads(text) for name, text in documents().items() if name.endswith(".json")}
    return published | {f"records/{name}": model.model_json_schema() for name, model in RECORDS.items()}


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{path}: {len(rows)}, {path.stat().st_size:,} bytes")  # noqa: T201 - what `make record` shows


if __name__ == "__main__":
    record(RELEASES / runmesh.__version__)
