"""The container group that workers find themselves in, and others take after, with all that it may have."""

from typing import Any, Final

IMAGE: Final = "etl:1"
LOCATION: Final = "westeurope"
SUBNET: Final = "/subscriptions/s/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/tasks"
PULLER: Final = "/subscriptions/s/resourceGroups/own/providers/Microsoft.ManagedIdentity/userAssignedIdentities/puller"


def own_group() -> dict[str, Any]:
    """Return it as it was asked for."""
    variables = [
        {"name": "REGION", "value": "north"},
        {"name": "RUNMESH_NATS_URL", "value": "nats://nats"},
        {"name": "PASSWORD", "secureValue": "hidden"},
    ]
    mounts = [{"name": each, "mountPath": f"/{each}"} for each in ("data", "code", "keys")]
    container = {
        "image": IMAGE,
        "environmentVariables": variables,
        "resources": {"requests": {"cpu": 2, "memoryInGB": 4}},
        "volumeMounts": mounts,
    }
    share = {"shareName": "data", "storageAccountName": "lake", "storageAccountKey": "told-once"}
    init = {"image": "busybox", "command": ["chmod", "-R", "a+r", "/code"], "volumeMounts": [mounts[1]]}
    return {
        "location": LOCATION,
        "zones": ["1"],
        "tags": {"team": "data"},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {PULLER: {"clientId": "given by Azure"}}},
        "properties": {
            "osType": "Linux",
            "containers": [{"name": "mage", "properties": container}],
            "initContainers": [{"name": "ready", "properties": init}],
            "volumes": [
                {"name": "data", "azureFile": share},
                {"name": "code", "gitRepo": {"repository": "https://example.com/etl.git"}},
                {"name": "keys", "secret": {"key": "aGlkZGVu"}},
            ],
            "subnetIds": [{"id": SUBNET}],
            "dnsConfig": {"nameServers": ["10.0.0.4"]},
            "imageRegistryCredentials": [
                {"server": "etl.azurecr.io", "identity": PULLER},
                {"server": "hub.example.com", "username": "etl", "password": "hidden"},
            ],
            "diagnostics": {"logAnalytics": {"workspaceId": "w", "workspaceKey": "hidden"}},
        },
    }
