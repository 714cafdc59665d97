"""One block's source: it is executed, its decorated functions are called, its tests are counted.

As Mage: only the first function decorated with the block's type runs, `preprocesser` functions run before it, a
function gets one positional argument per upstream block and keywords only if it takes `**kwargs`. The source is
executed as a module of its own under the name that its file would have, so that tracebacks show the user's lines and
the instances of its classes can be stored.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import GeneratorType, ModuleType
from typing import Any, Final, NamedTuple

from runmesh.errors import Invalid, Problem
from runmesh.runtime.decorators import Decorated, Function, decorator, make_importable
from runmesh.runtime.failed import Failed
from runmesh.runtime.parameters import parameters_of

_INJECTED: Final = {"conditional": ("condition",), "callback": ("callback", "on_success", "on_failure")}
"""The decorators of other types than blocks."""


class Source(NamedTuple):
    """A block's text; `filename` and `module` are what tracebacks and stored objects call it."""

    block: str
    type: str
    text: str
    filename: str
    module: str

    @property
    def is_file(self) -> bool:
        """Whether tracebacks find the text by themselves."""
        return not self.filename.startswith("<")


class Checked(NamedTuple):
    """How many tests passed and failed."""

    passed: int = 0
    failed: int = 0


class Code:
    """An executed source. Whatever the user's code raises becomes `Failed` with that as its cause."""

    def __init__(self, source: Source) -> None:
        self._source = source
        module = ModuleType(source.module)
        module.__file__ = source.filename
        self._decorated = Decorated(module.__dict__)
        for name in _INJECTED.get(source.type, ("preprocesser", "test", source.type)):
            module.__dict__[name] = decorator(name)
        make_importable()
        sys.modules[source.module] = module
        if not source.is_file:
            _show_in_tracebacks(source)
        with self.of_the_user():
            exec(compile(source.text, source.filename, "exec", dont_inherit=True), module.__dict__)  # noqa: S102

    def run(self, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> list[Any]:
        """Run the block's function and return its outputs; raises `Invalid` if it can't take these inputs."""
        function = self._function()
        if problem := misfit(function, len(inputs)):
            raise Invalid(Problem(f"block {self._source.block}", problem, "check its upstream blocks"))
        with self.of_the_user():
            for preprocesser in self._decorated["preprocesser"]:
                call(preprocesser, inputs, keywords)
            return outputs_of(call(function, inputs, keywords))

    def sense(self, inputs: Sequence[Any], keywords: Mapping[str, Any], interval: float) -> None:
        """Call the sensor until it answers with something true, every `interval` seconds; it may ignore its inputs."""
        function = self._function()
        taken = inputs if takes_positionals(function) else []
        if problem := misfit(function, len(taken)):
            raise Invalid(Problem(f"block {self._source.block}", problem, "check its upstream blocks"))
        while not self._senses(function, taken, keywords):
            print(f"Sensor {self._source.block} is not ready, next try in {interval:g} s")  # noqa: T201
            time.sleep(interval)

    def test(self, outputs: Sequence[Any], keywords: Mapping[str, Any]) -> Checked:
        """Call all `@test` functions with the outputs; what fails an assertion is printed and counted."""
        tests = self._decorated["test"]
        failed = sum(not self._passes(function, outputs, keywords) for function in tests)
        if tests:
            print(f"{len(tests) - failed}/{len(tests)} tests passed.")  # noqa: T201
        return Checked(len(tests) - failed, failed)

    def decorated(self, name: str) -> list[Function]:
        """Return the functions that the source decorates with a decorator, in its order."""
        return self._decorated[name]

    def _function(self) -> Function:
        found = self._decorated[self._source.type]
        if not found:
            where, wanted = f"block {self._source.block}", self._source.type
            raise Invalid(Problem(where, f"{self._source.filename} decorates no function with @{wanted}"))
        return found[0]

    def _senses(self, function: Function, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> bool:
        with self.of_the_user():
            return bool(call(function, inputs, keywords))

    def _passes(self, function: Function, outputs: Sequence[Any], keywords: Mapping[str, Any]) -> bool:
        from runmesh.runtime.tracebacks import show  # noqa: PLC0415 - only where tests are

        with self.of_the_user():
            try:
                call(function, outputs, keywords)
            except AssertionError as error:
                print(f"FAIL: {getattr(function, '__name__', function)} (block: {self._source.block})")  # noqa: T201
                show(error, sys.stdout)
                return False
            return True

    @contextmanager
    def of_the_user(self) -> Iterator[None]:
        """Turn whatever the user's code raises here into `Failed`."""
        try:
            yield
        except (Exception, SystemExit) as error:
            raise Failed(f"{kind_of(self._source.type)} {self._source.block!r} failed") from error


def kind_of(type_of_block: str) -> str:
    """Return what errors call a block of this type: block, callback, or conditional."""
    return type_of_block if type_of_block in _INJECTED else "block"


def _show_in_tracebacks(source: Source) -> None:
    import linecache  # noqa: PLC0415 - slow to import, and not needed for a file

    lines = source.text.splitlines(keepends=True)
    linecache.cache[source.filename] = (len(source.text), None, lines, source.filename)


def outputs_of(result: Any) -> list[Any]:
    """Return a result as the list of outputs that Mage makes of it; a generator is one output, a list of its items."""
    if result is None:
        return []
    if isinstance(result, GeneratorType):
        return [list(result)]
    return list(result) if isinstance(result, tuple) else result if isinstance(result, list) else [result]


def misfit(function: Function, inputs: int) -> str | None:
    """Say why a function can't take this many inputs, or None (Mage's rule: one per parameter, more with `*args`)."""
    parameters = parameters_of(function)
    named = parameters.positional + parameters.keyword_only
    if named == inputs or (parameters.args and named < inputs):
        return None
    least = "at least " if parameters.args else ""
    name = getattr(function, "__name__", "the function")
    return f"{name} takes {least}{named} inputs, and the upstream blocks give {inputs}"


def takes_positionals(function: Function) -> bool:
    """Say whether a function takes any argument by its position."""
    parameters = parameters_of(function)
    return parameters.args or parameters.positional > 0


def call(function: Function, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    """Call a function with one argument per input, and with keywords only if it takes `**kwargs`."""
    return function(*inputs, **keywords) if parameters_of(function).kwargs else function(*inputs)
