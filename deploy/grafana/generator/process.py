"""Dashboard of the server's and the engine's processes: memory, files, processors."""

from __future__ import annotations

from whispergpt.deploy.grafana.generator.panel import Dashboard, Panel, Query
from whispergpt.deploy.grafana.generator.queries import spread

_FULL = 0.85
"""Share of a limit at which an alert of deploy/prometheus/alerts.yml fires."""

PROCESS = Dashboard(
    uid="whispergpt-process",
    name="process",
    title="WHISPER-GPT: processes",
    numbers=(
        Panel("Ready", "Servers that accept new streams.", (Query("sum(whispergpt_ready)", "ready"),)),
        Panel(
            "Engine restarts, 1 h",
            "A restart ends all streams; clients with resume tokens continue.",
            (Query("sum(increase(whispergpt_engine_restarts_total[1h]))", "restarts"),),
            bound=1,
        ),
        Panel(
            "Memory of its bound",
            "Memory of both processes as a share of the machine's or the control group's limit.",
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
            "Open files of the server as a share of its limit; each connection needs one.",
            (Query("max(whispergpt_server_process_open_fds / whispergpt_server_process_max_fds)", "files"),),
            "percentunit",
            _FULL,
        ),
    ),
    courses=(
        Panel(
            "Processors in use",
            "By process. The engine may use all processors; the server has one thread and a few for decoding.",
            (
                Query("rate(whispergpt_server_process_cpu_seconds_total[$__rate_interval])", "server {{instance}}"),
                Query("rate(whispergpt_engine_process_cpu_seconds_total[$__rate_interval])", "engine {{instance}}"),
            ),
        ),
        Panel(
            "Resident memory",
            "By process. It stays constant however long streams run.",
            (
                Query("whispergpt_server_process_resident_memory_bytes", "server {{instance}}"),
                Query("whispergpt_engine_process_resident_memory_bytes", "engine {{instance}}"),
            ),
            "bytes",
        ),
        Panel(
            "Open files",
            "By process.",
            (
                Query("whispergpt_server_process_open_fds", "server {{instance}}"),
                Query("whispergpt_engine_process_open_fds", "engine {{instance}}"),
            ),
        ),
        Panel(
            "Event loop lag",
            "Delay of the server's event loop, measured ten times a second. A blocked loop delays all streams.",
            spread("event_loop_lag_seconds", ""),
            "s",
        ),
        Panel(
            "Engine restarts",
            "Restarts since the server's start.",
            (Query("whispergpt_engine_restarts_total", "{{instance}}"),),
        ),
        Panel(
            "Running for",
            "Time since the start of each process.",
            (
                Query("time() - whispergpt_server_process_start_time_seconds", "server {{instance}}"),
                Query("time() - whispergpt_engine_process_start_time_seconds", "engine {{instance}}"),
            ),
            "s",
        ),
    ),
)
