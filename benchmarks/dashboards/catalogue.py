"""All dashboards, in the order in which an operator asks."""

from __future__ import annotations

from benchmarks.dashboards.capacity import CAPACITY
from benchmarks.dashboards.listeners import LISTENERS
from benchmarks.dashboards.process import PROCESS
from benchmarks.dashboards.slow_clients import SLOW_CLIENTS
from benchmarks.dashboards.step import STEP

DASHBOARDS = (LISTENERS, STEP, CAPACITY, SLOW_CLIENTS, PROCESS)
