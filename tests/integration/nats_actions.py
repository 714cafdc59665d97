"""What a user of NATS may try: every line of the table in docs/security.md."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from runmesh import subjects
from runmesh.embedded import Server
from tests.integration.nats_users import PASSWORD

NAMES: Final = ("provisioner", "resolver", "worker-k8s", "submitter-demo", "observer")
API: Final = "$JS.API"

ACTIONS: Final[Mapping[str, str]] = {
    "request a run of one's project": "PUB mesh.request.run.demo",
    "cancel, retry there": "PUB mesh.request.cancel.demo",
    "request a run of another project": "PUB mesh.request.run.shop",
    "ask `mesh.api` of one's project": "PUB mesh.api.explain.demo",
    "ask `mesh.api` of another project": "PUB mesh.api.explain.shop",
    "ask for a run's state, any project": "PUB mesh.api.run.shop",
    "command a worker": "PUB mesh.execute.k8s.default.demo.r1.load",
    "tell a fact of a run": "PUB mesh.run.completed.demo.daily.r1",
    "tell a fact of one's own tasks": "PUB mesh.task.completed.k8s.default.demo.r1.load",
    "tell a fact of the resolver's": "PUB mesh.task.upstream_failed.k8s.default.demo.r1.load",
    "tell a fact of another type's task": "PUB mesh.task.completed.ecs.default.demo.r1.load",
    "tell a fact of another pool's task": "PUB mesh.task.completed.k8s.gpu.demo.r1.load",
    "write logs of one's own tasks": "PUB mesh.log.k8s.default.demo.r1.load",
    "write logs of another type's": "PUB mesh.log.ecs.default.demo.r1.load",
    "bury a message as a worker of one's type": f"PUB {subjects.dead('worker.k8s', 'poison')}",
    "bury a message as another type's worker": f"PUB {subjects.dead('worker.ecs', 'poison')}",
    "bury a message as the resolver": "PUB mesh.dead.resolver.poison",
    "write a claim of one's type and pool": "PUB $KV.claims.k8s.default.abc",
    "write a claim of another type": "PUB $KV.claims.ecs.default.abc",
    "write a claim of another pool": "PUB $KV.claims.k8s.gpu.abc",
    "beat as a worker of one's type": "PUB $KV.workers.k8s.default.w1",
    "beat as a worker of another type": "PUB $KV.workers.ecs.default.w1",
    "write a run's state": "PUB $KV.runs.run.r1.state",
    "stop a run's tasks": "PUB $KV.runs.cancelling.r1",
    "pull one's own tasks": f"PUB {API}.CONSUMER.MSG.NEXT.EXECUTE_k8s.pool_default",
    "pull another type's tasks": f"PUB {API}.CONSUMER.MSG.NEXT.EXECUTE_ecs.pool_default",
    "pull another pool's tasks": f"PUB {API}.CONSUMER.MSG.NEXT.EXECUTE_k8s.pool_gpu",
    "acknowledge one's own tasks": "PUB $JS.ACK.EXECUTE_k8s.pool_default.1.1.1.1.0",
    "acknowledge another type's tasks": "PUB $JS.ACK.EXECUTE_ecs.pool_default.1.1.1.1.0",
    "acknowledge requests as one's own tasks": "PUB $JS.ACK.REQUESTS.resolver.EXECUTE_k8s.pool_default.1.1.1",
    "acknowledge them as if with a domain": "PUB $JS.ACK.EXECUTE_k8s.pool_default.REQUESTS.resolver.1.1.1.1.0",
    "pull requests": f"PUB {API}.CONSUMER.MSG.NEXT.REQUESTS.resolver",
    "acknowledge requests": "PUB $JS.ACK.REQUESTS.resolver.1.1.1.1.0",
    "pull the resolver's facts": f"PUB {API}.CONSUMER.MSG.NEXT.FACTS.resolver",
    "acknowledge the resolver's facts": "PUB $JS.ACK.FACTS.resolver.1.1.1.1.0",
    "change the resolver's consumer of facts": f"PUB {API}.CONSUMER.CREATE.FACTS.resolver.mesh.run.*.demo.*.*",
    "make a consumer of requests": f"PUB {API}.CONSUMER.CREATE.REQUESTS.x",
    "make a consumer of tasks": f"PUB {API}.CONSUMER.CREATE.EXECUTE_k8s.x",
    "make the pool's consumer of tasks": f"PUB {API}.CONSUMER.CREATE.EXECUTE_k8s.pool_default",
    "make a durable in the old way": f"PUB {API}.CONSUMER.DURABLE.CREATE.FACTS.x",
    "delete a consumer": f"PUB {API}.CONSUMER.DELETE.EXECUTE_k8s.pool_default",
    "pause a consumer": f"PUB {API}.CONSUMER.PAUSE.EXECUTE_k8s.pool_default",
    "replay the facts of one's project": f"PUB {API}.CONSUMER.CREATE.FACTS.x.mesh.task.*.*.*.demo.r1.*",
    "replay the facts of another project": f"PUB {API}.CONSUMER.CREATE.FACTS.x.mesh.task.*.*.*.shop.r1.*",
    "replay the facts of every project": f"PUB {API}.CONSUMER.CREATE.FACTS.x.mesh.run.>",
    "replay several subjects at once": f"PUB {API}.CONSUMER.CREATE.FACTS.x",
    "replay the logs of one's project": f"PUB {API}.CONSUMER.CREATE.LOGS.x.mesh.log.*.*.demo.r1.*",
    "replay the logs of another project": f"PUB {API}.CONSUMER.CREATE.LOGS.x.mesh.log.*.*.shop.r1.*",
    "replay the dead letters": f"PUB {API}.CONSUMER.CREATE.DEAD.x",
    "list the runs' states": f"PUB {API}.CONSUMER.CREATE.KV_runs.x.$KV.runs.run.*.state",
    "list which runs must stop": f"PUB {API}.CONSUMER.CREATE.KV_runs.x.$KV.runs.cancelling.*",
    "list the claims": f"PUB {API}.CONSUMER.CREATE.KV_claims.x.$KV.claims.>",
    "list the workers": f"PUB {API}.CONSUMER.CREATE.KV_workers.x.$KV.workers.>",
    "read any key of `runs`": f"PUB {API}.STREAM.MSG.GET.KV_runs",
    "read any key of `claims`": f"PUB {API}.STREAM.MSG.GET.KV_claims",
    "read any stored fact": f"PUB {API}.STREAM.MSG.GET.FACTS",
    "read any stored log": f"PUB {API}.STREAM.MSG.GET.LOGS",
    "read any request": f"PUB {API}.STREAM.MSG.GET.REQUESTS",
    "read any task": f"PUB {API}.STREAM.MSG.GET.EXECUTE_k8s",
    "see how full a queue is": f"PUB {API}.STREAM.INFO.EXECUTE_k8s",
    "see how far a queue's consumers are": f"PUB {API}.CONSUMER.LIST.EXECUTE_k8s",
    "read a fact without a consumer": f"PUB {API}.DIRECT.GET.FACTS.mesh.run.completed.demo.daily.r1",
    "see how full the facts are": f"PUB {API}.STREAM.INFO.FACTS",
    "see who reads the facts": f"PUB {API}.CONSUMER.LIST.FACTS",
    "see what the account uses": f"PUB {API}.INFO",
    "make or change a stream": f"PUB {API}.STREAM.UPDATE.FACTS",
    "make a stream that is none of the mesh's": f"PUB {API}.STREAM.CREATE.OTHER",
    "delete a stream": f"PUB {API}.STREAM.DELETE.FACTS",
    "purge a stream": f"PUB {API}.STREAM.PURGE.FACTS",
    "delete a message": f"PUB {API}.STREAM.MSG.DELETE.DEAD",
    "copy a stream": f"PUB {API}.STREAM.SNAPSHOT.FACTS",
    "list the streams": f"PUB {API}.STREAM.LIST",
    "list the streams' names": f"PUB {API}.STREAM.NAMES",
    "move a stream's leader": f"PUB {API}.STREAM.LEADER.STEPDOWN.FACTS",
    "ask the system": "PUB $SYS.REQ.SERVER.PING",
    "answer somebody's question": "PUB _INBOX.observer.x",
    "hear answers to oneself": "SUB _INBOX.<user>.>",
    "hear answers to others": "SUB _INBOX.>",
    "hear answers in the usual inbox": "SUB _INBOX.x.*",
    "hear everything": "SUB >",
    "hear facts, instead of replaying them": "SUB mesh.run.*.demo.*.*",
    "hear requests": "SUB mesh.request.>",
    "hear tasks": "SUB mesh.execute.>",
    "hear changes of keys": "SUB $KV.>",
    "hear what others ask JetStream": "SUB $JS.API.>",
    "hear advisories": "SUB $JS.EVENT.ADVISORY.>",
    "serve `mesh.api`": "SUB mesh.api.submit.*",
    "be found by service discovery": "SUB $SRV.PING",
    "ask service discovery": "PUB $SRV.PING",
}


async def refused(server: Server, user: str, lines: Sequence[str]) -> set[str]:
    """Send protocol lines as a user, and return those that the server calls a violation of permissions."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    login = {"user": user, "pass": PASSWORD, "verbose": False, "headers": True}
    wire = [f"{line} 0\r\n" if line.startswith("PUB") else f"{line} {n}" for n, line in enumerate(lines)]
    writer.write("\r\n".join([f"CONNECT {json.dumps(login)}", *wire, "PING", ""]).encode())
    found = set()
    async with asyncio.timeout(60):
        while (answer := (await reader.readline()).decode()) != "PONG\r\n":
            assert answer, f"the server refuses {user}"
            if violation := re.search(r'Permissions Violation for (Publish|Subscription) to "([^"]+)"', answer):
                found.add(f"{violation[1][:3].upper()} {violation[2]}")
    writer.close()
    assert found <= set(lines)
    return found


async def table(server: Server) -> str:
    """Try everything as everybody, and write down what the server allowed."""
    rows = []
    verdicts = {}
    for user in NAMES:
        lines = [line.replace("<user>", user) for line in ACTIONS.values()]
        no = await refused(server, user, lines)
        verdicts[user] = ["no" if line in no else "**yes**" for line in lines]
    for n, (what, line) in enumerate(ACTIONS.items()):
        cells = (what, f"`{line}`".replace("|", "\\|"), *(verdicts[user][n] for user in NAMES))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([f"| | | {' | '.join(NAMES)} |", f"|---|---|{'---|' * len(NAMES)}", *rows])
