"""All that is called with one region, endpoint and role, and what a worker has seen there."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Self

from runmesh.executor import Task
from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.emr.clusters import Clusters
from runmesh.executors.amazon.emr.config import Config
from runmesh.executors.amazon.emr.folder import Folder
from runmesh.executors.amazon.emr.handle import Address
from runmesh.executors.amazon.emr.naming import Mark, mark_of
from runmesh.executors.amazon.emr.serverless import Serverless
from runmesh.executors.amazon.emr.stored import Stored
from runmesh.executors.amazon.session import Amazon

_SLACK: Final = timedelta(minutes=2)
"""By how much the clocks of S3 and EMR may differ."""


@dataclass(frozen=True, slots=True)
class Place:
    """EMR, EMR Serverless and S3, as one worker calls them with one access."""

    access: Access
    stored: Stored
    clusters: Clusters
    serverless: Serverless
    others: set[str] = field(default_factory=set)
    """Clusters and applications that were named, and not made by us."""

    @classmethod
    def of(cls, amazon: Amazon, access: Access, mesh: str, pool: str) -> Self:
        """Have all of them."""
        return cls(
            access,
            Stored(amazon, access),
            Clusters(amazon, access, mesh, pool),
            Serverless(amazon, access, mesh, pool),
        )

    def named(self, config: Config) -> None:
        """Note which place a configuration names."""
        self.others.update(filter(None, (config.cluster_id, config.application_id)))

    async def find(self, task: Task[Config], folder: Folder, mark: Mark) -> Address | None:
        """Return the job of a key: without its script there is none."""
        begun = await self.stored.begun(folder)
        if begun is None:
            return None
        if application := task.config.application_id:
            job = await self.serverless.find(application, mark)
            return Address(self.access, application, job, folder) if job else None
        named = task.config.cluster_id
        for cluster in [named] if named else await self.clusters.ours(since=begun - _SLACK):
            async for step in self.clusters.since(cluster, begun - _SLACK):
                if mark_of(step["Name"]) == mark:
                    return Address(self.access, cluster, step["Id"], folder)
        return None
