"""A project on disk, and the command `runmesh-run` as a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from runmesh.runtime import __main__ as script

SCRIPT = str(Path(script.__file__).resolve())


def block(uuid: str, kind: str, *upstream: str, **more: Any) -> dict[str, Any]:
    return {"uuid": uuid, "name": uuid, "type": kind, "upstream_blocks": list(upstream), "language": "python"} | more


class Shop:
    """A project on disk, and the command that runs it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "shop"
        self.variables = directory / "variables"
        self.write("metadata.yaml", f"variables_dir: {self.variables}\n")

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def pipeline(self, *blocks: dict[str, Any], **more: Any) -> None:
        document = {"uuid": "p", "name": "p", "type": "python", "variables": {"city": "Bern"}, "blocks": list(blocks)}
        self.write("pipelines/p/metadata.yaml", yaml.safe_dump(document | more))

    def one(self, kind: str, text: str, **more: Any) -> None:
        self.pipeline(block("only", kind, **more))
        self.write(f"{kind}s/only.py" if kind != "custom" else "custom/only.py", text)

    def run(self, *flags: str, pipeline: str = "p", **environment: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, SCRIPT, str(self.path), pipeline, *flags]
        return subprocess.run(command, capture_output=True, text=True, env=self.environment(**environment), check=False)

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return kept | {"PYTHONDONTWRITEBYTECODE": "1"} | more

    def outcome(self, name: str) -> Any:
        return json.loads((self.variables / "shop/.runmesh" / f"{name}.json").read_text())

    def stored(self, path: str) -> Any:
        """Return the JSON of an output: `load/output_0`, `each/3/output_0`."""
        return json.loads((self.variables / "shop/pipelines/p/.variables" / path / "data.json").read_text())
