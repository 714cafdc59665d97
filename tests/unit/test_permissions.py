"""The users of a mesh, without a server: tests/integration/test_nats_security.py has one."""

import re

import pytest

from runmesh import subjects
from runmesh.cli import call
from runmesh.filters import matching
from runmesh.permissions import users
from runmesh.subjects import Form

KEY = f"U{'A' * 55}"


def names(*projects: str, pools: tuple[str, ...] = ("default",)) -> list[str]:
    return [user.name for user in users(projects, pools)]


def test_there_is_a_worker_for_each_type_and_pool_and_a_submitter_for_each_project() -> None:
    made = names("shop", "my.shop", pools=("default", "gpu"))
    assert {"worker-k8s", "worker-k8s-gpu", "submitter-shop", "submitter-my%2Eshop"} <= set(made)
    assert len(made) == len(set(made)) == 4 + 2 * len(subjects.ExecutorType) + 2


def test_a_project_whose_name_is_a_wildcard_is_one_token() -> None:
    (submitter,) = [user for user in users(["*"], ["default"]) if user.name.startswith("submitter")]
    assert "mesh.request.*.%2A" in submitter.publish


def test_nobody_but_people_may_publish_a_wildcard_at_a_subjects_beginning() -> None:
    for user in users(["shop"], ["default"]):
        if user.name != "admin":
            assert not [subject for subject in user.publish if subject.startswith((">", "*", "mesh.>", "$JS.API.>"))]


@pytest.mark.parametrize("form", Form)
def test_a_subject_is_built_as_its_form_says(form: Form) -> None:
    builder = getattr(subjects, form.name.lower())
    assert builder(*re.findall(r"<(.*?)>", form)) == form.replace("<", "").replace(">", "")


def test_a_filter_has_the_tokens_that_are_known() -> None:
    assert matching(Form.TASK_FACT, type="k8s", pool="a.b") == "mesh.task.*.k8s.a%2Eb.*.*.*"
    assert matching(Form.REQUEST, project="shop") == "mesh.request.*.shop"
    assert matching(Form.REQUEST, project="*") == "mesh.request.*.%2A"
    assert matching(Form.REQUEST, project="") == "mesh.request.*.%"


def test_a_fact_tells_of_its_own_subject_only() -> None:
    own = subjects.task_fact("failed", "k8s", "a.b", "my.shop", "r1", "load:3")
    assert subjects.tells(own, "failed", "k8s", "a.b", "r1", "load:3")
    for other in (
        ("completed", "k8s", "a.b", "r1", "load:3"),
        ("failed", "ecs", "a.b", "r1", "load:3"),
        ("failed", "k8s", "default", "r1", "load:3"),
        ("failed", "k8s", "a.b", "r2", "load:3"),
        ("failed", "k8s", "a.b", "r1", "load"),
    ):
        assert not subjects.tells(own, *other)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--project", "a-b", "--project", "a_b"], "would both use $RUNMESH_SUBMITTER_A_B_PASSWORD"),
        (["--nkey", f"resolvr={KEY}"], "did you mean 'resolver'?"),
        (["--nkey", "resolver=SUAB"], "is no public key of a user"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["permissions", *arguments]) == 2
    output = capsys.readouterr()
    assert not output.out
    assert said in output.err
    assert output.err.count("\n") == 1


def test_an_nkey_takes_the_place_of_a_password(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["permissions", "--nkey", f"resolver={KEY}", "--account", "SHOP"]) == 0
    written = capsys.readouterr().out
    assert f'{{ nkey: "{KEY}", permissions' in written
    assert "$RUNMESH_RESOLVER_PASSWORD" not in written
    assert '"SHOP_observer": {' in written
