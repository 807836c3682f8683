"""The dashboard against a real Prometheus that scrapes a real server."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from whispergpt_client import Client, WhisperGPTError

from tests.support.audio import SPEECH, encode, speech
from tests.support.metrics import wait_for_idle, wait_until
from tests.support.tools import require_tool

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "whispergpt.json").read_text())
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "gauge": ("",)}
SILENT = ("whispergpt_slow_client_total",)
"""Has no series before a client has been slow, which takes half a minute to bring about."""


@pytest.fixture(scope="module")
def prometheus(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Prometheus with the deployed configuration, which has seen the server work and refuse."""
    program = require_tool("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    deployed = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    config = deployed.replace("server:8000", server.removeprefix("http://")).replace(" 5s", " 1s")
    assert config.count(" 1s") == 2
    (folder / "prometheus.yml").write_text(config)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, *arguments, f"--web.listen-address={address}"], stdout=log, stderr=log)
    url = f"http://{address}"
    try:
        wait_until(lambda: _is_ready(url), "Prometheus is ready")
        for _ in range(2):  # a rate needs a series to be there before it grows
            _use(server)
            _wait_for_scrape(url)
        yield url
    finally:
        process.kill()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _use(server: str) -> None:
    with Client(server, timeout=60) as client:
        client.continue_file(SPEECH, seconds=0.5)
        list(client.stream(SPEECH, seconds=2))
        with pytest.raises(WhisperGPTError):
            client.continue_file(encode(speech(0.1)))
    wait_for_idle(server)


def _wait_for_scrape(url: str) -> None:
    """Until a scrape has succeeded that began after now."""
    asked = time.time()
    wait_until(lambda: bool(_query(url, f"timestamp(up) > {asked} and up == 1")), "a scrape of the server")


def _query(url: str, query: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{url}/api/v1/query", params={"query": query}, timeout=10).json()
    assert answer["status"] == "success", answer
    return list(answer["data"]["result"])


@pytest.fixture(scope="module")
def exposed(server: str) -> set[str]:
    """The names of every series that the server can expose."""
    text = httpx.get(f"{server}/metrics", timeout=10).text
    return {
        family.name + suffix
        for family in text_string_to_metric_families(text)
        for suffix in SUFFIXES.get(family.type, ())
    }


@pytest.mark.parametrize("query", QUERIES)
def test_queries_name_only_metrics_that_exist(exposed: set[str], query: str) -> None:
    names = set(re.findall(r"whispergpt_\w+", query))
    assert names
    assert names <= exposed


@pytest.mark.parametrize("query", QUERIES)
def test_queries_find_something(prometheus: str, query: str) -> None:
    found = _query(prometheus, query.replace("$__rate_interval", "1m").replace("$model", ".*"))
    if not any(name in query for name in SILENT):
        assert found


def test_time_to_first_audio_is_a_number(prometheus: str) -> None:
    """A quantile of nothing is NaN, and a dashboard of NaN would pass for one that finds something."""
    panel = next(panel for panel in DASHBOARD["panels"] if panel["title"] == "Time to first audio")
    for target in panel["targets"]:
        found = _query(prometheus, target["expr"].replace("$__rate_interval", "1m").replace("$model", ".*"))
        assert 0 < float(found[0]["value"][1]) < 60


def test_panels_ask_the_provisioned_data_source() -> None:
    provisioned = (DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text()
    (uid,) = re.findall(r"uid: (\w+)", provisioned)
    sources = {target["datasource"]["uid"] for panel in DASHBOARD["panels"] for target in panel["targets"]}
    assert sources == {uid}
