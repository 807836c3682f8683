"""Pictures of the dashboards, from a Prometheus that watches a server while simulated listeners use it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from whispergpt.cli.demo import running_server

DEPLOYED = Path(__file__).resolve().parents[2] / "deploy" / "prometheus" / "prometheus.yml"
LOAD = ("--streams", "5", "--duration", "140", "--slow", "0.05")
"""Options of ``whispergpt load``; ``docs/dashboards.md`` has them too."""
MINUTES = "2.5"
"""Minutes that the pictures cover, which is about as long as the load lasts."""
START_SECONDS = 30.0


def draw_dashboards(folder: Path) -> bool:
    """Write a picture of each dashboard and print what the listeners heard; returns False if there is no Prometheus.

    Raises:
        subprocess.CalledProcessError: the load or the drawing failed; its output has the reason.
    """
    if shutil.which("prometheus") is None:
        return False
    with running_server([]) as url, _prometheus(url) as prometheus:
        subprocess.run([sys.executable, "-m", "whispergpt.cli.main", "load", url, *LOAD], check=True)
        generator = [sys.executable, "-m", "whispergpt.deploy.grafana.generator", "draw", str(folder)]
        subprocess.run([*generator, "--prometheus", prometheus, "--minutes", MINUTES], check=True)
    return True


@contextmanager
def _prometheus(server: str) -> Iterator[str]:
    """Run a Prometheus that scrapes ``server`` as the deployed one does, and yield its URL once it is ready.

    Raises:
        httpx.TransportError: Prometheus is not ready in time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "token").write_text("unused")  # the server is open
        deployed = DEPLOYED.read_text().replace("server:8000", server.removeprefix("http://"))
        (folder / "prometheus.yml").write_text(deployed.replace("/run/secrets/metrics-token", str(folder / "token")))
        shutil.copy(DEPLOYED.with_name("alerts.yml"), folder)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={folder}/prometheus.yml",
                    f"--storage.tsdb.path={folder}/data",
                    f"--web.listen-address={address}",
                ],
                stdout=log,
                stderr=log,
            )
        try:
            with httpx.Client(transport=httpx.HTTPTransport(retries=6), timeout=START_SECONDS) as client:
                client.get(f"http://{address}/-/ready")
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait()
