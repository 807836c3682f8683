"""The alerts: their own tests by promtool, and one that fires over a real server's death and clears when it is back."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faults import GOOD_PROMPT
from tests.support.live_socket import LiveSocket
from tests.support.metrics import Metrics, wait_for_idle
from tests.support.ports import free_port
from tests.support.prometheus import DEPLOYED, PrometheusProcess, configuration
from tests.support.tools import require_tool
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.deploy.grafana.generator.catalogue import DASHBOARDS

DOWN = "WhispergptServerDown"


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "rules", "alerts.yml"],
        *(["test", "rules", f"tests/{test.name}"] for test in sorted((DEPLOYED / "tests").glob("*.yml"))),
    ],
    ids=" ".join,
)
def test_promtool(arguments: list[str]) -> None:
    _check(DEPLOYED, *arguments)


def test_promtool_takes_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(configuration(tmp_path))
    shutil.copy(DEPLOYED / "alerts.yml", tmp_path)
    _check(tmp_path, "check", "config", "prometheus.yml")


def _check(folder: Path, *arguments: str) -> None:
    command = [require_tool("promtool"), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def small() -> Iterator[ServerProcess]:
    """One slot, for which one may wait, at a port that the next test starts another server at."""
    with ServerProcess("--port", str(free_port()), "--max-streams", "1") as process:
        yield process


def test_slack_counts_who_plays_and_who_waits(small: ServerProcess) -> None:
    def slack() -> float:
        return Metrics(small.url).sum("whispergpt_streams_slack")

    assert slack() == 1
    playing, waiting = LiveSocket(small.url), LiveSocket(small.url)
    playing.commit(GOOD_PROMPT)
    assert slack() == 0, "a place is kept"
    playing.create(None)
    assert slack() == 0, "and taken"
    waiting.commit(GOOD_PROMPT)
    waiting.event("response.create", response={"seconds": 1})
    wait_until(lambda: slack() == -1, "the one who waits is counted")
    assert Metrics(small.url).sum("whispergpt_sessions_open") == 2
    for socket in (waiting, playing):
        socket.drop()
    wait_for_idle(small.url)
    wait_until(lambda: slack() == 1, "there is room again")


def test_a_dead_server_is_told_until_it_is_back(small: ServerProcess, tmp_path: Path) -> None:
    address = small.url.removeprefix("http://")
    numbers = (panel for page in DASHBOARDS for panel in page.numbers)
    (told,) = (panel.queries[0].filled("30s") for panel in numbers if panel.title == "Alerts firing")
    with PrometheusProcess(tmp_path, address) as prometheus:
        prometheus.wait_for_scrape()
        assert not prometheus.fires(DOWN)
        small.kill()
        wait_until(lambda: prometheus.fires(DOWN), "the alert fires")
        assert prometheus.now(told)[0].values == [1]
        with ServerProcess("--port", address.rpartition(":")[2]):
            wait_until(lambda: not prometheus.fires(DOWN), "the alert clears")
            wait_until(lambda: prometheus.now(told)[0].values == [0], "no other is left")
