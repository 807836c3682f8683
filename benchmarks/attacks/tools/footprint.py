"""Resources that a server and its engine hold: files, threads, memory and streams."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess

_SETTLE_SECONDS = 90.0


@dataclass(frozen=True)
class Footprint:
    """Resources of the server and its engine together; ``busy`` counts the streams that play or wait."""

    files: int
    threads: int
    resident_mb: float
    busy: int

    def leaked(self, before: Footprint, most_mb: float) -> list[str]:
        """Return a phrase for each resource that has grown since ``before``."""
        found = [
            f"{now - then} {name} more"
            for name, now, then in (("files", self.files, before.files), ("threads", self.threads, before.threads))
            if now > then
        ]
        if self.busy:
            found.append(f"{self.busy} streams left")
        if self.resident_mb > before.resident_mb + most_mb:
            found.append(f"{self.resident_mb - before.resident_mb:.0f} MB more")
        return found


async def footprint(served: ServerProcess) -> Footprint:
    """Return the current footprint."""
    said = await metrics(served.url)
    both = ("whispergpt_server_process", "whispergpt_engine_process")
    pids = (served.pid, *served.worker_pids(), *served.engine_pids())
    tasks = [Path(f"/proc/{pid}/task") for pid in pids]
    return Footprint(
        files=round(sum(said[f"{one}_open_fds"] for one in both)),
        threads=sum(1 for folder in tasks for _ in folder.iterdir()),
        resident_mb=sum(said[f"{one}_resident_memory_bytes"] for one in both) / 2**20,
        busy=round(said["whispergpt_streams_active"] + said["whispergpt_streams_waiting"]),
    )


async def settled(served: ServerProcess, before: Footprint, most_mb: float) -> Footprint:
    """Return the footprint as soon as nothing is left over, or after ``_SETTLE_SECONDS``."""
    until = time.monotonic() + _SETTLE_SECONDS
    while True:
        now = await footprint(served)
        if not now.leaked(before, most_mb) or time.monotonic() > until:
            return now
        await asyncio.sleep(1)


async def metrics(url: str) -> dict[str, float]:
    """Return each metric's value, summed over its labels; histogram buckets are left out."""
    async with httpx.AsyncClient(timeout=30) as http:
        return sums((await http.get(f"{url}/metrics")).text)


def sums(text: str) -> dict[str, float]:
    """Return each value of a text of metrics, summed over its labels; histogram buckets are left out."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.name.endswith("_bucket"):
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found
