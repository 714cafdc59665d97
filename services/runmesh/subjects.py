"""Every name on the wire: subjects, streams, consumers, buckets and keys. Built here and nowhere else.

Tokens that come from outside (projects, pipelines, blocks) are percent-encoded, so that whatever a
project is called, it is one token and no wildcard. Run ids are restricted instead of encoded: they
are keys as well.
"""

import re
from base64 import b32encode
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple
from urllib.parse import quote, unquote


class ExecutorType(StrEnum):
    """The executor types that Mage knows, without `local_python_force`, which selects `local_python`."""

    LOCAL_PYTHON = "local_python"
    PYSPARK = "pyspark"
    K8S = "k8s"
    ECS = "ecs"
    GCP_CLOUD_RUN = "gcp_cloud_run"
    AZURE_CONTAINER_INSTANCE = "azure_container_instance"


class Form(StrEnum):
    """How every subject is written. Its builder takes what is in `<>`, in this order."""

    REQUEST = "mesh.request.<run|cancel|retry>.<project>"
    EXECUTE = "mesh.execute.<type>.<pool>.<project>.<run>.<block>"
    RUN_FACT = "mesh.run.<state>.<project>.<pipeline>.<run>"
    TASK_FACT = "mesh.task.<state>.<type>.<pool>.<project>.<run>.<block>"
    LOG = "mesh.log.<type>.<pool>.<project>.<run>.<block>"
    DEAD = "mesh.dead.<service>.<reason>"
    API = "mesh.api.<submit|run|explain>.<project>"


RUN_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
DEFAULT_POOL: Final = "default"
WHOLE_PIPELINE: Final = "_pipeline"
"""The block token of a task that runs the whole pipeline in one process."""
CONDITION: Final = "_condition:"
"""Begins the token of a task that evaluates a block's conditions before it, where the block's own job can't."""
CALLBACK: Final = "_callback:"
"""Begins the token of a task that runs a block's callbacks after it, where the block's own job could not."""

ANY_REQUEST: Final = "mesh.request."
ANY_COMMAND: Final = "mesh.execute."
ANY_RUN_FACT: Final = "mesh.run."
ANY_TASK_FACT: Final = "mesh.task."

_LONGEST_TOKEN: Final = 200


@lru_cache(4096)
def token(name: str) -> str:
    """Encode a name from outside as one subject token; an overlong one is cut and ends in its hash."""
    encoded = quote(name, safe=":", errors="surrogatepass").replace(".", "%2E").replace("~", "%7E")
    if len(encoded) > _LONGEST_TOKEN:
        digest = sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]
        encoded = f"{encoded[: _LONGEST_TOKEN - 20].rstrip('%')}-{digest}"
    return encoded or "%"


@lru_cache(4096)
def untoken(encoded: str) -> str:
    """Decode a token made by `token` (an overlong name stays cut)."""
    return "" if encoded == "%" else unquote(encoded)


@lru_cache(4096)
def task_key(run: str, block: str, attempt: int, resubmission: int) -> str:
    """Derive a task's idempotency key: 20 characters of lower-case base32, the same everywhere."""
    return _short_hash("\0".join((run, block, str(attempt), str(resubmission))))


def _short_hash(identity: str) -> str:
    return b32encode(sha256(identity.encode(errors="surrogatepass")).digest()[:15])[:20].decode().lower()


def block_of(name: str) -> str:
    """Return the block that a child is of (`C` of `C:3`, in Mage's way); a name without a child is the block's own."""
    return name.partition(":")[0]


# --- commands ----------------------------------------------------------------------------------


def request(verb: str, project: str) -> str:
    """Name a request to run, cancel or retry."""
    return f"mesh.request.{verb}.{token(project)}"


def execute(executor_type: str, pool: str, project: str, run: str, block: str) -> str:
    """Name the command to run a task."""
    return f"mesh.execute.{executor_type}.{token(pool)}.{token(project)}.{run}.{token(block)}"


# --- facts -------------------------------------------------------------------------------------


def run_fact(state: str, project: str, pipeline: str, run: str) -> str:
    """Name what happened to a run."""
    return f"mesh.run.{state}.{token(project)}.{token(pipeline)}.{run}"


def task_fact(state: str, executor_type: str, pool: str, project: str, run: str, block: str) -> str:
    """Name what happened to a task."""
    return f"mesh.task.{state}.{executor_type}.{token(pool)}.{token(project)}.{run}.{token(block)}"


def tells(subject: str, state: str, executor_type: str, pool: str, run: str, block: str) -> bool:
    """Say whether a task's fact stands on its own subject, whatever the project is."""
    tokens = subject.split(".")
    return tokens[2:5] == [state, executor_type, token(pool)] and tokens[6:] == [run, token(block)]


def log(executor_type: str, pool: str, project: str, run: str, block: str) -> str:
    """Name a task's output."""
    return f"mesh.log.{executor_type}.{token(pool)}.{token(project)}.{run}.{token(block)}"


