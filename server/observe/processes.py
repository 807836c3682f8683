"""Use of the machine by the server's process and the engine's: processors, memory, files."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector

from whispergpt.engine.checkpoints.memory_bound import memory_bound

_NO_PROCESS = 0
"""Pid of no process, whose metrics are left out."""


class Processes:
    """Metrics ``whispergpt_server_process_…`` and ``whispergpt_engine_process_…``, read from /proc when asked for.

    Attributes:
        engine_pid: of the engine's process; None while there is none.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.engine_pid: int | None = None
        ProcessCollector("whispergpt_server", registry=registry)
        ProcessCollector("whispergpt_engine", lambda: self.engine_pid or _NO_PROCESS, registry=registry)
        text = "What all processes of the server may take together"
        Gauge("whispergpt_memory_bound_bytes", text, registry=registry).set_function(memory_bound)
