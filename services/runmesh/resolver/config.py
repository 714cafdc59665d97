"""The configuration of each task: merged from its levels, checked, every value with the level it came from.

Later wins, deeply; lists replace; null unsets, so that the policy's or else the executor's default holds::

    default                built into the executor's Config
    environment            the variables that Mage names, then the file that K8S_CONFIG_FILE does; RUNMESH_RUNTIME
    policy                 the installation's, where it only fills gaps (see `policy`)
    project                metadata.yaml: k8s_executor_config, ecs_config, …; local_python_config, runtime (ours)
    pipeline               executor_config: belongs to the pipeline's own executor type, other blocks skip it
    block                  executor_config
    request                runtime; executor_config, by type
    request.block_config   by block
    policy                 the installation's, where it is enforced

Each level is first brought into the spelling of its executor's Config (`canonical`): levels may spell one thing in
several ways. Where a request sends a task elsewhere than the project does, what the project's pipeline or
block says for the other place is skipped too; so is what is only for remote executors where a task runs locally.
`runtime` belongs to no type, and is never skipped. Tasks whose levels say the same share one `Configuration`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final, NamedTuple

from runmesh.errors import Invalid, Problem
from runmesh.events import RunRequest
from runmesh.projects import Block, Pipeline, Project, Templates, holds_secret
from runmesh.projects.templates import is_template
from runmesh.resolver import mage
from runmesh.resolver.choice import ExecutorChoice, Skipped
from runmesh.resolver.configuration import Configuration, project_key
from runmesh.resolver.maxima import excessive
from runmesh.resolver.merging import Leaf, Origin, Tree, leaves, merge, planted, tree, values, without_nulls
from runmesh.resolver.policy import Policy, forbidden, replaced
from runmesh.resolver.validation import canonical, defaults_of, remote_keys, secrets, time_limit, validate

Config = Mapping[str, Any]

_NOT_MAGES: Final = ("default", "request", "request.block_config", "policy")
"""Levels that Mage doesn't have: their values are no difference in how it reads the project."""
_RUNTIME: Final = "runtime"
"""The key that is for every type alike."""


class _Part(NamedTuple):
    """What one level above the project says of a task, and why it is skipped if it is."""

    level: Origin
    config: Config
    skip: str = ""


