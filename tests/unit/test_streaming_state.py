"""The trees that hold the state of streams."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from whispergpt.engine.model.streaming import State, clone, copy_into, keep, map_state, reset, rows, state_bytes


def tree() -> State:
    return {
        "conv": {"context": torch.arange(12.0).view(4, 3) + 1},
        "lstm": {"hidden": torch.ones(4, 2, 2), "empty": {}},
        "frame": torch.tensor([5, 6, 7, 8]),
    }


def leaf(state: State, *path: str) -> Tensor:
    value: State | Tensor = state
    for key in path:
        assert isinstance(value, dict)
        value = value[key]
    assert isinstance(value, Tensor)
    return value


def test_reset_zeroes_the_masked_slots_and_no_others() -> None:
    state, before = tree(), tree()
    reset(state, torch.tensor([False, True, False, True]))
    for path in (("conv", "context"), ("lstm", "hidden"), ("frame",)):
        now, was = leaf(state, *path), leaf(before, *path)
        assert not now[[1, 3]].any()
        assert torch.equal(now[[0, 2]], was[[0, 2]])


def test_reset_clears_what_is_not_a_number() -> None:
    state: State = {"x": torch.full((2, 3), float("nan"))}
    reset(state, torch.tensor([True, False]))
    assert torch.equal(leaf(state, "x")[0], torch.zeros(3)) and leaf(state, "x")[1].isnan().all()


def test_reset_and_copies_are_in_place() -> None:
    """A captured graph writes to fixed addresses: no tensor may be replaced."""
    state = tree()
    addresses = {path: leaf(state, *path).data_ptr() for path in (("conv", "context"), ("lstm", "hidden"), ("frame",))}
    reset(state, torch.tensor([True] * 4))
    copy_into(state, tree())
    assert {path: leaf(state, *path).data_ptr() for path in addresses} == addresses
    assert torch.equal(leaf(state, "frame"), leaf(tree(), "frame"))


def test_rows_are_views_and_clones_are_not() -> None:
    state = tree()
    copied = clone(state)
    window = rows(state, 1, 3)
    assert leaf(window, "lstm", "hidden").shape == (2, 2, 2)
    reset(window, torch.tensor([True, True]))
    assert leaf(state, "frame").tolist() == [5, 0, 0, 8]
    assert leaf(copied, "frame").tolist() == [5, 6, 7, 8]


def test_a_row_copied_into_a_slot() -> None:
    state, source = tree(), rows(tree(), 0, 1)
    copy_into(rows(state, 2, 3), source)
    assert leaf(state, "frame").tolist() == [5, 6, 5, 8]
    assert leaf(state, "conv", "context")[2].tolist() == [1, 2, 3]


def test_trees_of_another_shape_are_refused() -> None:
    with pytest.raises(KeyError):
        copy_into(tree(), {"conv": {}})
    with pytest.raises(RuntimeError):
        copy_into(rows(tree(), 0, 2), rows(tree(), 0, 3))


def test_keep_writes_active_rows_only() -> None:
    held, new = torch.zeros(3, 2), torch.tensor([[1.0, 1.0], [float("nan")] * 2, [3.0, 3.0]])
    keep(held, new, torch.tensor([True, False, True]))
    assert held.tolist() == [[1, 1], [0, 0], [3, 3]]
    keep(held, torch.ones(3, 2), None)
    assert torch.equal(held, torch.ones(3, 2))


def test_map_state_visits_every_tensor_once() -> None:
    doubled = map_state(torch.add, tree(), tree())
    assert torch.equal(leaf(doubled, "frame"), 2 * leaf(tree(), "frame"))
    assert set(doubled) == set(tree()) and leaf(doubled, "lstm", "hidden").eq(2).all()


def test_bytes_are_counted() -> None:
    assert state_bytes(tree()) == 12 * 4 + 16 * 4 + 4 * 8
