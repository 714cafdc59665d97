"""What the state of a step or of a job on EMR Serverless means.

An exit code is known only if the script could report it (see `script`): EMR has none. A step that ended since its
cluster did is nobody's fault but the platform's, whatever state it got; AWS's own reason is passed on.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from signal import Signals
from typing import Any, Final

from runmesh.events import Cause
from runmesh.executor import Observation, Phase
from runmesh.platforms.exits import PROJECT_WRONG, SIGNALLED

PENDING: Final = "PENDING"
COMPLETED: Final = "COMPLETED"
CANCELLED: Final = "CANCELLED"
FAILED: Final = "FAILED"
_KILLED: Final = SIGNALLED + Signals.SIGKILL
_PHASES: Final[Mapping[str, Phase]] = {
    # Steps
    PENDING: Phase.PENDING,
    "CANCEL_PENDING": Phase.RUNNING,
    "RUNNING": Phase.RUNNING,
    COMPLETED: Phase.SUCCEEDED,
    CANCELLED: Phase.FAILED,
    FAILED: Phase.FAILED,
    "INTERRUPTED": Phase.FAILED,
    # Jobs on EMR Serverless
    "SUBMITTED": Phase.PENDING,
    "QUEUED": Phase.PENDING,
    "SCHEDULED": Phase.PENDING,
    "CANCELLING": Phase.RUNNING,
    "SUCCESS": Phase.SUCCEEDED,
}
OVER: Final = frozenset(state for state, phase in _PHASES.items() if phase in (Phase.SUCCEEDED, Phase.FAILED))
_DYING: Final = frozenset({"TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"})
_ENDED: Final = frozenset({"TERMINATED", "TERMINATED_WITH_ERRORS"})
_HARMLESS: Final = frozenset({"ALL_STEPS_COMPLETED"})
_WANTED: Final = _HARMLESS | {"USER_REQUEST", ""}
_INVALID: Final = "VALIDATION_ERROR"
_NEVER: Final = re.compile(
    r"(subnet|security group|instance ?profile|key ?pair).*(invalid|not exist|not found)"
    r"|invalid (subnet|security group|instance ?profile|key ?pair)",
    re.IGNORECASE,
)
"""Of which AWS says in that case that it isn't there; all else may be there later, as capacity and quotas."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the script said at its end."""

    exit_code: int | None = None
    tail: tuple[str, ...] = ()
    native: bool = False
    """It ran our own runtime, whose exit codes have a meaning."""
    stopped: bool = False
    """It was told to end from outside: by YARN, or since its machine went down."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The state of a cluster, and AWS's reason for it."""

    state: str
    code: str = ""
    message: str = ""

    @classmethod
    def of(cls, cluster: Mapping[str, Any]) -> "Ending":
        """Read what DescribeCluster says."""
        status = cluster.get("Status") or {}
        why = status.get("StateChangeReason") or {}
        return cls(status.get("State") or "", why.get("Code") or "", why.get("Message") or "")

    @property
    def is_final(self) -> bool:
        """Whether nothing runs there any more."""
        return self.state in _ENDED

    def took_along(self, state: str) -> bool:
        """Whether a step in this state ended because the cluster did: one that ends idle cancels what has just come."""
        return self.state in _DYING and (self.code not in _HARMLESS or state == CANCELLED)

    @property
    def has_failed(self) -> bool:
        """Whether it ended although nobody, such as another worker, wanted it to."""
        return self.state in _DYING and self.code not in _WANTED

    @property
    def is_in_vain(self) -> bool:
        """Whether no other cluster would do any better."""
        return self.code == _INVALID and _NEVER.search(self.message) is not None

    @property
    def cause(self) -> Cause:
        """Whose fault it is."""
        return Cause.CONFIG if self.is_in_vain else Cause.INFRASTRUCTURE

    def __str__(self) -> str:
        return ": ".join(filter(None, (f"the cluster is {self.state}", self.code, self.message)))


def observed(
    state: str, *, why: str = "", ending: Ending | None = None, report: Report | None = None, url: str | None = None
) -> Observation:
    """Return what a state means; `why` are AWS's own words on it, `ending` says how its cluster is, where asked."""
    phase = _PHASES.get(state)
    if phase is None:
        return Observation(Phase.UNKNOWN, reason=f"EMR says {state!r}, which is not known here", url=url)
    if phase is Phase.SUCCEEDED:
        return Observation(phase, exit_code=0, url=url)
    reported = report is not None and report.exit_code is not None and not report.stopped
    if ending and not reported and (ending.took_along(state) if phase is Phase.FAILED else ending.is_final):
        return Observation(Phase.FAILED, None, ending.cause, str(ending), url)
    if phase is Phase.PENDING:
        return Observation(phase, cause=Cause.CAPACITY, reason=why or (str(ending) if ending else None), url=url)
    if phase is Phase.RUNNING:
        return Observation(phase, url=url)
    return _failed(state, why, report or Report(), url)


def _failed(state: str, why: str, report: Report, url: str | None) -> Observation:
    if state == CANCELLED:
        return Observation(Phase.FAILED, None, Cause.CANCELLED, why or "cancelled", url, report.tail)
    if state == "INTERRUPTED":
        return Observation(Phase.FAILED, None, Cause.INFRASTRUCTURE, why or "interrupted", url, report.tail)
    code = report.exit_code
    if report.stopped:
        return Observation(Phase.FAILED, code, Cause.INFRASTRUCTURE, why or "EMR stopped it", url, report.tail)
    if code is None:
        return Observation(Phase.FAILED, None, Cause.USER, why or "the step failed", url, report.tail)
    cause = Cause.CONFIG if report.native and code == PROJECT_WRONG else Cause.USER
    reason = f"exit code {code}" + (" (killed: it may have gone over its memory)" if code == _KILLED else "")
    return Observation(Phase.FAILED, code, cause, reason, url, report.tail)
