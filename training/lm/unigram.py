"""Baseline score: predictions of every code by its frequency alone, without context."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whispergpt.engine.config import CODEBOOK_SIZE


def unigram_score(train: npt.NDArray[np.uint16], heldout: npt.NDArray[np.uint16]) -> dict[str, float]:
    """Return NLL in nats and accuracy on ``heldout`` codes of the add-one smoothed frequencies of ``train`` codes."""
    counts = np.bincount(train, minlength=CODEBOOK_SIZE) + 1.0
    nll = -np.log(counts / counts.sum())[heldout].mean()
    return {"unigram_nll": float(nll), "unigram_accuracy": float((heldout == counts.argmax()).mean())}
