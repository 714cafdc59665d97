"""NATS, as Runmesh uses it: the only package that imports nats.

======================  ==========================================================================
``connection.py``       `connect` and `Bus`: everything that the rest of Runmesh calls
``link.py``             the connection underneath: state, permissions, what is fatal
``wire.py``             nats-py's client, which also survives what it can't read
``exchange.py``         every message that has an answer: pipelined, bounded, retried when that is safe
``pulling.py``          `Pump`: continuous pull within slots
``replaying.py``        ordered reads of what is stored, surviving restarts
``merging.py``          several replays as one
``buckets.py``          `Bucket`: key-value with compare-and-swap
``serving.py``          answering requests as a NATS service
``provisioning.py``     `provision`: every stream, consumer and bucket
``message.py``          the values that travel
======================  ==========================================================================
"""

from runmesh.bus.buckets import Bucket
from runmesh.bus.connection import Bus, connect
from runmesh.bus.message import ConsumerInfo, Deleted, Entry, Headers, Message, Stored, StreamInfo
from runmesh.bus.provisioning import provision
from runmesh.bus.pulling import Pump

__all__ = [
    "Bucket",
    "Bus",
    "ConsumerInfo",
    "Deleted",
    "Entry",
    "Headers",
    "Message",
    "Pump",
    "Stored",
    "StreamInfo",
    "connect",
    "provision",
]
