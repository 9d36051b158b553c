"""What every test shares."""

import os

import pytest
import structlog
from hypothesis import settings

# Before torch is imported, here and in the processes that tests start. The networks of tests are so small that several
# threads only wait for each other, the longer the more tests run at once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The width of a terminal that a session inherits, or that readline made up for its children, is not for these tests.
for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)

# How long one example takes says more of what else the machine does, other tests above all, than of our code.
settings.register_profile("tests", settings(), deadline=None)
settings.load_profile("tests")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _logging_put_back() -> None:
    """A command that runs in this process, in a fixture too, sets what is logged: for itself, not for other tests."""
    structlog.reset_defaults()
