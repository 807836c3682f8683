"""Launches as one call: a captured graph on a GPU, and the kernels one by one in Triton's interpreter."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from whispergpt.engine.gpu.launch import Launch

Run = Callable[[], None]
MOST_COMPILERS = 16
"""Most kernels that are compiled at once; each compilation takes some 200 MB of memory."""


def compile_kernels(launches: Sequence[Launch], rows: int, device: torch.device) -> None:
    """Compile what is launched, on a GPU on several processors and with a first run, before it is captured.

    No row has a slot in that run. Triton's compiler leaves Python's lock to other threads for most of its time, and so
    does the C compiler, which makes the starter of each kernel.
    """
    if device.type == "cuda":
        import triton  # here alone: a machine without a GPU need not have it

        if hasattr(triton, "AsyncCompileMode"):  # before Triton 3.5 the run compiles one kernel after another
            with ThreadPoolExecutor(min(MOST_COMPILERS, os.cpu_count() or 1)) as threads:
                with triton.AsyncCompileMode(threads):
                    found = [launch.compile(rows) for launch in launches]
                kernels = [each.result() if hasattr(each, "result") else each for each in found]
                starter = triton.runtime.driver.active.launcher_cls  # which Triton keeps for the run
                list(threads.map(lambda each: starter(each.src, each.metadata), {id(k): k for k in kernels}.values()))
        launch_each(launches, rows)
        torch.cuda.synchronize(device)


def runner(launches: Sequence[Launch], rows: int, device: torch.device, pool: Any = None) -> Run:
    """Return a function that launches all for the first ``rows`` rows; on a GPU it replays a graph captured here.

    The graph has the priority of the current stream, which is not the default one. ``pool``: memory that graphs share;
    None for its own.
    """
    if device.type != "cuda":
        return lambda: launch_each(launches, rows)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=torch.cuda.current_stream(device)):
        launch_each(launches, rows)
    return graph.replay


def run_timed(parts: Sequence[tuple[str, Run]], stages: dict[str, float]) -> None:
    """Run the captured parts of a step on the current device, and add the seconds of each to those of its stage.

    The device's own clock tells them, by events between the parts.
    """
    events = [torch.cuda.Event(enable_timing=True) for _ in range(len(parts) + 1)]
    events[0].record()
    for (_, run), event in zip(parts, events[1:], strict=True):
        run()
        event.record()
    events[-1].synchronize()
    for (stage, _), begin, end in zip(parts, events, events[1:], strict=False):
        stages[stage] = stages.get(stage, 0.0) + begin.elapsed_time(end) / 1000


def launch_each(launches: Sequence[Launch], rows: int) -> None:
    """Launch kernels one by one for the first ``rows`` rows."""
    for launch in launches:
        launch.run(rows)
