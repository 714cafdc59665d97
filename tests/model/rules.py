"""The rules of the protocol, each of which can be broken alone, and how large a world is searched."""

from dataclasses import dataclass
from typing import Final

FAULTS: Final = (
    "crash", "zombie", "interrupted", "drain", "copy", "emptied", "answer lost", "silence", "stubborn", "vanished",
    "timeout", "queue timeout", "unreadable",
)  # fmt: skip


@dataclass(frozen=True)
class Rules:
    """DESIGN §5 and §6, as the code keeps them. A control breaks one."""

    derived_name: bool = True
    """A job's name follows from its key: a second submit adopts, and `find` finds."""
    owner_must_be_gone: bool = True
    """A claim is taken over only if it was released, or its owner has no record."""
    find_first: bool = True
    """A claim found in `submitting` is looked for before anything else."""
    find_window: bool = True
    """The no of `find` counts only when no call can be under way any more."""
    claim_then_fact: bool = True
    """The terminal claim is written before its fact is told."""
    claim_then_ack: bool = True
    """The message is acknowledged after the terminal claim."""
    copy_is_nakked: bool = True
    """A copy of a task that somebody works on is handed back, never acknowledged."""
    unreadable_is_nakked: bool = True
    """A command that this worker can't read is not dropped while another works on its task."""
    lease_is_checked: bool = True
    """A worker that wakes after its lease sends at most the one call that was checked before."""
    stop_then_cancel: bool = True
    """Why a job is stopped is in its claim before it is told to stop."""
    cancel_is_read: bool = True
    """The cancel record is read after the claim and before the submit."""
    jobs_then_claims: bool = True
    """The reaper lists the jobs before it reads the claims."""
    supervisor_kills: bool = True
    """A local process is dead before its worker's record is gone."""
    resolver_creates: bool = True
    """The resolver ends a task by creating its claim, never by writing over one."""
    gone_claim_is_seen: bool = True
    """A task that a worker once had, and gave back unstarted, is the resolver's to end again."""
    sweep_republishes: bool = True
    """The sweep gives a command again whose message is gone."""
    swap_compares: bool = True
    """A claim is written only over the revision that was read."""


@dataclass(frozen=True)
class Scope:
    """How large the world is."""

    local: bool = False
    workers: int = 2
    submissions: int = 1
    faults: int = 1
    kinds: tuple[str, ...] = FAULTS
    cancel: bool = True
    most_take_overs: int = 2
