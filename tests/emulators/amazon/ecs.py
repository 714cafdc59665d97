"""The operations of ECS that the executor calls."""

import json
from collections.abc import Mapping
from typing import Any, Final

from runmesh.executors.amazon.ecs.fargate import SIZES
from tests.emulators.amazon.refusals import AwsError
from tests.emulators.amazon.tasks import ACCOUNT, Agent, EcsTask

_MOST_DESCRIBED: Final = 100
_MOST_CHARACTERS: Final = 8192

Json = dict[str, Any]


class Ecs:
    """One account's ECS in one region."""

    def __init__(self, agent: Agent, region: str) -> None:
        self.tasks: dict[str, EcsTask] = {}
        """By ARN, in the order of their start."""
        self.others: dict[str, EcsTask] = {}
        """Tasks of somebody else's."""
        self.history: list[EcsTask] = []
        self.hidden = 0
        """So many more descriptions of a task say MISSING, as they may just after RunTask."""
        self._agent, self._region = agent, region
        self._tokens: dict[str, tuple[str, EcsTask]] = {}
        self._definitions: dict[str, list[Json]] = {}
        self.define("etl", {"containerDefinitions": [logged("main")], "networkMode": "awsvpc"})

    def define(self, family: str, definition: Mapping[str, Any]) -> Json:
        """Register a revision."""
        revisions = self._definitions.setdefault(family, [])
        number = len(revisions) + 1
        arn = f"arn:aws:ecs:{self._region}:{ACCOUNT}:task-definition/{family}:{number}"
        told = {
            "taskDefinitionArn": arn,
            "family": family,
            "revision": number,
            "status": "ACTIVE",
            "compatibilities": [],
        }
        revisions.append({**definition, **told})
        return revisions[-1]

    def forget(self, arn: str) -> None:
        """Forget a task and its token."""
        if task := self.tasks.pop(arn, None):
            self._tokens.pop(task.asked.get("clientToken", ""), None)

    def revisions(self) -> int:
        """Return how many definitions there are."""
        return sum(map(len, self._definitions.values()))

    # --- operations ---------------------------------------------------------------------------------

    async def run_task(self, asked: Mapping[str, Any]) -> Json:
        """Start a task, or return the one of this token."""
        cluster, token = _cluster(asked), asked.get("clientToken")
        arguments = json.dumps(asked, sort_keys=True)
        if token in self._tokens:
            known, task = self._tokens[token]
            if known != arguments:
                told = "RunTask request could not be processed due to conflicts. The provided clientToken is in use."
                raise AwsError("ConflictException", told, resourceIds=[task.arn])
            return {"tasks": [task.told], "failures": []}
        definition = self.definition(asked["taskDefinition"])
        _check(asked, definition)
        task = EcsTask(self._region, cluster, asked, definition)
        self.tasks[task.arn] = task
        self.history.append(task)
        if token:
            self._tokens[token] = (arguments, task)
        answer = {"tasks": [json.loads(json.dumps(task.told))], "failures": []}
        self._agent.run(task)
        return answer

    async def describe_tasks(self, asked: Mapping[str, Any]) -> Json:
        """Describe tasks."""
        cluster = _cluster(asked)
        if len(asked["tasks"]) > _MOST_DESCRIBED:
            raise AwsError("InvalidParameterException", "Tasks cannot be more than 100.")
        found, failures = [], []
        for arn in asked["tasks"]:
            task = self.tasks.get(arn) or self.others.get(arn)
            if task is None or arn.split("/")[1] != cluster or self.hidden > 0:
                self.hidden = max(0, self.hidden - 1)
                failures.append({"arn": arn, "reason": "MISSING"})
            else:
                found.append(task.told)
        return {"tasks": found, "failures": failures}

    async def list_tasks(self, asked: Mapping[str, Any]) -> Json:
        """List tasks, a hundred at once."""
        cluster, status = _cluster(asked), asked.get("desiredStatus", "RUNNING")
        arns = [
            task.arn
            for task in (*self.tasks.values(), *self.others.values())
            if task.arn.split("/")[1] == cluster
            and task.told["desiredStatus"] == status
            and asked.get("startedBy") in (None, task.told["startedBy"])
        ]
        first = int(asked.get("nextToken") or 0)
        more = {"nextToken": str(first + 100)} if len(arns) > first + 100 else {}
        return {"taskArns": arns[first : first + 100], **more}

    async def stop_task(self, asked: Mapping[str, Any]) -> Json:
        """Stop a task."""
        _cluster(asked)
        if (task := self.tasks.get(asked["task"])) is None:
            raise AwsError("InvalidParameterException", "The referenced task was not found.")
        self._agent.stop(task, asked.get("reason", "Task stopped by user"))
        return {"task": task.told}

    async def register_task_definition(self, asked: Mapping[str, Any]) -> Json:
        """Register a revision."""
        return {"taskDefinition": self.define(asked["family"], {k: v for k, v in asked.items() if k != "family"})}

    async def describe_task_definition(self, asked: Mapping[str, Any]) -> Json:
        """Describe a definition."""
        return {"taskDefinition": self.definition(asked["taskDefinition"])}

    def definition(self, name: str) -> Json:
        """Return a definition by its family, revision or ARN."""
        family, _, revision = name.rpartition("/")[2].partition(":")
        revisions = self._definitions.get(family, [])
        if not revisions or (revision and int(revision) > len(revisions)):
            raise AwsError("ClientException", "Unable to describe task definition.")
        return revisions[int(revision) - 1 if revision else -1]


def logged(name: str) -> Json:
    """Return the definition of a container whose output goes to CloudWatch."""
    options = {"awslogs-group": "/ecs/etl", "awslogs-stream-prefix": "ecs", "awslogs-region": "eu-west-1"}
    return {"name": name, "image": "etl:1", "logConfiguration": {"logDriver": "awslogs", "options": options}}


def _cluster(asked: Mapping[str, Any]) -> str:
    name = str(asked.get("cluster", "default")).rsplit("/", 1)[-1]
    if "missing" in name:
        raise AwsError("ClusterNotFoundException", "Cluster not found.")
    return name


def _check(asked: Mapping[str, Any], definition: Json) -> None:
    overrides = asked.get("overrides") or {}
    names = [each["name"] for each in definition["containerDefinitions"]]
    for each in overrides.get("containerOverrides", ()):
        if each["name"] not in names:
            told = f"Override for container named {each['name']} is not a container in the TaskDefinition."
            raise AwsError("InvalidParameterException", told)
    if len(json.dumps(overrides, ensure_ascii=False, separators=(",", ":"))) > _MOST_CHARACTERS:
        raise AwsError("InvalidParameterException", "Container Overrides length must be at most 8192")
    if definition.get("networkMode") == "awsvpc" and not asked.get("networkConfiguration"):
        told = "Network Configuration must be provided when networkMode 'awsvpc' is specified."
        raise AwsError("InvalidParameterException", told)
    if asked.get("launchType") == "EC2" and "platformVersion" in asked:
        raise AwsError(
            "InvalidParameterException", "The platform version must be null when specifying an EC2 launch type."
        )
    if asked.get("launchType") == "FARGATE" and int(overrides["memory"]) not in SIZES.get(int(overrides["cpu"]), ()):
        raise AwsError("ClientException", "No Fargate configuration exists for given values.")
