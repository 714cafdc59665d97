"""An integration pipeline in the mesh, stream by stream, with the real mage-ai: `make test-mage`.

Not collected by `pytest tests`. Sources and destinations are a package of their own, `mage_integrations`, that no
registry holds: the one here stands in for it, with a source and a destination that are files of lines.
"""

import json
import os
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml

from runmesh.events import RunState
from tests.local_mesh import local_mesh

MAGE_PYTHON = Path(__file__).parents[2] / ".mage-venv" / "bin" / "python"
STANDS_IN = {
    "sources/constants.py": "BATCH_FETCH_LIMIT, BATCH_FETCH_LIMIT_KEY, COLUMN_TYPE_NULL = 2, 'batch', 'null'",
    "utils/logger/constants.py": """
        LOG_LEVEL_ERROR, LOG_LEVEL_EXCEPTION, TYPE_LOG = "ERROR", "EXCEPTION", "LOG"
        TYPE_RECORD, TYPE_SCHEMA = "RECORD", "SCHEMA"
    """,
    "transformers/utils.py": """
        def infer_dtypes(frame):
            return {column: "integer" for column in frame.columns}
        def convert_data_type(kind):
            return kind
    """,
    "sources/lines.py": """
        import argparse, json, pathlib
        def main():
            parser = argparse.ArgumentParser()
            for name in ("config_json", "selected_streams_json", "query_json"):
                parser.add_argument(f"--{name}", type=json.loads)
            given = parser.parse_known_args()[0]
            assert not given.query_json.get("_offset") and "_limit" not in given.query_json, given.query_json
            [stream] = given.selected_streams_json
            schema = {"properties": {"n": {"type": ["null", "integer"]}}}
            print(json.dumps({"type": "SCHEMA", "stream": stream, "schema": schema, "key_properties": []}))
            for row in (pathlib.Path(given.config_json["from"]) / stream).read_text().split():
                print(json.dumps({"type": "RECORD", "stream": stream, "record": {"n": int(row)}}))
        if __name__ == "__main__":
            main()
    """,
    "destinations/lines.py": """
        import argparse, json, pathlib
        def main():
            parser = argparse.ArgumentParser()
            parser.add_argument("--config_json", type=json.loads)
            parser.add_argument("--input_file_path")
            given = parser.parse_known_args()[0]
            lines = [json.loads(line) for line in open(given.input_file_path) if line.strip()]
            rows = [line["record"] for line in lines if line["type"] == "RECORD"]
            with open(pathlib.Path(given.config_json["to"]) / given.config_json["table"], "a") as file:
                file.writelines(json.dumps(row) + "\\n" for row in rows)
        if __name__ == "__main__":
            main()
    """,
}
"""What Mage asks of the package where files are read and written."""
SCHEMA = {"properties": {"n": {"type": ["null", "integer"]}}}
CHANGE = """
    @transformer
    def change(frame, *args, **kwargs):
        assert kwargs["stream"] != "sour"
        return frame.assign(twice=frame["n"] * 2, city=kwargs["city"])
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text))


def stream(name: str, **more: Any) -> dict[str, Any]:
    return {"tap_stream_id": name, "replication_method": "FULL_TABLE", "schema": SCHEMA, **more}


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project `fruit`, what it takes in `from`, and `to`."""
    for name in [name for name in os.environ if name.startswith(("MAGE_", "RUNMESH_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("home", "from", "to"):
        (tmp_path / name).mkdir()
    for name, text in STANDS_IN.items():
        write(tmp_path / "packages" / "mage_integrations" / name, text)
    environment = {
        "PYTHONPATH": str(tmp_path / "packages"),
        "PATH": f"{MAGE_PYTHON.parent}:{os.environ['PATH']}",  # Mage starts sources as `python3`
    }
    local = {"python": str(MAGE_PYTHON), "environment": environment}
    settings = {"runtime": "mage", "help_improve_mage": False, "variables_dir": str(tmp_path / "variables")}
    project = tmp_path / "fruit"
    write(project / "metadata.yaml", yaml.safe_dump(settings | {"local_python_config": local}))
    write(project / "data_loaders/take.yaml", f"source: lines\nconfig: {{from: {tmp_path / 'from'}}}\n")
    write(project / "data_exporters/put.yaml", f"destination: lines\nconfig: {{to: {tmp_path / 'to'}, table: x}}\n")
    write(project / "transformers/change.py", CHANGE)
    blocks = [
        {"uuid": "take", "name": "take", "type": "data_loader", "language": "yaml", "downstream_blocks": ["change"]},
        {"uuid": "change", "name": "change", "type": "transformer", "language": "python"}
        | {"upstream_blocks": ["take"], "downstream_blocks": ["put"]},
        {"uuid": "put", "name": "put", "type": "data_exporter", "language": "yaml", "upstream_blocks": ["change"]},
    ]
    document = {"uuid": "sync", "name": "sync", "type": "integration", "blocks": blocks}
    write(project / "pipelines/sync/metadata.yaml", yaml.safe_dump(document))
    return tmp_path


@pytest.mark.timeout(600)
async def test_every_stream_goes_through_all_blocks_and_what_failed_is_retried_alone(there: Path) -> None:
    catalog = {"streams": [stream("apples", destination_table="fruit"), stream("sour")]}
    write(there / "fruit/pipelines/sync/data_integration_catalog.json", json.dumps({"catalog": catalog}))
    write(there / "from/apples", "1 2 3")  # more than one batch of the source's
    write(there / "from/sour", "9")
    async with local_mesh(there, there / "state") as mesh:
        run = await mesh.submit("sync", project="fruit", variables={"city": "Bern"})
        ended = await mesh.wait(run)
        view = await mesh.show(run)
        states = {name: str(block.state) for name, block in view.blocks.items()}
        told = "\n".join(line for block in view.blocks.values() for line in block.log_tail)
        assert states == {
            **dict.fromkeys((f"{block}:apples:0" for block in ("take", "change", "put")), "completed"),
            "take:sour:0": "completed",
            "change:sour:0": "failed",
            "put:sour:0": "upstream_failed",
        }, told
        assert ended.state is RunState.FAILED
        rows = [json.loads(line) for line in (there / "to/fruit").read_text().splitlines()]
        assert rows == [{"n": n, "twice": 2 * n, "city": "Bern"} for n in (1, 2, 3)]
        write(there / "fruit/transformers/change.py", CHANGE.replace('!= "sour"', "== 'sour'"))
        ended = await mesh.wait(await mesh.retry(run))
        assert ended.state is RunState.COMPLETED
    assert (there / "to/sour").read_text() == '{"n": 9, "twice": 18, "city": "Bern"}\n'
    assert len((there / "to/fruit").read_text().splitlines()) == 3, "what had completed was carried over"
