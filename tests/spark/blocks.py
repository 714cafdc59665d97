"""A block and a whole pipeline on a real Spark, `local[2]`, by way of EMR's emulator and a real spark-submit.

`make test-spark` brings Spark (half a gigabyte) into `.spark`, and runs this where there is Java.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Final

import pytest

from runmesh.executor import Phase, Position, Site
from runmesh.executors.pyspark import Config
from tests.emulators.emr import STAGING, cloud
from tests.eventually import eventually
from tests.executors.tasks import task_of
from tests.executors.test_pyspark import Quick
from tests.unit.shop import Shop

HOME: Final = Path(__file__).parents[2] / ".spark" / "pyspark"
COUNTED = """
from pyspark.sql import functions as f


@{kind}
def {name}(*frames, **kwargs):
    spark = kwargs['spark']
    frame = frames[0] if frames else spark.range(1000)
    assert hasattr(frame, 'rdd'), type(frame)
    print('rows', frame.count(), 'sum', frame.agg(f.sum('id')).first()[0])
    return frame.where('id % 2 = 0')
"""


def spark_environment() -> dict[str, str]:
    """Return what a spark-submit finds in its environment."""
    return {
        "PATH": f"{HOME / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_HOME": str(HOME),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }


@pytest.mark.skipif(not shutil.which("java"), reason="Spark needs Java")
@pytest.mark.timeout(300)
async def test_blocks_share_dataframes_on_a_real_spark(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.ask(
        {"uuid": "load", "type": "data_loader"},
        {"uuid": "halve", "type": "transformer", "upstream_blocks": ["load"]},
        project={"remote_variables_dir": STAGING, "spark_config": {"others": {"spark.ui.enabled": "false"}}},
        type="pyspark",
    )
    for kind, name in (("data_loader", "load"), ("transformer", "halve")):
        (shop.path / f"{kind}s").mkdir()
        (shop.path / f"{kind}s" / f"{name}.py").write_text(COUNTED.format(kind=kind, name=name))
    async with cloud(spark_environment(), spark=str(HOME / "bin")) as emulated:
        keeps = {"Name": "mine", "Instances": {"KeepJobFlowAliveWhenNoSteps": True}}
        cluster = emulated.clusters.create(keeps, ready=True)
        async with Quick(Site("mesh", "default", "w", emulated.environment, tmp_path)) as executor:

            async def said(key: str, *flags: str) -> list[str]:
                command = ("runmesh-run", str(shop.path), "orders", *flags, "--execution-partition", "r1")
                task = task_of(Config(cluster_id=cluster.id), *command, key=key)
                handle = await executor.submit(task)

                async def ended() -> Phase | None:
                    seen = (await executor.observe([handle]))[handle]
                    assert seen.phase is not Phase.FAILED, seen
                    return seen.phase if seen.phase is Phase.SUCCEEDED else None

                await eventually(ended, within=120, every=0.5)
                return [
                    line.text async for line in executor.logs(handle, since=Position()) if line.text.startswith("rows")
                ]

            assert await said("one", "--block-uuid", "load") == ["rows 1000 sum 499500"]
            assert await said("two", "--block-uuid", "halve") == ["rows 500 sum 249500"]
            assert await said("whole") == ["rows 1000 sum 499500", "rows 500 sum 249500"]
