"""What the documentation says of the code is true."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from runmesh import subjects
from runmesh.projects import yaml_text
from runmesh.resolver.policy import policy_of
from runmesh.settings import PREFIX, Settings
from runmesh.subjects import ExecutorType

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "deploy/demo/README.md", *sorted((ROOT / "docs").glob("*.md"))]


def default(field: FieldInfo) -> str:
    value: Any = field.default
    match value:
        case None:
            return "none"
        case tuple():
            return f"`{','.join(value)}`"
        case bool():
            return f"`{str(value).lower()}`"
        case Path():
            return f"`{value}`"
    return f"`{value}`"


def settings_table() -> str:
    rows = [
        f"| `{PREFIX}{name.upper()}` | {default(field)} | {field.description or ''} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def test_the_table_of_settings_is_that_of_the_code() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    found = re.search(r"<!-- settings:.*?-->\n(.*?)\n<!-- end -->", page, re.DOTALL)
    assert found
    assert found[1] == settings_table(), f"docs/settings.md should hold:\n\n{settings_table()}\n"


def test_the_example_of_a_policy_is_one() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    found = re.search(r"<!-- policy:.*?-->\n```yaml\n(.*?)```\n<!-- end -->", page, re.DOTALL)
    assert found
    policy = policy_of(yaml_text.parse(found[1], "policy.yaml"), "policy.yaml")
    assert set(policy.guards) == {"k8s", "local_python"}
    assert policy.guard("k8s").maxima["job.activeDeadlineSeconds"].value == 7200
    assert policy.guard("local_python").enforced
    assert not policy.allow_inline
    assert not policy.allow_overrides


def test_every_subject_is_documented() -> None:
    page = (ROOT / "docs/events.md").read_text().replace(r"\|", "|")  # as a table's cell writes it
    assert [subject for subject in subjects.Form if f"`{subject}`" not in page] == []


def test_the_readme_knows_every_executor_type() -> None:
    page = (ROOT / "README.md").read_text()
    assert [kind for kind in ExecutorType if f"`{kind}`" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_headings(page: Path) -> None:
    targets = re.findall(r"\]\(([^):]*)#([^)]+)\)", page.read_text())
    assert [found for found in targets if found[1] not in headings(page.parent / found[0] if found[0] else page)] == []


def headings(page: Path) -> set[str]:
    """As they stand in links: GitHub's rule, as far as we need it."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_test_that_the_comparison_with_mage_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/mage.md").read_text()))
    written = {
        name for file in ROOT.glob("tests/**/test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    assert len(named) > 100
    assert sorted(named - written) == []


def test_every_line_about_blocks_names_a_test() -> None:
    _, _, lines = (ROOT / "docs/mage.md").read_text().partition("## Blocks, line by line")
    rows = [line for line in lines.splitlines() if line.startswith("| ") and not line.startswith("| Mage OSS ")]
    assert [row for row in rows if "`test_" not in row.rstrip(" |").rpartition(" | ")[2]] == []
