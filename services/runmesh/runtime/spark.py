"""The Spark session of a process that spark-submit started (`--spark`): what block functions get as `spark`.

It is begun before any block runs, since YARN ends a driver that has none after a while, with what `spark_config` of the
pipeline, else of the project, says; `spark_master`, `spark_home` and `spark_jars` are the platform's business here.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from runmesh.errors import Invalid, Problem


@contextmanager
def spark_session(config: Mapping[str, Any], name: str) -> Iterator[None]:
    """Have a session for the length of the block; raises `Invalid` where there is no Spark."""
    try:
        # There is Spark on a Spark cluster only.
        from pyspark.sql import SparkSession  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise Invalid(Problem("--spark", f"{error.name} is missing: this is no driver of spark-submit's")) from None
    options = {
        **{f"spark.executorEnv.{key}": value for key, value in (config.get("executor_env") or {}).items()},
        **(config.get("others") or {}),
    }
    builder = SparkSession.builder.appName(str(config.get("app_name") or name))
    for key, value in options.items():
        builder = builder.config(key, value)
    builder.getOrCreate()
    try:
        yield
    finally:
        session().stop()
        session.cache_clear()


@cache
def session() -> Any:
    """Return the session of this process."""
    from pyspark.sql import SparkSession  # noqa: PLC0415 - as above

    return SparkSession.getActiveSession() or SparkSession.builder.getOrCreate()
