"""The HTTP of Azure Resource Manager and of the login beside it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qs

from aiohttp import web

from tests.emulators.arm.checks import LOCATIONS, check
from tests.emulators.arm.groups import Group, Node
from tests.emulators.arm.refusals import ArmError
from tests.emulators.faults import Faults, abort

TENANT: Final = "00000000-0000-0000-0000-00000000000a"
CLIENT: Final = "00000000-0000-0000-0000-00000000000b"
SECRET: Final = "secret"  # noqa: S105 - nobody's
SUBSCRIPTION: Final = "00000000-0000-0000-0000-00000000000c"
VERSION: Final = "2023-05-01"
_TOKEN: Final = "Bearer emulated"  # noqa: S105 - nobody's
_PROVIDER: Final = "/providers/Microsoft.ContainerInstance"
_GROUPS: Final = f"/subscriptions/{{subscription}}/resourceGroups/{{place}}{_PROVIDER}/containerGroups"
_CAPABILITIES: Final = (("None", 4, 16, 0), ("V100", 24, 448, 4))
_TO_COME: Final = frozenset({"Pending", "Creating"})

Answer = Callable[[web.Request], Awaitable[web.Response]]


class Api:
    """What is asked for over HTTP."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.groups: dict[str, Group] = {}
        self.history: list[Group] = []
        """Every group that there ever was."""
        self.places = {"prod", "other"}
        self.denied = set[str]()
        """Groups that nobody may look at."""
        self.faults, self.calls = Faults(), Counter[str]()
        self.page = 500
        """Groups in a page of a listing at most."""
        self.deletion = 0.05
        """Seconds for which a group is there after its deletion was asked for."""
        self.most_lines = 100_000
        """Lines of a log that are kept."""

    def application(self) -> web.Application:
        """Return what answers."""
        found = web.Application(client_max_size=2**22)
        routes: tuple[tuple[str, str, str, Answer], ...] = (
            ("POST", "/{tenant}/oauth2/v2.0/token", "Token", self._token),
            ("GET", _GROUPS, "List", self._list),
            ("PUT", f"{_GROUPS}/{{name}}", "Create", self._create),
            ("GET", f"{_GROUPS}/{{name}}", "Get", self._get),
            ("DELETE", f"{_GROUPS}/{{name}}", "Delete", self._delete),
            ("GET", f"{_GROUPS}/{{name}}/containers/{{container}}/logs", "Logs", self._logs),
            (
                "GET",
                f"/subscriptions/{{subscription}}{_PROVIDER}/locations/{{location}}/capabilities",
                "Offer",
                self._offer,
            ),
        )
        for method, path, operation, answer in routes:
            found.router.add_route(method, path, self._answering(operation, answer))
        return found

    def _answering(self, operation: str, answer: Answer) -> Answer:
        async def answering(request: web.Request) -> web.Response:
            self.calls[operation] += 1
            await request.read()  # whatever becomes of the caller
            try:
                if operation != "Token":
                    _admit(request)
                return await self.faults.around(operation, lambda: answer(request), lambda: abort(request.transport))
            except ArmError as error:
                return error.answer

        return answering

    async def _token(self, request: web.Request) -> web.Response:
        given = parse_qs(await request.text())
        if request.match_info["tenant"] != TENANT or given.get("client_secret") != [SECRET]:
            said = "AADSTS7000215: Invalid client secret provided."
            return web.json_response({"error": "invalid_client", "error_description": said}, status=401)
        return web.json_response({"token_type": "Bearer", "expires_in": 3599, "access_token": _TOKEN.split()[1]})

    async def _create(self, request: web.Request) -> web.Response:
        name, body = request.match_info["name"], await request.json()
        self._place(request)
        check(name, body)
        group = self.groups.get(request.path)
        if group is None:
            group = self.groups[request.path] = Group(request.path, name, body)
            self.history.append(group)
        else:
            group.ask(body)
        self.node.run(group)
        return web.json_response(group.shown(view=True), status=201 if len(group.history) == 1 else 200)

    async def _get(self, request: web.Request) -> web.Response:
        if request.path in self.denied:
            raise ArmError("AuthorizationFailed", "The client does not have authorization.", 403)
        return web.json_response(self._group(request).shown(view=True))

    async def _list(self, request: web.Request) -> web.Response:
        self._place(request)
        own = [group for path, group in self.groups.items() if path.startswith(f"{request.path}/")]
        first = int(request.query.get("$skiptoken", 0))
        found: dict[str, Any] = {"value": [group.shown(view=False) for group in own[first : first + self.page]]}
        if first + self.page < len(own):
            here = str(request.url.origin()) + request.path
            found["nextLink"] = f"{here}?api-version={VERSION}&$skiptoken={first + self.page}"
        return web.json_response(found)

    async def _delete(self, request: web.Request) -> web.Response:
        self._place(request)
        group = self.groups.get(request.path)
        if group is None:
            return web.Response(status=204)
        self.node.lives.begin(self._gone(request.path, group))
        return web.Response(status=202, headers={"Location": f"{request.url.origin()}/operations/1"})

    async def _gone(self, path: str, group: Group) -> None:
        await asyncio.sleep(self.deletion)
        await self.node.end(group)
        self.groups.pop(path, None)

    async def _logs(self, request: web.Request) -> web.Response:
        group = self._group(request)
        if group.told["properties"]["provisioningState"] in _TO_COME:
            raise ArmError("ContainerGroupDeploymentNotReady", "The container group is still being deployed.", 409)
        kept = group.lines[-self.most_lines :]
        lines = kept[-int(request.query["tail"]) :] if "tail" in request.query else kept
        stamps = request.query.get("timestamps") == "true"
        content = "".join(f"{stamp} {text}\n" if stamps else f"{text}\n" for stamp, text in lines)
        return web.json_response({"content": content or None})

    async def _offer(self, request: web.Request) -> web.Response:
        location = request.match_info["location"]
        if location not in LOCATIONS:
            raise ArmError("LocationNotAvailable", f"{location} is no location.", 404)
        told = [
            {
                "resourceType": "containerGroups",
                "osType": "Linux",
                "location": location,
                "gpu": gpu,
                "capabilities": {"maxCpu": cpu, "maxMemoryInGB": memory, "maxGpuCount": gpus},
            }
            for gpu, cpu, memory, gpus in _CAPABILITIES
        ]
        return web.json_response({"value": told})

    def _place(self, request: web.Request) -> None:
        subscription, place = request.match_info["subscription"], request.match_info["place"]
        if subscription != SUBSCRIPTION:
            raise ArmError("SubscriptionNotFound", f"The subscription '{subscription}' could not be found.", 404)
        if place not in self.places:
            raise ArmError("ResourceGroupNotFound", f"Resource group '{place}' could not be found.", 404)

    def _group(self, request: web.Request) -> Group:
        self._place(request)
        path = request.path.partition("/containers/")[0]
        if path not in self.groups:
            name = request.match_info["name"]
            raise ArmError("ResourceNotFound", f"The Resource 'containerGroups/{name}' was not found.", 404)
        return self.groups[path]


def _admit(request: web.Request) -> None:
    """Ask for a token and for the version of the API."""
    if request.headers.get("Authorization") != _TOKEN:
        raise ArmError("InvalidAuthenticationToken", "The access token is invalid.", 401)
    if request.query.get("api-version") != VERSION:
        raise ArmError(
            "InvalidApiVersionParameter", f"The api-version {request.query.get('api-version')!r} is invalid."
        )
