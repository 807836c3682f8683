"""What is deployed for operators fits together: dashboards, alerts, Prometheus, Grafana, compose."""

from __future__ import annotations

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from whispergpt.deploy.grafana.generator.__main__ import main
from whispergpt.deploy.grafana.generator.catalogue import DASHBOARDS
from whispergpt.deploy.grafana.generator.grafana import as_json
from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.streams.capacity import MOST_LOAD

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs" / "dashboards.md").read_text()


def load(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text())


COMPOSE: dict[str, dict[str, Any]] = load("compose.yaml")
SERVICES = COMPOSE["services"]
RULES = [rule for group in load("prometheus/alerts.yml")["groups"] for rule in group["rules"]]


def mounted(service: str, inside: str) -> Path:
    """The file of this repository that a service sees at ``inside``."""
    for volume in SERVICES[service]["volumes"]:
        source, target, *_ = volume.split(":")
        if source.startswith(".") and Path(inside).is_relative_to(target):
            return (DEPLOY / source / Path(inside).relative_to(target)).resolve()
    raise AssertionError(f"nothing is mounted at {inside}")


def test_grafana_has_what_the_catalogue_says() -> None:
    files = {path.name: path.read_text() for path in (DEPLOY / "grafana" / "dashboards").iterdir()}
    assert files == {f"{dashboard.name}.json": as_json(dashboard) for dashboard in DASHBOARDS}, (
        "run: python -m whispergpt.deploy.grafana.generator write deploy/grafana/dashboards"
    )


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
def test_panels_do_not_overlap_and_ask_the_provisioned_source(dashboard: Any) -> None:
    page = json.loads(as_json(dashboard))
    (source,) = load("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    taken: set[tuple[int, int]] = set()
    for panel in page["panels"]:
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {source["uid"]}
        where = panel["gridPos"]
        cells = {(where["x"] + x, where["y"] + y) for x in range(where["w"]) for y in range(where["h"])}
        assert not cells & taken and all(x < 24 for x, _ in cells)
        taken |= cells
    assert len({panel["id"] for panel in page["panels"]}) == len(page["panels"])


@pytest.mark.parametrize(
    ("title", "bound"),
    [("Time in steps", MOST_LOAD), ("Frame step", 1 / FRAME_RATE), ("Step, p99 of 5 min", 1 / FRAME_RATE)],
)
def test_bounds_are_those_of_the_engine(title: str, bound: float) -> None:
    drawn = [panel.bound for page in DASHBOARDS for panel in page.panels if panel.title == title]
    assert drawn and all(each == pytest.approx(bound, abs=1e-4) for each in drawn)


def test_uids_are_kept() -> None:
    """They are in people's bookmarks."""
    assert [dashboard.uid for dashboard in DASHBOARDS] == [
        *("whispergpt", "whispergpt-step", "whispergpt-capacity", "whispergpt-slow-clients", "whispergpt-process")
    ]


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
def test_the_page_shows_every_dashboard(dashboard: Any) -> None:
    assert f"(dashboards/{dashboard.name}.png)" in PAGE


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alerts_say_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"] == {"severity": "page"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    page, anchor = rule["annotations"]["runbook"].split("#")
    assert page == "docs/dashboards.md"
    assert anchor in {heading.lower() for heading in re.findall(r"^#+ (\w+)$", PAGE, re.MULTILINE)}


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_is_silent() -> None:
    seen: set[tuple[str, bool]] = set()
    for file in (DEPLOY / "prometheus" / "tests").glob("*.yml"):
        for test in yaml.safe_load(file.read_text())["tests"]:
            seen |= {(case["alertname"], bool(case["exp_alerts"])) for case in test["alert_rule_test"]}
    assert seen == {(rule["alert"], fires) for rule in RULES for fires in (True, False)}


def test_compose_publishes_to_this_machine_alone() -> None:
    for service in SERVICES.values():
        assert service["ports"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@pytest.mark.parametrize("name", SERVICES)
def test_compose_shuts_its_services_in(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert re.fullmatch(r"whispergpt:local|[\w/]+:v?\d+\.\d+\.\d+", service["image"])
    # The server's own image has one.
    assert "healthcheck" in service or "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()
    for volume in service.get("volumes", []):
        source, _, *mode = volume.split(":")
        if source.startswith("."):
            assert mode == ["ro"] and (DEPLOY / source).exists(), volume
        else:
            assert source in COMPOSE["volumes"]
    for needed, how in service.get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"} and "healthcheck" in SERVICES[needed]


@pytest.mark.parametrize("name", SERVICES)
def test_compose_bounds_what_a_service_takes(name: str) -> None:
    assert re.fullmatch(r"(\$\{\w+:-)?\d+[mg]\}?", SERVICES[name]["mem_limit"])
    assert 64 <= SERVICES[name]["pids_limit"] <= 1024


def test_compose_lets_nobody_in_unasked() -> None:
    """Passwords and tokens are in files that are never in the repository; without them compose starts nothing."""
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].startswith("./secrets/")
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert {name: service["secrets"] for name, service in SERVICES.items()} == {
        "server": ["metrics-token"],
        "prometheus": ["metrics-token"],
        "grafana": ["grafana-password"],
    }
    assert SERVICES["server"]["environment"]["WHISPERGPT_METRICS_TOKEN_FILE"] == "/run/secrets/metrics-token"
    assert "WHISPERGPT_OPEN_METRICS" not in SERVICES["server"]["environment"]
    (scrape,) = load("prometheus/prometheus.yml")["scrape_configs"]
    assert scrape["authorization"] == {"credentials_file": "/run/secrets/metrics-token"}
    grafana = SERVICES["grafana"]["environment"]
    assert grafana["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/grafana-password"
    assert grafana["GF_AUTH_ANONYMOUS_ENABLED"] == "false"


def test_compose_parts_find_each_other() -> None:
    (scrape,) = load("prometheus/prometheus.yml")["scrape_configs"]
    (source,) = load("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    for address in (scrape["static_configs"][0]["targets"][0], source["url"].removeprefix("http://")):
        name, port = address.split(":")
        assert any(published.endswith(f":{port}") for published in SERVICES[name]["ports"])
    # The server answers to the name that Prometheus calls it by, and else to its machine's own alone.
    scraped, _ = scrape["static_configs"][0]["targets"][0].split(":")
    assert SERVICES["server"]["environment"]["WHISPERGPT_HOSTS"] == scraped
    for rules in load("prometheus/prometheus.yml")["rule_files"]:
        assert mounted("prometheus", f"/etc/prometheus/{rules}").is_file()
    (provider,) = load("grafana/provisioning/dashboards/whispergpt.yaml")["providers"]
    assert mounted("grafana", provider["options"]["path"]) == DEPLOY / "grafana" / "dashboards"
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert mounted("grafana", home).is_file()


def test_compose_for_a_gpu_adds_to_what_is_there() -> None:
    added = load("compose.gpu.yaml")["services"]
    assert added.keys() == {"server"} < SERVICES.keys()
    (device,) = added["server"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert added["server"]["environment"] == {"WHISPERGPT_DEVICE": "cuda"}


class _Page(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_pictures_without_a_prometheus_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(url: str) -> str:
        monkeypatch.setattr(sys, "argv", ["dashboards", "draw", str(tmp_path), "--prometheus", url])
        assert main() == 1
        return capsys.readouterr().err

    with HTTPServer(("127.0.0.1", 0), _Page) as other:
        url = f"http://127.0.0.1:{other.server_port}"
        Thread(target=other.serve_forever, daemon=True).start()
        assert told(url) == f"What answers at {url} is no Prometheus.\n"
        other.shutdown()
    assert re.fullmatch(rf"No Prometheus can be reached at {url}: .+\.\n", told(url))
    assert "No Prometheus can be reached at nowhere" in told("nowhere")
    assert not list(tmp_path.iterdir())
