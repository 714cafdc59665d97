"""The one loop for every executor: from an execute event to its terminal fact, each task owned by one worker.

In the order of a task's life:

=================  ============================================================================
``worker.py``      `Worker`: pulls, gives every delivery its coroutine, drains
``intake.py``      a delivery: read it, and claim its task, or answer it
``claims.py``      the claim: its record, its transitions, the bucket that arbitrates
``cancels.py``     which tasks must stop
``submitting.py``  `submit` once, and `find` whenever that isn't certain
``observer.py``    what the platform says of all jobs
``watching.py``    from a handle to a verdict: ends, time limits, stops, lost jobs
``verdict.py``     how a task ended (pure)
``logs.py``        what jobs print, in batches
``report.py``      claim, fact, removal, acknowledgement
``beat.py``        staying the owner · ``lease.py`` knowing whether one still is
``reaper.py``      what is left on the platform without an owner
=================  ============================================================================

``jobs.py`` holds what a worker holds, ``station.py`` what its parts share, ``platform.py`` stands before
the executor, ``throttle.py`` slows down, ``outcome.py`` reads what a job left.
"""

from runmesh.worker.lease import LeaseLost
from runmesh.worker.worker import Worker

__all__ = ["LeaseLost", "Worker"]
