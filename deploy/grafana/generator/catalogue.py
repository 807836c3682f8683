"""The dashboards, in the order in which an operator needs them, from the files in ``dashboards``."""

from __future__ import annotations

from pathlib import Path

import msgspec

from whispergpt.deploy.grafana.generator.panel import Dashboard

_FOLDER = Path(__file__).parent / "dashboards"


def _read(name: str) -> Dashboard:
    return msgspec.toml.decode((_FOLDER / f"{name}.toml").read_bytes(), type=Dashboard)


DASHBOARDS = tuple(_read(name) for name in ("listeners", "step", "capacity", "slow-clients", "process"))
