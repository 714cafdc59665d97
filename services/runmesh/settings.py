"""The environment, read once into one frozen object: ``RUNMESH_<NAME>`` for every field here."""

import os
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, Field, FilePath, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from runmesh.errors import Invalid, Problem
from runmesh.subjects import DEFAULT_POOL

T = TypeVar("T")


def _no_file(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise ValueError(f"should be a folder, not {str(path)!r}")
    return path


PREFIX: Final = "RUNMESH_"
_SECRETS: Final = frozenset({"nats_token", "nats_password"})
_SERVER: Final = re.compile(r"(nats|tls|ws|wss)://([^@/\s]+@)?([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?/?")
_WANTED: Final = {
    "int_parsing": "should be a whole number",
    "float_parsing": "should be a number",
    "bool_parsing": "should be true or false",
    "path_not_file": "should be a file",
    "too_short": "should name one at least",
}
_WAYS_IN: Final = ("nats_token", "nats_user", "nats_nkey", "nats_credentials")

Seconds = Annotated[float, Field(le=366 * 86_400)]
Pool = Annotated[str, Field(pattern=r"^[^\s,]{1,64}$")]
Folder = Annotated[Path, AfterValidator(_no_file)]


class Settings(BaseSettings):
    """What may differ between two installations. Durations are seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore", allow_inf_nan=False
    )

    nats_url: str = Field("nats://127.0.0.1:4222", description="Server, or several separated by commas.")
    nats_token: str | None = Field(None, description="Token to connect with.", repr=False)
    nats_user: str | None = Field(None, description="User to connect as, with RUNMESH_NATS_PASSWORD.")
    nats_password: str | None = Field(None, validate_default=True, description="The user's password.", repr=False)
    nats_nkey: FilePath | None = Field(None, description="A file that holds the seed of a user's NKey.")
    nats_credentials: FilePath | None = Field(None, description="A .creds file (user JWT and key).")
    nats_inbox: str = Field(
        "_INBOX", pattern=r"^_INBOX(\.[^\s.*>]+)*$", description="Where answers arrive: `_INBOX.<user>`, say."
    )
    nats_ca: FilePath | None = Field(None, description="The authorities that sign the server's certificate; wants TLS.")
    nats_certificate: FilePath | None = Field(None, description="Our certificate, for mutual TLS (PEM).")
    nats_key: FilePath | None = Field(None, description="Its private key, if the certificate's file doesn't hold it.")
    nats_project: str | None = Field(
        None, pattern=r"^[^/]+$", description="The only project that our user may read: that of a submitter."
    )

    mesh: str = Field("runmesh", pattern=r"^[a-z0-9-]{1,20}$", description="Labels the jobs of this mesh on platforms.")
    projects_dir: Folder = Field(Path(), description="The folder that holds the projects, one folder each.")
    state_dir: Folder = Field(Path(".runmesh"), description="For the embedded server's store and the workers' files.")
    pool: Pool = Field(DEFAULT_POOL, description="The pool that an executor service works for.")
    pools: Annotated[tuple[Pool, ...], NoDecode] = Field(
        (DEFAULT_POOL,), min_length=1, description="All pools, separated by commas: each gets its consumers."
    )
    slots: int | None = Field(None, ge=1, description="Jobs at once (local_python) or submissions at once (others).")

    allow_inline: bool = Field(default=False, description="Accept requests that bring a whole pipeline document.")
    allow_overrides: bool = Field(default=False, description="Accept requests that bring executor configuration.")
    policy: FilePath | None = Field(
        None, description="A YAML file that limits projects and requests; read once at start."
    )
    runtime: Literal["native", "mage"] = Field(
        "native", description="What runs inside the jobs, where no request, block, pipeline or project says."
    )
    max_in_flight: int = Field(256, ge=1, description="Tasks of one run that are out at once.")
    max_dynamic_children: int = Field(10_000, ge=1, description="Children of dynamic blocks in one run, all together.")
    queue_timeout: Seconds = Field(3600, gt=0, description="How long a task may wait for a worker.")
    infrastructure_retries: int = Field(3, ge=0, description="How often lost work is run again, per task.")

    ack_wait: Seconds = Field(60, gt=0, description="A worker's lease: how soon another takes over a dead one's work.")
    sweep_interval: Seconds = Field(10, gt=0, description="How often the resolver looks for what is owed or due.")
    cancel_timeout: Seconds = Field(600, gt=0, description="How long a stopped job may take to be gone.")
    grace: Seconds = Field(30, ge=0, description="How long a draining worker lets local jobs end by themselves.")

    log_burst: int = Field(
        10_000_000, ge=0, description="Bytes of a task's output that are stored however fast they come."
    )
    log_rate: int = Field(100_000, ge=1, description="Bytes a second of it that are stored beyond that.")

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much the services tell.")
    log_format: Literal["auto", "json", "text"] = Field("auto", description="auto: text on a terminal, else JSON.")
    health_port: int | None = Field(None, ge=0, le=65535, description="Serves /livez, /readyz and /metrics.")

    @field_validator("nats_url")
    @classmethod
    def _addresses(cls, value: str) -> str:
        if not all(_SERVER.fullmatch(url.strip()) for url in value.split(",")):
            shown = re.sub("//.*@", "//***@", value)
            raise ValueError(f"should be nats://HOST:PORT, or several with commas, not {shown!r}")
        return value

    @field_validator("pools", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @field_validator("nats_token", "nats_user", "nats_password")
    @classmethod
    def _as_meant(cls, value: str | None) -> str | None:
        if value is not None and value != value.strip():
            raise ValueError("begins or ends with white space: a line break from a file, perhaps")
        return value

    @field_validator("nats_user", "nats_nkey", "nats_credentials")
    @classmethod
    def _only_way_in(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and (other := next((way for way in _WAYS_IN if info.data.get(way) is not None), None)):
            raise ValueError(f"is one way to authenticate too many beside {_variable(other)}")
        return value

    @field_validator("nats_password", "nats_key")
    @classmethod
    def _not_alone(cls, value: object, info: ValidationInfo) -> object:
        needed = {"nats_password": "nats_user", "nats_key": "nats_certificate"}[str(info.field_name)]
        if value is not None and info.data.get(needed) is None:
            raise ValueError(f"needs {_variable(needed)}")
        if info.field_name == "nats_password" and value is None and info.data.get("nats_user") is not None:
            raise ValueError("is missing: RUNMESH_NATS_USER needs it")
        return value

    @property
    def servers(self) -> list[str]:
        """The NATS servers, one by one."""
        return [url.strip() for url in self.nats_url.split(",")]

    @property
    def address(self) -> str:
        """The servers as they may be shown: without a password."""
        return without_passwords(self.nats_url)

    @property
    def login(self) -> dict[str, Any]:
        """How to connect, as `bus.connect` takes it. Raises `Invalid` for a certificate or key that is none."""
        return {
            "token": self.nats_token,
            "user": self.nats_user,
            "password": self.nats_password,
            "nkey": self.nats_nkey,
            "credentials": self.nats_credentials,
            "inbox_prefix": self.nats_inbox,
            "tls": self._tls(),
        }

    def _tls(self) -> ssl.SSLContext | None:
        """Return what TLS needs; None if nobody asks for it (it is used all the same where the server does)."""
        asked = any(url.startswith("tls://") for url in self.servers)
        if not (asked or self.nats_ca or self.nats_certificate):
            return None
        context = _reading("nats_ca", lambda: ssl.create_default_context(cafile=self.nats_ca))
        if (certificate := self.nats_certificate) is not None:
            _reading("nats_certificate", lambda: context.load_cert_chain(certificate, self.nats_key, password=""))
        return context

    @property
    def decisive(self) -> dict[str, str]:
        """What was set of the settings that `explain` reads, as the environment has them."""
        given = self.model_dump(mode="json", include={"policy", "runtime"}, exclude_unset=True, exclude_none=True)
        return {f"{PREFIX}{name.upper()}": value for name, value in given.items()}


def without_passwords(urls: str) -> str:
    """Return URLs as they may be shown: without users and passwords."""
    return re.sub(r"//[^/]*@", "//", urls)


def load(**overrides: object) -> Settings:
    """Read the environment; what is given here wins. Raises `Invalid` with the variable's name."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise Invalid(*map(_problem, error.errors(include_url=False))) from None


def projects_of(settings: Settings) -> Path:
    """Return the folder that holds the projects. Raises `Invalid` if there is none."""
    if not settings.projects_dir.is_dir():
        where = str(settings.projects_dir)
        raise Invalid(
            Problem(_variable("projects_dir"), f"should be the folder that holds the projects, not {where!r}")
        )
    return settings.projects_dir


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _problem(detail: ErrorDetails) -> Problem:
    """Say in our words what pydantic found: what was given, unless it is secret, and what is wanted."""
    name = str(detail["loc"][0])
    own = detail["type"] == "value_error"
    shown = "" if own or name in _SECRETS else f", not {str(detail['input'])!r}"
    return Problem(_variable(name), f"{_wanted(detail)}{shown}")


def _wanted(detail: ErrorDetails) -> str:
    if detail["type"] == "string_pattern_mismatch":
        return f"should match {detail['ctx']['pattern']}"
    return _WANTED.get(detail["type"]) or detail["msg"].removeprefix("Value error, ").removeprefix("Input ")


def _reading(name: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except (ssl.SSLError, OSError, ValueError) as error:
        raise Invalid(Problem(_variable(name), f"no certificate, or not its key: {error}")) from None


def environment() -> dict[str, str]:
    """Return a copy of the process's environment: what templates and executors are given to read."""
    return dict(os.environ)
