"""What every test shares."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _logging_put_back() -> Iterator[None]:
    """A command that runs in this process sets what is logged: for itself, not for the tests after it."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
