"""Who may do what on NATS: one user for each service, with no more than it needs.

Publishing is what decides, since whatever JetStream does, it is asked by publishing to `$JS.API.…`. Where that API
tells apart only streams, not the subjects in them, a permission is wider than it should be: `docs/security.md` lists
these places. Answers come to an inbox of the user's own, `_INBOX.<user>`, so that nobody overhears another's.

Whoever asks chooses where the answer goes, and no permission is checked there: the server itself would write it over
a run's state. So all but those who may write that anyhow are `outside`, each in an account of its own. It has no
subjects but those that it imports, and an answer can't leave it. They hear nothing live, but read it from the streams:
whoever listens to a subject may let a consumer of theirs deliver to it, and what is delivered is stored like anything.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

from runmesh import subjects
from runmesh.filters import api, matching, requests
from runmesh.subjects import (
    CLAIMS,
    DEAD,
    FACTS,
    LOGS,
    REQUESTS,
    RESOLVER,
    RUNS,
    STREAM_SUBJECTS,
    WORKERS,
    ExecutorType,
    Form,
    execute_consumer,
    execute_stream,
)

_ANYTHING: Final = (">",)
_FROM_ACCOUNTS: Final = "_R_.>"
"""Where the server has answers sent to what another account asked."""
_ANSWERS: Final = ("_INBOX.>", _FROM_ACCOUNTS)
_BUCKETS: Final = tuple(f"KV_{bucket}" for bucket in (RUNS, CLAIMS, WORKERS))
_WORKERS_STATES: Final = ("submitted", "running", "completed", "failed", "cancelled", "condition_failed")
_MAGES: Final = tuple(map(str, ExecutorType))


class User(NamedTuple):
    """One user: the subjects it may publish and subscribe to, and those of the former that it may not after all."""

    name: str
    may: str
    """What it is for."""
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    deny: tuple[str, ...] = ()
    outside: bool = False
    """Whether it has an account of its own."""

    @property
    def inbox(self) -> str:
        """The prefix of its inboxes: its RUNMESH_NATS_INBOX."""
        return f"_INBOX.{self.name}"

    @property
    def asks(self) -> tuple[str, ...]:
        """What an account of its own imports: all that it may publish, except for answers."""
        return tuple(subject for subject in self.publish if subject not in _ANSWERS)

    @property
    def serves(self) -> tuple[str, ...]:
        """What an account of its own exports: all that it subscribes to, except for its inboxes."""
        return tuple(subject for subject in self.subscribe if not subject.startswith(self.inbox))


def users(projects: Iterable[str], pools: Iterable[str], types: Collection[str] = _MAGES) -> list[User]:
    """Return every user of a mesh: a submitter for each project, a worker for each executor type and pool."""
    return [
        _user("admin", "everything: people who look after the mesh", _ANYTHING, _ANYTHING),
        provisioner(tuple(pools := list(pools)), types),
        resolver(types),
        *(worker(kind, pool) for kind in types for pool in pools),
        *(submitter(project) for project in projects),
        observer(),
    ]


def provisioner(pools: Sequence[str], types: Collection[str] = _MAGES) -> User:
    """`runmesh provision`: makes and changes the mesh's own streams and consumers, and reads no message."""
    execute = [execute_stream(kind) for kind in types]
    streams = [*STREAM_SUBJECTS, *execute, *_BUCKETS]
    durables = [(REQUESTS, RESOLVER), (FACTS, RESOLVER)]
    durables += [(stream, execute_consumer(pool)) for stream in execute for pool in pools]
    publish = [_api(f"STREAM.{verb}", stream) for stream in streams for verb in ("INFO", "CREATE", "UPDATE")]
    publish += [_api(f"CONSUMER.{verb}", *durable) for durable in durables for verb in ("INFO", "CREATE")]
    return _user("provisioner", "make streams, consumers and buckets: `runmesh provision`", publish)


def resolver(types: Collection[str] = _MAGES) -> User:
    """`runmesh resolver`: takes requests, writes `runs`, publishes commands and facts."""
    execute = [execute_stream(kind) for kind in types]
    publish = [
        matching(Form.RUN_FACT),
        matching(Form.TASK_FACT),
        matching(Form.EXECUTE),
        requests("run"),
        matching(Form.DEAD, service="resolver"),
        *_takes(REQUESTS, RESOLVER),
        *_takes(FACTS, RESOLVER),
        _key(RUNS, ">"),
        _key(CLAIMS, subjects.ANY_CLAIM),
        *(_api("STREAM.MSG.GET", stream) for stream in (FACTS, *execute, f"KV_{RUNS}", f"KV_{CLAIMS}")),
        *(_api("STREAM.INFO", stream) for stream in (REQUESTS, *execute)),
        *(_api("CONSUMER.LIST", stream) for stream in execute),
        *_lists(RUNS, ">"),
        *_lists(WORKERS, ">"),
        *_ANSWERS,
    ]
    subscribe = (*map(api, ("submit", "run", "explain")), *_discovery("runmesh-resolver"))
    return _user("resolver", "plan and follow runs: `runmesh resolver`", publish, subscribe)


