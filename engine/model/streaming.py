"""State of streams: trees of tensors with a leading slot dimension, which modules update in place.

A module that streams offers two things beside ``forward``:

``init_state(slots, device)``
    a fresh state for that many slots, all zeros;
``step(x, state, active, cold)``
    the next chunk of every slot. Rows where ``active`` is False leave the state untouched. ``cold`` says that
    the chunk is the first of its stream, which reflection padding must know.

The state is passed in, never kept in the module, so that a batch, a prompt and offline use share one set of weights.
(The idea of streaming as a property of each module is Moshi's, `modules/streaming.py`.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

State: TypeAlias = "dict[str, State | Tensor]"


@runtime_checkable
class Streaming(Protocol):
    """A layer that continues from the end of its last chunk."""

    def init_state(self, slots: int, device: torch.device) -> State: ...

    def step(self, x: Tensor, state: State, active: Tensor | None = None, cold: bool = False) -> Tensor: ...


def branch(state: State, name: str) -> State:
    """Return the subtree called ``name``."""
    found = state[name]
    assert isinstance(found, dict)
    return found


def leaf(state: State, name: str) -> Tensor:
    """Return the tensor called ``name``."""
    found = state[name]
    assert isinstance(found, Tensor)
    return found


def map_state(fn: Callable[..., Tensor], state: State, *others: State) -> State:
    """Apply ``fn`` to the corresponding tensors of equally shaped trees."""
    out: State = {}
    for key, value in state.items():
        rest = [other[key] for other in others]
        if isinstance(value, dict):
            out[key] = map_state(fn, value, *rest)  # type: ignore[arg-type]
        else:
            out[key] = fn(value, *rest)
    return out


def rows(state: State, start: int, stop: int) -> State:
    """Return views of slots ``start`` to ``stop``: writing to them writes to ``state``."""
    return map_state(lambda t: t[start:stop], state)


def clone(state: State) -> State:
    """Return a copy that shares nothing with ``state``."""
    return map_state(torch.clone, state)


def copy_into(target: State, source: State) -> None:
    """Overwrite every tensor of ``target`` with that of ``source``, in place."""
    map_state(lambda t, s: t.copy_(s), target, source)


def copy_all(targets: Sequence[State], sources: Sequence[State]) -> None:
    """Overwrite the tensors of many states, as ``copy_into`` does for one; a GPU copies those of a dtype at once."""
    pairs: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}

    def gather(target: Tensor, source: Tensor) -> Tensor:
        to, of = pairs.setdefault(target.dtype, ([], []))
        to.append(target)
        of.append(source)
        return target

    for target, source in zip(targets, sources, strict=True):
        map_state(gather, target, source)
    for to, of in pairs.values():
        torch._foreach_copy_(to, of)


def reset(state: State, mask: Tensor) -> None:
    """Zero the slots where ``mask`` ``[slots]`` is True, in place."""
    map_state(lambda t: t.masked_fill_(mask.view(-1, *[1] * (t.dim() - 1)), 0), state)


def keep(held: Tensor, new: Tensor, active: Tensor | None) -> None:
    """Write ``new`` into ``held`` for active slots; both have the slot dimension first."""
    if active is not None:
        new = torch.where(active.view(-1, *[1] * (new.dim() - 1)), new, held)
    held.copy_(new)


def state_bytes(state: State) -> int:
    """Count the bytes that ``state`` occupies."""
    total = 0
    for value in state.values():
        total += state_bytes(value) if isinstance(value, dict) else value.numel() * value.element_size()
    return total
