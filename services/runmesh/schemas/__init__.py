"""The published schemas, generated from the code that they describe: `make schemas` writes them, a test compares.

``schemas/events/<Event>.<version>.json``
    one JSON Schema (2020-12) for the body of every event
``schemas/executors/<type>.json``
    one for the configuration of every executor type
``schemas/asyncapi.yaml``
    all of the wire in one AsyncAPI 3.0 document: subjects, who publishes and who reads them, messages, streams

The same code gives the same bytes.
"""

from runmesh.schemas.documents import documents

__all__ = ["documents"]
