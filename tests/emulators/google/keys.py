"""A certificate for this machine that a CA of ours has signed, and a service account with its key."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

PROJECT: Final = "shop-project"
EMAIL: Final = f"worker@{PROJECT}.iam.gserviceaccount.com"
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Keys:
    """All of them, in PEM."""

    authority: bytes
    certificate: bytes
    key: bytes
    account: bytes
    """The service account's private key."""
    public: bytes

    def account_file(self, directory: Path, project: str = PROJECT) -> Path:
        """Write the file of the service account's credentials."""
        path = directory / f"{project}.json"
        document = {
            "type": "service_account",
            "project_id": project,
            "private_key_id": "1",
            "private_key": self.account.decode(),
            "client_email": EMAIL,
            "token_uri": "https://127.0.0.1:1/nobody-asks-for-tokens",
        }
        path.write_text(json.dumps(document))
        return path


@cache
def keys() -> Keys:
    """Make them, once in a process."""
    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    account = rsa.generate_private_key(65537, 2048)
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
    root = _certificate(issuer, issuer, authority.public_key(), authority, ca=True)
    leaf = _certificate(issuer, x509.Name([]), server.public_key(), authority, ca=False)
    public = account.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Keys(_pem(root), _pem(leaf), _private(server), _private(account), public)


def _certificate(issuer: x509.Name, subject: x509.Name, key: Any, signer: Any, *, ca: bool) -> x509.Certificate:
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))])
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(names, critical=not ca)
        .sign(signer, hashes.SHA256())
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: Any) -> bytes:
    found: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return found
