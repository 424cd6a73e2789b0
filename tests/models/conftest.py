"""Assertions in modules that test files share show the values they compared, as those of test files do."""

import pytest

pytest.register_assert_rewrite("tests.models.contract", "tests.models.subject")
