"""The API server: who may do what, which call it is, and what it does to the store."""

import json
from collections import Counter
from collections.abc import Collection
from functools import partial
from typing import Any, Final, NamedTuple

from aiohttp import web
from pydantic_core import to_json

from tests.emulators.faults import Faults, abort
from tests.emulators.kubernetes import checks
from tests.emulators.kubernetes.jobs import Jobs
from tests.emulators.kubernetes.kubelet import Kubelet
from tests.emulators.kubernetes.selectors import flag
from tests.emulators.kubernetes.status import Status, not_found
from tests.emulators.kubernetes.store import Object, Store
from tests.emulators.kubernetes.watching import Reading

_PATHS: Final = (
    "/apis/batch/v1/namespaces/{namespace}/{kind:jobs}",
    "/api/v1/namespaces/{namespace}/{kind:pods|events}",
)
_VERBS: Final = {"POST": "create", "GET": "get", "DELETE": "delete", "PUT": "update", "PATCH": "patch"}
_LONG: Final = {"jobs": "jobs.batch"}
_POLICIES: Final = ("Foreground", "Background", "Orphan")


class Call(NamedTuple):
    """What a request is about."""

    verb: str
    kind: str
    namespace: str
    name: str | None
    part: str | None

    @property
    def resource(self) -> str:
        """The resource in a role's words."""
        return f"{self.kind}/{self.part}" if self.part else self.kind


