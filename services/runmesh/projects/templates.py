"""Jinja in a project's documents, for strangers' text: sandboxed, and bounded in time and size.

Only what a configuration needs is there: Mage's functions (`env_var`, `json_value`, `variables`), a list of filters
and string methods, loops and conditions. The sandbox proper is in `sandbox`, imported only once a text holds a
template: jinja2 costs a tenth of a second, and most projects need none.

Secret functions (`mage_secret_var`, …) need Mage's database or a cloud SDK, and are not available here. In a project's
document their expressions stay as they are, so that only a use of such a value is an error: see `secret`.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runmesh.projects.sandbox import Sandbox


def is_template(text: str) -> bool:
    """Say whether Jinja has anything to do in this text."""
    return "{{" in text or "{%" in text or "{#" in text


class Templates:
    """Renders templates that see one environment and nothing else."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment

    def render(self, text: str, *, where: str, variables: Mapping[str, Any] | None = None) -> str:
        """Render a text; raises `Invalid` with `where:line` for whatever is wrong with it, secret functions included.

        `variables` are what the function `variables(name)` knows; without them it is undefined. An unset environment
        variable without a default renders as `None`, as in Mage.
        """
        return self._sandbox.render(text, where, variables) if is_template(text) else text

    def render_document(self, text: str, *, where: str) -> str:
        """Render a whole document, leaving `{{ … }}` that names a secret function as it is (raises as `render`)."""
        return self._sandbox.render(text, where, keep_secrets=True) if is_template(text) else text

    @cached_property
    def _sandbox(self) -> "Sandbox":
        from runmesh.projects.sandbox import Sandbox  # noqa: PLC0415 - jinja2 only where there is a template

        return Sandbox(self.environment)
