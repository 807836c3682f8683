"""CUDA streams on a GPU that is pretended: what two of them touch without an order between them is refused.

Each stream has a clock for every stream: how many of that stream's operations are over before its own next one. So has
the host. An operation that reads what another stream wrote, or writes what another read or wrote, must know by its
clocks that the other operation is over (Lamport, *Time, Clocks, and the Ordering of Events*, CACM 1978).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tests.support.pretended_gpu import _WAIT, PretendedGpu, tensors_in
from tests.support.recorded_graphs import RecordedGraph, _Event

_WAIT_FOR_COPIES = {Tensor.cpu, Tensor.to, Tensor.copy_, torch._foreach_copy_, Tensor.__setitem__, *_WAIT}
_HOST = "host"


class Race(AssertionError):
    """Two streams use the same memory, and nothing orders them."""


class WatchedGpu(PretendedGpu):
    """A pretended GPU with streams, graphs and events, all of one thread.

    Attributes:
        used: names of functions that were computed, by the priority of their stream; None for the default one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._clocks: dict[Any, dict[Any, int]] = defaultdict(lambda: defaultdict(int))
        self._written: dict[int, tuple[Any, int]] = {}
        self._read: dict[int, dict[Any, int]] = defaultdict(dict)
        self.used: dict[int | None, set[str]] = defaultdict(set)
        gpu = self

        class Stream:
            def __init__(self, device: Any = None, priority: int | None = None) -> None:
                self.priority = priority

            def wait_stream(self, other: Stream) -> None:
                gpu._learn(self, other)

        class Event(_Event):
            def record(self) -> None:
                self._stream = gpu.current
                super().record()

            def synchronize(self) -> None:
                gpu._learn(_HOST, self._stream)

        @contextmanager
        def on(stream: Stream) -> Iterator[None]:
            before, gpu.current = gpu.current, stream
            yield
            gpu.current = before

        @contextmanager
        def captured(graph: RecordedGraph, pool: Any = None, stream: Any = None) -> Iterator[None]:
            assert stream is gpu.current and stream is not gpu.default, "a graph keeps the priority of its capture"
            graph.capture_begin(pool)
            yield
            graph.capture_end()

        def synchronize(device: Any = None) -> None:
            for stream in list(gpu._clocks):
                gpu._learn(_HOST, stream)

        self.default = self.current = Stream()
        for name, value in {
            "CUDAGraph": RecordedGraph,
            "Event": Event,
            "Stream": Stream,
            "stream": on,
            "current_stream": lambda device=None: gpu.current,
            "current_device": lambda: 0,
            "graph": captured,
            "graph_pool_handle": lambda: (0, 0),
            "synchronize": synchronize,
            "mem_get_info": lambda device: (1 << 36, 1 << 36),
        }.items():
            self._patch.setattr(torch.cuda, name, value)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        kwargs.pop("pin_memory", None)
        found = super().__torch_function__(function, types, args, kwargs)
        self._watch(function, args, kwargs, found)
        return found

    def _watch(self, function: Any, args: Any, kwargs: Any, found: Any) -> None:
        taken = tensors_in((args, kwargs))
        made = tensors_in(found)
        if not any(map(self.is_there, [*taken, *made])) or getattr(function, "__name__", "") == "__get__":
            return
        storages = {_storage(t) for t in taken}
        new = [t for t in made if self.is_there(t) and _storage(t) not in storages]
        written = tensors_in(_written(function, args, kwargs))
        views = made and not new and not written and function not in _WAIT_FOR_COPIES
        if views or (not made and not written and function not in _WAIT):
            return  # nothing is computed
        clock = self._clocks[self.current]
        self._learn(self.current, _HOST)
        clock[self.current] += 1
        self.used[self.current.priority].add(str(getattr(function, "__name__", function)))
        for tensor in filter(self.is_there, taken):
            place = _storage(tensor)
            self._require(function, *self._written.get(place, (self.current, 0)))
            self._read[place][self.current] = clock[self.current]
        for tensor in filter(self.is_there, written):
            place = _storage(tensor)
            for stream, time in self._read.pop(place, {}).items():
                self._require(function, stream, time)
            self._written[place] = self.current, clock[self.current]
        for tensor in new:
            self._written[_storage(tensor)] = self.current, clock[self.current]
            self._read.pop(_storage(tensor), None)
        crosses = any(not self.is_there(t) for t in [*taken, *made])
        if function in _WAIT or (function in _WAIT_FOR_COPIES and crosses and not kwargs.get("non_blocking")):
            self._learn(_HOST, self.current)

    def _require(self, function: Any, stream: Any, time: int) -> None:
        if stream is not self.current and self._clocks[self.current][stream] < time:
            raise Race(f"{function} on a stream of priority {self.current.priority}, beside one of {stream.priority}")

    def _learn(self, who: Any, of: Any) -> None:
        """Let a stream or the host know that all is over that another knows of."""
        own, other = self._clocks[who], self._clocks[of]
        for stream, time in list(other.items()):
            own[stream] = max(own[stream], time)


def _storage(tensor: Tensor) -> int:
    with torch._C.DisableTorchFunction():
        return tensor.untyped_storage()._cdata


def _written(function: Any, args: Any, kwargs: Any) -> Any:
    """Return the arguments that a function writes to."""
    if isinstance(function, torch._ops.OpOverload):
        marked = zip(function._schema.arguments, args, strict=False)
        return [given for argument, given in marked if argument.alias_info is not None and argument.alias_info.is_write]
    name = str(getattr(function, "__name__", ""))
    in_place = name.endswith("_") and not name.startswith("__")
    if in_place or name == "__setitem__" or (name.startswith("__i") and name.endswith("__")):
        return args[:1]
    return kwargs.get("out")
