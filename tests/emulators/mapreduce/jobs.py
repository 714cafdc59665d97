"""EMR Serverless: one application that takes any job."""

import asyncio
import json
import shlex
from collections.abc import Callable, Coroutine
from datetime import datetime
from itertools import count
from typing import Any

from aiohttp import web

from tests.emulators.mapreduce.clusters import OVER, Refusal, Step

Json = dict[str, Any]
APPLICATION = "00application"
_KIND = {"releaseLabel": "emr-7.5.0", "type": "Spark", "state": "STARTED", "createdAt": 0, "updatedAt": 0}
_STATES = {"PENDING": "SCHEDULED", "COMPLETED": "SUCCESS", "CANCEL_PENDING": "CANCELLING"}


class Jobs:
    """The jobs of the application."""

    def __init__(self, run: Callable[[Step], Coroutine[Any, Any, None]]) -> None:
        self._run = run
        self.all: dict[str, Step] = {}
        self._tokens: dict[str, str] = {}
        self._numbers = count(1)

    async def answer(self, request: web.Request) -> web.Response:
        if request.path.rstrip("/") == "/applications":
            return _json({"applications": [{"id": APPLICATION, "name": "n", "arn": "a", **_KIND}]})
        _, _, application, _, *rest = request.path.split("/")
        if application != APPLICATION:
            raise Refusal("ResourceNotFoundException", f"Application {application} does not exist", 404)
        match request.method, rest:
            case "POST", []:
                return _json({"applicationId": application, "jobRunId": self._start(await request.json()), "arn": "a"})
            case "GET", []:
                states = request.query.getall("states", [])
                since = request.query.get("createdAtAfter")
                then = datetime.fromisoformat(since).timestamp() if since else 0.0
                found = [self._document(job) for job in self.all.values() if job.created >= then]
                return _json({"jobRuns": [each for each in found if not states or each["state"] in states]})
            case "GET", [job]:
                return _json({"jobRun": self._document(self._get(job))})
            case "DELETE", [job]:
                await self._cancel(self._get(job))
                return _json({"applicationId": application, "jobRunId": job})
        raise Refusal("ValidationException", request.path)

    async def close(self) -> None:
        for job in self.all.values():
            await self._cancel(job)

    def _get(self, job: str) -> Step:
        if job not in self.all:
            raise Refusal("ResourceNotFoundException", f"Job run {job} does not exist", 404)
        return self.all[job]

    def _start(self, asked: Json) -> str:
        if (token := asked["clientToken"]) in self._tokens:
            return self._tokens[token]
        submit = asked["jobDriver"]["sparkSubmit"]
        options = shlex.split(submit.get("sparkSubmitParameters", ""))
        job = Step(f"job{next(self._numbers)}", asked["name"], ["spark-submit", *options, submit["entryPoint"]])
        job.more = asked
        self._tokens[token] = job.id
        self.all[job.id] = job
        job.state = "RUNNING"
        job.running = asyncio.create_task(self._run(job))
        return job.id

    async def _cancel(self, job: Step) -> None:
        if job.state not in OVER:
            job.state = "CANCEL_PENDING"
            if job.driver:
                await job.driver.end()
            job.end("CANCELLED", "cancelled")
        if job.running:
            await asyncio.gather(job.running, return_exceptions=True)

    def _document(self, job: Step) -> Json:
        return {
            "applicationId": APPLICATION,
            "id": job.id,
            "jobRunId": job.id,
            "name": job.name,
            "arn": "a",
            "createdBy": "c",
            "createdAt": job.created,
            "updatedAt": job.created,
            "executionRole": job.more["executionRoleArn"],
            "releaseLabel": "emr-7.5.0",
            "state": _STATES.get(job.state, job.state),
            "stateDetails": job.message,
            "jobDriver": job.more["jobDriver"],
            "configurationOverrides": job.more["configurationOverrides"],
        }


def _json(document: Json) -> web.Response:
    return web.Response(text=json.dumps(document), content_type="application/json")
