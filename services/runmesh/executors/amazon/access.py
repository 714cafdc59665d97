"""Where a call to AWS goes, and as whom: what a job's handle must say beside its id (no SDK needed)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import parse_qsl, urlencode

_REGIONS: Final = ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION")
"""Mage's own variable first."""
_MAGES: Final = "us-west-2"
"""Where Mage goes if nothing says where."""
REGION: Final = r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}"


@dataclass(frozen=True, slots=True)
class Access:
    """A region, an endpoint where it is not AWS's own, and the role that is assumed first."""

    region: str
    endpoint_url: str | None = None
    role_arn: str | None = None

    @classmethod
    def of(
        cls,
        environment: Mapping[str, str],
        region: str | None = None,
        endpoint_url: str | None = None,
        role_arn: str | None = None,
    ) -> Self:
        """Return what a configuration says, else the environment."""
        around = next(filter(None, map(environment.get, _REGIONS)), _MAGES)
        return cls(region or around, endpoint_url, role_arn)

    @classmethod
    def of_arn(cls, arn: str, query: str = "") -> Self:
        """Return where a thing is that has an ARN; the query is what `query` returned for it."""
        return cls(arn.split(":")[3], **dict(parse_qsl(query)))

    @property
    def query(self) -> str:
        """All that an ARN doesn't say; empty where there is nothing."""
        more = {"endpoint_url": self.endpoint_url, "role_arn": self.role_arn}
        return urlencode({name: value for name, value in more.items() if value})


def is_region(text: str) -> bool:
    """Whether a text looks like the name of a region."""
    return re.fullmatch(REGION, text) is not None
