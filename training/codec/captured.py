"""Functions that a CUDA device replays as a captured graph: hundreds of kernels at the cost of one launch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from tqdm import tqdm

Function: TypeAlias = Callable[[], dict[str, Tensor]]
WARM_UP_RUNS = 3
"""Runs before a capture, on a stream of their own, as ``torch.cuda.CUDAGraph`` asks for."""


class CudaGraphs:
    """Capture of functions as graphs on a CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._aside = device, torch.cuda.Stream(device)

    def warm_up(self, function: Function) -> dict[str, Tensor]:
        """Run the function without capturing it, apart from other work."""
        with torch.cuda.device(self._device):
            self._aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._aside):
                result = function()
            torch.cuda.current_stream().wait_stream(self._aside)
        return result

    def capture(self, function: Function) -> tuple[Callable[[], None], dict[str, Tensor]]:
        """Return a callable that replays the function, and the tensors that it fills; nothing is run yet.

        Raises:
            RuntimeError: the function cannot be captured.
        """
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device), torch.cuda.graph(graph):
            result = function()
        return graph.replay, result


def graphs_of(device: torch.device) -> CudaGraphs | None:
    """Return the graphs of a device, or None, with a line on stderr, where the device has none."""
    if device.type == "cuda":
        return CudaGraphs(device)
    tqdm.write(f"A {device.type} device has no graphs: every step runs operation by operation.", file=sys.stderr)
    return None


class CapturedFunction:
    """A function that runs directly a few times, is then captured, and is replayed from then on.

    The first runs count as steps too.

    Args:
        function: takes no argument and returns tensors; its random numbers come from the device's own generator.
        forget: drops tensors of earlier runs that lie outside the graph's memory, such as gradients.
        graphs: the device's graphs; None always runs the function directly.
    """

    def __init__(self, function: Function, forget: Callable[[], None], graphs: CudaGraphs | None) -> None:
        self._function, self._forget, self._graphs = function, forget, graphs
        self._runs = 0
        self._replay: Callable[[], None] | None = None
        self._result: dict[str, Tensor] = {}

    def __call__(self) -> dict[str, Tensor]:
        """Run the function once and return its tensors, which the next call overwrites.

        Raises:
            ValueError: the function cannot be captured.
        """
        if self._graphs is None:
            return self._function()
        if self._runs < WARM_UP_RUNS:
            self._runs += 1
            return self._graphs.warm_up(self._function)
        if self._replay is None:
            self._forget()
            try:
                self._replay, self._result = self._graphs.capture(self._function)
            except RuntimeError as error:
                # torch does not restore the device's streams and generators, so the run cannot go on.
                reason = str(error).partition("\n")[0]
                raise ValueError(f"a step cannot be captured as a graph: {reason}; --preset cpu needs none") from error
        self._replay()
        return self._result
