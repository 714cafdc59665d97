"""Clusters and steps as Mage asks for them: `tests/fixtures/remote_payloads.json`, through our own planner.

Where we differ on purpose: the name and the tags by which a cluster is found again; the bootstrap script's path, which
holds its digest; steps, which are added once it is certain which cluster stays; the step's script, and options that
only our script needs. Clusters end with their last step, as Mage's, only with `idle_timeout: 0`.
"""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.session import get_session
from botocore.validate import ParamValidator

from runmesh.executors.amazon.emr.cluster import run_job_flow
from runmesh.executors.amazon.emr.naming import Mark, step_name
from runmesh.executors.amazon.emr.step import arguments, step
from runmesh.executors.pyspark import Config
from tests.executors.tasks import task_of
from tests.unit.shop import Shop

CASES: Final = [
    case
    for case in json.loads((Path(__file__).parents[1] / "fixtures" / "remote_payloads.json").read_text())
    if case["name"].startswith("emr")
]
BOOTSTRAP = "s3://bucket/prefix/scripts/emr_bootstrap.sh"
SCRIPT = "s3://bucket/prefix/scripts/p/blk.py"


def test_there_are_cases() -> None:
    assert len(CASES) == 20


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_cluster_agrees_with_mages(tmp_path: Path, case: dict[str, Any]) -> None:
    ours = run_job_flow(
        planned(tmp_path, case), mesh="m", pool="p", log_uri="s3://bucket/prefix/logs", bootstrap=BOOTSTRAP
    )
    theirs = dict(case["expected"]["run_job_flow"])
    assert theirs.pop("Steps")
    assert theirs.pop("Name") != ours.pop("Name")
    assert theirs.pop("Tags") == []
    assert {tag["Key"] for tag in ours.pop("Tags")} == {"runmesh:mesh", "runmesh:pool", "runmesh:need"}
    assert ours == theirs


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_step_agrees_with_mages(tmp_path: Path, case: dict[str, Any]) -> None:
    [theirs] = case["expected"]["run_job_flow"]["Steps"]
    task = task_of(planned(tmp_path, case), "runmesh-run", "/projects/shop", "p")
    ours = step(step_name(task, Mark("m", "p", "key")), arguments(task, SCRIPT, "s3://bucket/code.zip"))
    assert ours["Name"] == "run_mage_block_daily_load runmesh:m:p:key"
    words = theirs["HadoopJarStep"].pop("Args")
    assert [word for word in ours["HadoopJarStep"].pop("Args") if word in words] == words
    assert ours | {"Name": ""} == theirs | {"Name": ""}


def test_aws_takes_all_that_can_be_said_of_a_cluster() -> None:
    fleet = {
        "InstanceFleetType": "MASTER",
        "TargetOnDemandCapacity": 1,
        "InstanceTypeConfigs": [{"InstanceType": "m5.xlarge"}],
    }
    everything = {
        "scaling_policy": {"unit_type": "InstanceFleetUnits"},
        "master_security_group": "sg-1",
        "slave_security_group": "sg-2",
        "ec2_key_name": "key",
        "ec2_subnet_id": "subnet-1",
        "tags": {"team": "a"},
        "bootstrap_actions": [{"Name": "more", "ScriptBootstrapAction": {"Path": "s3://b/more.sh", "Args": ["x"]}}],
    }
    groups = {"master_market": "SPOT", "slave_market": "SPOT", "slave_spark_properties": {"spark.x": 1}}
    operation = get_session().get_service_model("emr").operation_model("RunJobFlow")
    for more in (groups, {"instance_fleets": [fleet]}):
        config = Config.model_validate(everything | more)
        asked = run_job_flow(config, mesh="m", pool="p", log_uri="s3://b/logs", bootstrap="s3://b/boot.sh")
        report = ParamValidator().validate(asked, operation.input_shape)
        assert not report.has_errors(), report.generate_report()


def planned(directory: Path, case: dict[str, Any]) -> Config:
    """Return the configuration that the resolver settles upon, of clusters that end with their last step."""
    emr = {**case["project"]["emr_config"], "idle_timeout": 0}
    found = Shop(directory).load(
        case["block"],
        project={**case["project"], "emr_config": emr},
        environment=case["environment"],
        **case["pipeline"],
    )
    assert (found.errors, found.executor_type) == ((), "pyspark")
    return Config.model_validate(found.config)
