"""Every mistake of a project at once."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runmesh.resolver.findings import findings_in
from runmesh.resolver.located import Severity

PYTHON = f"Python {sys.version_info.major}.{sys.version_info.minor}"
GOOD = """\
uuid: orders
executor_config: {}
retry_config: {retries: 1}
blocks:
- uuid: load
  type: data_loader
  executor_type: local_python
- uuid: save
  type: custom
  upstream_blocks: [load]
"""
LOAD = "@data_loader\ndef load(): ...\n"
SAVE = "@custom\ndef save(orders): ...\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, {"metadata.yaml": "", "pipelines/orders/metadata.yaml": GOOD})
    write(tmp_path, {"data_loaders/load.py": LOAD, "custom/save.py": SAVE})
    return tmp_path


def write(project: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)


def found(project: Path, environment: Mapping[str, str] | None = None) -> list[tuple[str | None, int | None, str]]:
    report = findings_in(project, environment=environment or {})
    return [(each.file, each.line, f"{each.path}: {each.message}".removeprefix(": ")) for each in report.findings]


def test_a_good_project_has_none(project: Path) -> None:
    report = findings_in(project, environment={})
    assert (report.project, report.findings, report.pipelines) == (project.name, (), {"orders": ()})


def test_pipelines_are_looked_at_even_if_their_projects_document_is_broken(project: Path) -> None:
    write(
        project, {"metadata.yaml": "a: b: c\n", "custom/save.py": "def save(): ...\n", "pipelines/b/metadata.yaml": "["}
    )
    places = [(file, line) for file, line, _ in found(project)]
    assert places == [("custom/save.py", 1), ("metadata.yaml", 1), ("pipelines/b/metadata.yaml", 2)]
    assert all(findings_in(project, environment={}).pipelines.values())


def test_a_finding_of_the_project_is_there_once_and_stops_every_pipeline(project: Path) -> None:
    write(
        project,
        {"metadata.yaml": "\nexecutor_type: k8\n", "pipelines/again/metadata.yaml": GOOD.replace("orders", "again")},
    )
    report = findings_in(project, environment={})
    assert [(each.file, each.line, each.path) for each in report.findings] == [("metadata.yaml", 2, "executor_type")]
    assert all(report.pipelines.values())
    assert report.count(Severity.ERROR) == 1


def test_what_is_in_no_file_has_no_line(project: Path) -> None:
    message = "DEFAULT_EXECUTOR_TYPE: unknown executor type 'k8' (environment level)"
    assert found(project, {"DEFAULT_EXECUTOR_TYPE": "k8"}) == [(None, None, message)]


@pytest.mark.parametrize(
    ("document", "line"),
    [
        ("a_comment: 1\n{% if true %}\nexecutor_type: k8\n{% endif %}\n", 3),
        ("{% set x = [1,\n 2] %}\n{% if true -%}\nexecutor_type: k8\n{% endif %}\n", 4),
        ("{{ env_var('X',\n 'a: 1') }}\nretry_config:\n  retries: many\n", 3),
        ("x: {{ 1 / 0 }}\n", 1),
        ("y: 1\nx: {{ nothing }}\n", 2),
        ("y: {{ 1 }}\nx: [\n", 3),
    ],
)
def test_lines_of_a_template_are_those_of_its_text(project: Path, document: str, line: int) -> None:
    write(project, {"metadata.yaml": document})
    errors = [each for each in findings_in(project, environment={}).findings if each.severity is Severity.ERROR]
    assert [(each.file, each.line) for each in errors] == [("metadata.yaml", line)]


def test_a_template_in_a_value_has_the_values_line(project: Path) -> None:
    write(project, {"pipelines/orders/metadata.yaml": GOOD.replace("local_python", "'{{ nothing }}'")})
    ((file, line, _),) = found(project)
    assert (file, line) == ("pipelines/orders/metadata.yaml", 7)


def test_a_namespace_of_the_pipeline_that_renders_to_nothing_has_its_line(project: Path) -> None:
    document = GOOD.replace("{}", "\n  namespace: \"{{ env_var('NOWHERE') }}\"\nexecutor_type: k8s")
    write(project, {"pipelines/orders/metadata.yaml": document})
    errors = [each for each in findings_in(project, environment={}).findings if each.severity is Severity.ERROR]
    assert ("pipelines/orders/metadata.yaml", 3) in {(each.file, each.line) for each in errors}


def test_callbacks_and_conditionals_are_looked_at(project: Path) -> None:
    extra = "callbacks:\n- {uuid: tell, type: callback}\nconditionals:\n- uuid: check\n  type: conditional\n"
    write(project, {"pipelines/orders/metadata.yaml": GOOD + extra, "conditionals/check.py": "x = ="})
    assert set(found(project)) >= {
        ("pipelines/orders/metadata.yaml", 12, "block tell: its file callbacks/tell.py is missing"),
        ("conditionals/check.py", 1, f"is no {PYTHON}: invalid syntax"),
    }


def test_mistakes_in_triggers_are_errors(project: Path) -> None:
    triggers = "triggers:\n- name: nightly\n  settings:\n    timeout: soon\n- naem: daily\n"
    write(project, {"pipelines/orders/triggers.yaml": triggers})
    report = findings_in(project, environment={})
    file = "pipelines/orders/triggers.yaml"
    assert [(each.severity, each.file, each.line, each.path) for each in report.findings] == [
        (Severity.ERROR, file, 4, "triggers[0].settings.timeout"),
        (Severity.ERROR, file, 5, "triggers[1].name"),
        (Severity.WARNING, file, 5, "triggers[1].naem"),
    ]
    write(project, {file: "triggers:\n- ["})
    assert [(each.severity, each.file, each.line) for each in findings_in(project, environment={}).findings] == [
        (Severity.ERROR, file, 3)
    ]


def test_a_pipeline_behind_a_link_that_leads_outside_is_an_error(project: Path, tmp_path_factory: Any) -> None:
    outside = tmp_path_factory.mktemp("outside")
    write(outside, {"metadata.yaml": GOOD})
    (project / "pipelines/linked").symlink_to(outside)
    ((file, line, message),) = found(project)
    assert (file, line) == ("pipelines/linked/metadata.yaml", 1)
    assert "leads outside" in message


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("ab{}%/.: \n'\x07", max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.:[0] ", max_size=4), inner, max_size=3),
    max_leaves=6,
)
CONFIG = ("retries", "delay", "namespace", "kill_grace", "environment", "runtime", "pool", "timeout", "block_run_limit")
COMMON = ("executor_type", "executor_config", "retry_config", "variables_dir", "concurrency_config")
PROJECT = (*COMMON, "local_python_config", "k8s_executor_config", "ecs_config", "remote_variables_dir", "runtime")
PIPELINE = (*COMMON, "type", "name", "callbacks", "conditionals", "variables", "extensions", "notification_config")
BLOCK = (
    *COMMON[:3],
    "uuid",
    "language",
    "upstream_blocks",
    "configuration",
    "timeout",
    "content",
    "command",
    "has_callback",
)
value = (
    anything
    | st.dictionaries(st.sampled_from(CONFIG), anything, max_size=3)
    | st.sampled_from(["k8s", "pyspark", "load"])
)
block = st.fixed_dictionaries(
    {"uuid": st.sampled_from(["load", "a: b", "a.b", "x"]), "type": st.sampled_from(["data_loader", "sensor", "dbt"])}
)
blocks = st.lists(st.builds(dict.__or__, block, st.dictionaries(st.sampled_from(BLOCK), value, max_size=3)), max_size=3)
of_project = st.dictionaries(st.sampled_from(PROJECT), value, max_size=4)
of_pipeline = st.builds(
    dict.__or__,
    st.dictionaries(st.sampled_from(PIPELINE), value, max_size=4),
    st.fixed_dictionaries({"blocks": blocks}),
)

on_one_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@on_one_folder
@given(of_project, of_pipeline)
def test_never_raises_whatever_the_documents_say(
    project: Path, document: dict[str, Any], pipeline: dict[str, Any]
) -> None:
    write(
        project, {"metadata.yaml": yaml.safe_dump(document), "pipelines/orders/metadata.yaml": yaml.safe_dump(pipeline)}
    )
    for each in findings_in(project, environment={}).findings:
        assert each.message
        assert (each.file is None) == (each.line is None)
        assert each.line is None or each.line >= 1


@on_one_folder
@given(st.integers(0, len(GOOD)), st.integers(0, 30), st.text() | st.text("ab:-[]{}&*!?|>'\"#%@,<\n \t", max_size=20))
@example(0, len(GOOD), "")
@example(0, len(GOOD), "blocks: &b [*b]")
@example(0, len(GOOD), "blocks: {}\n? [a]\n: 1")
def test_never_raises_for_a_damaged_document(project: Path, start: int, length: int, text: str) -> None:
    damaged = GOOD[:start] + text.encode(errors="replace").decode() + GOOD[start + length :]
    write(project, {f"pipelines/orders/{name}.yaml": damaged for name in ("metadata", "triggers")})
    write(project, {"metadata.yaml": damaged})
    findings_in(project, environment={})


@on_one_folder
@given(st.integers(0, len(LOAD)), st.text() | st.text("@():.=\n\t '\"\\x0", max_size=20))
def test_never_raises_for_a_damaged_source(project: Path, start: int, text: str) -> None:
    (project / "data_loaders/load.py").write_bytes((LOAD[:start] + text + LOAD[start:]).encode(errors="surrogatepass"))
    findings_in(project, environment={})
