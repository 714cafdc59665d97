"""A certificate of this machine that an emulated API shows, as if an authority had signed it: it is its own."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_NAMES: Final = ("localhost", "127.0.0.1")
_LASTS: Final = timedelta(days=1)


def certify(authority: Path) -> ssl.SSLContext:
    """Write the authority's certificate, which clients trust; return what a server shows."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "emulated")])
    begins = datetime.now(UTC) - _LASTS
    certificate = (
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
    authority.write_bytes(certificate.public_bytes(Encoding.PEM))
    private = authority.with_name("private.pem")
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    shown.load_cert_chain(authority, private)
    return shown


def _usage() -> x509.KeyUsage:
    can = {"digital_signature": True, "key_cert_sign": True}
    cannot = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign")
    return x509.KeyUsage(**can, **dict.fromkeys((*cannot, "encipher_only", "decipher_only"), False))
