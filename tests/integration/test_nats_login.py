"""The ways into a NATS server: passwords, NKeys, .creds files, TLS; and what is said of those that lead nowhere."""

import asyncio
import json
import os
import re
import signal
import socket
import ssl
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from time import time
from typing import Any, Final

import nkeys  # type: ignore[import-untyped]
import pytest

from runmesh import subjects
from runmesh.bus import connect, provision
from runmesh.bus.message import Stored
from runmesh.cli import call
from runmesh.cli.exits import exit_code
from runmesh.client import Mesh
from runmesh.embedded import Server
from runmesh.errors import NotPermitted, RunmeshError, Unreachable
from runmesh.permissions import provisioner, submitter, worker
from runmesh.settings import load
from tests.emulators.certificates import certify
from tests.eventually import eventually
from tests.integration.nats_users import PASSWORD, connected, serving, set_passwords, settings


async def test_a_wrong_password_ends_with_one_line(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotPermitted) as caught:
        async with Mesh.connected(settings(server, "resolver", nats_password="wrong")):  # noqa: S106
            pass
    assert exit_code(caught.value) == 1
    assert capsys.readouterr().err == "runmesh: NATS refuses the credentials of runmesh client: user 'resolver'\n"


async def test_an_nkey_needs_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_passwords(monkeypatch)
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    (tmp_path / "seed").write_bytes(seed)
    key = nkeys.from_seed(bytearray(seed)).public_key.decode()
    assert await asyncio.to_thread(written, tmp_path, "--nkey", f"observer={key}")
    async with serving(tmp_path, 'accounts { include "mine.conf" }') as server:
        known = {"nats_url": server.url, "nats_inbox": "_INBOX.observer"}
        async with Mesh.connected(load(nats_nkey=tmp_path / "seed", **known)) as mesh:
            await mesh.bus.send("$SRV.PING", b"")
        (tmp_path / "seed").write_text("nonsense")
        with pytest.raises(NotPermitted, match="credentials of runmesh client can't be read"):
            async with Mesh.connected(load(nats_nkey=tmp_path / "seed", **known)):
                pass


@pytest.mark.parametrize("name", ["a.b", ">", 'x"y', "éü"])
async def test_users_are_told_apart_whatever_projects_and_pools_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("RUNMESH_POOLS", f"default,{name}")
    assert await asyncio.to_thread(written, tmp_path, "--project", name, "--project", "a\n}", "--project", "a\n}")
    for variable in re.findall(r"\$(RUNMESH_\w+_PASSWORD)", (tmp_path / "mine.conf").read_text()):
        monkeypatch.setenv(variable, PASSWORD)
    async with serving(tmp_path, 'accounts { include "mine.conf" }') as server:
        async with connected(server, "provisioner") as bus:
            assert await provision(bus, pools={"k8s": [name]})
        async with connected(server, submitter(name).name) as bus:
            await bus.publish(subjects.request("run", name), b"{}")
        async with connected(server, worker("k8s", name).name) as bus:
            await bus.consumer_info("EXECUTE_k8s", subjects.execute_consumer(name))
            await bus.publish(subjects.log("k8s", name, name, "r1", "load"), b"{}")
            with pytest.raises(NotPermitted):
                await bus.publish(subjects.log("k8s", "default", name, "r1", "load"), b"{}")


async def test_a_project_is_added_while_all_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNMESH_SUBMITTER_SHOP_PASSWORD", PASSWORD)
    set_passwords(monkeypatch)
    assert await asyncio.to_thread(written, tmp_path, "--project", "demo")
    async with serving(tmp_path, 'accounts { include "mine.conf" }') as server, connected(server, "provisioner") as bus:
        assert await provision(bus)
        async with connected(server, "worker-k8s") as working, connected(server, "submitter-demo") as asking:
            assert await asyncio.to_thread(written, tmp_path, "--project", "demo", "--project", "shop")
            await eventually(lambda: asked_after_reload(server, "shop"))
            await working.publish(subjects.log("k8s", "default", "demo", "r1", "load"), b"{}")
            await asking.publish(subjects.request("run", "demo"), b"{}")
            assert not working.fatal.done()


async def asked_after_reload(server: Server, project: str) -> Stored:
    """Have the server read its configuration, as often as it takes: a new account's imports are there at the second."""
    assert server._process  # noqa: SLF001
    server._process.send_signal(signal.SIGHUP)  # noqa: SLF001
    try:
        async with connected(server, submitter(project).name) as bus:
            return await bus.publish(subjects.request("run", project), b"{}", timeout=1)
    except RunmeshError as error:
        raise AssertionError(error) from error


def written(directory: Path, *options: str) -> bool:
    with (directory / "mine.conf").open("w") as file, redirect_stdout(file):
        return call(["permissions", *options]) == 0


async def test_a_creds_file_needs_no_user_on_the_server(tmp_path: Path) -> None:
    """As `nsc` makes them: an operator signs accounts, an account signs users, who carry their permissions."""
    operator, system, tenant, user = (Signer(kind) for kind in ("OPERATOR", "ACCOUNT", "ACCOUNT", "USER"))
    no_limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    stored = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
    tokens = {
        "operator": operator.signed(operator, {"type": "operator", "system_account": system.key}),
        "system": operator.signed(system, {"type": "account", "limits": {**no_limits, "wildcards": True}}),
        "tenant": operator.signed(tenant, {"type": "account", "limits": {**no_limits, **stored, "wildcards": True}}),
    }
    known = provisioner(["default"])
    allowed = {
        "pub": {"allow": known.publish},
        "sub": {"allow": known.subscribe},
        "subs": -1,
        "data": -1,
        "payload": -1,
    }
    token = tenant.signed(user, {"type": "user", **allowed})
    (tmp_path / "me.creds").write_text(CREDENTIALS.format(token=token, seed=user.seed.decode()))
    accounts = f"{system.key}: {tokens['system']}, {tenant.key}: {tokens['tenant']}"
    lines = f"operator: {tokens['operator']}\nsystem_account: {system.key}\nresolver: MEMORY"
    async with serving(tmp_path, f"{lines}\nresolver_preload: {{ {accounts} }}") as server:
        here = load(nats_url=server.url, nats_credentials=tmp_path / "me.creds", nats_inbox=known.inbox)
        async with connect(here.servers, name="me", **here.login) as bus:
            assert await provision(bus)
            with pytest.raises(NotPermitted, match=r"me no publish to mesh\.request\.run\.shop"):
                await bus.publish("mesh.request.run.shop", b"{}")