class Api:
    """Answers every call on Jobs, pods and events, and counts them."""

    def __init__(self, store: Store, jobs: Jobs, kubelet: Kubelet) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        """Verb and resource of every call."""
        self.faults = Faults()
        self.reading = Reading(store)
        self.allowed: Collection[tuple[str, str]] | None = None
        """What the caller's role allows; None: all."""
        self.tokens: Collection[str] = ()
        """Who may call; empty: anyone."""
        self.namespaces = {"default"}
        self.quota: int | None = None
        """How many Jobs may be in a namespace."""
        self._store, self._jobs, self._kubelet = store, jobs, kubelet

    def application(self) -> web.Application:
        """Return the server's paths."""
        # Handlers end with their connection: a watch or a follower that nobody reads any more is no use.
        app = web.Application(client_max_size=4 * 2**20)
        app.router.add_route("GET", "/version", self._version)
        for path in _PATHS:
            for end in ("", "/{name}", "/{name}/{part:log|status}"):
                app.router.add_route("*", path + end, self._serve)
        return app

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"major": "1", "minor": "34", "gitVersion": "v1.34.0-emulated"})

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        call = _call(request)
        self.calls[call.verb, call.resource] += 1
        try:
            self._admit(request, call)
            named, cut = f"{call.verb} {call.resource}", partial(abort, request.transport)
            return await self.faults.around(named, lambda: self._act(request, call), cut)
        except Status as refusal:
            return refusal.response()

    def _admit(self, request: web.Request, call: Call) -> None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens and token not in self.tokens:
            raise Status(401, "Unauthorized")
        if self.allowed is not None and (call.verb, call.resource) not in self.allowed:
            raise _forbidden(call, f'User "worker" cannot {call.verb} resource "{call.resource}"')

    async def _act(self, request: web.Request, call: Call) -> web.StreamResponse:
        match call:
            case Call("create", "jobs", name=None):
                return _json(await self._create(request, call), 201)
            case Call("list"):
                return self.reading.list(call.kind, call.namespace, request.query)
            case Call("watch"):
                return await self.reading.watch(call.kind, call.namespace, request)
            case Call("get", "pods", part="log"):
                return await self._log(request, call)
            case Call("get"):
                return _json(self._found(call))
            case Call("delete"):
                return _json(await self._delete(request, call))
        raise Status(405, "the server does not allow this method on the requested resource")

    def _found(self, call: Call) -> Object:
        found = self._store.get(call.kind, call.namespace, call.name or "")
        if found is None:
            raise not_found(_LONG.get(call.kind, call.kind), call.name or "")
        return found

    async def _create(self, request: web.Request, call: Call) -> Object:
        job = await _body(request)
        checks.decode("Job", job, strict=request.query.get("fieldValidation") == "Strict")
        meta = job.setdefault("metadata", {})
        if meta.setdefault("namespace", call.namespace) != call.namespace:
            raise Status(400, "the namespace of the provided object does not match the namespace sent on the request")
        if call.namespace not in self.namespaces:
            raise not_found("namespaces", call.namespace)
        checks.check(job)
        name = meta["name"]
        if self._store.get("jobs", call.namespace, name):
            raise Status(409, f'jobs.batch "{name}" already exists')
        there = len(self._store.all("jobs", call.namespace))
        if self.quota is not None and there >= self.quota:
            used = f"requested: count/jobs.batch=1, used: count/jobs.batch={there}"
            raise _forbidden(
                call._replace(name=name), f"exceeded quota: few, {used}, limited: count/jobs.batch={self.quota}"
            )
        return self._jobs.create(job)

    async def _delete(self, request: web.Request, call: Call) -> Object:
        found, options = self._found(call), await _body(request)
        uid = (options.get("preconditions") or {}).get("uid")
        if uid and uid != found["metadata"]["uid"]:
            told = f"the UID in the precondition ({uid}) does not match the UID in record ({found['metadata']['uid']})"
            raise Status(
                409,
                f'Operation cannot be fulfilled on {_LONG.get(call.kind, call.kind)} "{call.name}": {told}',
                reason="Conflict",
            )
        policy = options.get("propagationPolicy") or request.query.get("propagationPolicy") or "Background"
        if policy not in _POLICIES:
            raise Status(422, f"DeleteOptions is invalid: propagationPolicy: Unsupported value: {policy}")
        if call.kind == "jobs":
            self._jobs.delete(found, policy)
        elif pod := self._kubelet.by_name(call.namespace, call.name or ""):
            self._kubelet.terminate(pod, options.get("gracePeriodSeconds"))
        return found

    async def _log(self, request: web.Request, call: Call) -> web.StreamResponse:
        self._found(call)
        pod = self._kubelet.by_name(call.namespace, call.name or "")
        names = [container["name"] for container in self._found(call)["spec"]["containers"]]
        container = request.query.get("container") or names[0]
        if "container" not in request.query and len(names) > 1:
            raise Status(400, f"a container name must be specified for pod {call.name}, choose one of: {names}")
        output = pod.outputs.get(container) if pod else None
        if output is None:
            told = f'container "{container}" in pod "{call.name}" is waiting to start: ContainerCreating'
            raise Status(400, told)
        async with self.reading.answering(request, "text/plain") as response:
            async for piece in output.read(request.query):
                await response.write(piece)
        return response


def _call(request: web.Request) -> Call:
    found = request.match_info
    name, verb = found.get("name"), _VERBS[request.method]
    if verb == "get" and name is None:
        verb = "watch" if flag(request.query, "watch") else "list"
    return Call(verb, found["kind"], found["namespace"], name, found.get("part"))


async def _body(request: web.Request) -> Any:
    text = await request.text()
    try:
        body = json.loads(text) if text else {}
    except ValueError as error:
        raise Status(400, f"couldn't get version/kind; json parse error: {error}") from None
    if not isinstance(body, dict):
        raise Status(400, "couldn't get version/kind; json parse error: not an object")
    return body


def _forbidden(call: Call, why: str) -> Status:
    what = f'{_LONG.get(call.kind, call.kind)} "{call.name}"' if call.name else _LONG.get(call.kind, call.kind)
    return Status(403, f"{what} is forbidden: {why}")


def _json(found: Object, code: int = 200) -> web.Response:
    return web.json_response(body=to_json(found), status=code)
