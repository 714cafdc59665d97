"""Requests into plans, and the service that does it.

Pure: `choice` (which executor), `config` (with which configuration), `command` (which argv), `explain` (all of it,
with reasons), `plan`, `advance`, `owed` (what a run does next). The service around them is `service`.
"""

from runmesh.resolver.explain import explain

__all__ = ["explain"]
