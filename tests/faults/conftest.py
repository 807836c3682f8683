"""After every fault, the server must be as before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.faults import assert_serves


@pytest.fixture
def recovers(server: str) -> Iterator[None]:
    """The next good request succeeds, and the number of active streams returns to zero."""
    yield
    assert_serves(server)
