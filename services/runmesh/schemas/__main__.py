"""``python -m runmesh.schemas DIRECTORY``: write every document there."""

import sys
from pathlib import Path

from runmesh.schemas import documents


def write(directory: Path) -> None:
    """Write every document below a directory, and say which."""
    for name, text in documents().items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)  # noqa: T201 - what `make schemas` shows


if __name__ == "__main__":
    write(Path(sys.argv[1]))
