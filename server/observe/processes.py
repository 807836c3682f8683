"""Use of the machine by the server's process and those of its engines: processors, memory, files."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Gauge, Metric, ProcessCollector
from prometheus_client.registry import Collector

from whispergpt.engine.checkpoints.memory_bound import memory_bound

_ENGINE = "whispergpt_engine"
_STARTED = f"{_ENGINE}_process_start_time_seconds"
_COMPUTED = f"{_ENGINE}_process_cpu_seconds"


class Processes:
    """Metrics ``whispergpt_server_process_…`` and ``whispergpt_engine_process_…``, read from /proc when asked for.

    Attributes:
        engines: metrics of all engines' processes together.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.engines = EngineProcesses()
        ProcessCollector("whispergpt_server", registry=registry)
        registry.register(self.engines)
        text = "What all processes of the server may take together"
        Gauge("whispergpt_memory_bound_bytes", text, registry=registry).set_function(memory_bound)


class EngineProcesses(Collector):
    """Metrics of the engines' processes, added up; the start time is the latest. There are none without an engine.

    Processor time of engines that have ended still counts, as last read: a counter may not fall.
    """

    def __init__(self) -> None:
        self._running: dict[int, ProcessCollector] = {}
        self._computed: dict[int, float] = {}
        """Processor seconds of each process, as last read."""
        self._past = 0.0
        """Processor seconds of processes that have ended."""

    def add(self, pid: int) -> None:
        """Count the process of an engine that starts."""
        self._running[pid] = ProcessCollector(_ENGINE, lambda: pid, registry=None)

    def remove(self, pid: int) -> None:
        """Leave out the process of an engine that has ended."""
        if self._running.pop(pid, None) is not None:
            self._past += self._computed.pop(pid, 0.0)

    def collect(self) -> Iterable[Metric]:
        """Return one metric of each name, without labels."""
        together: dict[str, Metric] = {}
        for pid, process in self._running.items():
            for metric in process.collect():
                (sample,) = metric.samples
                if metric.name == _COMPUTED:
                    self._computed[pid] = sample.value
                if metric.name not in together:
                    together[metric.name] = metric
                    continue
                before = together[metric.name].samples[0].value
                value = max(before, sample.value) if metric.name == _STARTED else before + sample.value
                together[metric.name].samples = [sample._replace(value=value)]
        if _COMPUTED in together:
            (sample,) = together[_COMPUTED].samples
            together[_COMPUTED].samples = [sample._replace(value=sample.value + self._past)]
        return together.values()
