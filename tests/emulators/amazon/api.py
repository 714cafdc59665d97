"""One port for all services: what is asked is told apart as the SDK asks it, and checked by the SDK's own models."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web
from botocore import xform_name
from botocore.model import ServiceModel
from botocore.session import get_session
from botocore.validate import ParamValidator

from tests.emulators.amazon.cloudwatch import CloudWatch
from tests.emulators.amazon.ecs import Ecs
from tests.emulators.amazon.refusals import AwsError
from tests.emulators.faults import Faults, abort

_SERVICES: Final = {"AmazonEC2ContainerServiceV20141113": "ecs", "Logs_20140328": "logs"}
_JSON: Final = "application/x-amz-json-1.1"
_LARGEST: Final = 2**20

Json = Mapping[str, Any]


class Api:
    """All that answers on the port."""

    def __init__(self, ecs: Ecs, logs: CloudWatch) -> None:
        self.faults = Faults()
        self.calls: Counter[str] = Counter()
        self.batches: list[int] = []
        """How many tasks each DescribeTasks asked for."""
        self.assumed: list[str] = []
        """The roles that were assumed."""
        self.keys: set[str] = set()
        """The access keys that calls of ECS were signed with."""
        self.metadata: dict[str, Json] = {}
        """What a container's metadata say, by path."""
        self._handlers: dict[str, Any] = {"ecs": ecs, "logs": logs}

    def application(self) -> web.Application:
        """Return what serves it all."""
        application = web.Application(client_max_size=_LARGEST)
        application.router.add_post("/", self._post)
        application.router.add_get("/metadata{path:.*}", self._metadata)
        return application

    async def _post(self, request: web.Request) -> web.Response:
        service, _, operation = request.headers.get("X-Amz-Target", "").partition(".")
        if service not in _SERVICES:
            return self._query(dict(parse_qsl(await request.text())))
        self.calls[operation] += 1
        self.keys.add(request.headers["Authorization"].partition("Credential=")[2].partition("/")[0])
        try:
            cut = partial(abort, request.transport)
            answer = await self.faults.around(operation, lambda: self._answer(request, service, operation), cut)
        except AwsError as error:
            told = {"__type": error.code, "message": error.message, **error.more}
            return web.Response(status=error.status, text=json.dumps(told), content_type=_JSON)
        return web.Response(text=json.dumps(answer), content_type=_JSON)

    async def _answer(self, request: web.Request, service: str, operation: str) -> Json:
        asked = json.loads(await request.text())
        shape = _model(_SERVICES[service]).operation_model(operation).input_shape
        report = ParamValidator().validate(asked, shape)
        if report.has_errors():
            raise AwsError("InvalidParameterException", report.generate_report())
        if operation == "DescribeTasks":
            self.batches.append(len(asked["tasks"]))
        answer: Json = await getattr(self._handlers[_SERVICES[service]], xform_name(operation))(asked)
        return answer

    def _query(self, asked: Mapping[str, str]) -> web.Response:
        """Answer in the older protocol."""
        action = asked.get("Action", "")
        self.calls[action] += 1
        match action:
            case "DescribeNetworkInterfaces":
                item = (
                    "<item><subnetId>subnet-own</subnetId><groupSet><item><groupId>sg-own</groupId></item></groupSet>"
                )
                body = f"<networkInterfaceSet>{item}</item></networkInterfaceSet>"
            case "AssumeRole" if "denied" in asked["RoleArn"]:
                told = f"User is not authorized to perform: sts:AssumeRole on resource: {asked['RoleArn']}"
                body = f"<Error><Code>AccessDenied</Code><Message>{told}</Message></Error>"
                return web.Response(status=403, text=f"<ErrorResponse>{body}</ErrorResponse>", content_type="text/xml")
            case "AssumeRole" if "busy" in asked["RoleArn"]:
                told = "<Error><Code>ServiceUnavailable</Code><Message>for now</Message></Error>"
                return web.Response(status=503, text=f"<ErrorResponse>{told}</ErrorResponse>", content_type="text/xml")
            case "AssumeRole":
                self.assumed.append(asked["RoleArn"])
                until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
                keys = (
                    "<AccessKeyId>ROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
                )
                found = f"<Credentials>{keys}<Expiration>{until}</Expiration></Credentials>"
                body = f"<AssumeRoleResult>{found}</AssumeRoleResult>"
            case _:
                return web.Response(status=400, text=f"unknown: {action}")
        return web.Response(text=f"<{action}Response>{body}</{action}Response>", content_type="text/xml")

    async def _metadata(self, request: web.Request) -> web.Response:
        return web.json_response(self.metadata[request.match_info["path"]])


@cache
def _model(service: str) -> ServiceModel:
    return get_session().get_service_model(service)
