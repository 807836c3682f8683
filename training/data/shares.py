"""Shares of prepared folders in the crops of a training step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def odds_by_shares(
    lengths: Sequence[int], folders: Sequence[int], shares: tuple[float, ...] | None
) -> npt.NDArray[np.float64]:
    """Return the probability of drawing from each recording, in proportion to its length within its folder.

    Args:
        lengths: samples or frames of each recording.
        folders: the number of each recording's folder; not read without ``shares``.
        shares: proportion of the draws that comes from each folder; None: in proportion to its length.
    """
    weights = np.array(lengths, dtype=np.float64)
    if shares is not None:
        folder = np.array(folders)
        weights *= np.array(shares)[folder] / np.bincount(folder, weights, len(shares))[folder]
    return weights / weights.sum()
