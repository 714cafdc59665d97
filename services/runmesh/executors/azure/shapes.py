"""The structures of the container groups API that a configuration may hold, with the API's own names of fields.

A field may be written in snake_case as well: `api_names` puts it right, before levels are merged.
"""
# ruff: noqa: N815 - the API's own names

from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from runmesh.platforms.shapes import Shape, by_snake, fields, renamed


class AzureFile(Shape):
    """A share of Azure Files. Without a key, the worker's AZURE_STORAGE_ACCOUNT_KEY is used."""

    shareName: str
    storageAccountName: str
    storageAccountKey: str | None = None
    readOnly: bool | None = None


class GitRepo(Shape):
    """A repository that is cloned when the group starts."""

    repository: str
    directory: str | None = None
    revision: str | None = None


class Volume(Shape):
    """One volume of the group: exactly one of the kinds."""

    name: str
    azureFile: AzureFile | None = None
    gitRepo: GitRepo | None = None
    secret: dict[str, str] | None = None
    emptyDir: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        kinds = [name for name in KINDS if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise ValueError(
                f"a volume should be one of azure_file, git_repo, secret, empty_dir: {self.name!r} is {len(kinds)}"
            )
        return self


KINDS: Final = ("azureFile", "gitRepo", "secret", "emptyDir")


class Mount(Shape):
    """Where the container finds a volume."""

    name: str
    mountPath: str
    readOnly: bool | None = None


class Gpu(Shape):
    """GPUs of the container."""

    count: Literal[1, 2, 4]
    sku: Literal["K80", "P100", "V100"]


class Limits(Shape):
    """The most that the container may use; what it asks for, if absent."""

    cpu: float | None = Field(None, gt=0, allow_inf_nan=False)
    memoryInGB: float | None = Field(None, gt=0, allow_inf_nan=False)


class Identity(Shape):
    """Who the group is on Azure."""

    type: Literal["SystemAssigned", "UserAssigned", "SystemAssigned, UserAssigned"]
    userAssignedIdentities: dict[str, dict[str, Any]] | None = None


class Registry(Shape):
    """With what an image is pulled: a user and a password, or an identity of the group."""

    server: str
    username: str | None = None
    password: str | None = None
    identity: str | None = None


class Dns(Shape):
    """Name servers of the group."""

    nameServers: tuple[str, ...]
    searchDomains: str | None = None
    options: str | None = None


class LogAnalytics(Shape):
    """The workspace that output goes to as well."""

    workspaceId: str
    workspaceKey: str
    logType: Literal["ContainerInsights", "ContainerInstanceLogs"] | None = None
    workspaceResourceId: str | None = None
    metadata: dict[str, str] | None = None


def api_names(value: Any) -> Any:
    """Return a structure with the API's names of its fields, whichever way they are written."""
    return renamed(value, lambda key: _NAMES.get(key, key))


_SHAPES: Final = (AzureFile, GitRepo, Volume, Mount, Gpu, Limits, Identity, Registry, Dns, LogAnalytics)
_NAMES: Final = by_snake(fields(_SHAPES)) | {"memory": "memoryInGB"}
