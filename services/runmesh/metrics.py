"""What services count, for ``/metrics``: in events, not in states, so that replicas add up."""

from typing import Final

from prometheus_client import Counter, Gauge

RUNS: Final = Counter("runmesh_runs", "Runs that ended, or were rejected.", ("project", "state"))
TASKS: Final = Counter("runmesh_tasks", "Tasks that ended, by their worker.", ("type", "pool", "state", "cause"))
HELD: Final = Gauge("runmesh_tasks_held", "Tasks that this worker holds.", ("type", "pool"))
DEAD: Final = Counter("runmesh_dead_letters", "Messages that could not be handled.", ("service", "reason"))
