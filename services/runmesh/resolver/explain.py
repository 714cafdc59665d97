"""From a project, a pipeline and a request to every decision that a run needs, with its reason.

`explain` reads the project from disk; `explain_pipeline` is the pure rest, which the resolver calls with documents
that it holds in memory. Neither raises on a user's mistake: all mistakes are collected.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic_core import to_json

from runmesh import cloudevents
from runmesh.errors import Invalid, Problem, Undecodable
from runmesh.events import RunRequest
from runmesh.projects import Pipeline, Project, revision
from runmesh.projects.documents import load_documents
from runmesh.projects.triggers import Triggers
from runmesh.resolver.explainer import Explainer
from runmesh.resolver.explanation import BlockExplanation, Explanation, PipelineExplanation, distinct
from runmesh.resolver.policy import Policy, read
from runmesh.resolver.refusals import Rules
from runmesh.resolver.triggered import triggered

__all__ = ["BlockExplanation", "Explanation", "PipelineExplanation", "explain", "explain_pipeline"]

_NO_TRIGGERS: Final = Triggers()


def explain(
    project_dir: Path | str,
    pipeline: str | Mapping[str, Any],
    *,
    request: RunRequest | Mapping[str, Any] | None = None,
    environment: Mapping[str, str],
) -> Explanation:
    """Say where each block of a pipeline would run, with what and why; needs no NATS, and never raises on mistakes.

    `pipeline` is a name, or a document. It is what is explained, whatever the request calls it. `environment` is all
    that templates, DEFAULT_EXECUTOR_TYPE, RUNMESH_RUNTIME and the policy's variables see.
    """
    path = Path(project_dir)
    name = pipeline if isinstance(pipeline, str) else str(pipeline.get("uuid", ""))
    errors: list[Problem] = []
    asked = RunRequest(pipeline=name or "pipeline")
    try:
        asked = _request(request, asked)
    except (Invalid, Undecodable) as error:
        errors += error.problems if isinstance(error, Invalid) else [Problem("request", str(error))]
    try:
        policy = read(environment)
    except Invalid as error:
        policy = Policy()
        errors += error.problems
    try:
        project, loaded, triggers = load_documents(path, pipeline, environment)
    except Invalid as error:
        unread = PipelineExplanation(name=name, errors=error.problems)
        return Explanation(project=path.name, pipeline=unread, errors=(*errors, *error.problems))
    document = None if isinstance(pipeline, str) else pipeline
    rules = Rules(policy=policy)
    digest, asked = revision(project.path) if project.exists else "", triggered(asked, triggers)
    explainer = Explainer(project, loaded, asked, environment, digest, rules, document, triggers)
    found = explainer.explanation()
    return replace(found, errors=distinct(errors, found.errors))


def explain_pipeline(
    project: Project,
    pipeline: Pipeline,
    request: RunRequest,
    environment: Mapping[str, str],
    *,
    revision: str = "",
    rules: Rules | None = None,
    triggers: Triggers = _NO_TRIGGERS,
) -> Explanation:
    """Decide everything for a request that holds what its trigger adds, from documents in memory.

    An inline pipeline is never rendered as a template.
    """
    document, rules = request.pipeline if isinstance(request.pipeline, dict) else None, rules or Rules()
    return Explainer(project, pipeline, request, environment, revision, rules, document, triggers).explanation()


def _request(given: RunRequest | Mapping[str, Any] | None, default: RunRequest) -> RunRequest:
    """Read a request as the service does; its pipeline is the one that is explained."""
    if given is None:
        return default
    if isinstance(given, RunRequest):
        return given.model_copy(update={"pipeline": default.pipeline})
    try:
        body = to_json({**given, "pipeline": default.pipeline})
    except ValueError as error:
        raise Invalid(Problem("request", f"can't be written as JSON: {error}")) from None
    return cloudevents.decode(RunRequest, {}, body)
