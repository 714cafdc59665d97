"""From a request to a plan: reads the project, explains, and plans or refuses.

The same few requests come thousands of times a second, so an explanation is kept for as long as its
documents may be: reading happens in a thread, and only when something may have changed. What is kept is bounded by
its bytes.
"""

import asyncio
from collections.abc import Iterator, Mapping
from hashlib import sha256
from time import monotonic
from typing import Any, Final, NamedTuple

from runmesh import subjects
from runmesh.bus import Bus
from runmesh.errors import Invalid, NotFound, NotProvisioned, Problem
from runmesh.events import RunRequest
from runmesh.projects import Pipeline, Project, ProjectCache, revision
from runmesh.projects.documents import without_folder
from runmesh.projects.reading import load_document
from runmesh.projects.triggers import Triggers
from runmesh.resolver.explain import explain_pipeline
from runmesh.resolver.explanation import Explanation
from runmesh.resolver.plan import Plan, plan
from runmesh.resolver.policy import read
from runmesh.resolver.refusals import Rules
from runmesh.resolver.remembered import Part, Remembered
from runmesh.resolver.sizes import check_commands
from runmesh.resolver.triggered import triggered
from runmesh.settings import Settings

_KEPT: Final = 512
_KEPT_BYTES: Final = 128 * 2**20
_IN_MEMORY: Final = 5
"""Bytes that an explanation with its plan takes for each byte of the request and of the plan as JSON."""
_FRESH: Final = 0.5
_DIGEST_FRESH: Final = 2.0


class _Decision(NamedTuple):
    explanation: Explanation
    plan: Plan | None
    """For a run without a name yet; None where there are errors."""


class _Kept(NamedTuple):
    decision: asyncio.Task[_Decision]
    since: float
    asked: int
    """Bytes of the request."""

    def parts(self) -> Iterator[Part]:
        """Say what it holds, as far as that is known yet."""
        yield id(self.decision), _IN_MEMORY * self.asked
        if self.decision.done() and not self.decision.cancelled() and not self.decision.exception():
            made = self.decision.result().plan
            yield id(made), _IN_MEMORY * made.size if made else 0


class Planner:
    """Plans requests for the projects of one directory. Reads the policy once: raises `Invalid` if it is broken."""

    def __init__(self, bus: Bus, settings: Settings, environment: Mapping[str, str]) -> None:
        self._bus, self._settings = bus, settings
        self._environment = {**environment, **settings.decisive}
        self._rules = Rules(settings.allow_inline, settings.allow_overrides, read(self._environment))
        self._projects = ProjectCache(settings.projects_dir, environment)
        self._kept = Remembered(_Kept.parts, most=_KEPT, most_bytes=_KEPT_BYTES)
        self._revisions: dict[str, tuple[str, float]] = {}
        self._streams: set[str] = set()

    async def plan(self, project: str, request: RunRequest, run: str, *, digest: str, trace: Mapping[str, str]) -> Plan:
        """Return the plan of a run that came with this digest and trace. Raises `Invalid` with all that is wrong."""
        decision = await self._decided(project, request)
        if decision.plan is None:
            raise Invalid(*decision.explanation.errors)
        for executor_type in {executor_type for executor_type, _ in decision.plan.pools} - self._streams:
            await self._check_stream(executor_type)
        own: dict[str, Any] = {
            "run": run,
            "execution_partition": request.execution_partition or run,
            "digest": digest,
            "trace": trace,
        }
        if request.id is not None:
            own["request"] = decision.plan.request.model_copy(update={"id": request.id})
        return decision.plan.model_copy(update=own)

    async def explain(self, project: str, request: RunRequest) -> Explanation:
        """Explain what a request would do. Raises `Invalid` where there is nothing to explain."""
        return (await self._decided(project, request)).explanation

    async def _decided(self, project: str, request: RunRequest) -> _Decision:
        """Decide what the request, whatever its id, comes to."""
        request = request if request.id is None else request.model_copy(update={"id": None})
        asked = request.to_json()
        fingerprint = sha256(project.encode(errors="surrogatepass") + b"\0" + asked).digest()
        kept = self._kept.get(fingerprint)
        if kept is None or (kept.decision.done() and monotonic() - kept.since > _FRESH):
            # One thread decides for all who ask meanwhile.
            decision = asyncio.create_task(asyncio.to_thread(self._decide, project, request))
            kept = _Kept(decision, monotonic(), len(asked))
            self._kept.put(fingerprint, kept)
            decision.add_done_callback(lambda _: self._made(fingerprint))
        return kept.decision.result() if kept.decision.done() else await asyncio.shield(kept.decision)

    def _made(self, fingerprint: bytes) -> None:
        """Weigh a decision anew, now that it is there."""
        if kept := self._kept.get(fingerprint):
            self._kept.put(fingerprint, kept)

    def _decide(self, name: str, request: RunRequest) -> _Decision:
        project, pipeline, triggers = self._documents(name, request)
        request = triggered(request, triggers)
        digest = self._revision(project)
        explanation = explain_pipeline(
            project, pipeline, request, self._environment, revision=digest, rules=self._rules, triggers=triggers
        )
        made = None if explanation.errors else plan(explanation, request, run="", settings=self._settings)
        if made:
            check_commands(made, self._bus.payload_limit)
            _ = made.size, made.downstream, made.fanning  # found here, in a thread, for all its copies
        return _Decision(explanation, made)

    def _documents(self, name: str, request: RunRequest) -> tuple[Project, Pipeline, Triggers]:
        if isinstance(request.pipeline, str):
            pipeline = self._projects.pipeline(name, request.pipeline)
            return self._projects.project(name), pipeline, self._projects.triggers(name, request.pipeline)
        try:
            project = self._projects.project(name)
        except NotFound as missing:
            pipeline = load_document(request.pipeline)
            return without_folder(self._settings.projects_dir / name, pipeline, missing), pipeline, Triggers()
        return project, load_document(request.pipeline), Triggers()

    def _revision(self, project: Project) -> str:
        if not project.exists:
            return ""
        digest, at = self._revisions.get(project.name, ("", 0.0))
        if not digest or monotonic() - at > _DIGEST_FRESH:
            digest = revision(project.path)
            self._revisions[project.name] = digest, monotonic()
        return digest

    async def _check_stream(self, executor_type: str) -> None:
        """Refuse a type that nothing could be sent to: a third party's, before it was provisioned."""
        try:
            await self._bus.stream_info(subjects.execute_stream(executor_type))
        except NotProvisioned:
            raise Invalid(
                Problem("executor_type", f"{executor_type!r} has no stream here", "run `runmesh provision`")
            ) from None
        self._streams.add(executor_type)
