"""What a step on EMR can be configured with: Mage's keys (`EmrConfig`), and what its users ask for."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from runmesh.executor import ExecutorConfig
from runmesh.executors.amazon.access import is_region

_SHORTEST_IDLE: Final = 60
_LONGEST_IDLE: Final = 604_800
_S3: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?")


def _texts(value: Any) -> Any:
    """Turn numbers and booleans into Spark's own texts, as YAML is written by people."""
    if not isinstance(value, Mapping):
        return value
    return {
        str(key): str(each).lower() if isinstance(each, bool) else str(each) if isinstance(each, int | float) else each
        for key, each in value.items()
    }


def _pairs(value: Any) -> Any:
    """Read tags as AWS has them, too: a list of {key, value}, in either case."""
    if not isinstance(value, list | tuple):
        return _texts(value)
    lowered = [
        {str(key).lower(): each for key, each in tag.items()} if isinstance(tag, Mapping) else {"key": tag}
        for tag in value
    ]
    return _texts({tag.get("key", ""): tag.get("value", "") for tag in lowered})


_Texts = Annotated[dict[str, str], BeforeValidator(_texts)]
_Tags = Annotated[dict[str, str], BeforeValidator(_pairs)]


class ScalingPolicy(BaseModel):
    """EMR's managed scaling: between how many units a cluster may have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit_type: Literal["Instances", "InstanceFleetUnits", "VCPU"] = Field("Instances", description="What is counted.")
    minimum_capacity_units: int = Field(1, ge=1, description="Units at least.")
    maximum_capacity_units: int = Field(2, ge=1, description="Units at most.")
    maximum_on_demand_capacity_units: int = Field(2, ge=0, description="Of these, on demand at most.")
    maximum_core_capacity_units: int = Field(2, ge=1, description="Of these, core nodes at most.")

    @model_validator(mode="after")
    def _in_order(self) -> "ScalingPolicy":
        if self.minimum_capacity_units > self.maximum_capacity_units:
            raise ValueError("minimum_capacity_units is more than maximum_capacity_units")
        return self


class Config(ExecutorConfig):
    """A Spark step on EMR: on a cluster of ours, on one that is named, or on EMR Serverless."""

    unguarded: ClassVar[tuple[str, ...]] = ("instance_fleets", "spark_submit_args")

    bootstrap_script_path: str | None = Field(
        None, description="Prepares every node: a file of the project, or s3://…; ours installs what the runtime needs."
    )
    ec2_key_name: str | None = Field(None, description="The key pair for SSH to the nodes.")
    ec2_key_path: str | None = Field(None, description="Ignored: Mage's editor uses it.")
    ec2_subnet_id: str | None = Field(None, description="The subnet of the cluster; MAGE_EC2_SUBNET_ID sets it, too.")
    master_security_group: str | None = Field(None, description="The security group of the primary node.")
    slave_security_group: str | None = Field(None, description="The security group of the core nodes.")
    master_instance_type: str = Field("r5.4xlarge", description="The instance type of the primary node.")
    slave_instance_type: str = Field("r5.4xlarge", description="The instance type of the core nodes.")
    master_spark_properties: _Texts = Field(default_factory=dict, description="spark-defaults of the primary node.")
    slave_spark_properties: _Texts = Field(default_factory=dict, description="spark-defaults of the core nodes.")
    slave_instance_count: int = Field(1, ge=0, description="How many core nodes there are.")
    scaling_policy: ScalingPolicy | None = Field(None, description="EMR's managed scaling.")
    spark_jars: tuple[str, ...] = Field((), description="JAR files for spark-submit: s3://….")

    cluster_id: str | None = Field(
        None, pattern=r"^j-[A-Z0-9]+$", description="A cluster of yours that takes the steps; none is created then."
    )
    application_id: str | None = Field(
        None, pattern=r"^[0-9a-z]{1,64}$", description="An EMR Serverless application, which runs the job instead."
    )
    execution_role_arn: str | None = Field(
        None, pattern=r"^arn:[^:]+:iam::\d{12}:role/.+$", description="Who a job on EMR Serverless is."
    )
    release_label: str = Field("emr-6.9.0", pattern=r"^emr-[0-9].*$", description="The release of EMR; Mage's.")
    applications: tuple[str, ...] = Field(("Hadoop", "Hive", "Spark"), description="What is installed on the cluster.")
    job_flow_role: str = Field("EMR_EC2_DefaultRole", description="The instance profile of the nodes.")
    service_role: str = Field("EMR_DefaultRole", description="The role of EMR itself.")
    log_uri: str | None = Field(None, description="Where EMR puts its logs; `logs` below `staging` if absent.")
    idle_timeout: int = Field(
        1800, ge=0, description="Seconds after which a cluster of ours without work ends; 0: with its last step."
    )
    tags: _Tags = Field(default_factory=dict, description="Tags of clusters and jobs, beside ours.")
    instance_fleets: tuple[dict[str, Any], ...] = Field((), description="Instead of instance groups, as AWS has them.")
    bootstrap_actions: tuple[dict[str, Any], ...] = Field((), description="More of them, as AWS has them.")
    master_market: Literal["ON_DEMAND", "SPOT"] = Field("ON_DEMAND", description="The market of the primary node.")
    slave_market: Literal["ON_DEMAND", "SPOT"] = Field("ON_DEMAND", description="The market of the core nodes.")
    spark_submit_args: tuple[str, ...] = Field((), description="More arguments for spark-submit, before the script.")
    steps_per_cluster: int = Field(
        15, ge=1, le=256, description="Steps that wait or run on one cluster of ours at most; then there is another."
    )
    staging: str | None = Field(
        None, description="s3://bucket/prefix for code, scripts and logs; the project's remote_variables_dir if absent."
    )
    python: str = Field("python3.11", description="The interpreter on the nodes: 3.11 or newer.")
    region: str | None = Field(None, description="The region; the worker's own if absent.")
    endpoint_url: str | None = Field(None, description="Where EMR and S3 answer, if not at AWS's own address.")
    assume_role_arn: str | None = Field(None, description="The role that the worker assumes for its calls.")

    @field_validator("region")
    @classmethod
    def _is_region(cls, region: str | None) -> str | None:
        if region is not None and not is_region(region):
            raise ValueError("is no name of a region, such as eu-central-1")
        return region

    @field_validator("staging", "log_uri")
    @classmethod
    def _is_in_s3(cls, url: str | None) -> str | None:
        if url is not None and not _S3.fullmatch(url):
            raise ValueError("should be s3://bucket/prefix")
        return url and url.rstrip("/")

    @field_validator("idle_timeout")
    @classmethod
    def _is_allowed(cls, seconds: int) -> int:
        if seconds and not _SHORTEST_IDLE <= seconds <= _LONGEST_IDLE:
            raise ValueError(f"should be 0, or from {_SHORTEST_IDLE} to {_LONGEST_IDLE} seconds (a week)")
        return seconds

    @model_validator(mode="after")
    def _is_one_place(self) -> "Config":
        if self.application_id and self.cluster_id:
            raise ValueError("application_id and cluster_id are two places: choose one")
        if self.application_id and not self.execution_role_arn:
            raise ValueError("application_id needs execution_role_arn: EMR Serverless runs every job as a role")
        if self.runtime == "mage":
            raise ValueError("runtime: mage can't run on EMR, whose nodes have no Mage")
        return self
