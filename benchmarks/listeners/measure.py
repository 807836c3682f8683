"""Measurement of a server's front ends while paced listeners play: processor time, messages, gaps, lag."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from whispergpt.benchmarks.attacks.tools.processes import children, command_line
from whispergpt.load.example import PROMPT
from whispergpt.load.listener import Output, stream_address
from whispergpt.load.percentiles import Percentiles
from whispergpt.load.plan import Mix, Span, steady
from whispergpt.load.processes import Crowding, Heard, hear_in
from whispergpt.load.record import sum_up
from whispergpt.server.ready_line import wait_until_ready

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 60.0
_ARRIVE_A_SECOND = 50.0
_BUFFER_SECONDS = 0.2
_TICKS = os.sysconf("SC_CLK_TCK")
_FRONT_END = b"whispergpt.server.workers.front_end"
_SHORT = Span(1.0, 1.0)


@dataclass(frozen=True)
class Options:
    """Sizes of a measurement.

    Attributes:
        seconds: of the window in which processor time is counted.
        workers: front ends of the server.
        processes: processes that the listeners are divided among.
        settle: seconds after the last arrival in which leads are built, which takes more messages than playback.
        slack: seconds that listeners stay beyond the window: on a busy machine they arrive late.
    """

    listeners: int = 500
    output: Output = "pcm_s16le"
    workers: int = 1
    seconds: float = 20.0
    processes: int = 1
    settle: float = 4.0
    slack: float = 8.0


def measure(options: Options) -> dict[str, Any]:
    """Start a server, let listeners come, and return what the front ends needed once all play.

    Raises:
        RuntimeError: not all listeners came to play.
    """
    with _server(options) as (pid, url):
        heard, window = _listen(options, url, pid)
    before, after = window
    if after.playing < options.listeners:
        told = f"{after.playing:g} of {options.listeners} listeners played to the end, on a machine that may be busy"
        raise RuntimeError(f"{told}; reasons of the others: {sum_up(heard.records).reasons or 'none'}")
    seconds = after.at - before.at
    user, system = after.user - before.user, after.system - before.system
    listened = options.listeners * seconds
    cost = (user + system) / listened
    records, summary = heard.records, sum_up(heard.records)
    played = sum(record.clock.received for record in records)
    return {
        "listeners": options.listeners,
        "output": options.output,
        "workers": options.workers,
        "seconds": seconds,
        "user_us_per_listener_second": 1e6 * user / listened,
        "system_us_per_listener_second": 1e6 * system / listened,
        "us_per_listener_second": 1e6 * cost,
        "listeners_per_core": 1 / cost,
        "front_ends": after.processes,
        "cores": (user + system) / seconds,
        "messages_per_listener_second": sum(record.messages for record in records) / played,
        "kilobytes_per_listener_second": sum(record.size for record in records) / played / 1e3,
        "outcomes": summary.listeners,
        "c50": summary.c50,
        "gaps": summary.underruns,
        "loop_lag_ms": after.lag_since(before),
        "generator_lag_ms": vars(Percentiles.of([1e3 * lag for lag in heard.lags])),
    }


def _listen(options: Options, url: str, pid: int) -> tuple[Heard, tuple[_Reading, _Reading]]:
    """Return what the listeners heard, and readings of the front ends at both ends of the window."""
    apart = 1 / _ARRIVE_A_SECOND
    stay = options.listeners * apart + options.seconds + 2 * options.settle + options.slack
    visits = steady(Mix(_SHORT, _SHORT, leave=0.0, live=1.0), options.listeners, stay, seed=1, apart=apart)
    crowding = Crowding(stream_address(url), visits, [PROMPT], _BUFFER_SECONDS, output=options.output)
    readings: list[_Reading] = []

    def read() -> None:
        while _Reading.of(url, pid).playing < options.listeners and not over.is_set():
            time.sleep(0.25)
        time.sleep(options.settle)
        readings.append(_Reading.of(url, pid))
        time.sleep(options.seconds)
        readings.append(_Reading.of(url, pid))

    over = threading.Event()
    reader = threading.Thread(target=read)
    reader.start()
    try:
        heard = hear_in(options.processes, crowding)
    finally:
        over.set()
        reader.join()
    return heard, (readings[0], readings[1])


@dataclass(frozen=True)
class _Reading:
    """Processor seconds of all front ends, and metrics of the server, at one time."""

    at: float
    user: float
    system: float
    playing: float
    processes: int
    late: dict[float, float]
    """Observations of the event loop's lag up to each bucket's bound in seconds."""

    @classmethod
    def of(cls, url: str, pid: int) -> _Reading:
        """Read the front ends of the server whose first process is ``pid``."""
        with urlopen(f"{url}/metrics") as answer:
            families = {family.name: family for family in text_string_to_metric_families(answer.read().decode())}
        lag = families["whispergpt_event_loop_lag_seconds"].samples
        late = {float(one.labels["le"]): one.value for one in lag if one.name.endswith("_bucket")}
        playing = sum(one.value for one in families["whispergpt_streams_active"].samples)
        user = system = 0.0
        for each in (pids := _front_ends(pid)):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            user, system = user + int(fields[11]) / _TICKS, system + int(fields[12]) / _TICKS
        return cls(time.perf_counter(), user, system, playing, len(pids), late)

    def lag_since(self, before: _Reading) -> dict[str, float | None]:
        """Return bounds in milliseconds below which half and 99 % of the lags since ``before`` are."""
        counts = {bound: count - before.late.get(bound, 0.0) for bound, count in sorted(self.late.items())}

        def below(share: float) -> float | None:
            bound = next(bound for bound, count in counts.items() if count >= share * counts[math.inf])
            return None if bound == math.inf else 1e3 * bound

        return {"p50": below(0.5), "p99": below(0.99)}


def _front_ends(pid: int) -> list[int]:
    """Return the server's processes that have sockets: its children of several front ends, or the server itself."""
    found = [child for child in children(pid) if _FRONT_END in command_line(child)]
    return found or [pid]


@contextlib.contextmanager
def _server(options: Options) -> Iterator[tuple[int, str]]:
    """Run a server with room for all listeners; gives its pid and its address."""
    room = str(options.listeners + 16)
    settings = {
        "PORT": "0",
        "WORKERS": str(options.workers),
        "MAX_STREAMS": room,
        "MAX_SESSIONS": room,
        "MAX_WAITING": "1024",
        "MAX_LOAD": "0",
        "LOG_LEVEL": "warning",
    }
    environment = {**os.environ, **{f"WHISPERGPT_{name}": value for name, value in settings.items()}}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-P", "-m", "whispergpt.benchmarks.listeners.server"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.pid, wait_until_ready(process.stdout, _START_SECONDS)
        finally:
            process.terminate()
            try:
                process.wait(_START_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
