"""A model of the claim protocol (DESIGN §5 and §6), searched to the end: every state that it can reach.

==================  ==========================================================================================
``state.py``        what there is at one moment: claims, jobs, calls under way, facts, workers, the message
``rules.py``        the rules of the protocol, each of which can be broken, and how large a world is searched
``worker.py``       the worker, await by await (``here.py``: how a step is written) · ``reaper.py`` · ``resolver.py``
``world.py``        everything at once, with the server, the platform, and the faults
``invariants.py``   what is promised
``search.py``       the search, and the trace to a promise that was not kept
==================  ==========================================================================================

What is assumed, since no protocol over these platforms can do without it, or since it is shown elsewhere:

1. NATS keeps what it has confirmed, and a swap compares. A write that arrives late is a write whose sender was slow.
2. A lease ends before its record does (0.75 against 1.0 of `ack_wait`, counted from the same beat).
3. `find_window` is as long as it says: a call arrives before the window of whoever looks for its job is over, or never.
   That holds for one call more of a worker that was stopped between the check of its lease and the call.
4. A platform does not start a second job under a name that it knows, `find` sees what has arrived by then, and a job
   that was GONE over `gone_window` and that `find` doesn't know is no more.
5. The supervisor of local processes is not stopped itself: its processes are dead when its worker's record is gone.
6. A worker that is cut off from NATS is a slow one that ends: all it can do besides is what a slow one does.
7. A worker comes again: what a dead one had waits for the next.

Not in it: facts that are not terminal, logs, several tasks of one run, and time. A wait is a step that comes late.
"""
