"""Runmesh: pipelines on whichever compute fits, over NATS JetStream.

The map of this package, from the outside in:

======================  =====================================================================
``cli/``                the command line
``client.py``           `Mesh`: submit, watch, logs, cancel and retry for Python programs
``asking.py``           what a client asks for, checked before it is sent
``resolver/``           requests into plans (pure: choice, config, plan), and the service
``worker/``             the one loop that runs tasks for every executor
``executors/``          one file per executor type: dumb backends that return facts about jobs
``platforms/``          what executors do by one rule: variables, turns to read, asking again,
                        names, exit codes
``executor.py``         the contract between the two
``bus/``                the only package that imports nats
``service.py``          what every service does alike: signals, drain, with ``health.py``, ``lag.py``,
                        ``logs.py`` and ``metrics.py``
``redaction.py``        what must not be shown: secrets, known or by their looks
``tracing/``            one trace per run, told to OpenTelemetry where that is asked for
``dead.py``             dead letters: what could not be handled, kept whole
``retelling.py``        facts that may have been told before
``projects/``           reading a Mage project: YAML, templates, files of blocks
``runtime/``            what runs inside a job
``events/``             every event on the wire; ``cloudevents.py`` their envelope, ``flaws.py`` what
                        is wrong with them
``claims.py``           the records that services share in buckets
``subjects.py``         every name on the wire; ``filters.py`` matches many of them, ``permissions.py``
                        says who may use which
``view.py``             a run as its facts tell it (``folding.py`` folds them, ``story.py`` those of
                        tasks); ``workers.py`` a worker as its beats do
``schemas/``            the published schemas, generated from all of these
``errors.py``           every error that is raised on purpose; ``clock.py`` the clock of leases;
                        ``interrupts.py`` signals before work has begun
``settings.py``         the environment, read once
``embedded.py``         a nats-server of one's own; ``local.py`` says where it listens
======================
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runmesh.client import Mesh

__all__ = ["Mesh"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # Lazily, because the runtime inside a job imports this package and must start fast.
    if name == "Mesh":
        from runmesh.client import Mesh  # noqa: PLC0415

        return Mesh
    raise AttributeError(name)
