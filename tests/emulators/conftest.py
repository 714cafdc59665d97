"""The conformance cases are assertions as well, although no test module holds them."""

import pytest

pytest.register_assert_rewrite("tests.executors.conformance")
