"""No secret is shown: what is known to be one, what looks like one, what is called one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmesh.redaction import HIDDEN, hidden, hide, known_in, names_secret, secrets_in

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db"
SECRET = "s3cr3t-Value/+=="  # noqa: S105 - it is what is looked for


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no server at nats://worker:p@ss/w@host:4222", "no server at nats://***@host:4222"),
        ("postgres://u:pw@db/shop and https://a.b/c", "postgres://***@db/shop and https://a.b/c"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("{'authorization': 'Basic dXNlcjpwYXNz'}", "{'authorization': ***}"),
        ("GET /c/b?sv=1&sig=a%2Fb%3D&se=2 failed", "GET /c/b?sv=1&sig=***&se=2 failed"),
        ("?X-Amz-Signature=0a1b&X-Amz-Date=1", "?X-Amz-Signature=***&X-Amz-Date=1"),
        ("AccountName=a;AccountKey=abc==;Endpoint=x", "AccountName=a;AccountKey=***;Endpoint=x"),
        ('{"db_password": "two words", "a": 1}', '{"db_password": ***, "a": 1}'),
        ('"{\\"api_key\\": \\"abc\\"}"', '"{\\"api_key\\": ***}"'),
        ('{"password": "one\\"two", "a": 1}', '{"password": ***, "a": 1}'),
        ('"{\\"password\\": \\"one\\\\\\"two\\"}"', '"{\\"password\\": ***}"'),
        ('{"password": "its end is missing', '{"password": ***'),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUt/K7", "AWS_SECRET_ACCESS_KEY=***"),
        ("DB_PASS=a1 DB_PWD=b2 GITHUB_PAT=c3 _auth=d4", "DB_PASS=*** DB_PWD=*** GITHUB_PAT=*** _auth=***"),
        ("key AKIAIOSFODNN7EXAMPLE is unknown", "key *** is unknown"),
        ("jwt eyJhbGciOiJI.eyJzdWIi.c2ln-_x", "jwt ***"),
        (f"seed SU{'A' * 56}", "seed ***"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nend", "***\nend"),
        ("the token of block 'load' at http://host:80/x", "the token of block 'load' at http://host:80/x"),
        ("task ended: 3 passed", "task ended: 3 passed"),
        ("botocore.NoCredentialsError: Unable to locate", "botocore.NoCredentialsError: Unable to locate"),
        ("ExpiredTokenException: it has expired", "ExpiredTokenException: it has expired"),
        (f"no secret {ARN}: denied, api_key=abc", f"no secret {ARN}: denied, api_key=***"),
        ("not authorized: secretsmanager:GetSecretValue", "not authorized: secretsmanager:GetSecretValue"),
        ("{'secretKeyRef': {'name': 'db', 'key': 'url'}}", "{'secretKeyRef': {'name': 'db', 'key': 'url'}}"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE=/var/run/token", "AWS_WEB_IDENTITY_TOKEN_FILE=/var/run/token"),
    ],
)
def test_what_looks_like_a_secret_is_blanked(text: str, shown: str) -> None:
    assert hide(text) == shown


@pytest.mark.parametrize(
    "name",
    [
        "NATS_TOKEN",
        "nats_password",
        "AWS_SECRET_ACCESS_KEY",
        "apiKey",
        "DB_PWD",
        "x-api-key",
        "AZURE_STORAGE_KEY",
        "DB_PASS",
        "auth",
    ],
)
def test_what_is_called_a_secret_is_one(name: str) -> None:
    assert names_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "key",
        "run",
        "PWD",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "RUNMESH_NATS_CREDENTIALS",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "path",
        "author",
        "VAULT_AUTH_METHOD",
        "compass",
        "credentials_error",
        "handle",
    ],
)
def test_other_names_are_none(name: str) -> None:
    assert not names_secret(name)


@pytest.mark.parametrize(
    "document",
    [
        {"API_TOKEN": SECRET},
        {"deep": [{"password": {"value": [SECRET]}}]},
        {"env": [{"name": "DB_PASSWORD", "value": SECRET}]},
        ("run", "--runtime-vars", '{"db_password": "s3cr3t-Value/+=="}'),
        {"DATABASE_URL": "postgres://u:s3cr3t-Value%2F%2B%3D%3D@db/shop"},
        {"token": 1234567890123456},
        {"secure_environment": {"A": SECRET}},
        {"environment_variables": [{"name": "A", "secure_value": SECRET}]},
        {"image_registry_credentials": [{"server": "registry", "password": SECRET}]},
    ],
)
def test_the_secrets_of_a_document_are_found(document: object) -> None:
    assert {SECRET, "1234567890123456"} & set(secrets_in(document))


@pytest.mark.parametrize(
    "document",
    [
        {"env": [{"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "database", "key": "password"}}}]},
        {"volumes": [{"name": "keys", "secret": {"secretName": "pipeline-keys"}}]},
        {"imagePullSecrets": [{"name": "registry-login"}]},
        {"image_registry_credentials": [{"server": "registry.example", "username": "puller-robot"}]},
        {"secrets": {"DB_PASSWORD": ARN}},
    ],
)
def test_what_only_says_where_a_secret_is_found_is_none(document: object) -> None:
    assert set(secrets_in(document)) == set()


def test_a_secret_from_a_file_is_known_without_its_line_break() -> None:
    assert hide("no entry for abcdefgh", known_in({"token": "abcdefgh\n"})) == f"no entry for {HIDDEN}"


def test_no_end_of_a_secret_is_shown_that_begins_as_another_does() -> None:
    known = known_in({"token": "abcdefgh"}, {"password": "abcdefgh-rest"}, [{"secret": "abcdefgh-r"}])
    assert hide("<abcdefgh-rest>", known) == f"<{HIDDEN}>"


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"a":' * 900 + "1" + "}" * 900, "://a:" * 200_000, "://" + "a" * 10**6]
)
def test_a_hostile_text_has_no_secrets_and_holds_nobody_up(text: str) -> None:
    assert set(secrets_in({"anything": text})) == set()


def test_a_known_secret_is_blanked_however_it_is_spelled() -> None:
    known = frozenset(secrets_in({"password": 'a"b c/d€f'}))
    for spelled in ('a"b c/d€f', 'a\\"b c/d\\u20acf', "a%22b%20c/d%E2%82%ACf", "a%22b%20c%2Fd%E2%82%ACf"):
        assert hide(f"<{spelled}>", known) == f"<{HIDDEN}>"


def test_values_of_any_kind_are_shown_without_secrets() -> None:
    line = {"error": ValueError("Bearer abcdefghij"), "many": ["a", ("sig=abc",)], "token": "x", "n": 3, "none": None}
    assert hidden(line) == {
        "error": "ValueError('Bearer ***')",
        "many": ["a", ["sig=***"]],
        "token": HIDDEN,
        "n": 3,
        "none": None,
    }


@given(st.text(min_size=8).filter(lambda text: HIDDEN not in text and text not in HIDDEN), st.text(), st.text())
def test_a_known_secret_is_never_shown(secret: str, before: str, after: str) -> None:
    assert secret not in hide(f"{before}{secret}{after}", frozenset(secrets_in({"password": secret})))


@pytest.mark.parametrize(
    "piece", ["a", "token", "a.", "http://", "a-", "eyJ-", "bearer ", "a://", 'token:"', "-----BEGIN PRIVATE KEY-----"]
)
def test_a_long_text_holds_nobody_up(piece: str) -> None:
    assert len(hide(piece * 50_000)) < 50_000  # a pattern that goes back and forth would take minutes