def dead(service: str, reason: str) -> str:
    """Name what a service could not handle."""
    return f"mesh.dead.{token(service)}.{token(reason)}"


def worker_service(executor_type: str) -> str:
    """Name a type's workers where dead letters are found: worker.<type>"""
    return f"worker.{executor_type}"


def api(verb: str, project: str) -> str:
    """Name a request that is answered at once."""
    return f"mesh.api.{verb}.{token(project)}"


# --- parsing -----------------------------------------------------------------------------------


class TaskAddress(NamedTuple):
    """What the subject of an execute event, a task fact or a log batch says by itself."""

    executor_type: str
    pool: str
    project: str
    run: str
    block: str


def task_address(subject: str) -> TaskAddress:
    """Read type, pool, project, run and block from the last five tokens of a task's subject."""
    executor_type, pool, project, run, block = subject.split(".")[-5:]
    return TaskAddress(executor_type, untoken(pool), untoken(project), run, untoken(block))


class RequestAddress(NamedTuple):
    """What the subject of a request says by itself."""

    verb: str
    project: str


def request_address(subject: str) -> RequestAddress:
    """Read verb and project from mesh.request.<verb>.<project> or mesh.api.<verb>.<project>."""
    verb, project = subject.split(".")[-2:]
    return RequestAddress(verb, untoken(project))


# --- streams and consumers ---------------------------------------------------------------------

REQUESTS: Final = "REQUESTS"
FACTS: Final = "FACTS"
LOGS: Final = "LOGS"
DEAD: Final = "DEAD"
RESOLVER: Final = "resolver"
"""The resolver's durable consumer, on REQUESTS and on FACTS."""

STREAM_SUBJECTS: Final = {
    REQUESTS: ("mesh.request.*.*",),
    FACTS: ("mesh.run.>", "mesh.task.>"),
    LOGS: ("mesh.log.>",),
    DEAD: ("mesh.dead.>",),
}
TERMINAL_TASK_FACTS: Final = tuple(
    f"mesh.task.{state}.>" for state in ("completed", "failed", "cancelled", "condition_failed")
)


def execute_stream(executor_type: str) -> str:
    """EXECUTE_<type>"""
    return f"EXECUTE_{executor_type}"


def execute_subjects(executor_type: str, pool: str | None = None) -> str:
    """mesh.execute.<type>.> or, for one pool, mesh.execute.<type>.<pool>.>"""
    return f"mesh.execute.{executor_type}.{token(pool)}.>" if pool else f"mesh.execute.{executor_type}.>"


def execute_consumer(pool: str) -> str:
    """The durable consumer of one pool on its type's stream: a name without '%' or other specials."""
    return "pool_" + re.sub(r"[^A-Za-z0-9_-]", lambda found: f"={ord(found[0]):x}", pool)


# --- buckets and keys --------------------------------------------------------------------------

RUNS: Final = "runs"
CLAIMS: Final = "claims"
WORKERS: Final = "workers"


def run_plan(run: str) -> str:
    """run.<id>.plan"""
    return f"run.{run}.plan"


def run_state(run: str) -> str:
    """run.<id>.state"""
    return f"run.{run}.state"


def active(run: str) -> str:
    """active.<id>"""
    return f"active.{run}"


def cancelling(run: str) -> str:
    """cancelling.<id>"""
    return f"cancelling.{run}"


def pipeline_key(project: str, pipeline: str) -> str:
    """Name one pipeline by a hash, in keys: names may hold anything."""
    return _short_hash(f"{project}\0{pipeline}")


def limit(pipeline: str) -> str:
    """limit.<pipeline's key>"""
    return f"limit.{pipeline}"


def waiting(pipeline: str, run: str) -> str:
    """waiting.<pipeline's key>.<id>"""
    return f"waiting.{pipeline}.{run}"


ANY_CLAIM: Final = "*.*.*"


def claim(executor_type: str, pool: str, key: str) -> str:
    """<type>.<pool>.<key>"""
    return f"{executor_type}.{_key_token(pool)}.{key}"


def worker(executor_type: str, pool: str, worker_id: str) -> str:
    """<type>.<pool>.<worker>"""
    return f"{executor_type}.{_key_token(pool)}.{worker_id}"


class WorkerAddress(NamedTuple):
    """What the key of a worker's record says by itself."""

    executor_type: str
    pool: str
    worker: str


def worker_address(key: str) -> WorkerAddress:
    """Read type, pool and worker from a key of the `workers` bucket."""
    executor_type, pool, worker_id = key.split(".")
    return WorkerAddress(executor_type, untoken(pool.replace("=", "%")), worker_id)


def claims_of(executor_type: str, pool: str) -> str:
    """<type>.<pool>.*"""
    return claim(executor_type, pool, "*")


def workers_of(executor_type: str, pool: str) -> str:
    """<type>.<pool>.*"""
    return f"{executor_type}.{_key_token(pool)}.*"


def _key_token(name: str) -> str:
    # Keys allow '=' but not '%'.
    return token(name).replace("%", "=").replace(":", "=3A")
