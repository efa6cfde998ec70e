"""What the fault tests share: the models that answers are held against."""

import pytest

from tests.faults.judge import Judge


@pytest.fixture(scope="session")
def judge() -> Judge:
    """Who knows the right answers."""
    return Judge()
