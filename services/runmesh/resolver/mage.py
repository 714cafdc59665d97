"""What Mage OSS would answer for the same project, so that `explain` can mark where we differ.

The rules are Mage's own (mage-ai 0.9.79: ExecutorFactory and the executors' constructors), quirks included: it merges
only the top level of a configuration, leaves a pipeline's `executor_config` out of its blocks' (EMR excepted), lets
`GCP_PROJECT_ID` and `GCP_REGION` beat the project, and runs locally whatever it does not know.
"""

from collections.abc import Mapping
from typing import Any, Final

from runmesh.resolver.merging import plain

Config = Mapping[str, Any]

_LOCAL: Final = ("local_python", "local_python_force")
_WHOLE: Final = ("pyspark", "ecs", "k8s")
_BLOCKS: Final = (*_WHOLE, "gcp_cloud_run", "azure_container_instance")

PROJECT_KEYS: Final[Mapping[str, str]] = {
    "k8s": "k8s_executor_config",
    "ecs": "ecs_config",
    "gcp_cloud_run": "gcp_cloud_run_config",
    "azure_container_instance": "azure_container_instance_config",
    "pyspark": "emr_config",
}
WRAPPERS: Final[Mapping[str, tuple[str, ...]]] = {
    "k8s": ("k8s_executor_config",),
    "ecs": ("ecs_config",),
    "gcp_cloud_run": ("cloud_run_config", "gcp_cloud_run_config"),
    "azure_container_instance": ("container_instance_config", "azure_container_instance_config"),
    "pyspark": ("emr_config",),
}
"""A configuration that holds one of these keys is the value of that key (the first is Mage's, the second ours)."""
ENVIRONMENT: Final[Mapping[str, Mapping[str, str]]] = {
    "k8s": {"KUBE_NAMESPACE": "namespace"},
    "gcp_cloud_run": {"GCP_PROJECT_ID": "project_id", "GCP_REGION": "region"},
    "azure_container_instance": {
        "AZURE_SUBSCRIPTION_ID": "subscription_id",
        "AZURE_RESOURCE_GROUP_NAME": "resource_group_name",
        "AZURE_CONTAINER_GROUP_NAME": "container_group_name",
    },
    "pyspark": {"MAGE_EC2_SUBNET_ID": "ec2_subnet_id"},
}
"""The variables that Mage reads, and the configuration key that each one stands for."""
_RESOURCES: Final = {
    f"RESOURCE_{kind}_{what}".upper(): f"resource_{kind}.{what}"
    for kind in ("requests", "limits")
    for what in ("cpu", "memory")
}
DEFAULTS: Final[Mapping[str, str]] = {
    **{f"K8S_EXECUTOR_DEFAULT_{name}": path for name, path in _RESOURCES.items()},
    "K8S_EXECUTOR_DEFAULT_SERVICE_ACCOUNT_NAME": "service_account_name",
}
"""Variables for k8s that Mage documents, and that only Mage Pro reads: the dotted path that each one stands for."""
MAXIMA: Final[Mapping[str, str]] = {f"K8S_EXECUTOR_MAX_{name}": path for name, path in _RESOURCES.items()}
"""Likewise: how much may be asked for."""
REMOTE_KEYS: Final = frozenset(
    (
        # K8sExecutorConfig
        *("job_name_prefix", "namespace", "resource_limits", "resource_requests", "service_account_name"),
        *("container_config", "config_file", "metadata", "container", "pod", "job"),
        # EcsConfig; cpu and memory are ContainerInstanceConfig's, too
        *("task_definition", "container_name", "cluster", "security_groups", "subnets", "assign_public_ip"),
        *("cpu", "memory", "enable_execute_command", "launch_type", "network_configuration", "tags", "wait_timeout"),
        # CloudRunConfig
        *("project_id", "path_to_credentials_json_file", "region", "timeout_seconds"),
        # EmrConfig
        *("bootstrap_script_path", "ec2_key_name", "ec2_key_path", "master_security_group", "slave_security_group"),
        *("master_instance_type", "slave_instance_type", "master_spark_properties", "slave_spark_properties"),
        *("slave_instance_count", "scaling_policy", "spark_jars"),
        *(wrapper for wrappers in WRAPPERS.values() for wrapper in wrappers),
    )
)
"""What Mage's executors can be configured with: its local ones with nothing, and they ignore all of it."""


def default_type(environment: Mapping[str, str]) -> str:
    """Return Mage's DEFAULT_EXECUTOR_TYPE: checked without regard to case, returned as it is typed."""
    typed = environment.get("DEFAULT_EXECUTOR_TYPE", "")
    return typed if typed.lower() in (*_LOCAL, *_BLOCKS) else "local_python"


def pipeline_type(request: str | None, kind: str, rendered: str | None, environment: Mapping[str, str]) -> str:
    """Return where Mage runs a whole pipeline of this type, whose executor_type renders to this."""
    chosen = request if request is not None else "pyspark" if kind == "pyspark" else rendered
    if request is None and chosen in (None, "local_python"):
        chosen = default_type(environment)
    return chosen if chosen in _WHOLE else "local_python"


def block_type(rendered: str | None, pipeline: str | None, environment: Mapping[str, str]) -> str:
    """Return where Mage runs a block whose executor_type (and its pipeline's) renders to this."""
    own = (pipeline or rendered) if rendered in (None, "", "local_python") else rendered
    chosen = default_type(environment) if own in (None, "", "local_python") else own
    return chosen if chosen in _BLOCKS else "local_python"


def configuration(executor_type: str, levels: Mapping[str, Config], *, whole: bool) -> dict[str, Any]:
    """Merge what the levels `environment`, `project`, `pipeline` and `block` say as Mage does, one level deep.

    Levels are as they are written: which spelling of a thing wins, and what is in the configuration's own name, Mage
    asks only of what it has merged.
    """
    below, order = levels.get("environment", {}), ["project"]
    if executor_type == "gcp_cloud_run":
        below, order = {}, ["project", "environment"]
    if whole or executor_type == "pyspark":
        order.append("pipeline")
    if not whole:
        order.append("block")
    merged = {key: value for level in order for key, value in levels.get(level, {}).items()}
    return {**below, **unwrapped(executor_type, merged)[0]}


def unwrapped(executor_type: str, config: Config) -> tuple[Config, Config]:
    """Take a configuration out of the key that may hold all of it, as in Mage; return what stood beside it, too."""
    for wrapper in WRAPPERS.get(executor_type, ()):
        if isinstance(inner := config.get(wrapper), Mapping):
            return inner, {key: value for key, value in config.items() if key != wrapper}
    return config, {}


def flat(config: Config, prefix: str = "") -> dict[str, Any]:
    """Return a configuration as dotted paths and plain values; what is null is left out."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif value is not None:
            found[f"{prefix}{key}"] = plain(value)
    return found
