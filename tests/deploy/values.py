"""Values that switch on everything the chart has."""

from typing import Final

from runmesh.subjects import ExecutorType
from tests.deploy.helm import Json

EVERYTHING: Final[Json] = {
    "nats": {
        "enabled": False,
        "url": "nats://a:4222, tls://b:4443",
        "existingSecret": "login",
        "auth": "nkey",
        "tls": {"existingSecret": "tls", "mutual": True},
    },
    "keda": {"enabled": True, "monitoring": "nats:8222"},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboard": {"enabled": True},
    "projects": {"existingClaim": "projects"},
    "variables": {"existingClaim": "variables"},
    "policy": {"executors": {"k8s": {"forbid": ["pod.volumes"]}}},
    "settings": {"log_burst": 20_000_000, "allow_inline": True, "ack_wait": 90, "grace": 120},
    "resolver": {
        "settings": {"allow_inline": False},
        "env": {"DEFAULT_EXECUTOR_TYPE": "k8s"},
        "podLabels": {"team": "data"},
        "podAnnotations": {"note": "x"},
    },
    "pools": ["eu"],
    "imagePullSecrets": [{"name": "registry"}],
    "executors": {
        "local": None,
        **{kind.replace("_", "-"): {"type": str(kind), "slots": 8} for kind in ExecutorType},
        "west": {
            "type": "k8s",
            "pool": "west_1",
            "namespaces": ["batch"],
            "natsSecret": "west",
            "image": {"repository": "registry.example/k8s", "tag": "7"},
            "envFrom": [{"secretRef": {"name": "warehouse"}}],
            "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
            "volumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
            "nodeSelector": {"pool": "workers"},
            "tolerations": [{"key": "batch", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "priorityClassName": "batch",
            "egress": [{"ports": [{"port": 443}]}],
            "scaling": {"max": 3, "target": 500},
            "serviceAccount": {"annotations": {"iam": "west"}},
        },
    },
}
