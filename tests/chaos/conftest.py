"""The cases of the matrix are assertions as well, although no test module holds them."""

import pytest

pytest.register_assert_rewrite("tests.chaos.matrix")
