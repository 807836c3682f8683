"""Every panel and every alert against a real Prometheus that scrapes a real server, which has played and refused."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from whispergpt_client import Client, WhisperGPTError

from tests.support.audio import SPEECH, encode, speech
from tests.support.metrics import wait_for_idle
from tests.support.prometheus import DEPLOYED, PrometheusProcess
from whispergpt.deploy.grafana.generator.catalogue import DASHBOARDS
from whispergpt.deploy.grafana.generator.panel import Panel
from whispergpt.deploy.grafana.generator.picture import draw
from whispergpt.load.crowd import Crowd
from whispergpt.load.listener import stream_address
from whispergpt.load.plan import Mix, Span, steady
from whispergpt.load.voices import Voices

PANELS = [pytest.param(panel, id=f"{page.name} {panel.title}") for page in DASHBOARDS for panel in page.panels]
ALERTS = [
    pytest.param(rule["expr"], id=rule["alert"])
    for group in yaml.safe_load((DEPLOYED / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
INTERVAL = "30s"
MOST_BYTES = 300_000


@pytest.fixture(scope="module")
def prometheus(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusProcess]:
    """A Prometheus that has seen the server work and refuse."""
    with PrometheusProcess(tmp_path_factory.mktemp("prometheus"), server.removeprefix("http://")) as process:
        for _ in range(2):  # a rate needs a series to be there before it grows
            process.wait_for_scrape()
            _use(server)
        process.wait_for_scrape()
        yield process


def _use(server: str) -> None:
    listeners = steady(Mix(prompt_seconds=Span(1, 1.5), live=0.0), 4, duration=2.0, seed=1)
    crowd = Crowd(stream_address(server), listeners, Voices([SPEECH]), buffer_seconds=0.05)
    asyncio.run(crowd.run())
    assert all(heard.outcome == "completed" for heard in crowd.records)
    with Client(server, timeout=60) as client:
        client.continue_file(SPEECH, seconds=0.5)
        with pytest.raises(WhisperGPTError):
            client.continue_file(encode(speech(0.1)))
    wait_for_idle(server)


@pytest.mark.parametrize("panel", PANELS)
def test_panels_show_numbers(prometheus: PrometheusProcess, panel: Panel) -> None:
    """A quantile of nothing is NaN, and a panel of NaN would pass for one that shows something."""
    for query in panel.queries:
        found = prometheus.now(query.filled(INTERVAL))
        assert any(math.isfinite(series.values[0]) for series in found), query.expr
        for series in found:
            assert series.named(query.legend) and "{{" not in series.named(query.legend)


@pytest.mark.parametrize("expression", ALERTS)
def test_alerts_have_something_to_judge(prometheus: PrometheusProcess, expression: str) -> None:
    """With ``bool`` a comparison keeps what it does not hold for: what is left has matched on both sides of each
    ``and``."""
    for name in set(re.findall(r"\b(?:whispergpt_\w+|up)\b", expression)):
        assert prometheus.now(name), name
    whether, count = re.subn(r" (>|<=|==) ", r" \1 bool ", expression)
    assert count
    assert prometheus.now(whether)
    assert not prometheus.now(expression), "it fires while all is well"


def test_pictures_show_every_panel(prometheus: PrometheusProcess, tmp_path: Path) -> None:
    for dashboard in DASHBOARDS:
        assert draw(dashboard, prometheus, tmp_path, minutes=1, interval=INTERVAL) == []
        assert 10_000 < (tmp_path / f"{dashboard.name}.png").stat().st_size < MOST_BYTES
