"""The crash tests look at processes through /proc; and the matrix's cases are assertions as well."""

import sys

import pytest

pytest.register_assert_rewrite("tests.chaos.matrix")

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]
