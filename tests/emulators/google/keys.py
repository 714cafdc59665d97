"""A service account: its file of credentials, and the key by which its tokens are known."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.emulators.certificates import private

PROJECT: Final = "shop-project"
EMAIL: Final = f"worker@{PROJECT}.iam.gserviceaccount.com"


@dataclass(frozen=True)
class Account:
    """The service account's keys, in PEM."""

    key: bytes
    public: bytes

    def write(self, path: Path) -> Path:
        """Write the file of its credentials."""
        document = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "1",
            "private_key": self.key.decode(),
            "client_email": EMAIL,
            "token_uri": "https://127.0.0.1:1/nobody-asks-for-tokens",
        }
        path.write_text(json.dumps(document))
        return path


def new_account() -> Account:
    """Make an account."""
    key = rsa.generate_private_key(65537, 2048)
    return Account(private(key), key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@cache
def account() -> Account:
    """Make the one that may call, once in a process."""
    return new_account()
