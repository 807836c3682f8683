"""Listeners of one feed: gaps that they hear, and processor seconds of server and engine, without and with them.

python -m whispergpt.benchmarks.feed --listeners 1000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from urllib.parse import urlsplit

from whispergpt_client import Client
from whispergpt_client.stream import Stream

from whispergpt.benchmarks.attacks.tools.processes import processor_seconds
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.engine.playback_clock import PlaybackClock
from whispergpt.load.example import PROMPT

_BUFFER_SECONDS = 0.25
_ARRIVALS_A_SECOND = 500


@dataclass(frozen=True)
class Heard:
    """Audio and gaps that one listener heard.

    Attributes:
        error: reason why it heard nothing, or not all; None where there is none.
    """

    seconds: float
    gaps: int
    largest_gap: float
    error: str | None


class _Listener(asyncio.Protocol):
    """A player of PCM, as cheap as can be: it reads no chunk's length, whose few bytes it counts as audio."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.clock = PlaybackClock(_BUFFER_SECONDS)
        self.gone = asyncio.get_running_loop().create_future()
        self._status = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._status:
            self._status = data.partition(b"\r\n")[0]
        self.clock.arrive(time.perf_counter(), len(data) / (2 * SAMPLE_RATE))

    def connection_lost(self, exc: Exception | None) -> None:
        self.clock.end(time.perf_counter(), complete=False)
        if not self.gone.done():
            self.gone.set_result(None)

    def heard(self) -> Heard:
        """Return what it heard until now."""
        error = None if b" 200 " in self._status else self._status.decode() or "no answer"
        if error is None and self.gone.done():
            error = "cut off"
        return Heard(self.clock.received, len(self.clock.gaps), self.clock.largest_gap, error)


def _listen(url: str, count: int, seconds: float) -> list[Heard]:
    """Return what ``count`` listeners of one process heard within so many seconds after the last has come."""

    async def run() -> list[Heard]:
        parts = urlsplit(url)
        request = f"GET {parts.path}?format=pcm HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        loop, listeners = asyncio.get_running_loop(), []
        assert parts.hostname and parts.port
        for _ in range(count):
            _, listener = await loop.create_connection(lambda: _Listener(request), parts.hostname, parts.port)
            listeners.append(listener)
            await asyncio.sleep(1 / _ARRIVALS_A_SECOND)
        await asyncio.sleep(seconds)
        return [listener.heard() for listener in listeners]

    return asyncio.run(run())


@dataclass(frozen=True)
class Used:
    """Processor seconds of the engine, and of the server's other processes."""

    server: float
    engine: float

    def since(self, before: Used) -> Used:
        """Return what was used since ``before``."""
        return Used(self.server - before.server, self.engine - before.engine)


def used(process: ServerProcess) -> Used:
    """Return what a server has used until now."""
    pids = (process.front_end_pids(), process.engine_pids())
    return Used(*(sum(map(processor_seconds, some)) for some in pids))


@contextmanager
def playing(url: str) -> Iterator[Stream]:
    """Play a response with a feed until the context ends."""
    with Client(url) as client, client.stream(PROMPT, seconds=None, feed=True) as stream:
        reader = Thread(target=lambda: all(True for _ in stream), daemon=True)
        reader.start()
        yield stream
        stream.cancel()
        reader.join()


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Return the measurements of one run."""
    arguments = ("--workers", str(options.workers))
    room = {"WHISPERGPT_MAX_LISTENERS": "65536", "WHISPERGPT_MAX_FEED_LISTENERS": "65536"}
    with ServerProcess(*arguments, environment=room) as process, playing(process.url) as stream:
        url = f"{process.url}/v1/streams/{stream.feed_token}/audio"
        time.sleep(3)
        before = used(process)
        time.sleep(options.seconds)
        alone = used(process).since(before)
        counts = [options.listeners // options.processes] * options.processes
        counts[0] += options.listeners - sum(counts)
        arrival = max(counts) / _ARRIVALS_A_SECOND
        with ProcessPoolExecutor(options.processes) as pool:
            runs = [pool.submit(_listen, url, count, arrival + options.seconds + 3) for count in counts]
            time.sleep(2 * arrival + 3)
            before = used(process)
            time.sleep(options.seconds)
            beside = used(process).since(before)
            heard = [one for run in runs for one in run.result()]
    return told(options, alone, beside, heard)


def told(options: argparse.Namespace, alone: Used, beside: Used, heard: Sequence[Heard]) -> dict[str, object]:
    """Return the measurements as they are printed."""
    errors = sorted({one.error for one in heard if one.error})
    share = (beside.server - alone.server) / options.seconds / max(1, len(heard))
    return {
        "listeners": len(heard),
        "workers": options.workers,
        "seconds": options.seconds,
        "failed": sum(one.error is not None for one in heard),
        "errors": errors[:5],
        "listeners_with_gaps": sum(one.gaps > 0 for one in heard),
        "largest_gap_ms": round(1000 * max((one.largest_gap for one in heard), default=0.0), 1),
        "least_seconds_heard": round(min((one.seconds for one in heard), default=0.0), 2),
        "server_processors": {"alone": _of(alone.server, options), "with_listeners": _of(beside.server, options)},
        "engine_processors": {"alone": _of(alone.engine, options), "with_listeners": _of(beside.engine, options)},
        "processor_microseconds_a_second_of_a_listener": round(1e6 * share),
    }


def _of(seconds: float, options: argparse.Namespace) -> float:
    """Return processor seconds as a number of processors."""
    return round(seconds / options.seconds, 4)


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m whispergpt.benchmarks.feed", description=__doc__.splitlines()[0])
    parser.add_argument("--listeners", type=int, default=1000, help="listeners of one feed")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each of the two measurements")
    parser.add_argument("--workers", type=int, default=1, help="front ends of the server")
    parser.add_argument("--processes", type=int, default=1, help="processes that the listeners are divided among")
    sys.stdout.write(json.dumps(measure(parser.parse_args())) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
