"""What a caller asks for: label and field selectors, and parameters that say yes or no."""

from collections.abc import Callable, Mapping
from typing import Any

from tests.emulators.kubernetes.status import Status

Matches = Callable[[Mapping[str, str]], bool]


def labels(selector: str) -> Matches:
    """Return whether labels fit a selector of equalities and existences, all of which must hold."""
    terms = [_term(term.strip()) for term in selector.split(",") if term.strip()]
    return lambda labels: all(term(labels) for term in terms)


def _term(term: str) -> Matches:
    if "(" in term:
        raise Status(400, f"this emulator reads no sets: {term}")
    for sign in ("!=", "==", "="):
        name, found, value = (part.strip() for part in term.partition(sign))
        if found:
            return lambda labels: (labels.get(name) == value) is (sign != "!=")
    return (lambda labels: term[1:] not in labels) if term.startswith("!") else (lambda labels: term in labels)


def fields(selector: str, found: Mapping[str, Any]) -> bool:
    """Return whether an object's fields are those asked for."""
    for term in filter(None, selector.split(",")):
        path, _, value = term.replace("==", "=").partition("=")
        place: Any = found
        for step in path.split("."):
            place = place.get(step) or {} if isinstance(place, Mapping) else {}
        if place != value:
            return False
    return True


def flag(query: Mapping[str, str], name: str) -> bool:
    """Return whether a parameter says yes, in any of Go's ways."""
    return query.get(name, "") in ("1", "t", "T", "true", "TRUE", "True")
