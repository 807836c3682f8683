"""A real Prometheus with the deployed configuration, only faster."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType

from tests.support.ports import free_port
from tests.support.tools import require_tool
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.tools.server_process import ROOT
from whispergpt.deploy.grafana.generator.prometheus import Prometheus, PrometheusError

DEPLOYED = ROOT / "deploy" / "prometheus"


def configuration(folder: Path) -> str:
    """Return the deployed configuration, with the token for ``/metrics`` in ``folder`` instead of a secret."""
    deployed, secret = (DEPLOYED / "prometheus.yml").read_text(), "/run/secrets/metrics-token"
    assert deployed.count(secret) == 1
    (folder / "metrics-token").write_text("token-of-a-test")
    return deployed.replace(secret, str(folder / "metrics-token"))


class PrometheusProcess(Prometheus):
    """Scrapes one server every half second, and lets alerts wait for no longer than that.

    Args:
        folder: for its configuration and data.
        target: the server's host and port.
    """

    def __init__(self, folder: Path, target: str) -> None:
        program = require_tool("prometheus")
        deployed = configuration(folder)
        assert deployed.count(" 5s") == 2 and deployed.count('"server:8000"') == 1
        hurried = deployed.replace(" 5s", " 500ms").replace("server:8000", target)
        (folder / "prometheus.yml").write_text(hurried)
        shutil.copy(DEPLOYED / "alerts.yml", folder)
        rules = folder / "alerts.yml"
        rules.write_text(re.sub(r"for: \d+m", "for: 500ms", rules.read_text()))
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [program, *arguments, f"--web.listen-address={address}"], stdout=log, stderr=log
            )
        super().__init__(self.url)
        try:
            wait_until(self._answers, "Prometheus answers")
        except BaseException:
            self._end()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._end()

    def wait_for_scrape(self) -> None:
        """Until a scrape has succeeded that began after now."""
        asked = time.time()
        wait_until(lambda: bool(self.now(f"timestamp(up) > {asked} and up == 1")), "a scrape of the server")

    def fires(self, alert: str) -> bool:
        """Whether an alert is firing now."""
        return bool(self.now(f'ALERTS{{alertname="{alert}", alertstate="firing"}}'))

    def _answers(self) -> bool:
        try:
            return bool(self.now("vector(1)"))
        except PrometheusError:
            return False

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
