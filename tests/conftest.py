"""One server for every test that needs one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from whispergpt_client import Client

from tests.support.server import ServerProcess


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a server with the embedded models; at the end, SIGTERM must end it with status 0."""
    with ServerProcess() as process:
        yield process.url
        process.terminate()
        status = process.wait()
        assert status == 0, f"SIGTERM ended the server with status {status}:\n{process.log()}"


@pytest.fixture(scope="session")
def client(server: str) -> Iterator[Client]:
    """The synchronous client of that server."""
    with Client(server, timeout=120) as client:
        yield client
