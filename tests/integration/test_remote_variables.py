"""Variables behind a URL: the whole way through the mesh, and what a user is told when a store refuses."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3  # type: ignore[import-untyped]
import pytest
import yaml

from runmesh.events import RunState, TaskFact, TaskState
from runmesh.runtime.outcome import Outcome
from runmesh.worker import outcome
from tests.integration.runtime_shop import Shop, block
from tests.local_mesh import local_mesh
from tests.s3 import BUCKET, s3_on_loopback

FRAME = "import pandas as pd\n@data_loader\ndef f():\n    return pd.DataFrame({'n': [1, 2]}), {'k': 'v'}\n"
TOTAL = "@transformer\ndef f(values):\n    frame, more = values\n    return {'total': int(frame.n.sum())} | more\n"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as environment, s3_on_loopback(environment) as bucket:
        yield bucket


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.pipeline(block("load", "data_loader"), block("total", "transformer", "load"))
    shop.write("data_loaders/load.py", FRAME)
    shop.write("transformers/total.py", TOTAL)
    return shop


def aws(**changed: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")} | changed


async def test_a_run_keeps_outputs_and_outcomes_in_s3(s3: str, shop: Shop, tmp_path: Path) -> None:
    document = {
        "remote_variables_dir": f"{s3}/whole-way",
        "variables_dir": str(tmp_path / "unused"),
        "local_python_config": {"inherit_environment": ["AWS_*"]},
    }
    shop.write("metadata.yaml", yaml.safe_dump(document))

    async with local_mesh(tmp_path, tmp_path / "state") as mesh:
        run = await mesh.submit("p", project="shop")
        facts = [fact async for fact in mesh.watch(run)]

    assert facts[-1].state is RunState.COMPLETED, facts
    completed = {fact.block: fact for fact in facts if isinstance(fact, TaskFact) and fact.state is TaskState.COMPLETED}
    assert {name: (fact.outcome or {})["outputs"] for name, fact in completed.items()} == {
        "load": [{"type": "pandas.DataFrame", "rows": 2, "columns": 1}, {"type": "dict", "rows": 1}],
        "total": [{"type": "dict", "rows": 2}],
    }
    stored = boto3.client("s3").get_object(
        Bucket=BUCKET, Key=f"whole-way/pipelines/p/.variables/{run}/total/output_0/data.json"
    )
    assert json.loads(stored["Body"].read()) == {"total": 3, "k": "v"}
    assert not (tmp_path / "unused").exists()


async def test_the_variables_directory_itself_may_be_a_url(s3: str, shop: Shop) -> None:
    shop.write("metadata.yaml", f"variables_dir: {s3}/own/\n")
    for name in ("load", "total"):
        done = shop.run("--block-uuid", name, "--run", "r", "--key", name, **aws())
        assert (done.returncode, done.stderr) == (0, "")
    left = await outcome.read(f"{s3}/own/.runmesh/r/total.json")
    assert left
    assert left["outputs"] == [{"type": "dict", "rows": 2}]


def test_whom_to_call_back_for_is_noted_in_s3(s3: str, shop: Shop) -> None:
    shop.write("metadata.yaml", f"variables_dir: {s3}/notes\n")
    shop.pipeline(block("load", "custom"), callbacks=[block("tell", "callback", "load")])
    shop.write("custom/load.py", "@custom\ndef f(): raise ValueError('no stock')\n")
    shop.write("callbacks/tell.py", "@callback('failure')\ndef f(**kwargs): print(kwargs['parent_block_uuid'])\n")
    named = ("--run", "r", "--key", "k")
    assert shop.run(*named, "--retries", "1", **aws()).stdout == "", "it is tried again"
    assert shop.run(*named, "--callbacks", "failure", **aws()).stdout == "load\n"


def test_a_bucket_that_is_not_there_is_one_line(s3: str, shop: Shop) -> None:  # noqa: ARG001 - the server
    shop.write("metadata.yaml", "variables_dir: s3://nobodys-bucket\n")
    done = shop.run("--block-uuid", "load", **aws())
    assert done.returncode == 1
    where = "s3://nobodys-bucket/pipelines/p/.variables/load"
    reason = "The specified bucket does not exist"
    assert done.stderr == f"runmesh-run: block 'load': its outputs can't be stored in {where}: {reason}\n"
    done = shop.run("--block-uuid", "total", **aws())
    assert done.stderr == f"runmesh-run: upstream block load: {where} can't be read: {reason}\n"


def test_missing_credentials_are_one_line(s3: str, shop: Shop, tmp_path: Path) -> None:
    shop.write("metadata.yaml", f"variables_dir: {s3}\n")
    nowhere = {name: str(tmp_path / "none") for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE")}
    without = {name: value for name, value in aws(**nowhere).items() if "KEY" not in name}
    done = shop.run("--block-uuid", "load", **without)
    assert done.returncode == 1
    assert done.stderr.endswith(": NoCredentialsError: Unable to locate credentials\n")
    assert done.stderr.count("\n") == 1
    done = shop.run("--runtime-vars", f"@{s3}/variables.json", **without)
    reason = "can't be read: NoCredentialsError: Unable to locate credentials"
    assert done.stderr == f"runmesh-run: {s3}/variables.json {reason}\n"


@pytest.mark.parametrize(
    ("url", "message"),
    [("gs://bucket", "gcsfs"), ("az://bucket", "adlfs"), ("s3://bucket", "s3fs")],
)
def test_a_missing_package_is_named_with_the_interpreter_that_needs_it(url: str, message: str, shop: Shop) -> None:
    shop.write("metadata.yaml", f"variables_dir: {url}\n")
    hide = f"import sys\nsys.modules['{message}'] = None\n"
    shop.write("hidden/sitecustomize.py", hide)
    done = shop.run("--block-uuid", "load", PYTHONPATH=str(shop.path / "hidden"))
    assert done.returncode == 2
    assert message in done.stderr
    assert f"pip install what is missing for {sys.executable}" in done.stderr
    assert done.stderr.count("\n") == 1


async def test_an_outcome_in_memory_is_read_by_the_worker() -> None:
    Outcome(["careful"]).write("memory://here/.runmesh/r/k.json", 0)
    left = await outcome.read("memory://here/.runmesh/r/k.json")
    assert left
    assert left["warnings"] == ["careful"]
    assert await outcome.read("memory://here/.runmesh/r/none.json") is None


async def test_an_outcome_that_can_not_be_read_says_why() -> None:
    with pytest.raises(outcome.Unreadable, match=r"nonsense://bucket/x\.json.*not known"):
        await outcome.read("nonsense://bucket/x.json")