def worker(kind: str, pool: str) -> User:
    """`runmesh executor TYPE --pool POOL`: takes its own tasks, and tells of them."""
    address = {"type": kind, "pool": pool}
    publish = [
        *(matching(Form.TASK_FACT, state=state, **address) for state in _WORKERS_STATES),
        matching(Form.LOG, **address),
        matching(Form.DEAD, service=subjects.worker_service(kind)),
        *_takes(execute_stream(kind), execute_consumer(pool)),
        _key(CLAIMS, subjects.claims_of(kind, pool)),
        _key(WORKERS, subjects.workers_of(kind, pool)),
        *(_api("STREAM.MSG.GET", stream) for stream in (FACTS, LOGS, f"KV_{RUNS}", f"KV_{CLAIMS}")),
        _api("STREAM.INFO", f"KV_{RUNS}"),
        *_lists(RUNS, subjects.cancelling("*")),
        *_lists(WORKERS, subjects.workers_of(kind, pool)),
        _FROM_ACCOUNTS,
    ]
    name = f"worker-{kind}" if pool == subjects.DEFAULT_POOL else f"worker-{kind}-{subjects.token(pool)}"
    discovery = _discovery(f"runmesh-executor-{kind}")
    user = _user(name, f"run `{kind}` tasks of the pool `{pool}`", publish, discovery)
    return user._replace(outside=True)


def submitter(project: str) -> User:
    """Whoever starts a project's runs, stops and repeats them, and reads what becomes of them."""
    read = _of_project(project)
    publish = [
        matching(Form.REQUEST, project=project),
        matching(Form.API, project=project),
        *(subject for stream, filters in read for each in filters for subject in _reads(stream, each)),
    ]
    name = f"submitter-{subjects.token(project)}"
    user = _user(name, f"start and read runs of the project `{project}`", publish, deny=_not_resolvers(FACTS))
    return user._replace(outside=True)


def observer() -> User:
    """Dashboards, and people who only look: every fact, log line and dead letter, and how full the queues are."""
    streams = (FACTS, LOGS, DEAD)
    publish = [
        *(subject for stream in streams for subject in _reads(stream)),
        *_reads(f"KV_{WORKERS}", _key(WORKERS, ">")),
        _api("STREAM.MSG.GET", f"KV_{WORKERS}"),
        _api("STREAM.INFO", "*"),
        _api("CONSUMER.INFO", "*", "*"),
        api("run"),
        "$SRV.>",
    ]
    user = _user("observer", "read everything, change nothing", publish, deny=_not_resolvers(FACTS))
    return user._replace(outside=True)


def _user(name: str, may: str, publish: Iterable[str], subscribe: Iterable[str] = (), deny: Iterable[str] = ()) -> User:
    user = User(name, may, tuple(dict.fromkeys(publish)), (), tuple(deny))
    return user._replace(subscribe=(f"{user.inbox}.>", *subscribe) if subscribe != _ANYTHING else _ANYTHING)


def _of_project(project: str) -> list[tuple[str, list[str]]]:
    """Name all of a project that is stored, by stream."""
    of = partial(matching, project=project)
    return [(FACTS, [of(Form.RUN_FACT), of(Form.TASK_FACT)]), (LOGS, [of(Form.LOG)])]


def _api(call: str, *path: str) -> str:
    return ".".join(("$JS.API", call, *path))


def _takes(stream: str, durable: str) -> Iterable[str]:
    """Let a durable consumer be pulled from, and what it delivers be acknowledged.

    An acknowledgement may ask for the next message. So each form has just as many tokens as the server writes (the
    latter two with domain and account): with any number of them, one would be another consumer's in the other form.
    """
    yield _api("CONSUMER.MSG.NEXT", stream, durable)
    yield _api("CONSUMER.INFO", stream, durable)
    yield f"$JS.ACK.{stream}.{durable}.*.*.*.*.*"
    yield f"$JS.ACK.*.*.{stream}.{durable}.*.*.*.*.*"
    yield f"$JS.ACK.*.*.{stream}.{durable}.*.*.*.*.*.*"


def _reads(stream: str, *filters: str) -> Iterable[str]:
    """Let a stream be replayed: only single subjects within these filters, or else whatever is asked for."""
    create = _api("CONSUMER.CREATE", stream, "*")
    yield from (f"{create}.{each}" for each in filters) if filters else (create, f"{create}.>")
    yield _api("CONSUMER.MSG.NEXT", stream, "*")


def _lists(bucket: str, keys: str) -> Iterable[str]:
    """Let the keys of a bucket be listed and watched."""
    yield from _reads(f"KV_{bucket}", _key(bucket, keys))
    yield _api("STREAM.MSG.GET", f"KV_{bucket}")
    yield _api("STREAM.INFO", f"KV_{bucket}")


def _key(bucket: str, keys: str) -> str:
    return f"$KV.{bucket}.{keys}"


def _not_resolvers(stream: str) -> tuple[str, ...]:
    """Except the resolver's own consumer from those that may be made and pulled from."""
    create = _api("CONSUMER.CREATE", stream, RESOLVER)
    return create, f"{create}.>", _api("CONSUMER.MSG.NEXT", stream, RESOLVER)


def _discovery(service: str) -> tuple[str, ...]:
    return "$SRV.*", f"$SRV.*.{service}", f"$SRV.*.{service}.*"
