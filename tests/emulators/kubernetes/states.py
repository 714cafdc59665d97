"""The words of a status: conditions, and what containers do."""

from secrets import token_hex
from typing import Any

from tests.emulators.kubernetes.store import Object, now


def set_condition(found: Object, name: str, *, reason: str = "", message: str = "", status: str = "True") -> None:
    """Say something of an object; said again, it is only brought up to date."""
    conditions = found.setdefault("status", {}).setdefault("conditions", [])
    conditions[:] = [condition for condition in conditions if condition["type"] != name]
    told: dict[str, Any] = {"type": name, "status": status, "lastProbeTime": now(), "lastTransitionTime": now()}
    conditions.append(told | {key: value for key, value in (("reason", reason), ("message", message)) if value})


def set_state(pod: Object, container: Object, state: dict[str, Any], *, init: bool = False) -> None:
    """Say what one container does."""
    statuses = pod["status"].setdefault("initContainerStatuses" if init else "containerStatuses", [])
    statuses[:] = [status for status in statuses if status["name"] != container["name"]]
    running = "running" in state
    statuses.append(
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "lastState": {},
            "ready": running,
            "started": running,
            "restartCount": 0,
            "state": state,
        }
    )


def terminated(code: int, reason: str, message: str = "", started: str = "") -> dict[str, Any]:
    """Return the state of a container that has ended."""
    told: dict[str, Any] = {"exitCode": code, "reason": reason, "startedAt": started or now(), "finishedAt": now()}
    return {"terminated": told | ({"message": message} if message else {})}


def warning(kind: str, about: Object, reason: str, message: str) -> Object:
    """Return the event by which a controller or a node complains."""
    meta = about["metadata"]
    involved = {"kind": kind, "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name']}.{token_hex(8)}", "namespace": meta["namespace"]},
        "involvedObject": involved,
        "lastTimestamp": now(),
        "type": "Warning",
        "reason": reason,
        "message": message,
        "count": 1,
    }
