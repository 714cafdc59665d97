"""What a whole pod asks of its node, beside what the job's own container does: for the maxima of a policy.

Sidecars run as long as the pod, so they count together with the job's container, and with every init container.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from runmesh.executors.kubernetes.shapes import read

Ask = tuple[str, tuple[Any, ...]]
"""Where something is asked for, and the amounts that count together there."""

_KINDS: Final = {"resource_limits": "limits", "resource_requests": "requests"}
_ALWAYS: Final = "Always"


def asked_besides(path: str, config: Mapping[str, Any]) -> Iterator[Ask]:
    """Yield what a canonical configuration asks for beside `path`, such as ``resource_limits.cpu``."""
    top, _, resource = path.partition(".")
    if (kind := _KINDS.get(top)) is None or not resource:
        return
    pod = config.get("pod") or {}
    own, inside = (config.get(top) or {}).get(resource), f"resources.{kind}.{resource}"
    before = list(enumerate(pod.get("initContainers") or ()))
    beside = [*(config.get("sidecars") or ()), *(each for _, each in before if _stays(each))]
    sidecars = tuple(amount for each in beside if (amount := _amount(each, kind, resource)) is not None)
    if sidecars:
        yield f"{path} with that of all sidecars", sidecars if own is None else (own, *sidecars)
    for number, each in before:
        if not _stays(each) and (amount := _amount(each, kind, resource)) is not None:
            yield f"pod.initContainers.{number}.{inside}", (amount, *sidecars)
    if (whole := _amount(pod, kind, resource)) is not None:
        yield f"pod.{inside}", (whole,)


def _stays(container: Any) -> bool:
    found = read("Container", container)[0]
    return isinstance(found, Mapping) and found.get("restartPolicy") == _ALWAYS


def _amount(of: Any, kind: str, resource: str) -> Any:
    """Return what a container, or a pod, asks for; nothing if it is none."""
    found = read("ResourceRequirements", _inside(of, "resources"))[0]
    return _inside(_inside(found, kind), resource)


def _inside(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, Mapping) else None
