"""List of all dashboards, in the order in which an operator needs them."""

from __future__ import annotations

from whispergpt.deploy.grafana.generator.capacity import CAPACITY
from whispergpt.deploy.grafana.generator.listeners import LISTENERS
from whispergpt.deploy.grafana.generator.process import PROCESS
from whispergpt.deploy.grafana.generator.slow_clients import SLOW_CLIENTS
from whispergpt.deploy.grafana.generator.step import STEP

DASHBOARDS = (LISTENERS, STEP, CAPACITY, SLOW_CLIENTS, PROCESS)