@dataclass
class Configurations:
    """Settles the configurations of one pipeline's tasks; what tasks share is merged and validated once."""

    project: Project
    pipeline: Pipeline
    request: RunRequest
    environment: Mapping[str, str]
    templates: Templates | None
    """None: the document came in a request, and is never rendered."""
    policy: Policy
    _projects: dict[str, Tree] = field(default_factory=dict)
    _settled: dict[tuple[object, ...], Configuration] = field(default_factory=dict)

    def settle(self, choice: ExecutorChoice, of_pipeline: ExecutorChoice, block: Block | None) -> Configuration:
        """Return the configuration of a block (None: of the whole pipeline) that runs where `choice` says."""
        parts = [part for part in self._parts(choice, of_pipeline, block) if part.config]
        # Only Mage's answer depends on whether it is for a whole pipeline.
        whole = block is None and choice.executor_type in mage.PROJECT_KEYS
        key = (choice.executor_type, whole, *((part.level, part.skip, repr(part.config)) for part in parts))
        if key not in self._settled:
            where = f"block {block.uuid}" if block else f"pipeline {self.pipeline.uuid}"
            self._settled[key] = self._merged(choice.executor_type, parts, where, whole=whole)
        return self._settled[key]

    def _parts(self, choice: ExecutorChoice, of_pipeline: ExecutorChoice, block: Block | None) -> Iterator[_Part]:
        chosen, request = choice.executor_type, self.request
        own = of_pipeline.replaced or of_pipeline.executor_type
        skip = f"it is for {own}, the pipeline's executor type; this runs on {chosen}" if own != chosen else ""
        config = self.pipeline.executor_config
        yield _Part(Origin("pipeline"), config, skip or _elsewhere(chosen, config))
        if block:
            skip = f"it is for {choice.replaced}; the request chose {chosen}" if choice.replaced else ""
            config = block.executor_config or {}
            yield _Part(Origin("block"), {"image": block.image} if block.image and chosen != "local_python" else {})
            yield _Part(Origin("block"), config, skip or _elsewhere(chosen, config))
        if request.runtime:
            yield _Part(Origin("request", "request: runtime"), {_RUNTIME: request.runtime})
        yield _Part(Origin("request"), request.executor_config.get(chosen, {}))
        if block:
            yield _Part(Origin("request.block_config"), request.block_config.get(block.uuid, {}))

    def _merged(self, executor_type: str, parts: list[_Part], where: str, *, whole: bool) -> Configuration:
        said, skipped, problems = self._said(executor_type, parts, where)
        own = [self._of_project(executor_type), *(tree(config, level) for level, config in said)]
        guard = self.policy.guard(executor_type)
        environment = merge(self._of_environment(executor_type), guard.file)
        below = reduce(merge, own, merge(environment, guard.filled))
        below = merge(guard.filled, without_nulls(below))
        skipped += replaced(environment, guard.filled, guard.source)
        skipped += replaced(below, guard.enforced, guard.source)
        merged = self._named(executor_type, without_nulls(merge(below, guard.enforced)))
        common, faults = validate(executor_type, values(merged))
        merged = merge(defaults_of(executor_type), merged)
        found, settled = dict(leaves(merged)), values(merged)
        limit, wrong_limits = time_limit(settled)
        return Configuration(
            executor_type=executor_type,
            values=settled,
            provenance={path: leaf.origin for path, leaf in found.items()},
            common=common,
            time_limit=limit,
            skipped=tuple(skipped),
            faults=(
                *(*faults, *wrong_limits, *secrets(executor_type, found)),
                *(*forbidden(guard, own), *excessive(guard.maxima, executor_type, found, settled)),
            ),
            warnings=tuple(self._warnings(executor_type, found)),
            errors=tuple(problems),
            differs=self._differs(executor_type, parts, found, whole=whole),
        )

    def _said(
        self, executor_type: str, parts: list[_Part], where: str
    ) -> tuple[list[tuple[Origin, Config]], list[Skipped], list[Problem]]:
        """Return what each level says in the end, what was left aside, and what could not be rendered."""
        said: list[tuple[Origin, Config]] = []
        skipped: list[Skipped] = []
        problems: list[Problem] = []
        for level, config, skip in parts:
            if skip:
                kept, left = _parted(config)
                said.append((level, kept))
                skipped += [Skipped(level, left, skip)] if left else []
                continue
            inner, beside = mage.unwrapped(executor_type, config)
            inner = canonical(executor_type, inner)
            if beside:
                skipped.append(Skipped(level, beside, "it stands beside a key that holds the whole configuration"))
            try:
                said.append((level, self._rendered(executor_type, level, inner, where)))
            except Invalid as error:
                problems.extend(error.problems)
        return said, skipped, problems

    def _of_environment(self, executor_type: str) -> Tree:
        names = {**mage.ENVIRONMENT.get(executor_type, {}), "RUNMESH_RUNTIME": _RUNTIME}
        if executor_type == "k8s":
            names |= mage.DEFAULTS
        said = (
            planted(path, Leaf(self.environment[name], Origin("environment", name)))
            for name, path in names.items()
            if self.environment.get(name)
        )
        return reduce(merge, said, {})

    def _named(self, executor_type: str, merged: Tree) -> Tree:
        """Put the trigger's name where Mage does: into the prefix of a Kubernetes Job's name."""
        prefix = merged.get("job_name_prefix")
        if executor_type != "k8s" or not isinstance(prefix, Leaf) or not isinstance(prefix.value, str):
            return merged
        return {**merged, "job_name_prefix": Leaf(self._of_trigger(prefix.value), prefix.origin)}

    def _of_trigger(self, prefix: str) -> str:
        return prefix.replace("{trigger_name}", self.request.trigger_name or "")

    def _of_project(self, executor_type: str) -> Tree:
        if executor_type not in self._projects:
            found = tree(self._document(executor_type), Origin("project"))
            if runtime := self.project.runtime:
                found = {_RUNTIME: Leaf(runtime, Origin("project", "metadata.yaml: runtime"))} | found
            self._projects[executor_type] = found
        return self._projects[executor_type]

    def _document(self, executor_type: str) -> Config:
        config = self.project.document.get(project_key(executor_type))
        return canonical(executor_type, mage.unwrapped(executor_type, config)[0]) if isinstance(config, Mapping) else {}

    def _rendered(self, executor_type: str, level: str, config: Config, where: str) -> Config:
        """Render the one value that Mage renders: the namespace of k8s. What comes in a request never is."""
        namespace = config.get("namespace")
        if executor_type != "k8s" or level not in ("pipeline", "block") or not isinstance(namespace, str):
            return config
        place = f"{where}: executor_config.namespace"
        if self.templates is None and is_template(namespace):
            raise Invalid(Problem(place, f"{namespace!r}: what comes in a request is never rendered"))
        variables = {**self.pipeline.variables, **self.request.variables}
        rendered = self.templates.render(namespace, where=place, variables=variables) if self.templates else namespace
        if rendered.strip() in ("", "None"):
            raise Invalid(Problem(place, f"{namespace!r} renders to {rendered!r}", "give env_var a default"))
        return {**config, "namespace": rendered}

    def _warnings(self, executor_type: str, found: Mapping[str, Leaf]) -> Iterator[Problem]:
        if executor_type == "k8s" and "config_file" in found:
            yield Problem("k8s: config_file", "is ignored, as in Mage", "the resolver's K8S_CONFIG_FILE names the file")
        for path, leaf in found.items():
            if isinstance(leaf.value, str) and is_template(leaf.value) and not holds_secret(leaf.value):
                yield Problem(f"{executor_type}: {path}", f"{leaf.value!r} is not rendered here, as in Mage")

    def _differs(
        self, executor_type: str, parts: list[_Part], found: Mapping[str, Leaf], *, whole: bool
    ) -> dict[str, Any]:
        if executor_type not in mage.PROJECT_KEYS:
            return {}
        try:
            theirs = self._of_mage(executor_type, {part.level: part.config for part in parts}, whole=whole)
        except Invalid:
            return {}  # a template that fails has no answer of Mage's, either
        ours = {
            path: leaf.value
            for path, leaf in found.items()
            if path != _RUNTIME and (leaf.origin not in _NOT_MAGES or (leaf.origin == "default" and path in theirs))
        }
        changed = {path: theirs.get(path) for path, value in ours.items() if theirs.get(path) != value}
        return changed | {path: value for path, value in theirs.items() if path not in found}

    def _of_mage(self, executor_type: str, levels: Mapping[str, Config], *, whole: bool) -> dict[str, Any]:
        """Return what Mage makes of the levels, by dotted path. Raises `Invalid` for a template that fails."""
        names, project = mage.ENVIRONMENT.get(executor_type, {}), self.project.document.get(project_key(executor_type))
        named = {key: self.environment[name] for name, key in names.items() if self.environment.get(name)}
        named |= values(self.policy.guard(executor_type).file)
        shared: dict[str, Config] = {"environment": named, "project": project if isinstance(project, Mapping) else {}}
        merged = canonical(executor_type, mage.configuration(executor_type, {**shared, **levels}, whole=whole))
        found = mage.flat(self._rendered(executor_type, "block", merged, "as Mage has it"))
        if isinstance(prefix := found.get("job_name_prefix"), str):
            found["job_name_prefix"] = self._of_trigger(prefix)
        return found


def _elsewhere(chosen: str, config: Config) -> str:
    """Say why a configuration for a cloud is no mistake on a laptop: where nothing chooses, Mage ignores it as well."""
    if chosen == "local_python" and remote_keys().issuperset(_parted(config)[1]):
        return "its keys are for a remote executor; local_python ignores them, as in Mage"
    return ""


def _parted(config: Config) -> tuple[Config, Config]:
    """Return what is for every executor type, and what is for one."""
    left = {key: value for key, value in config.items() if key != _RUNTIME}
    return {key: value for key, value in config.items() if key == _RUNTIME}, left
