"""All that is called with one region, endpoint and role, and what a worker has seen there."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Self

import structlog

from runmesh.executor import Task
from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.emr.clusters import Clusters
from runmesh.executors.amazon.emr.config import Config
from runmesh.executors.amazon.emr.folder import Folder
from runmesh.executors.amazon.emr.handle import Address, is_cluster
from runmesh.executors.amazon.emr.naming import Mark, mark_of
from runmesh.executors.amazon.emr.serverless import Serverless
from runmesh.executors.amazon.emr.stored import Stored
from runmesh.executors.amazon.refusals import Refused
from runmesh.executors.amazon.session import Amazon

log = structlog.get_logger(__name__)

_SLACK: Final = timedelta(minutes=2)
"""By how much the clocks of S3 and EMR may differ."""


@dataclass(slots=True)
class Place:
    """EMR, EMR Serverless and S3, as one worker calls them with one access."""

    access: Access
    stored: Stored
    clusters: Clusters
    serverless: Serverless
    used: set[str] = field(default_factory=set)
    """Clusters and applications that have had jobs of ours: not all of them were made by us."""
    _searched: set[str] = field(default_factory=set)
    """Clusters in which we have looked for jobs that we knew nothing of."""
    _is_searched: bool = False
    """So with applications."""

    @classmethod
    def of(cls, amazon: Amazon, access: Access, mesh: str, pool: str) -> Self:
        """Have all of them."""
        return cls(
            access,
            Stored(amazon, access),
            Clusters(amazon, access, mesh, pool),
            Serverless(amazon, access, mesh, pool),
        )

    async def find(self, task: Task[Config], folder: Folder, mark: Mark) -> Address | None:
        """Return the job of a key: without its script there is none, and the script says where it may be."""
        begun = await self.stored.begun(folder)
        if begun is None:
            return None
        since = begun.when - _SLACK
        if application := task.config.application_id:
            job = await self.serverless.find(application, mark, since)
            return Address(self.access, application, job, folder) if job else None
        async for step in self.clusters.since(begun.place, since):
            if mark_of(step["Name"]) == mark:
                return Address(self.access, begun.place, step["Id"], folder)
        return None

    async def jobs(self, whose: Mark) -> AsyncIterator[tuple[str, Address]]:
        """Yield the steps and jobs with a mark like this one's, whatever its key, that have not ended."""
        living = await self.clusters.living()
        self.used.difference_update({each for each in self.used if is_cluster(each)}.difference(living))
        for cluster, ours in living.items():
            if ours or cluster in self.used or cluster not in self._searched:
                async for key, address in self._steps(cluster, whose, ours=ours):
                    yield key, address
                self._searched.add(cluster)
        self._searched.intersection_update(living)
        applications = {each for each in self.used if not is_cluster(each)}
        for application in applications.union(await self._unsearched()):
            async for key, address in self._jobs(application, whose):
                yield key, address

    async def _unsearched(self) -> list[str]:
        """Return, once, all applications: what ran there before we began may be nobody's now."""
        if self._is_searched:
            return []
        try:
            found = [each async for each in self.serverless.applications()]
        except (Refused, ConnectionError) as error:  # who uses none need not be allowed to ask
            log.info("applications of EMR Serverless not listed", action="list", error=str(error))
            found = []
        self._is_searched = True
        return found

    async def _steps(self, cluster: str, whose: Mark, *, ours: bool) -> AsyncIterator[tuple[str, Address]]:
        try:
            async for step in self.clusters.active(cluster):
                mark = mark_of(step["Name"])
                if mark and mark == whose._replace(key=mark.key):
                    self.used.update(() if ours else (cluster,))
                    folder = Folder.of_script(step["Config"]["Args"][-1])
                    yield mark.key, Address(self.access, cluster, step["Id"], folder)
        except Refused as refused:
            if ours or refused.passing:
                raise
            self._forgo(cluster, refused)

    async def _jobs(self, application: str, whose: Mark) -> AsyncIterator[tuple[str, Address]]:
        try:
            async for mark, job in self.serverless.alive(application):
                if mark == whose._replace(key=mark.key):
                    self.used.add(application)
                    known = await self.serverless.job(application, job)
                    folder = Folder.of_script(known["jobDriver"]["sparkSubmit"]["entryPoint"])
                    yield mark.key, Address(self.access, application, job, folder)
        except Refused as refused:
            if refused.passing:
                raise
            self._forgo(application, refused)

    def _forgo(self, place: str, refused: Refused) -> None:
        """Look no more at somebody else's place that we may not see: it must not hide our own."""
        self.used.discard(place)
        log.warning("jobs not listed", action="list", place=place, error=str(refused))
