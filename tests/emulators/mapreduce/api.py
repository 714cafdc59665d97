"""The API over HTTP: EMR's JSON (X-Amz-Target), EMR Serverless's paths, and S3; and what goes wrong on request."""

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import web

from tests.emulators.faults import Faults, abort
from tests.emulators.mapreduce.buckets import Buckets
from tests.emulators.mapreduce.clusters import Clusters, Refusal, Step
from tests.emulators.mapreduce.jobs import Jobs

Json = dict[str, Any]
_TARGET = "ElasticMapReduce."


class Api:
    """Answers calls."""

    def __init__(self, clusters: Clusters, jobs: Jobs, buckets: Buckets) -> None:
        self._clusters, self._jobs, self._buckets = clusters, jobs, buckets
        self.faults = Faults()
        self.calls: Counter[str] = Counter()
        self.page = 50
        """How much one answer lists."""
        self._operations: dict[str, Callable[[Json], Json]] = {
            "RunJobFlow": lambda asked: {"JobFlowId": clusters.create(asked).id},
            "ListClusters": self._list_clusters,
            "DescribeCluster": lambda asked: {"Cluster": clusters.get(asked["ClusterId"]).document},
            "AddJobFlowSteps": self._add,
            "ListSteps": self._list_steps,
        }

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        target = request.headers.get("X-Amz-Target", "")
        name = target.removeprefix(_TARGET) or f"{request.method} {request.path.split('/')[1]}"
        self.calls[name] += 1
        try:
            return await self.faults.around(
                name, lambda: self._answer(request, name), partial(abort, request.transport)
            )
        except Refusal as refusal:
            return _refusal(refusal)

    async def _answer(self, request: web.Request, name: str) -> web.StreamResponse:
        if request.path.startswith("/applications"):
            return await self._jobs.answer(request)
        if "X-Amz-Target" not in request.headers:
            return await self._buckets.answer(request)
        asked = await request.json()
        if name == "CancelSteps":
            return _json({"CancelStepsInfoList": [await self._cancel(asked, each) for each in asked["StepIds"]]})
        if name == "TerminateJobFlows":
            for each in asked["JobFlowIds"]:
                cluster = self._clusters.get(each)
                await self._clusters.terminate(cluster, "USER_REQUEST", "Terminated by user request")
            return _json({})
        return _json(self._operations[name](asked))

    async def _cancel(self, asked: Json, identity: str) -> Json:
        step = self._clusters.get(asked["ClusterId"]).step(identity)
        if step is None:
            return {"StepId": identity, "Status": "FAILED", "Reason": "no such step"}
        await self._clusters.cancel(step)
        return {"StepId": identity, "Status": "SUBMITTED"}

    def _add(self, asked: Json) -> Json:
        cluster = self._clusters.get(asked["JobFlowId"])
        return {"StepIds": [self._clusters.add(cluster, step).id for step in asked["Steps"]]}

    def _list_clusters(self, asked: Json) -> Json:
        states = asked.get("ClusterStates")
        newest_first = reversed(self._clusters.all.values())
        found = [each.document for each in newest_first if not states or each.state in states]
        return self._paged("Clusters", found, asked)

    def _list_steps(self, asked: Json) -> Json:
        ids, states = asked.get("StepIds"), asked.get("StepStates")
        if ids and len(ids) > 10:
            raise Refusal("InvalidRequestException", "at most 10 step ids")
        for each in ids or ():
            if self._clusters.get(asked["ClusterId"]).step(each) is None:
                raise Refusal("InvalidRequestException", f"Step id '{each}' is not valid.")
        steps: list[Step] = [*reversed(self._clusters.get(asked["ClusterId"]).steps)]
        found = [
            step.document for step in steps if (not ids or step.id in ids) and (not states or step.state in states)
        ]
        return self._paged("Steps", found, asked)

    def _paged(self, name: str, found: list[Json], asked: Json) -> Json:
        first = int(asked.get("Marker") or 0)
        more = {"Marker": str(first + self.page)} if len(found) > first + self.page else {}
        return {name: found[first : first + self.page], **more}


def _json(document: Json) -> web.Response:
    return web.Response(text=json.dumps(document), content_type="application/x-amz-json-1.1")


def _refusal(refusal: Refusal) -> web.Response:
    body = {"__type": refusal.code, "message": str(refusal)}
    headers = {"x-amzn-ErrorType": refusal.code}
    return web.Response(
        status=refusal.status, text=json.dumps(body), headers=headers, content_type="application/x-amz-json-1.1"
    )
