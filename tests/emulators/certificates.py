"""A certificate of this machine that an emulated API shows, as if an authority had signed it: it is its own."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_NAMES: Final = ("localhost", "127.0.0.1")
_LASTS: Final = timedelta(days=1)


class Certificate(NamedTuple):
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes


def new_certificate() -> Certificate:
    """Make one."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "emulated")])
    begins = datetime.now(UTC) - _LASTS
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begins, begins + 2 * _LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(_NAMES[0]), x509.IPAddress(ip_address(_NAMES[1]))]),
            critical=False,
        )
        .sign(key, SHA256())
    )
    return Certificate(made.public_bytes(Encoding.PEM), private(key))


def certify(authority: Path) -> ssl.SSLContext:
    """Write the authority's certificate, which clients trust; return what a server shows."""
    made, key = new_certificate(), authority.with_name("private.pem")
    authority.write_bytes(made.certificate)
    key.write_bytes(made.key)
    shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    shown.load_cert_chain(authority, key)
    return shown


def private(key: PrivateKeyTypes) -> bytes:
    """Return a private key in PEM."""
    found: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return found


def _usage() -> x509.KeyUsage:
    can = {"digital_signature": True, "key_cert_sign": True}
    cannot = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign")
    return x509.KeyUsage(**can, **dict.fromkeys((*cannot, "encipher_only", "decipher_only"), False))
