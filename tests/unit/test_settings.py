"""Settings that are wrong: each is one line that names the variable, what it got and what it wants."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from runmesh.errors import Invalid
from runmesh.settings import Settings, load, projects_of

A_FILE: Final = str(Path(__file__))
SECRET: Final = "hunter2"  # noqa: S105

WRONG: Final[list[tuple[str, str, str]]] = [
    ("nats_url", "nats", "should be nats://HOST:PORT, or several with commas, not 'nats'"),
    ("nats_url", "nats://a:4222,,", "should be nats://HOST:PORT, or several with commas, not 'nats://a:4222,,'"),
    ("nats_url", "http://nats:8222", "should be nats://HOST:PORT, .*, not 'http://nats:8222'"),
    ("nats_url", f"nats://me:{SECRET}/x@a b", r"should be .*, not 'nats://\*\*\*@a b'"),
    ("nats_token", f"{SECRET}\n", "begins or ends with white space: a line break from a file, perhaps$"),
    ("nats_user", " resolver", "begins or ends with white space"),
    ("nats_user", "resolver", "RUNMESH_NATS_PASSWORD: is missing: RUNMESH_NATS_USER needs it$"),
    ("nats_password", SECRET, "needs RUNMESH_NATS_USER$"),
    ("nats_nkey", "/not/there", "should be a file, not '/not/there'"),
    ("nats_credentials", "/not/there", "should be a file, not '/not/there'"),
    ("nats_inbox", "mine", r"should match .*, not 'mine'"),
    ("nats_inbox", "_INBOX.*", r"should match .*, not '_INBOX\.\*'"),
    ("nats_ca", "/not/there", "should be a file, not '/not/there'"),
    ("nats_ca", A_FILE, "no certificate"),
    ("nats_certificate", "/not/there", "should be a file, not '/not/there'"),
    ("nats_certificate", A_FILE, "no certificate, or not its key"),
    ("nats_key", "/not/there", "should be a file, not '/not/there'"),
    ("nats_key", A_FILE, "needs RUNMESH_NATS_CERTIFICATE$"),
    ("nats_project", "../shop", "should match .*, not '../shop'"),
    ("mesh", "My Mesh", "should match .*, not 'My Mesh'"),
    ("projects_dir", A_FILE, f"should be a folder, not '{A_FILE}'"),
    ("state_dir", A_FILE, f"should be a folder, not '{A_FILE}'"),
    ("pool", "g p u", "should match .*, not 'g p u'"),
    ("pools", " , ", "should name one at least"),
    ("pools", "default,g pu", "should match .*, not 'g pu'"),
    ("slots", "0", "should be greater than or equal to 1, not '0'"),
    ("slots", "2.5", "should be a whole number, not '2.5'"),
    ("allow_inline", "maybe", "should be true or false, not 'maybe'"),
    ("allow_overrides", "2", "should be true or false, not '2'"),
    ("policy", "/", "should be a file, not '/'"),
    ("runtime", "magic", "should be 'native' or 'mage', not 'magic'"),
    ("max_in_flight", "0", "should be greater than or equal to 1, not '0'"),
    ("max_dynamic_children", "many", "should be a whole number, not 'many'"),
    ("queue_timeout", "1h", "should be a number, not '1h'"),
    ("infrastructure_retries", "-1", "should be greater than or equal to 0, not '-1'"),
    ("ack_wait", "0", "should be greater than 0, not '0'"),
    ("sweep_interval", "nan", "should be a finite number, not 'nan'"),
    ("cancel_timeout", "1e30", "should be less than or equal to 31622400, not '1e30'"),
    ("grace", "inf", "should be .*, not 'inf'"),
    ("log_burst", "10MB", "should be a whole number, not '10MB'"),
    ("log_rate", "0", "should be greater than or equal to 1, not '0'"),
    ("log_level", "verbose", "should be 'debug', 'info', 'warning' or 'error', not 'verbose'"),
    ("log_format", "yaml", "should be 'auto', 'json' or 'text', not 'yaml'"),
    ("health_port", "http", "should be a whole number, not 'http'"),
    ("health_port", "70000", "should be less than or equal to 65535, not '70000'"),
]


@pytest.mark.parametrize(("name", "value", "said"), WRONG)
def test_a_wrong_setting_is_one_line_without_any_secret(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"RUNMESH_{name.upper()}"
    monkeypatch.setenv(variable, value)
    with pytest.raises(Invalid, match=said) as caught:
        assert load().login
    assert variable in str(caught.value)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_every_setting_has_a_wrong_value_here() -> None:
    assert {name for name, _, _ in WRONG} >= set(Settings.model_fields)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"nats_token": "t", "nats_user": "u"}, "RUNMESH_NATS_USER: is one way .* too many beside RUNMESH_NATS_TOKEN$"),
        ({"nats_token": "t", "nats_credentials": A_FILE}, "RUNMESH_NATS_CREDENTIALS: is one way .*RUNMESH_NATS_TOKEN$"),
        ({"nats_nkey": A_FILE, "nats_credentials": A_FILE}, "_CREDENTIALS: is one way .* too many beside .*_NKEY$"),
    ],
)
def test_there_is_one_way_to_authenticate(given: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        load(**given)


def test_everything_that_is_wrong_is_said_at_once_and_ends_with_exit_code_2() -> None:
    wrong = {"RUNMESH_SLOTS": "none", "RUNMESH_ACK_WAIT": "soon"}
    done = subprocess.run(
        [sys.executable, "-m", "runmesh", "executor", "local_python"],
        env={**os.environ, **wrong}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        "runmesh: RUNMESH_SLOTS: should be a whole number, not 'none'\n"
        "runmesh: RUNMESH_ACK_WAIT: should be a number, not 'soon'\n"
    )


def test_a_resolver_needs_the_folder_of_the_projects(tmp_path: Path) -> None:
    assert projects_of(load(projects_dir=tmp_path)) == tmp_path
    with pytest.raises(Invalid, match="RUNMESH_PROJECTS_DIR: should be the folder that holds the projects, not '/not"):
        projects_of(load(projects_dir="/not/there"))
