"""What the metrics say of processes and of the memory that they may take."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Histogram

from whispergpt.engine.checkpoints.memory_bound import memory_bound
from whispergpt.server.observe.loop_lag import watch_loop_lag
from whispergpt.server.observe.processes import Processes


def test_an_engine_is_measured_while_there_is_one() -> None:
    registry = CollectorRegistry()
    processes = Processes(registry)
    name = "whispergpt_engine_process_resident_memory_bytes"
    assert registry.get_sample_value(name) is None
    processes.engines.add(os.getpid())
    assert registry.get_sample_value(name) == pytest.approx(
        registry.get_sample_value("whispergpt_server_process_resident_memory_bytes"), rel=0.05
    )
    processes.engines.remove(os.getpid())
    assert registry.get_sample_value(name) is None
    bound = registry.get_sample_value("whispergpt_memory_bound_bytes")
    assert bound is not None and bound > 1e8


def test_several_engines_are_added_up_and_processor_time_never_falls() -> None:
    registry = CollectorRegistry()
    engines = Processes(registry).engines
    computing = "sum(range(20_000_000)); print(flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", computing], **pipes) as first:
        with subprocess.Popen([sys.executable, "-c", computing], **pipes) as second:
            readings = []
            for process in (first, second):
                engines.add(process.pid)
                assert process.stdout is not None and process.stdout.readline()  # it has computed, and waits
                readings.append(_engine_processes(registry))
            alone, both = readings
            assert both["open_fds"] == 2 * alone["open_fds"] and both["max_fds"] == 2 * alone["max_fds"]
            assert both["cpu_seconds_total"] > alone["cpu_seconds_total"] > 0.05
            assert alone["start_time_seconds"] <= both["start_time_seconds"] <= time.time() + 1
            second.kill()
        engines.remove(second.pid)
        left = _engine_processes(registry)
        assert left == alone | {"cpu_seconds_total": both["cpu_seconds_total"]}
        first.kill()
    engines.remove(first.pid)
    assert _engine_processes(registry) == {}


def _engine_processes(registry: CollectorRegistry) -> dict[str, float]:
    prefix = "whispergpt_engine_process_"
    samples = [sample for family in registry.collect() for sample in family.samples]
    return {sample.name.removeprefix(prefix): sample.value for sample in samples if sample.name.startswith(prefix)}


@pytest.mark.parametrize(
    ("groups", "files", "bound"),
    [
        ("0::/a/b\n", {"a/memory.max": "max", "a/b/memory.max": "1000"}, 1000),
        ("0::/a/b\n", {"memory.max": "700", "a/b/memory.max": "1000"}, 700),
        ("3:cpu:/a\n2:memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "900", "cpu/a/memory.max": "5"}, 900),
        ("0::/../../elsewhere\n", {"memory.max": "800"}, 800),
        ("0::/a\n", {"a/memory.max": "max"}, None),
    ],
)
def test_the_least_bound_of_all_groups_counts(
    tmp_path: Path, groups: str, files: dict[str, str], bound: int | None
) -> None:
    hierarchy = tmp_path / "hierarchy"
    for name, text in files.items():
        (hierarchy / name).parent.mkdir(parents=True, exist_ok=True)
        (hierarchy / name).write_text(text + "\n")
    own = tmp_path / "own"
    machine = memory_bound(own, hierarchy)  # there is no such file
    own.write_text(groups)
    assert memory_bound(own, hierarchy) == (machine if bound is None else bound)


async def test_what_blocks_the_loop_is_seen() -> None:
    registry = CollectorRegistry()
    watching = asyncio.create_task(watch_loop_lag(Histogram("lag", "of the loop", registry=registry)))
    await asyncio.sleep(0.01)
    time.sleep(0.3)  # noqa: ASYNC251 - this is what must be seen
    await asyncio.sleep(0.01)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    assert registry.get_sample_value("lag_count") == 1
    late = registry.get_sample_value("lag_sum")
    assert late is not None and late > 0.15
