"""One server for every test that needs one, in each process of tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import hypothesis
import pytest
from whispergpt_client import Client

import tests.support.interpreted_kernels  # noqa: F401  # before other modules define the kernels
from tests.support.metrics import wait_for_idle
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess

# The same examples in every run, and nothing kept between runs; a slow machine is no failure.
hypothesis.settings.register_profile("project", max_examples=50, derandomize=True, database=None, deadline=None)
hypothesis.settings.register_profile("long", max_examples=1_000_000, database=None, deadline=None)
hypothesis.settings.load_profile("project")
pytest_plugins = ["tests.support.workers"]
IDLE_STOP_SECONDS = 15.0
# A busy machine has no time for as many streams and prompts as some tests have at once, and would rightly refuse them;
# those of admission set their own.
os.environ["WHISPERGPT_MAX_LOAD"] = "0"
os.environ["WHISPERGPT_PROMPT_WAIT_SECONDS"] = "600"
os.environ["WHISPERGPT_QUEUE_SECONDS"] = "600"
# One model starts sooner than all that are installed, which the one server for everybody has.
os.environ["WHISPERGPT_MODEL"] = "speech"


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a server with the embedded models; at the end, SIGTERM must end it with status 0."""
    with ServerProcess(environment={"WHISPERGPT_MODEL": ""}) as process:
        yield process.url
        wait_for_idle(process.url)
        process.terminate()
        # Nothing plays any more: whatever it would wait for has been forgotten somewhere.
        status = process.wait(IDLE_STOP_SECONDS)
        assert status == 0, f"SIGTERM ended the server with status {status}:\n{process.log()}"


@pytest.fixture(scope="session")
def client(server: str) -> Iterator[Client]:
    """The synchronous client of that server."""
    with Client(server, timeout=120) as client:
        yield client


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    """Remove handlers of logs that a test leaves behind: they write to a stream that pytest closes after it."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    for handler in set(root.handlers) - set(before):
        if not type(handler).__module__.startswith("_pytest"):
            root.removeHandler(handler)
