"""`@data_loader`, `@test` and the others: how a block's source says which of its functions does what.

Mage injects the decorators of the block's type into the source's globals. A source may also import them from
`mage_ai.data_preparation.decorators`; where Mage isn't installed, a module of ours stands in for that one, and another
for `mage_ai.io.file`, which the pipeline that `mage init` writes imports (`fileio`). A decorator
counts only where the block's own source applies it: it looks into the globals that it is called from, so another
block's file that is imported finds it without effect, and blocks of one process don't meet.
"""

import sys
from collections import defaultdict
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any, Final

Function = Callable[..., Any]

NAMES: Final = (
    "callback", "columns", "condition", "configuration", "custom", "data_exporter", "data_integration_catalog",
    "data_integration_config", "data_integration_destination", "data_integration_query",
    "data_integration_selected_streams", "data_integration_source", "data_loader", "data_source", "extension",
    "on_failure", "on_success", "preprocesser", "preprocesser_functions", "render", "sensor", "streaming_sink",
    "streaming_source", "test", "transformer", "x", "xy", "y",
)  # fmt: skip
STATUSES: Final = ("cancelled", "failure", "success")
"""What `@callback(…)` takes."""
BARE: Final = "callback"
"""What a function decorated with `@callback` alone counts as: it is called without any arguments."""
_MODULES: Final = ("mage_ai", "mage_ai.data_preparation", "mage_ai.data_preparation.decorators", "mage_ai.io")
_FILES: Final = "mage_ai.io.file"
_KEY: Final = "__decorated__"


class Decorated:
    """The functions that a source decorates, by decorator, in the order of the source."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._functions: defaultdict[str, list[Function]] = defaultdict(list)
        namespace[_KEY] = self

    def __getitem__(self, name: str) -> list[Function]:
        return self._functions[name]


def decorator(name: str) -> Callable[..., Any]:
    """Make the decorator of this name."""
    return _callback if name == BARE else _plain(name)


def make_importable() -> None:
    """Offer all decorators, and `FileIO`, as Mage's modules, unless Mage is installed."""
    if not _mage_is_installed() and _FILES not in sys.modules:
        _stand_in()


def with_status(status: str) -> str:
    """Return what functions decorated with `@callback(status)` count as."""
    return f"callback:{status}"


def _plain(name: str) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        _note(name, function, sys._getframe(1).f_globals)  # noqa: SLF001 - whose source applies it
        return function

    return decorate


def _callback(status: Any = "success", *_: Any, **__: Any) -> Any:
    """`@callback`, `@callback()` and `@callback(status)`."""
    if isinstance(status, FunctionType):
        _note(BARE, status, sys._getframe(1).f_globals)  # noqa: SLF001 - as above
        return status
    if status not in STATUSES:
        raise ValueError(f"@callback({status!r}): the status must be one of {', '.join(STATUSES)}")
    # Our own text of it: a member of Mage's `CallbackStatus` equals it, but is written otherwise.
    return _plain(with_status(STATUSES[STATUSES.index(status)]))


def _note(name: str, function: Function, namespace: dict[str, Any]) -> None:
    decorated = namespace.get(_KEY)
    if isinstance(decorated, Decorated):
        decorated[name].append(function)


def _mage_is_installed() -> bool:
    present = sys.modules.get("mage_ai")
    if present is not None:
        return present.__spec__ is not None
    return any(finder.find_spec("mage_ai", None) for finder in sys.meta_path)


def _stand_in() -> None:
    for name in (*_MODULES, _FILES):
        module = sys.modules[name] = ModuleType(name)
        module.__path__ = []
        if name.endswith(".decorators"):
            module.__dict__.update({each: decorator(each) for each in NAMES})
    module.__dict__["__getattr__"] = _of_files


def _of_files(name: str) -> Any:
    if name != "FileIO":
        raise AttributeError(name)
    from runmesh.runtime.fileio import FileIO  # noqa: PLC0415 - few blocks use it

    return FileIO
