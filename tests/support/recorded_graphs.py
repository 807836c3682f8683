"""CUDA graphs that are pretended: the operations of a capture are recorded, and computed again by a replay."""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class RecordedGraph(TorchDispatchMode):
    """Operations on the CPU; a replay writes their results to where the captured ones were."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        self._calls.append((function, args, kwargs or {}, found))
        return found

    def capture_begin(self, pool: Any = None) -> None:
        self.__enter__()

    def capture_end(self) -> None:
        self.__exit__(None, None, None)
        assert self._calls, "an empty graph"

    def replay(self) -> None:
        self.replays += 1
        for function, args, kwargs, found in self._calls:
            again = function(*args, **kwargs)
            for held, new in zip(tree_leaves(found), tree_leaves(again), strict=True):
                if isinstance(held, Tensor) and held.data_ptr() != new.data_ptr():
                    held.copy_(new)


class _Event:
    """A moment of the host's clock."""

    def __init__(self, enable_timing: bool = False) -> None:
        self._at = 0.0

    def record(self) -> None:
        self._at = time.perf_counter()

    def synchronize(self) -> None: ...

    def elapsed_time(self, other: _Event) -> float:
        return 1000 * (other._at - self._at)


class _Stream:
    def __init__(self, device: Any = None) -> None: ...

    def wait_stream(self, other: Any) -> None: ...


@contextmanager
def _capturing(graph: RecordedGraph, pool: Any = None, stream: Any = None) -> Any:
    graph.capture_begin(pool)
    yield
    graph.capture_end()


def pretend_graphs(patch: pytest.MonkeyPatch) -> None:
    """Have torch capture and replay on the CPU."""
    for name, value in {
        "CUDAGraph": RecordedGraph,
        "Event": _Event,
        "Stream": _Stream,
        "stream": lambda stream: nullcontext(),
        "current_stream": _Stream,
        "graph": _capturing,
        "graph_pool_handle": lambda: (0, 0),
        "synchronize": lambda device=None: None,
    }.items():
        patch.setattr(torch.cuda, name, value)
