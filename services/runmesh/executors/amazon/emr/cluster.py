"""The cluster that a configuration needs: the arguments of RunJobFlow, as Mage makes them, and who may share it.

Tasks share a cluster if all that it is made of is the same: the digest of that is its *need*, which is in the
cluster's name and tags. Where we differ from Mage: the name and the tags, `KeepJobFlowAliveWhenNoSteps` with an
`AutoTerminationPolicy` unless `idle_timeout` is 0, no steps (they are added once there is surely one cluster only), and
the path of the bootstrap script, which holds the script's digest so that no run overwrites another's.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from runmesh.executors.amazon.emr.config import Config

MESH: Final = "runmesh:mesh"
POOL: Final = "runmesh:pool"
NEED: Final = "runmesh:need"
_STEP_CONCURRENCY: Final = 256
_MEMORY: Final = {"r5.2xlarge": "16000M", "r5.xlarge": "8000M"}
"""What Mage gives drivers and executors, by instance type."""
_DEFAULT_MEMORY: Final = "32000M"
_DIGITS: Final = 16
_LONGEST_PART: Final = 64

Json = dict[str, Any]


def need(config: Config, *, log_uri: str, bootstrap: str) -> str:
    """Return the digest of all that makes a cluster."""
    document = json.dumps(_shape(config, log_uri, bootstrap), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(document.encode()).hexdigest()[:_DIGITS]


def name(mesh: str, pool: str, needed: str) -> str:
    """Return the name of the clusters that fulfil a need: who lists clusters sees names, but no tags."""
    return f"{prefix(mesh, pool)}{needed}"


def prefix(mesh: str, pool: str) -> str:
    """Return how the names of all clusters of one pool begin."""
    return f"runmesh-{mesh[:_LONGEST_PART]}-{pool[:_LONGEST_PART]}-"


def tags(mesh: str, pool: str) -> dict[str, str]:
    """Return the tags by which what is ours is known."""
    return {MESH: mesh, POOL: pool}


def run_job_flow(config: Config, *, mesh: str, pool: str, log_uri: str, bootstrap: str) -> Json:
    """Return the arguments that create the cluster; `bootstrap` is where the bootstrap script is."""
    needed = need(config, log_uri=log_uri, bootstrap=bootstrap)
    return {
        "Name": name(mesh, pool, needed),
        **_shape(config, log_uri, bootstrap),
        "Tags": as_list({**config.tags, **tags(mesh, pool), NEED: needed}),
    }


def as_list(pairs: Mapping[str, str]) -> list[Json]:
    """Return tags as EMR takes them."""
    return [{"Key": key, "Value": value} for key, value in pairs.items()]


def _shape(config: Config, log_uri: str, bootstrap: str) -> Json:
    script = {"Name": "Install Python packages using pip.", "ScriptBootstrapAction": {"Path": bootstrap}}
    return {
        "ReleaseLabel": config.release_label,
        "Instances": _instances(config),
        "StepConcurrencyLevel": _STEP_CONCURRENCY,
        "Applications": [{"Name": application} for application in config.applications],
        "JobFlowRole": config.job_flow_role,
        "ServiceRole": config.service_role,
        **({} if config.instance_fleets else {"EbsRootVolumeSize": 10}),
        "VisibleToAllUsers": True,
        **_scaling(config),
        **({"AutoTerminationPolicy": {"IdleTimeout": config.idle_timeout}} if config.idle_timeout else {}),
        "LogUri": log_uri,
        "BootstrapActions": [script, *config.bootstrap_actions],
    }


def _instances(config: Config) -> Json:
    named = {
        "Ec2SubnetId": config.ec2_subnet_id,
        "Ec2KeyName": config.ec2_key_name,
        "EmrManagedMasterSecurityGroup": config.master_security_group,
        "EmrManagedSlaveSecurityGroup": config.slave_security_group,
    }
    machines = (
        {"InstanceFleets": list(config.instance_fleets)}
        if config.instance_fleets
        else {"InstanceGroups": _groups(config)}
    )
    return {
        "KeepJobFlowAliveWhenNoSteps": bool(config.idle_timeout),
        **machines,
        **{key: value for key, value in named.items() if value is not None},
    }


def _groups(config: Config) -> list[Json]:
    master = _group("Master", config.master_instance_type, 1, config.master_market, config.master_spark_properties)
    if not config.slave_instance_count:
        return [master]
    kind, count = config.slave_instance_type, config.slave_instance_count
    return [master, _group("Core", kind, count, config.slave_market, config.slave_spark_properties)]


def _group(role: str, kind: str, count: int, market: str, properties: Mapping[str, str]) -> Json:
    memory = _MEMORY.get(kind, _DEFAULT_MEMORY)
    defaults = {
        "spark.driver.memory": memory,
        "spark.driver.maxResultSize": "0",
        "spark.executor.memory": memory,
    }
    return {
        "Name": f"AmazonEMR{role}",
        "Market": market,
        "InstanceRole": role.upper(),
        "InstanceType": kind,
        "InstanceCount": count,
        "Configurations": [{"Classification": "spark-defaults", "Properties": {**defaults, **properties}}],
    }


def _scaling(config: Config) -> Json:
    policy = config.scaling_policy
    if policy is None:
        return {}
    limits = {
        "UnitType": policy.unit_type,
        "MinimumCapacityUnits": policy.minimum_capacity_units,
        "MaximumCapacityUnits": policy.maximum_capacity_units,
        "MaximumOnDemandCapacityUnits": policy.maximum_on_demand_capacity_units,
        "MaximumCoreCapacityUnits": policy.maximum_core_capacity_units,
    }
    return {"ManagedScalingPolicy": {"ComputeLimits": limits}}
