"""A job's handle: the whole address of a step or of a job on EMR Serverless, and of its folder in S3.

``region/place/job@s3://bucket/prefix?…``: the place is a cluster (j-…) or an application of EMR Serverless.
"""

from typing import Final, NamedTuple, Self

from runmesh.executor import Handle
from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.emr.folder import Folder

_CONSOLES: Final = (("cn-", "console.amazonaws.cn"), ("us-gov-", "console.amazonaws-us-gov.com"))
"""By how regions begin."""


class Address(NamedTuple):
    """What a handle says."""

    access: Access
    place: str
    job: str
    folder: Folder

    @classmethod
    def of(cls, handle: Handle) -> Self:
        """Read a handle."""
        ids, _, rest = handle.partition("@")
        url, _, query = rest.partition("?")
        region, place, job = ids.split("/")
        return cls(Access.of_arn(f"arn:aws:s3:{region}:", query), place, job, Folder.of(url))

    @property
    def handle(self) -> Handle:
        """Write it."""
        query = f"?{self.access.query}" if self.access.query else ""
        return Handle(f"{self.access.region}/{self.place}/{self.job}@{self.folder.url}{query}")

    @property
    def is_serverless(self) -> bool:
        """Whether the job is one on EMR Serverless."""
        return not is_cluster(self.place)

    @property
    def console(self) -> str | None:
        """Where a person can look at it; nowhere, if it isn't AWS's own."""
        if self.access.endpoint_url:
            return None
        region = self.access.region
        host = next((host for begin, host in _CONSOLES if region.startswith(begin)), f"{region}.console.aws.amazon.com")
        at = f"https://{host}/emr/home?region={region}#"
        if self.is_serverless:
            return f"{at}/serverless/applications/{self.place}/job-runs/{self.job}"
        return f"{at}/clusterDetails/{self.place}"


def is_cluster(place: str) -> bool:
    """Whether a place is a cluster, and no application of EMR Serverless."""
    return place.startswith("j-")
