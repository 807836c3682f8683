"""The processes: what the server and its engine take of the machine."""

from __future__ import annotations

from whispergpt.deploy.grafana.generator.panel import Dashboard, Panel, Query
from whispergpt.deploy.grafana.generator.queries import spread

_FULL = 0.85
"""The share of a bound from which on deploy/prometheus/alerts.yml wakes somebody."""

PROCESS = Dashboard(
    uid="whispergpt-process",
    name="process",
    title="WHISPER-GPT: processes",
    numbers=(
        Panel("Ready", "Servers that take new work.", (Query("sum(whispergpt_ready)", "ready"),)),
        Panel(
            "Engine restarts, 1 h",
            "Each ends what played; listeners with tokens go on.",
            (Query("sum(increase(whispergpt_engine_restarts_total[1h]))", "restarts"),),
            bound=1,
        ),
        Panel(
            "Memory of its bound",
            "Both processes, of what the machine or the control group allows.",
            (
                Query(
                    "max((whispergpt_server_process_resident_memory_bytes"
                    " + whispergpt_engine_process_resident_memory_bytes) / whispergpt_memory_bound_bytes)",
                    "memory",
                ),
            ),
            "percentunit",
            _FULL,
        ),
        Panel(
            "Files of their bound",
            "Of the server, which has one for each connection.",
            (Query("max(whispergpt_server_process_open_fds / whispergpt_server_process_max_fds)", "files"),),
            "percentunit",
            _FULL,
        ),
    ),
    courses=(
        Panel(
            "Processors in use",
            "Of each process. The engine may use all there are; the server is one thread and a few that decode.",
            (
                Query("rate(whispergpt_server_process_cpu_seconds_total[$__rate_interval])", "server {{instance}}"),
                Query("rate(whispergpt_engine_process_cpu_seconds_total[$__rate_interval])", "engine {{instance}}"),
            ),
        ),
        Panel(
            "Resident memory",
            "Of each process. It is constant, however long streams run.",
            (
                Query("whispergpt_server_process_resident_memory_bytes", "server {{instance}}"),
                Query("whispergpt_engine_process_resident_memory_bytes", "engine {{instance}}"),
            ),
            "bytes",
        ),
        Panel(
            "Open files",
            "Of each process.",
            (
                Query("whispergpt_server_process_open_fds", "server {{instance}}"),
                Query("whispergpt_engine_process_open_fds", "engine {{instance}}"),
            ),
        ),
        Panel(
            "Event loop lag",
            "How late the server comes to what is due, ten times a second. What blocks it is heard by everybody.",
            spread("event_loop_lag_seconds", ""),
            "s",
        ),
        Panel(
            "Engine restarts",
            "Since the server's start.",
            (Query("whispergpt_engine_restarts_total", "{{instance}}"),),
        ),
        Panel(
            "Running for",
            "Of each process.",
            (
                Query("time() - whispergpt_server_process_start_time_seconds", "server {{instance}}"),
                Query("time() - whispergpt_engine_process_start_time_seconds", "engine {{instance}}"),
            ),
            "s",
        ),
    ),
)
