"""What every test shares."""

import pytest
import structlog


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _logging_put_back() -> None:
    """A command that runs in this process, in a fixture too, sets what is logged: for itself, not for other tests."""
    structlog.reset_defaults()
