"""A GPU that is pretended: tensors lie and are computed on the CPU, and whatever a real GPU would refuse is refused.

``FakeTensorMode`` cannot do this with a torch that was built without CUDA: conversions, generators and autograd fail,
and it has no values for ``item()`` or a mask. Here every call of torch's Python functions is watched instead: tensors
that were moved or made "on the GPU" say so, and so does what is computed of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

GPU = torch.device("cuda", 0)
_BETWEEN = {Tensor.copy_, torch._foreach_copy_, torch._has_compatible_shallow_copy_type, Tensor.grad.__set__}
"""Functions that take tensors of two devices."""
_WAIT = {
    Tensor.item,
    Tensor.tolist,
    Tensor.__bool__,
    Tensor.__float__,
    Tensor.__int__,
    Tensor.__index__,
    Tensor.nonzero,
    Tensor.masked_select,
    Tensor.unique,
    Tensor.bincount,
    Tensor.equal,
    torch.nonzero,
    torch.masked_select,
    torch.unique,
    torch.bincount,
    torch.equal,
}
"""Functions that wait for values on the GPU, and for which a capture ends."""
_FROM_HOST = {torch.tensor, torch.as_tensor, torch.from_numpy}


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors in tuples, lists and dictionaries, however deep; ``tree_leaves`` takes five times as long."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, tuple | list):
        return []
    return [tensor for each in value for tensor in tensors_in(each)]


class PretendedGpu(TorchFunctionMode):
    """While it is on, ``cuda`` is a device, as far as tensors go: streams and graphs are not."""

    def __init__(self) -> None:
        super().__init__()
        self._there = WeakTensorKeyDictionary()
        self._patch, self._capturing = pytest.MonkeyPatch(), False

    def __enter__(self) -> PretendedGpu:
        make = nn.Parameter.__new__

        def made(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
            parameter = make(cls, data, requires_grad)  # which no mode sees
            return self._marked(parameter, data is not None and self.is_there(data))

        group = torch._C._group_tensors_by_device_and_dtype

        def grouped(tensors: Any, *more: Any) -> Any:
            groups = group(tensors, *more)  # which looks at where they really are
            there = any(map(self.is_there, tensors_in(tensors)))
            return {(GPU if there else device, kind): found for (device, kind), found in groups.items()}

        self._patch.setattr(nn.Parameter, "__new__", made)
        self._patch.setattr(torch._C, "_group_tensors_by_device_and_dtype", grouped)
        return super().__enter__()  # type: ignore[no-any-return]

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._patch.undo()

    def is_there(self, tensor: Tensor) -> bool:
        """Return whether a tensor is on the GPU."""
        return tensor in self._there

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Refuse what a captured graph cannot hold: waiting for values, copies to and from the CPU, and shapes that
        depend on values."""
        self._capturing = True
        try:
            yield
        finally:
            self._capturing = False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = tensors_in((args, kwargs))
        if function == Tensor.device.__get__:
            return GPU if self.is_there(args[0]) else function(*args)
        if function == Tensor.is_cuda.__get__:
            return self.is_there(args[0])
        if function in (Tensor.grad.__get__, Tensor.data.__get__):
            return self._marked(function(*args), self.is_there(args[0]))
        if function == Tensor.data.__set__:
            function(*args)
            self._marked(args[0], self.is_there(args[1]))
            return None
        if function in (Tensor.numpy, Tensor.__array__) and self.is_there(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy: use Tensor.cpu() first")
        if self._capturing:
            self._check_captured(function, args, kwargs, tensors)
        if function == Tensor.__deepcopy__:
            return self._marked(function(*args), self.is_there(args[0]))
        if function in (Tensor.to, Tensor.cuda, Tensor.cpu):
            return self._moved(function, args, kwargs)
        self._check(function, args, tensors)
        if function in _BETWEEN:
            return function(*args, **kwargs)  # what is written to stays where it is
        wanted = kwargs.get("device")
        if wanted is not None:
            kwargs["device"] = torch.device("cpu")
        there = torch.device(wanted).type == "cuda" if wanted is not None else any(map(self.is_there, tensors))
        return self._marked(function(*args, **kwargs), there)

    def _moved(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Copy a tensor where it changes its device, so that the two are different tensors, as they would be."""
        tensor, others = args[0], [*args[1:], *kwargs.values()]
        devices = [torch.device(x) for x in others if isinstance(x, str | torch.device)]
        devices += [GPU if self.is_there(x) else torch.device("cpu") for x in others if isinstance(x, Tensor)]
        if function is Tensor.cpu or function is Tensor.cuda:
            devices = [GPU if function is Tensor.cuda else torch.device("cpu")]
        there = devices[0].type == "cuda" if devices else self.is_there(tensor)
        kinds = [x if isinstance(x, torch.dtype) else x.dtype for x in others if isinstance(x, torch.dtype | Tensor)]
        result = tensor.to(*kinds)
        if result is tensor and there != self.is_there(tensor):
            result = tensor.clone()
        return self._marked(result, there)

    def _check(self, function: Any, args: Any, tensors: list[Tensor]) -> None:
        """Refuse tensors of two devices, except where a GPU takes them: copies, scalars, indices that the CPU has."""
        here = [t for t in tensors if not self.is_there(t) and t.dim() > 0]
        there = [t for t in tensors if self.is_there(t)]
        if not here or not there or function in _BETWEEN:
            return
        if function is Tensor.__getitem__ and self.is_there(args[0]):
            return
        if function is Tensor.__setitem__ and not tensors_in(args[1]):
            return  # of slices it is a copy
        shapes = [(tuple(t.shape), "cuda" if self.is_there(t) else "cpu") for t in tensors]
        raise RuntimeError(f"{getattr(function, '__name__', function)}: tensors on two devices: {shapes}")

    def _check_captured(self, function: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> None:
        there = [t for t in tensors if self.is_there(t)]
        masked = function in (Tensor.__getitem__, Tensor.__setitem__) and any(
            index.dtype == torch.bool for index in tensors_in(args[1])
        )
        waits = there and (function in _WAIT or masked or any(not self.is_there(t) and t.dim() > 0 for t in tensors))
        moves = function in (Tensor.to, Tensor.cpu, Tensor.cuda) and torch.device("cpu") in (
            torch.device(x) for x in (*args[1:], *kwargs.values()) if isinstance(x, str | torch.device)
        )
        sends = function in _FROM_HOST and torch.device(kwargs.get("device") or "cpu").type == "cuda"
        if waits or sends or (there and (moves or function is Tensor.cpu)):
            raise RuntimeError(f"{getattr(function, '__name__', function)}: operation not permitted when capturing")

    def _marked(self, result: Any, there: bool) -> Any:
        if isinstance(result, Iterator):
            return (self._marked(each, there) for each in result)
        for tensor in tensors_in(result):
            if there:
                self._there[tensor] = True
            else:
                self._there.pop(tensor, None)
        return result