CREDENTIALS: Final = """\
-----BEGIN NATS USER JWT-----
{token}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""


class Signer:
    """Somebody with an NKey, who signs for others."""

    def __init__(self, kind: str) -> None:
        self.seed = nkeys.encode_seed(os.urandom(32), getattr(nkeys, f"PREFIX_BYTE_{kind}"))
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.key = self._pair.public_key.decode()

    def signed(self, subject: "Signer", claims: Mapping[str, Any]) -> str:
        """Return a JWT that says this of somebody."""
        known = {"jti": subject.key, "iat": int(time()), "iss": self.key, "sub": subject.key, "name": "test"}
        body = {**known, "nats": {"version": 2, **claims}}
        text = f"{_base64(json.dumps({'typ': 'JWT', 'alg': 'ed25519-nkey'}))}.{_base64(json.dumps(body))}"
        return f"{text}.{_base64(bytes(self._pair.sign(text.encode())))}"


def _base64(data: str | bytes) -> str:
    return urlsafe_b64encode(data.encode() if isinstance(data, str) else data).rstrip(b"=").decode()


# --- TLS -----------------------------------------------------------------------------------------------


@pytest.fixture
def certificates(tmp_path: Path) -> Callable[[str], Path]:
    """Make a certificate and its key of that name."""

    def make(name: str) -> Path:
        (tmp_path / name).mkdir()
        certify(tmp_path / name / "cert.pem")
        return tmp_path / name

    return make


async def reached(server: Server, within: float = 60, **given: Any) -> bool:
    """Whether a client with these settings gets in."""
    here = load(**{"nats_url": server.url, **given})
    async with connect(here.servers, name="test", timeout=within, **here.login) as bus:
        assert bus.payload_limit
        return True


async def test_tls_is_used_with_the_authority_that_is_named_and_no_other(
    tmp_path: Path, certificates: Callable[[str], Path]
) -> None:
    ours, theirs = certificates("ours"), certificates("theirs")
    tls = f'tls {{ cert_file: "{ours}/cert.pem", key_file: "{ours}/private.pem" }}'
    async with serving(tmp_path, tls) as server:
        assert await reached(server, nats_ca=ours / "cert.pem")
        for wrong in ({}, {"nats_ca": theirs / "cert.pem"}):
            with pytest.raises(
                Unreachable, match=r"whose certificate is trusted: self-signed certificate \(RUNMESH_NATS_CA"
            ):
                await reached(server, **wrong, within=300)  # which nobody waits for


async def test_mutual_tls_wants_a_certificate_of_the_client(
    tmp_path: Path, certificates: Callable[[str], Path]
) -> None:
    ours, mine = certificates("ours"), certificates("mine")
    files = {"cert_file": ours / "cert.pem", "key_file": ours / "private.pem", "ca_file": mine / "cert.pem"}
    tls = f"tls {{ {''.join(f'{name}: {json.dumps(str(path))}, ' for name, path in files.items())} verify: true }}"
    shown: dict[str, Any] = {"nats_certificate": mine / "cert.pem", "nats_key": mine / "private.pem"}
    async with serving(tmp_path, tls) as server:
        assert await reached(server, nats_ca=ours / "cert.pem", **shown)
        with pytest.raises(Unreachable, match="it wants a certificate of ours: RUNMESH_NATS_CERTIFICATE"):
            await reached(server, nats_ca=ours / "cert.pem", within=3)


async def test_whoever_wants_tls_tells_no_password_to_a_server_without(
    server: Server, certificates: Callable[[str], Path]
) -> None:
    ca = certificates("ca") / "cert.pem"
    with pytest.raises(Unreachable, match="secure connection not available"):
        await reached(server, nats_user="resolver", nats_password=PASSWORD, nats_ca=ca, within=3)
    with pytest.raises(Unreachable, match="secure connection not available"):
        await reached(server, nats_url=server.url.replace("nats:", "tls:"), nats_token="t", within=3)  # noqa: S106


async def test_a_server_that_says_nothing_gives_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"nats://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match=rf"^no NATS server at {url}: no answer$"):
            async with connect(url, name="test", timeout=0.1):
                pass


async def test_a_password_in_an_address_is_not_told() -> None:
    here = load(nats_url="nats://me:hunter2@127.0.0.1:9,nats://you:hunter2@127.0.0.1:9")
    assert here.address == "nats://127.0.0.1:9,nats://127.0.0.1:9"
    with pytest.raises(Unreachable, match="no NATS server at nats://127") as caught:
        async with connect(here.servers, name="test", timeout=0.1, **here.login):
            pass
    assert "hunter2" not in str(caught.value)


def test_without_anything_said_there_is_no_tls_of_ours() -> None:
    assert load().login["tls"] is None
    assert isinstance(load(nats_url="tls://nats:4222").login["tls"], ssl.SSLContext)
