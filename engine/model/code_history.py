"""The last codes of every slot, from which another server can resume a stream."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

Codes = npt.NDArray[np.uint16]


class CodeHistory:
    """A ring of ``frames`` frames of K codes for each slot."""

    def __init__(self, slots: int, frames: int, books: int) -> None:
        self.frames = frames
        self._ring = np.zeros((slots, frames, books), np.uint16)
        self._frames = self._ring.view(np.dtype((np.void, 2 * books)))[:, :, 0]
        """The ring with all codes of a frame as one element, which numpy copies as a whole."""
        self._count = np.zeros(slots, np.int64)

    def begin(self, slot: int, codes: Tensor) -> None:
        """Start a stream's history in ``slot`` with the prompt's codes ``[K, T]``."""
        last = codes[:, -self.frames :].numpy()
        self._ring[slot, : last.shape[1]] = last.T
        self._count[slot] = last.shape[1]

    def append(self, slots: npt.NDArray[np.int64], codes: npt.NDArray[np.int32]) -> None:
        """Add one frame to each slot, ``codes`` ``[n, K]``."""
        count = self._count[slots]
        self._frames[slots, count % self.frames] = codes.astype(np.uint16).view(self._frames.dtype)[:, 0]
        self._count[slots] = count + 1

    def count(self, slot: int) -> int:
        """Return the number of frames of a slot since its stream began, with those of the prompt that were kept."""
        return self._count.item(slot)

    def last(self, slot: int) -> Codes:
        """Return the codes kept for a slot, oldest first, ``[T, K]``."""
        count = self.count(slot)
        if count <= self.frames:
            return self._ring[slot, :count].copy()
        oldest = count % self.frames
        return np.concatenate((self._ring[slot, oldest:], self._ring[slot, :oldest]))
