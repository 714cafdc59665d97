"""The Jinja environment for strangers' templates.

Jinja's own sandbox hides Python's internals, but not work without end. Three things are added:

- statements are loops, conditions and assignments: no macros, imports or captures, so nothing recurses
- what can be called is listed in `functions`, filters and methods included
- every value is measured where it is made, and every turn of a loop is paid for (`meter`): operators through the
  sandbox's interception; literals, concatenations and loops through filters that `_Metered` puts around them
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import lru_cache
from typing import Any, Final, cast

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from runmesh.errors import Invalid, Problem, nearest
from runmesh.projects.functions import FILTERS, METHODS, Function, functions, join, replace, variables_function
from runmesh.projects.meter import LARGEST_OUTPUT, LONGEST_TEMPLATE, METER, Exceeded, Meter, check, limited, size
from runmesh.projects.secret import SECRET_FUNCTIONS

_STATEMENTS: Final = (nodes.Template, nodes.Output, nodes.If, nodes.For, nodes.Assign)
_PLAIN: Final = (str, int, float, list, tuple, dict, range, date, Undefined)
_COMPILED: Final = 256
_UNKNOWN_NAME: Final = re.compile(r"'(\w+)' is undefined")
_UNKNOWN_FILTER: Final = re.compile(r"No filter named '(\w+)'")


class Sandbox:
    """Renders templates over one environment; compiled templates are kept."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._jinja = _Environment(environment)
        self._compiled = lru_cache(_COMPILED)(self._jinja.from_string)

    def render(
        self, text: str, where: str, variables: Mapping[str, Any] | None = None, *, keep_secrets: bool = False
    ) -> str:
        """Render a text; raises `Invalid`, its path being `where:line`."""
        if len(text) > LONGEST_TEMPLATE:
            raise Invalid(Problem(where, f"a template may have {LONGEST_TEMPLATE:,} characters"))
        known = {} if variables is None else {"variables": variables_function(variables)}
        try:
            return _output(self._compiled(self._with_raw_secrets(text) if keep_secrets else text), known)
        except Exception as error:  # noqa: BLE001 - whatever a template raises is its author's mistake
            raise Invalid(self._problem(error, where)) from None

    def _with_raw_secrets(self, text: str) -> str:
        parts: list[str] = []
        start, secret = 0, False
        for _, kind, token in self._jinja.lexer.tokeniter(text, None):
            if kind == "variable_begin":
                start, secret = len(parts), False
            parts.append(token)
            secret = secret or (kind == "name" and token in SECRET_FUNCTIONS)
            if kind == "variable_end" and secret:
                parts[start:] = ["{% raw %}", *parts[start:], "{% endraw %}"]
        return "".join(parts)

    def _problem(self, error: Exception, where: str) -> Problem:
        line = error.lineno if isinstance(error, TemplateSyntaxError) else _line(error)
        message = (error.message if isinstance(error, TemplateSyntaxError) else str(error)) or type(error).__name__
        hint = None
        if found := _UNKNOWN_NAME.search(message):
            hint = nearest(found[1], self._jinja.globals)
        elif found := _UNKNOWN_FILTER.search(message):
            hint = nearest(found[1], FILTERS)
        return Problem(f"{where}:{line}" if line else where, f"the template fails: {message[:300]}", hint)


def _output(template: Template, variables: Mapping[str, Any]) -> str:
    METER.set(Meter())
    chunks: list[str] = []
    total = 0
    # Not `template.generate`, which rewrites tracebacks: `_line` reads them.
    for chunk in template.root_render_func(template.new_context(dict(variables))):
        chunks.append(chunk)
        total += len(chunk)
        if total > LARGEST_OUTPUT:
            raise Exceeded(f"the output is larger than {LARGEST_OUTPUT:,} characters")
    return "".join(chunks)


def _line(error: Exception) -> int | None:
    line, step = None, error.__traceback__
    while step:
        if template := step.tb_frame.f_globals.get("__jinja_template__"):
            line = template.get_corresponding_lineno(step.tb_lineno)
        step = step.tb_next
    return line


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

    def __init__(self, environment: Mapping[str, str]) -> None:
        # Without the optimizer nothing is worked out, unmetered, while compiling.
        super().__init__(undefined=StrictUndefined, optimized=False, keep_trailing_newline=True, finalize=_finalize)
        self.globals = dict(functions(environment))
        # No template can name these: they are no identifiers.
        self.filters = FILTERS | {"=limited": limited, "=joined": join, "=paid": _paid}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for statement in tree.find_all(nodes.Stmt):
            if not isinstance(statement, _STATEMENTS) or getattr(statement, "recursive", False):
                kind = type(statement).__name__.lower()
                raise TemplateSyntaxError(f"{kind!r} is not available here", statement.lineno)
        _Metered().visit(tree)
        tree.set_environment(self)
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            raise SecurityError("text can't be formatted with % here")
        if operator == "*":
            check(max(_repeated(left, right), _repeated(right, left)))
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            check(left.bit_length() * right)
        return limited(super().call_binop(context, operator, left, right))

    def is_safe_callable(self, obj: Any) -> bool:
        # Calling something undefined raises the better error.
        return isinstance(obj, Function | Undefined) or _is_method(obj)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not self.is_safe_callable(obj):
            raise SecurityError(f"{getattr(obj, '__name__', 'this')} can't be called here")
        if getattr(obj, "__name__", None) == "replace":
            return limited(replace(obj.__self__, *args, **kwargs))
        return limited(super().call(context, obj, *args, **kwargs))


def _repeated(value: Any, times: Any) -> int:
    if not isinstance(value, str | list | tuple) or not isinstance(times, int):
        return 0
    return (size(value) - 1) * times


def _is_method(obj: Any) -> bool:
    owner = getattr(obj, "__self__", None)
    return isinstance(owner, str | dict) and getattr(obj, "__name__", None) in METHODS


@pass_context  # a finalizer that takes the context is not run while compiling
def _finalize(_context: Context, value: Any) -> Any:
    if value is not None and not isinstance(value, _PLAIN):
        raise SecurityError(f"a {type(value).__name__} can't be written out")
    return limited(value)


def _paid(items: Iterable[Any], cost: int) -> Iterator[Any]:
    meter = METER.get()
    for item in items:
        meter.spend(cost)
        yield item


class _Metered(NodeTransformer):
    """Puts filters around what makes values without an operator or a call."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - the visitor's convention
        cost = 1 + sum(1 for _ in node.find_all(nodes.Node))
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "=paid", nodes.Const(cost))
        return node

    def visit_List(self, node: nodes.Expr) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "=limited")

    visit_Dict = visit_List  # noqa: N815

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:  # noqa: N802
        return node if node.ctx == "store" else self.visit_List(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _filtered(_filtered(nodes.List(node.nodes, lineno=node.lineno), "=joined"), "=limited")


def _filtered(node: nodes.Node, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(cast("nodes.Expr", node), name, list(args), [], None, None, lineno=node.lineno)
