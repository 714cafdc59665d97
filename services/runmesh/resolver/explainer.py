"""One explanation in the making: the choices for every block and for the pipeline, and all that is wrong with them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from runmesh.errors import Invalid, Problem
from runmesh.events import RunRequest
from runmesh.projects import Block, Pipeline, Project, RetryPolicy, check_graph, topological_order, variables_of
from runmesh.projects.addons import statuses_of
from runmesh.projects.commands import COMMAND
from runmesh.projects.fanout import Kind, is_child, kinds, role
from runmesh.projects.streams import Stream
from runmesh.projects.triggers import Triggers
from runmesh.resolver import command, mage, refusals, remarks, steps, streams
from runmesh.resolver.choice import Chooser, ExecutorChoice, Level
from runmesh.resolver.config import Configurations
from runmesh.resolver.configuration import Configuration
from runmesh.resolver.explanation import BlockExplanation, Explanation, PipelineExplanation, distinct
from runmesh.resolver.limits import concurrency
from runmesh.resolver.refusals import Rules
from runmesh.resolver.retrying import Retries
from runmesh.resolver.selection import runs_whole, select, unknown_blocks
from runmesh.resolver.triggered import trigger_of
from runmesh.resolver.validation import smallest
from runmesh.subjects import CALLBACK, CONDITION, WHOLE_PIPELINE

Read = TypeVar("Read")

_CALLS_BACK: Final = ("--callbacks", "{callback}", "--error", "{error}")


@dataclass
class Explainer:
    """One explanation in the making: the documents, and what the tasks share."""

    project: Project
    pipeline: Pipeline
    request: RunRequest
    environment: Mapping[str, str]
    revision: str
    rules: Rules
    document: Mapping[str, Any] | None
    """The pipeline's document, where it is on no disk."""
    triggers: Triggers

    def __post_init__(self) -> None:
        project, pipeline, request, environment = self.project, self.pipeline, self.request, self.environment
        # A document that came in a request is a stranger's: rendering it would read our environment to him.
        templates = None if isinstance(request.pipeline, dict) else project.templates
        self.file = "pipeline" if self.document is not None else f"pipelines/{pipeline.uuid}/metadata.yaml"
        self.whole = runs_whole(pipeline, request, environment)
        self.selected = dict.fromkeys(select(pipeline, request))
        self.chooser = Chooser(
            project, pipeline, self.file, request.executor_type, environment, templates, self.rules.known_types
        )
        self.of_pipeline = self.chooser.for_pipeline()
        self.configurations = Configurations(project, pipeline, request, environment, templates, self.rules.policy)
        self.commands = command.Commands(project, pipeline, self.revision, request, self.document)
        self.retries = Retries(project, pipeline, self.file, whole=self.whole)
        self.settled: dict[str, Configuration] = {}
        self.unreadable: list[Problem] = []
        self.variables = self._readable(lambda: variables_of(project, pipeline, environment), "")
        self.parts = self._parts()
        on_disk = self.document is None
        self.streams: tuple[Stream, ...] = self._readable(
            lambda: streams.found_in(project, pipeline, on_disk=on_disk), ()
        )
        trigger = trigger_of(request, self.triggers)
        settings = trigger.settings if trigger else None
        self.concurrency = concurrency(
            project.concurrency_config, pipeline.concurrency_config, environment, file=self.file, trigger=settings
        )

    def explanation(self) -> Explanation:
        """Put everything together."""
        blocks = {uuid: self._block(self.pipeline.blocks[uuid]) for uuid in self.selected}
        whole = self._pipeline(blocks)
        extra = dict(self._step_of_all(whole) if self.whole else self._steps(blocks))
        own = streams.spread(blocks, self.streams, self.parts or blocks) if self.streams else blocks
        tasks = (whole, *own.values(), *extra.values())
        used = {task.executor_type for task in tasks}
        documents = (self.project.warnings, self.pipeline.warnings, self._of_triggers(named=False))
        left_out, unused = remarks.left_out(self.pipeline), remarks.unused(self.request, used)
        if self.whole:
            together = remarks.in_one_process(self.pipeline, self.request, whole.config.get("runtime"))
        else:
            together = remarks.edges(self.project, self.pipeline, self.settled)
        warnings = (*documents, left_out, unused, together)
        return Explanation(
            project=self.project.name,
            pipeline=whole,
            blocks={uuid: steps.after_conditions(uuid, block, extra) for uuid, block in own.items()},
            steps=extra,
            revision=self.revision,
            variables=self.variables,
            max_in_flight=self.concurrency.block_run_limit,
            limits=self.concurrency.limits,
            warnings=distinct(*warnings, *(task.warnings for task in tasks)),
            errors=distinct(self._errors(), *(task.errors for task in tasks)),
        )

    def _pipeline(self, blocks: Mapping[str, BlockExplanation]) -> PipelineExplanation:
        choice = self.of_pipeline
        configuration = self.configurations.settle(choice, choice, None)
        unfit = self._unfit(configuration, self.selected) if self.whole else ()
        retries = self.retries.whole
        may_fail = ("--allow-blocks-to-fail",) if self.request.allow_blocks_to_fail else ()
        flags = (*may_fail, *command.tries(retries))
        shared = self._explained(None, choice, configuration, unfit, flags)
        found = PipelineExplanation(name=self.pipeline.uuid, whole=self.whole, retries=retries, **shared)
        return steps.with_callbacks(found, blocks, configuration, self.variables) if self.whole else found

    def _block(self, block: Block) -> BlockExplanation:
        source, errors = self._source(block)
        choice = self.chooser.for_block(block, source)
        configuration = self.settled[block.uuid] = self.configurations.settle(choice, self.of_pipeline, block)
        is_command = block.type == COMMAND
        retries = self.retries.of(block, errors)
        if is_command:
            errors += command.refused(block, self.pipeline, choice.executor_type, self.parts.get(block.uuid, ()))
        elif not self.whole:
            errors += self._unfit(configuration, [block.uuid])
        native = configuration.common.runtime == "native"
        does: dict[str, Any] = {
            "dynamic": role(block).dynamic and not is_command,
            "conditional": native and not is_command and steps.is_conditional(self.pipeline, block),
        }
        if any(does.values()) and not self.whole:
            errors += steps.needs_outcome(block, configuration, self.variables)
        return BlockExplanation(
            retries=retries if native or is_command else RetryPolicy(),
            upstream=tuple(uuid for uuid in block.upstream_blocks if uuid in self.selected),
            inputs=steps.inputs_of(block, self.parts),
            callbacks=() if is_command else statuses_of(self.project, self.pipeline, block),
            **does,
            **self._explained(block, choice, configuration, errors, self._flags(block, retries)),
        )

    def _flags(self, block: Block, retries: RetryPolicy) -> tuple[str, ...]:
        """Return what our own runtime is told of one block's task."""
        part = ("--dynamic-index", "{index}") if steps.inputs_of(block, self.parts) else ()
        return (*part, *command.tries(retries))

    def _steps(self, blocks: Mapping[str, BlockExplanation]) -> Iterator[tuple[str, BlockExplanation]]:
        """Yield the tasks of their own for what a block's own job can't do."""
        for uuid, explained in blocks.items():
            block = self.pipeline.blocks[uuid]
            if explained.config.get("runtime") == "mage" and steps.is_conditional(self.pipeline, block):
                step = self._step(block, ("--conditions-only",))
                yield f"{CONDITION}{uuid}", replace(step, upstream=explained.upstream, conditional=True)
            if explained.callbacks:
                part = ("--dynamic-index", "{index}") if explained.inputs else ()
                yield f"{CALLBACK}{uuid}", replace(self._step(block, (*_CALLS_BACK, *part)), inputs=explained.inputs)

    def _step_of_all(self, whole: BlockExplanation) -> Iterator[tuple[str, BlockExplanation]]:
        """Yield the task that calls back for what one process can't any more."""
        if whole.callbacks:
            yield f"{CALLBACK}{WHOLE_PIPELINE}", self._step(None, _CALLS_BACK)

    def _step(self, block: Block | None, flags: tuple[str, ...]) -> BlockExplanation:
        """Explain such a task, of a block or (None) of the whole pipeline: on local_python, as configured there."""
        configuration = self.configurations.settle(steps.LOCAL, self.of_pipeline, None)
        shared = self._explained(None, steps.LOCAL, configuration, (), ())
        argv = self.commands.build(
            steps.LOCAL.executor_type,
            runtime="native",
            project_path=configuration.common.project_path,
            block=self._name(block) if block else None,
            flags=flags,
        )
        timeout = (block.timeout if block else None) or steps.TIMEOUT
        return BlockExplanation(**shared | {"command": argv, "differs": {}, "timeout": timeout})

    def _name(self, block: Block) -> str:
        """Return what a task's command calls its block: a child's own name is known only at dispatch."""
        return "{block}" if is_child(self.parts.get(block.uuid, ())) else block.uuid

    def _unfit(self, configuration: Configuration, blocks: Collection[str]) -> Iterator[Problem]:
        commands = {uuid for uuid in blocks if self.pipeline.blocks[uuid].type == COMMAND}
        yield from command.in_one_process(commands)
        others = [uuid for uuid in blocks if uuid not in commands]
        yield from refusals.of_runtime(configuration, self.pipeline, others, self.parts, self.file)
        on_disk = self.document is None
        yield from refusals.of_mage(configuration, self.pipeline, self.file, whole=self.whole, on_disk=on_disk)

    def _explained(
        self,
        block: Block | None,
        choice: ExecutorChoice,
        configuration: Configuration,
        errors: Iterable[Problem],
        flags: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Return what a block's and a pipeline's explanation have in common."""
        uuid, common = block.uuid if block else None, configuration.common
        starts, long = self._starts(block, choice, configuration, flags)
        known = choice.executor_type in self.rules.known_types
        return {
            "executor_type": choice.executor_type,
            "level": choice.level.value,
            "config": configuration.values,
            "provenance": configuration.provenance,
            "skipped": (*choice.skipped, *configuration.skipped),
            **starts,
            "pool": common.pool,
            "timeout": smallest(block.timeout if block else None, configuration.time_limit),
            "start_timeout": common.start_timeout,
            "warnings": (*choice.warnings, *(configuration.warnings if known else ())),
            "errors": (*choice.errors, *configuration.problems(uuid, self.file), *errors, *long),
            "differs": self._differs(block, choice, configuration),
        }

    def _starts(
        self, block: Block | None, choice: ExecutorChoice, configuration: Configuration, flags: Sequence[str]
    ) -> tuple[dict[str, Any], tuple[Problem, ...]]:
        """Return what starts a task, and what of it is too long."""
        common = configuration.common
        if block and block.type == COMMAND:
            environment = self.commands.environment(block, common.project_path)
            long = command.too_long(("--runtime-vars", environment["RUNMESH_VARIABLES"]))
            return {"command": block.command, "environment": environment, "is_command": True}, tuple(long)
        argv = self.commands.build(
            choice.executor_type,
            runtime=common.runtime,
            project_path=common.project_path,
            block=self._name(block) if block else None,
            flags=flags,
        )
        return {"command": argv}, tuple(command.too_long(argv))

    def _source(self, block: Block) -> tuple[str | None, list[Problem]]:
        """Read a block's source where the choice depends on it; a file outside the project is a problem anywhere."""
        try:
            if self.pipeline.type == "pyspark" and block.type == "sensor":
                return self.project.block_source(block), []
            if block.configuration:
                self.project.block_path(block)
        except Invalid as error:
            return None, list(error.problems)
        return None, []

    def _differs(self, block: Block | None, choice: ExecutorChoice, configuration: Configuration) -> Mapping[str, Any]:
        """Return Mage's own answer where it is another one; it has none for a command block."""
        if block and block.type == COMMAND:
            return {}
        mages = self._mage_type(block, choice)
        return configuration.differs if mages == choice.executor_type else {"executor_type": mages}

    def _mage_type(self, block: Block | None, choice: ExecutorChoice) -> str:
        pipeline = self.chooser.rendered(self.pipeline.executor_type)
        if block is None:
            return mage.pipeline_type(self.request.executor_type, self.pipeline.type, pipeline, self.environment)
        if choice.level in (Level.REQUEST, Level.PYSPARK_PIPELINE):
            return choice.executor_type
        return mage.block_type(self.chooser.rendered(block.executor_type), pipeline, self.environment)

    def _readable(self, read: Callable[[], Read], otherwise: Read) -> Read:
        """Return what can be read; what is wrong with it is one more error."""
        try:
            return read()
        except Invalid as error:
            self.unreadable += error.problems
            return otherwise

    def _parts(self) -> Mapping[str, Sequence[Kind]]:
        """Return what each block gets of its upstream blocks; nothing where their order is wrong."""
        try:
            check_graph(self.pipeline)
        except Invalid:
            return {}
        return kinds(self.pipeline, topological_order(self.pipeline))

    def _errors(self) -> Iterator[Problem]:
        """Yield what is wrong with the request and the pipeline, besides its tasks."""
        yield from self.unreadable
        yield from self._of_triggers(named=True)
        yield from self.concurrency.problems
        yield from refusals.of_request(self.request, self.rules)
        unknown = unknown_blocks(self.pipeline, self.request)
        yield from unknown
        yield from refusals.of_pipeline(self.pipeline, self.request, whole=self.whole)
        yield from command.misplaced(self.pipeline)
        yield from streams.refused(self.pipeline, self.file)
        runtimes = {uuid: configuration.common.runtime for uuid, configuration in self.settled.items()}
        yield from command.unreadable_by_mage(self.pipeline, runtimes)
        yield from steps.refused(self.pipeline, self.selected, {} if self.whole else self.parts)
        yield from self.retries.errors
        if not self.selected and not unknown:
            yield Problem(self.file, "has no block to run")
        try:
            check_graph(self.pipeline)
        except Invalid as error:
            yield from (problem._replace(path=f"{self.file}: {problem.path}") for problem in error.problems)

    def _of_triggers(self, *, named: bool) -> tuple[Problem, ...]:
        """Return what is wrong with triggers.yaml: errors of a request that names a trigger, else warnings."""
        problems = self.triggers.problems if named == bool(self.request.trigger_name) else ()
        return problems if named else (*problems, *self.triggers.warnings)
