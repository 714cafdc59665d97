"""Values that only Mage's database or a cloud's SDK know: named in documents, and not available here."""

from collections.abc import Mapping
from typing import Any, Final

SECRET_FUNCTIONS: Final = ("mage_secret_var", "aws_secret_var", "azure_secret_var", "gcp_secret_var")


def holds_secret(value: Any) -> bool:
    """Say whether a value of a document, or anything inside it, still holds a secret function's expression."""
    if isinstance(value, str):
        return "{{" in value and any(name in value for name in SECRET_FUNCTIONS)
    if isinstance(value, Mapping):
        return any(map(holds_secret, value.values()))
    return isinstance(value, list | tuple) and any(map(holds_secret, value))
