"""What a task definition can say, by the API's own names: those of RegisterTaskDefinition, without the SDK (pure).

A field may be written in snake_case as well. What is not in the table, such as the options of a log driver, is the
user's own, and no name in it is changed.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from runmesh.errors import nearest
from runmesh.platforms.shapes import by_snake

_TABLE: Final = {
    "": "family taskRoleArn executionRoleArn networkMode requiresCompatibilities cpu memory pidMode ipcMode "
    "enableFaultInjection containerDefinitions volumes placementConstraints proxyConfiguration inferenceAccelerators "
    "ephemeralStorage runtimePlatform",
    "containerDefinitions": "name image cpu memory memoryReservation links essential entryPoint command startTimeout "
    "stopTimeout versionConsistency hostname user workingDirectory disableNetworking privileged readonlyRootFilesystem "
    "dnsServers dnsSearchDomains dockerSecurityOptions interactive pseudoTerminal dockerLabels credentialSpecs "
    "repositoryCredentials portMappings restartPolicy environment environmentFiles mountPoints volumesFrom "
    "linuxParameters secrets dependsOn extraHosts ulimits logConfiguration healthCheck systemControls "
    "resourceRequirements firelensConfiguration",
    "containerDefinitions.repositoryCredentials": "credentialsParameter",
    "containerDefinitions.portMappings": "containerPort hostPort protocol name appProtocol containerPortRange",
    "containerDefinitions.restartPolicy": "enabled ignoredExitCodes restartAttemptPeriod",
    "containerDefinitions.environment": "name value",
    "containerDefinitions.environmentFiles": "value type",
    "containerDefinitions.mountPoints": "sourceVolume containerPath readOnly",
    "containerDefinitions.volumesFrom": "sourceContainer readOnly",
    "containerDefinitions.linuxParameters": "initProcessEnabled sharedMemorySize maxSwap swappiness capabilities "
    "devices tmpfs",
    "containerDefinitions.linuxParameters.capabilities": "add drop",
    "containerDefinitions.linuxParameters.devices": "hostPath containerPath permissions",
    "containerDefinitions.linuxParameters.tmpfs": "containerPath size mountOptions",
    "containerDefinitions.secrets": "name valueFrom",
    "containerDefinitions.dependsOn": "containerName condition",
    "containerDefinitions.extraHosts": "hostname ipAddress",
    "containerDefinitions.ulimits": "name softLimit hardLimit",
    "containerDefinitions.logConfiguration": "logDriver options secretOptions",
    "containerDefinitions.logConfiguration.secretOptions": "name valueFrom",
    "containerDefinitions.healthCheck": "command interval timeout retries startPeriod",
    "containerDefinitions.systemControls": "namespace value",
    "containerDefinitions.resourceRequirements": "value type",
    "containerDefinitions.firelensConfiguration": "type options",
    "volumes": "name configuredAtLaunch host dockerVolumeConfiguration efsVolumeConfiguration "
    "fsxWindowsFileServerVolumeConfiguration",
    "volumes.host": "sourcePath",
    "volumes.dockerVolumeConfiguration": "scope autoprovision driver driverOpts labels",
    "volumes.efsVolumeConfiguration": "fileSystemId rootDirectory transitEncryption transitEncryptionPort "
    "authorizationConfig",
    "volumes.efsVolumeConfiguration.authorizationConfig": "accessPointId iam",
    "volumes.fsxWindowsFileServerVolumeConfiguration": "fileSystemId rootDirectory authorizationConfig",
    "volumes.fsxWindowsFileServerVolumeConfiguration.authorizationConfig": "credentialsParameter domain",
    "placementConstraints": "type expression",
    "proxyConfiguration": "type containerName properties",
    "proxyConfiguration.properties": "name value",
    "inferenceAccelerators": "deviceName deviceType",
    "ephemeralStorage": "sizeInGiB",
    "runtimePlatform": "cpuArchitecture operatingSystemFamily",
}
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {where: tuple(names.split()) for where, names in _TABLE.items()}
"""The names that may stand at a place; lists count as what is in them."""
_BY_SNAKE: Final = {where: by_snake(names) for where, names in FIELDS.items()}


class Unknown(NamedTuple):
    """A name that nothing has, and the nearest that there is."""

    path: str
    hint: str | None


def named(value: Any, where: str = "") -> Any:
    """Return a definition with the API's names of its fields, whichever way they are written."""
    match value:
        case Mapping() if where in FIELDS:
            known = ((_BY_SNAKE[where].get(str(key), str(key)), each) for key, each in value.items())
            return {key: named(each, _below(where, key)) for key, each in known}
        case list() | tuple():
            return [named(each, where) for each in value]
    return value


def unknown(value: Any, where: str = "") -> Iterator[Unknown]:
    """Yield what RegisterTaskDefinition doesn't know."""
    match value:
        case Mapping() if where in FIELDS:
            for key, each in value.items():
                if key in FIELDS[where]:
                    yield from unknown(each, _below(where, key))
                else:
                    yield Unknown(_below(where, str(key)), nearest(key, FIELDS[where]))
        case list() | tuple():
            for each in value:
                yield from unknown(each, where)


def _below(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
