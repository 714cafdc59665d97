"""The structures of the Cloud Run API that a configuration may hold, with the API's own names of fields.

They may be written in camelCase (as the REST API and the console have them) or in snake_case: `api_names` puts them
right, before levels are merged.
"""

from typing import Any, Literal

from runmesh.platforms.shapes import Shape, renamed, snake


class NetworkInterface(Shape):
    """Where a job is in a VPC."""

    network: str | None = None
    subnetwork: str | None = None
    tags: tuple[str, ...] | None = None


class VpcAccess(Shape):
    """How a job reaches a VPC: by a connector, or by an interface of its own."""

    connector: str | None = None
    egress: Literal["ALL_TRAFFIC", "PRIVATE_RANGES_ONLY"] | None = None
    network_interfaces: tuple[NetworkInterface, ...] | None = None


class VersionToPath(Shape):
    """One version of a secret as a file."""

    path: str
    version: str | None = None
    mode: int | None = None


class SecretSource(Shape):
    """A secret as files."""

    secret: str
    items: tuple[VersionToPath, ...] | None = None
    default_mode: int | None = None


class CloudSql(Shape):
    """Sockets of Cloud SQL instances."""

    instances: tuple[str, ...]


class EmptyDir(Shape):
    """A directory that lives as long as its job, in memory."""

    medium: Literal["MEMORY"] | None = None
    size_limit: str | None = None


class Nfs(Shape):
    """A share of an NFS server."""

    server: str
    path: str | None = None
    read_only: bool | None = None


class Gcs(Shape):
    """A bucket of Cloud Storage."""

    bucket: str
    read_only: bool | None = None
    mount_options: tuple[str, ...] | None = None


class Volume(Shape):
    """A volume, one of the five kinds."""

    name: str
    secret: SecretSource | None = None
    cloud_sql_instance: CloudSql | None = None
    empty_dir: EmptyDir | None = None
    nfs: Nfs | None = None
    gcs: Gcs | None = None


class Mount(Shape):
    """Where a volume is in the container."""

    name: str
    mount_path: str
    sub_path: str | None = None


def api_names(value: Any) -> Any:
    """Return a structure with the names of its fields in snake_case, whichever way they are written."""
    return renamed(value, lambda key: snake(str(key)))
