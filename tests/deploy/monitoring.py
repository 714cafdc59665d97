"""What `deploy/monitoring/` asks Prometheus, taken apart, and what the services answer."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import promql_parser
import yaml
from prometheus_client import Counter, Gauge, Histogram

from runmesh import metrics

Json = dict[str, Any]

ROOT: Final = Path(__file__).parents[2]
DIRECTORY: Final = ROOT / "deploy" / "monitoring"
PAGE: Final = ROOT / "docs" / "alerts.md"
OF_THE_SCRAPE: Final = frozenset({"mesh", "instance", "job"})
"""Labels that Prometheus adds."""


class Metric(NamedTuple):
    """One of ours, as it is written down in metrics.py."""

    name: str
    labels: tuple[str, ...]
    meaning: str
    series: frozenset[str]
    """The names under which Prometheus has it."""


def known_metrics() -> list[Metric]:
    """Return every metric, in the order of metrics.py."""
    return [_metric(each) for each in vars(metrics).values() if isinstance(each, Counter | Gauge | Histogram)]


def _metric(metric: Counter | Gauge | Histogram) -> Metric:
    [family] = metric.describe()
    name, labels, series = family.name, tuple(metric._labelnames), frozenset({family.name})  # noqa: SLF001 - no public way
    if isinstance(metric, Counter):
        name += "_total"
        series = frozenset({name})
    elif isinstance(metric, Histogram):
        series = frozenset(f"{name}_{part}" for part in ("bucket", "sum", "count"))
    return Metric(name, labels, family.documentation, series)


@cache
def labels_of_series() -> dict[str, frozenset[str]]:
    """Return the labels of everything that Prometheus knows of us, beside those of the scrape."""
    found = {
        series: frozenset(metric.labels) | ({"le"} if series.endswith("_bucket") else frozenset())
        for metric in known_metrics()
        for series in metric.series
    }
    return {**found, "up": frozenset()}


def alerts() -> list[Json]:
    """Return every alert."""
    groups = yaml.safe_load((DIRECTORY / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> Json:
    """Return the dashboard."""
    found: Json = json.loads((DIRECTORY / "dashboard.json").read_text())
    return found


class Query(NamedTuple):
    """What a panel asks, as Prometheus gets it where all meshes and executors are chosen."""

    panel: str
    text: str
    legend: str


def queries(interval: str = "5m", whole: str = "3h") -> list[Query]:
    """Return all that the dashboard asks."""
    chosen = {"$mesh": ".*", "$executor": ".*", "$__rate_interval": interval, "$__range": whole}
    found = []
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            text = re.sub(r"\$\w+", lambda name: chosen[name[0]], target["expr"])
            found.append(Query(panel["title"], text, target["legendFormat"]))
    return found


def selectors(expression: str) -> Iterator[promql_parser.VectorSelector]:
    """Yield what an expression selects. Raises `ValueError` if it is none."""
    return (part for part in _parts(promql_parser.parse(expression)) if isinstance(part, promql_parser.VectorSelector))


def kept_labels(expression: str) -> frozenset[str] | None:
    """Return the labels that the outermost aggregations of an expression keep; None if there are none."""
    kept = [
        frozenset(part.modifier.labels if part.modifier else ())
        for part in _parts(promql_parser.parse(expression), into_aggregates=False)
        if isinstance(part, promql_parser.AggregateExpr)
    ]
    return frozenset().union(*kept) if kept else None


def grouped_by(expression: str) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
    """Yield the labels of every aggregation, with the names of the series below it."""
    for part in _parts(promql_parser.parse(expression)):
        if isinstance(part, promql_parser.AggregateExpr):
            below = (each for each in _parts(part.expr) if isinstance(each, promql_parser.VectorSelector))
            yield frozenset(part.modifier.labels if part.modifier else ()), frozenset(str(each.name) for each in below)


def _parts(expression: Any, *, into_aggregates: bool = True) -> Iterator[Any]:
    yield expression
    if isinstance(expression, promql_parser.AggregateExpr) and not into_aggregates:
        return
    inner = [getattr(expression, name, None) for name in ("lhs", "rhs", "expr", "vector_selector")]
    for part in (*inner, *getattr(expression, "args", ())):
        if part is not None:
            yield from _parts(part, into_aggregates=into_aggregates)
