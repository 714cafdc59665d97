"""Dashboard, alerts and their documentation ask for what there is, and alerts fire when they should."""

import re
import shutil
import subprocess
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.deploy.monitoring import (
    DIRECTORY,
    OF_THE_SCRAPE,
    PAGE,
    Json,
    Query,
    alerts,
    dashboard,
    grouped_by,
    kept_labels,
    known_metrics,
    labels_of_series,
    queries,
    selectors,
)

PROMTOOL: Final = shutil.which("promtool")
CASES: Final = Path(__file__).with_name("alerts_test.yaml")
EXPRESSIONS: Final = {
    **{rule["alert"]: rule["expr"] for rule in alerts()},
    **{f"{query.panel} {number}": query.text for number, query in enumerate(queries())},
}
of_every_query = pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
of_every_alert = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
with_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")


def promtool(*arguments: str) -> str:
    assert PROMTOOL
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False, cwd=CASES.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- queries -----------------------------------------------------------------------------------------


@of_every_query
def test_a_query_asks_for_series_and_labels_that_there_are(expression: str) -> None:
    known = labels_of_series()
    for selector in selectors(expression):
        assert selector.name in known
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert asked <= known[selector.name] | OF_THE_SCRAPE
    for labels, series in grouped_by(expression):
        assert labels <= frozenset().union(*(known[name] for name in series)) | OF_THE_SCRAPE


@pytest.mark.parametrize("wrong", ["rate(up)", "sum(up", "sum by le (up)", 'up{job="a" instance="b"}'])
def test_what_is_no_promql_is_found(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        list(selectors(wrong))


def test_every_metric_is_asked_for() -> None:
    asked = {selector.name for expression in EXPRESSIONS.values() for selector in selectors(expression)}
    spared = {"runmesh_queue_taken"}  # beside `pending`, for a look by hand
    assert [metric.name for metric in known_metrics() if not metric.series & asked and metric.name not in spared] == []


# --- alerts ------------------------------------------------------------------------------------------


@of_every_alert
def test_an_alert_says_what_it_means_and_what_to_do(alert: Json) -> None:
    name, said = alert["alert"], alert["annotations"]
    assert said.keys() == {"summary", "description", "runbook_url"}
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert said["runbook_url"] == f"docs/alerts.md#{name.lower()}"
    kept = kept_labels(alert["expr"])
    shown = set(re.findall(r"\$labels\.(\w+)", "".join(said.values())))
    assert shown <= (OF_THE_SCRAPE if kept is None else kept)


def test_every_alert_is_documented_and_every_documented_alert_is_there() -> None:
    headings = re.findall(r"^### (\w+)$", PAGE.read_text(), re.MULTILINE)
    assert headings == [alert["alert"] for alert in alerts()]


def test_links_within_the_page_lead_somewhere() -> None:
    page = PAGE.read_text()
    headings = {heading.lower() for heading in re.findall(r"^#+ (.+)$", page, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= headings


def test_panels_that_the_page_names_are_there() -> None:
    named = {" ".join(name.split()) for name in re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", PAGE.read_text())}
    assert named <= {panel["title"] for panel in dashboard()["panels"]}


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    rows = [
        f"| `{metric.name}` | {', '.join(f'`{label}`' for label in metric.labels) or 'none'} | {metric.meaning} |"
        for metric in known_metrics()
    ]
    table = "\n".join(["| metric | labels | what it is |", "|---|---|---|", *rows])
    found = re.search(r"<!-- metrics:.*?-->\n(.*?)\n<!-- end -->", PAGE.read_text(), re.DOTALL)
    assert found
    assert found[1] == table, f"docs/alerts.md should hold:\n\n{table}\n"


def test_units_and_suffixes_are_those_of_prometheus() -> None:
    for metric in known_metrics():
        assert re.fullmatch(r"runmesh_[a-z]+(_[a-z]+)*", metric.name)
        assert not re.search(r"milli|_ms|minutes|hours|kilo|_mb", metric.name)


@with_promtool
def test_prometheus_takes_rules_and_configuration() -> None:
    assert f"{len(alerts())} rules found" in promtool("check", "rules", str(DIRECTORY / "alerts.yaml"))
    promtool("check", "config", str(DIRECTORY / "prometheus.yml"))


@with_promtool
def test_alerts_fire_and_keep_quiet_as_the_cases_say() -> None:
    promtool("test", "rules", str(CASES))


def test_every_alert_has_a_case_in_which_it_fires_and_did_not_before() -> None:
    begun = set()
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        looks = [_firing(look) for look in case.get("promql_expr_test", ())]
        begun |= {name for before, after in pairwise(looks) for name in after - before}
    assert begun == {alert["alert"] for alert in alerts()}


def _firing(look: Json) -> set[str]:
    samples = look.get("exp_samples", ())
    return {name for sample in samples for name in re.findall(r'alertname="(\w+)"', sample["labels"])}


# --- the dashboard -----------------------------------------------------------------------------------


def test_the_dashboard_can_be_imported() -> None:
    board = dashboard()
    assert board["uid"] == "runmesh"
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "mesh", "executor"]
    assert Counter(panel["id"] for panel in board["panels"]).most_common(1)[0][1] == 1
    shown = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in shown} == {"${datasource}"}
    assert [panel["title"] for panel in shown if not panel["targets"]] == []


def test_no_panel_lies_on_another() -> None:
    for one, other in combinations([panel["gridPos"] for panel in dashboard()["panels"]], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
        assert one["x"] + one["w"] <= 24


def test_the_dashboard_answers_four_questions() -> None:
    rows = [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"]
    assert rows == ["Is anything stuck?", "What is slow?", "Which platform throttles?", "What failed, and why?"]


@pytest.mark.parametrize("query", [each for each in queries() if each.legend], ids=lambda query: query.panel)
def test_a_legend_shows_labels_that_are_left(query: Query) -> None:
    kept = kept_labels(query.text)
    assert set(re.findall(r"\{\{(\w+)\}\}", query.legend)) <= (OF_THE_SCRAPE if kept is None else kept)


@pytest.mark.parametrize("variable", dashboard()["templating"]["list"][1:], ids=lambda variable: variable["name"])
def test_a_variable_offers_the_values_of_a_label_that_there_is(variable: Json) -> None:
    [(series, label)] = re.findall(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["query"]["query"])
    assert label in labels_of_series()[series] | OF_THE_SCRAPE
