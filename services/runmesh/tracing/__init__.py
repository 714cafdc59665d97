"""One trace per run: from whoever asked for it, through resolver and worker, into the jobs.

::

    caller                    the span named by the request's traceparent, if it has one
    └─ run <pipeline>         told by the resolver whose fact ended the run
       ├─ plan                from taking the request to storing the plan
       └─ task <block>        told by the worker whose claim ended the task; one per attempt
          ├─ submit           one call of the platform
          └─ …                the job's own spans: their parent is in its TRACEPARENT

A span is told when it has ended, with its times as they are stored, and only by the process that logs the outcome:
whose write decided it. So it is told once, however many processes died on the way. What others need of it before,
its id, is derived (see `context`). Where no OTEL_EXPORTER_OTLP_ENDPOINT is set nothing is told, which costs one
``if``, and what a caller sent is carried on as it is.
"""

from runmesh.tracing.context import caller
from runmesh.tracing.mesh import TRACING, Tracing, traced

__all__ = ["TRACING", "Tracing", "caller", "traced"]
