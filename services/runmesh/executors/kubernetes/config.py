"""What a Kubernetes Job can be configured with."""

from typing import Any

from pydantic import Field

from runmesh.executor import ExecutorConfig


class Config(ExecutorConfig):
    """A Job on Kubernetes."""

    job_name_prefix: str | None = Field(None, description="Begins the Job's name, behind the mesh's; Mage's data-prep.")
    namespace: str | None = Field(None, description="The worker's own namespace, if absent.")
    image: str | None = None
    resource_limits: dict[str, Any] | None = None
    resource_requests: dict[str, Any] | None = None
    service_account_name: str | None = None
    container_config: dict[str, Any] | None = None
    container: dict[str, Any] = Field(default_factory=dict)
    pod: dict[str, Any] = Field(default_factory=dict)
    job: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)
    ttl_seconds_after_finished: int | None = None
    grace_period: int = Field(30, ge=0, description="Seconds between TERM and KILL when the Job is stopped.")
    url: str | None = None
