"""The conformance cases are assertions as well, although no test module holds them."""

from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest

pytest.register_assert_rewrite("tests.executors.conformance")
_END = "-----END CERTIFICATE-----\n"


@pytest.fixture(autouse=True, scope="session")
def few_certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """AWS's SDK reads every certificate for every client, 20 ms each time: no emulator needs more than one."""
    bundle = tmp_path_factory.mktemp("certificates") / "first.pem"
    bundle.write_text(Path(certifi.where()).read_text(encoding="utf-8").partition(_END)[0] + _END)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_CA_BUNDLE", str(bundle))
        yield
