"""Use of the machine by the server's process and those of its engines: processors, memory, files."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Gauge, Metric, ProcessCollector
from prometheus_client.registry import Collector

from whispergpt.engine.checkpoints.memory_bound import memory_bound

_ENGINE, _SERVER = "whispergpt_engine", "whispergpt_server"
_STARTED, _COMPUTED = "_process_start_time_seconds", "_process_cpu_seconds"


class Processes:
    """Metrics ``whispergpt_server_process_…`` and ``whispergpt_engine_process_…``, read from /proc when asked for.

    Args:
        server: metrics of the server's processes; None for those of this process.

    Attributes:
        engines: metrics of all engines' processes together.
    """

    def __init__(self, registry: CollectorRegistry, server: Collector | None = None) -> None:
        self.engines = EngineProcesses()
        if server is None:
            ProcessCollector(_SERVER, registry=registry)
        else:
            registry.register(server)
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
        self._running[pid] = _process(_ENGINE, pid)

    def remove(self, pid: int) -> None:
        """Leave out the process of an engine that has ended."""
        if self._running.pop(pid, None) is not None:
            self._past += self._computed.pop(pid, 0.0)

    def collect(self) -> Iterable[Metric]:
        """Return one metric of each name, without labels."""
        read = {pid: list(process.collect()) for pid, process in self._running.items()}
        for pid, metrics in read.items():
            for metric in metrics:
                if metric.name.endswith(_COMPUTED):
                    self._computed[pid] = metric.samples[0].value
        together = _together(read.values())
        if computed := together.get(_ENGINE + _COMPUTED):
            _set(computed, sum(self._computed.get(pid, 0.0) for pid in self._running) + self._past)
        return together.values()


class FrontEndProcesses(Collector):
    """Metrics of the hub's process and all front ends', added up; the start time is the latest.

    Args:
        pids: returns those that run.
        computed: returns their processor seconds, those of front ends that have ended included.
    """

    def __init__(self, pids: Callable[[], Iterable[int]], computed: Callable[[], float]) -> None:
        self._pids, self._seconds = pids, computed

    def collect(self) -> Iterable[Metric]:
        """Return one metric of each name, without labels."""
        together = _together(_process(_SERVER, pid).collect() for pid in self._pids())
        if computed := together.get(_SERVER + _COMPUTED):
            _set(computed, self._seconds())
        return together.values()


def _process(namespace: str, pid: int) -> ProcessCollector:
    return ProcessCollector(namespace, lambda: pid, registry=None)


def _together(processes: Iterable[Iterable[Metric]]) -> dict[str, Metric]:
    """Return the metrics of all processes by name, added up."""
    together: dict[str, Metric] = {}
    for metrics in processes:
        for metric in metrics:
            if metric.name not in together:
                together[metric.name] = metric
                continue
            before, now = together[metric.name].samples[0].value, metric.samples[0].value
            _set(together[metric.name], max(before, now) if metric.name.endswith(_STARTED) else before + now)
    return together


def _set(metric: Metric, value: float) -> None:
    metric.samples = [metric.samples[0]._replace(value=value)]
