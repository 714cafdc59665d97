"""What is true at the end: everything that a mesh must not have lost, doubled or left behind."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from runmesh import subjects
from runmesh.bus import Message
from runmesh.claims import Claim, ClaimPhase
from runmesh.cloudevents import decode
from runmesh.errors import Undecodable, Unreachable
from runmesh.events import FINAL_RUN_STATES, RunFact, TaskFact
from tests.chaos.legal import Fact, in_order, problems
from tests.chaos.mesh import ChaosMesh
from tests.chaos.service import REMOTE
from tests.eventually import eventually

KINDS = ("local_python", REMOTE)


@dataclass(frozen=True, slots=True)
class Audit:
    """The findings, each list empty if all is well."""

    facts: Mapping[str, Sequence[Fact]]
    lost: list[str] = field(default_factory=list)
    """Runs without exactly one terminal fact."""
    doubled: list[str] = field(default_factory=list)
    """Submissions of tasks that were started more than once."""
    illegal: dict[str, list[str]] = field(default_factory=dict)
    """What the state machine does not allow, by run."""
    left: list[str] = field(default_factory=list)
    """Messages, claims, jobs and processes that should be gone."""
    jobs: int = 0

    @property
    def findings(self) -> list[str]:
        """Return all that is wrong, one line each."""
        return [
            *(f"lost: {run}" for run in self.lost),
            *(f"doubled: {task}" for task in self.doubled),
            *(f"illegal: {run}: {problem}" for run, found in self.illegal.items() for problem in found),
            *(f"left behind: {what}" for what in self.left),
        ]

    def of(self, run: str) -> list[str]:
        """Return what is wrong with one run."""
        return [line for line in self.findings if run in line]


async def facts_of(mesh: ChaosMesh) -> dict[str, list[Fact]]:
    """Return what is stored of every run and can be read, in the order of the stream."""
    found: dict[str, list[Fact]] = defaultdict(list)
    async for message in mesh.bus.replay(subjects.FACTS):
        with suppress(Undecodable):  # told by nobody of ours
            fact = fact_of(message)
            found[fact.run].append(fact)
    return found


async def ended(mesh: ChaosMesh, runs: Collection[str], within: float) -> list[str]:
    """Wait until every run has a terminal fact; return those that have none by then."""
    missing = set(runs)

    async def all_there() -> bool:
        terminal = [f"mesh.run.{state}.>" for state in FINAL_RUN_STATES]
        with suppress(Unreachable):  # a stream may have no leader for a while
            missing.difference_update(
                [message.subject.rpartition(".")[2] async for message in mesh.bus.replay(subjects.FACTS, *terminal)]
            )
        return not missing

    with suppress(AssertionError):
        await eventually(all_there, within=within, every=0.5)
    return sorted(missing)


async def audit(mesh: ChaosMesh, runs: Collection[str], *, within: float, leaders: int = 1) -> Audit:
    """Judge a mesh whose runs have ended; what is still being cleared up has some time for it.

    `leaders`: how many servers may be the leader of a stream. With more than one, facts count as they are read.
    """
    facts = await facts_of(mesh)
    if leaders > 1:
        facts = {run: in_order(told) for run, told in facts.items()}
    illegal = {run: found for run in runs if (found := problems(facts.get(run, ())))}
    lost = [run for run in runs if sum(_ends(fact) for fact in facts.get(run, ())) != 1]
    left = await left_behind(mesh, within)
    started = await submissions(mesh)
    return Audit(facts, lost, doubled(started), illegal, left, sum(started.values()))


def doubled(started: Counter[tuple[str, ...]]) -> list[str]:
    """Name the submissions that had more than one job."""
    return [f"{' '.join(task)}: {count} jobs" for task, count in started.items() if count > 1]


async def left_behind(mesh: ChaosMesh, within: float) -> list[str]:
    """Name what is still left behind when what is being cleared up has had some time for it."""
    left: list[str] = []

    async def nothing_left() -> bool:
        left[:] = await leftovers(mesh)
        return not left

    with suppress(AssertionError):
        await eventually(nothing_left, within=within, every=0.5)
    return left


def _ends(fact: Fact) -> bool:
    return isinstance(fact, RunFact) and fact.state in FINAL_RUN_STATES


async def submissions(mesh: ChaosMesh) -> Counter[tuple[str, ...]]:
    """Count the jobs of each submission: the platform's by its own history, local ones by what they wrote."""
    history = (await mesh.platform("history"))["history"]
    remote = [tuple(str(job[name]) for name in ("run", "block", "attempt", "resubmission")) for job in history]
    names = {job["name"] for job in history}
    # A local job can't know its resubmission, but its key is different for each.
    local = [(run, block, attempt, key) for run, block, attempt, key, _ in mesh.folder.started() if key not in names]
    return Counter([*remote, *local])


async def leftovers(mesh: ChaosMesh) -> list[str]:
    """Name what is left behind, in queues, claims, on the platform and on this machine."""
    streams = [subjects.REQUESTS, *map(subjects.execute_stream, mesh.kinds)]
    counts = {stream: (await mesh.bus.stream_info(stream)).messages for stream in streams}
    claims = await mesh.bus.bucket(subjects.CLAIMS).entries()
    open_claims = [entry.key for entry in claims if Claim.decode(entry.value).phase is not ClaimPhase.TERMINAL]
    active = await mesh.bus.bucket(subjects.RUNS).keys(subjects.active("*"))
    jobs = (await mesh.platform("jobs", pool=None))["jobs"]
    return [
        *(f"{count} messages in {stream}" for stream, count in counts.items() if count),
        *(f"open claim {key}" for key in open_claims),
        *(f"{key}" for key in active),
        *(f"job {handle}" for _, handle in jobs),
        *(f"process {command}" for command in mesh.folder.alive()),
    ]


def fact_of(message: Message) -> Fact:
    """Read a stored fact."""
    kind = RunFact if message.subject.startswith("mesh.run.") else TaskFact
    return decode(kind, message.headers, message.data)  # type: ignore[return-value]
