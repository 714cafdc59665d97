"""`@data_loader`, `@test` and the others: how a block's source says which of its functions does what.

Mage injects the decorators of the block's type into the source's globals. A source may also import them from
`mage_ai.data_preparation.decorators`; where Mage isn't installed, a module of ours stands in for that one. A decorator
counts only where the block's own source applies it: another block's file that is imported finds it without effect.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

Function = Callable[..., Any]

NAMES: Final = (
    "callback", "columns", "condition", "configuration", "custom", "data_exporter", "data_integration_catalog",
    "data_integration_config", "data_integration_destination", "data_integration_query",
    "data_integration_selected_streams", "data_integration_source", "data_loader", "data_source", "extension",
    "on_failure", "on_success", "preprocesser", "preprocesser_functions", "render", "sensor", "streaming_sink",
    "streaming_source", "test", "transformer", "x", "xy", "y",
)  # fmt: skip
_MODULE: Final = "mage_ai.data_preparation.decorators"


class Decorated:
    """The functions that a source decorates, by decorator, in the order of the source."""

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self._namespace = namespace
        self._functions: defaultdict[str, list[Function]] = defaultdict(list)

    def __getitem__(self, name: str) -> list[Function]:
        return self._functions[name]

    def decorator(self, name: str) -> Callable[[Function], Function]:
        """Make the decorator of this name."""

        def decorate(function: Function) -> Function:
            if sys._getframe(1).f_globals is self._namespace:  # noqa: SLF001 - whose source applies it
                self._functions[name].append(function)
            return function

        return decorate

    def make_importable(self) -> None:
        """Offer all decorators as Mage's module, unless Mage is installed."""
        if not _mage_is_installed():
            _stand_in({name: self.decorator(name) for name in NAMES})


def _mage_is_installed() -> bool:
    present = sys.modules.get("mage_ai")
    if present is not None:
        return present.__spec__ is not None
    return any(finder.find_spec("mage_ai", None) for finder in sys.meta_path)


def _stand_in(decorators: dict[str, Callable[[Function], Function]]) -> None:
    parts = _MODULE.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        module = sys.modules[name] = ModuleType(name)
        module.__path__ = []
        module.__dict__.update(decorators if name == _MODULE else {})
