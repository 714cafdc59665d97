"""A task's folder in S3, ``<staging>/.runmesh/emr/<run>/<key>``: its script, its output, its report.

The script is stored before the step is added and removed with the job, so that without it there is no job of that key;
and since every submission has a key of its own, no run overwrites what is another's.
"""

from typing import Final, NamedTuple, Self

from runmesh.errors import Rejected

ROOT: Final = ".runmesh/emr"
SCRIPT: Final = "step.py"
REPORT: Final = "report.json"
OUTPUT: Final = "output/"


class Folder(NamedTuple):
    """A bucket, and what the keys of all objects of a task begin with."""

    bucket: str
    prefix: str

    @classmethod
    def of_task(cls, staging: str, run: str, key: str) -> Self:
        """Return the folder of a submission."""
        return cls.of(f"{staging}/{ROOT}/{run}/{key}")

    @classmethod
    def of(cls, url: str) -> Self:
        """Read s3://bucket/prefix. Raises `Rejected`."""
        scheme, _, rest = url.partition("://")
        bucket, _, prefix = rest.partition("/")
        if scheme not in ("s3", "s3a", "s3n") or not bucket:
            raise Rejected(
                f"{url!r} is no place in S3: `staging` (or remote_variables_dir) should be s3://bucket/prefix"
            )
        return cls(bucket, prefix.strip("/"))

    @classmethod
    def of_script(cls, url: str) -> Self:
        """Return the folder of a script's URL."""
        return cls.of(url.removesuffix(f"/{SCRIPT}"))

    @property
    def url(self) -> str:
        """Return s3://bucket/prefix."""
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"

    @property
    def name(self) -> str:
        """Its last part: of a task, the key."""
        return self.prefix.rpartition("/")[2]

    @property
    def run(self) -> str:
        """The part before: of a task, its run."""
        return self.prefix.rpartition("/")[0].rpartition("/")[2]

    @property
    def script(self) -> str:
        """Where its script is."""
        return f"{self.url}/{SCRIPT}"

    def key(self, name: str) -> str:
        """Return the key of an object in it."""
        return f"{self.prefix}/{name}" if self.prefix else name
