"""Models of a listener: PESQ and ViSQOL with the original, DNSMOS without one."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import soxr

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.training.measures.figures.packages import need

SPEECH_RATE = 16_000
"""Sample rate in Hz for PESQ, ViSQOL's speech mode, DNSMOS, Whisper and Resemblyzer."""
AUDIO_RATE = 48_000

Kind = Literal["speech", "music"]


def resampled(samples: Samples, rate: int) -> Samples:
    """Return samples ``[n]`` at 24 kHz, resampled to ``rate``."""
    return np.asarray(soxr.resample(samples, SAMPLE_RATE, rate), np.float32)


class Pesq:
    """Wide-band PESQ (ITU-T P.862.2) at 16 kHz: MOS-LQO from 1.02 to 4.64, of speech."""

    def __init__(self) -> None:
        self._pesq = need("pesq", "PESQ")

    def __call__(self, reference: Samples, other: Samples) -> float | None:
        """Return the score of ``other`` against ``reference``, ``[n]`` at 24 kHz each; None if there is no speech."""
        a, b = resampled(reference, SPEECH_RATE), resampled(other, SPEECH_RATE)
        if not (a.any() and b.any()):
            return None
        # PESQ returns its errors as negative numbers: too short a sound, or no utterance.
        score = float(self._pesq.pesq(SPEECH_RATE, a, b, "wb", on_error=self._pesq.PesqError.RETURN_VALUES))
        return score if score > 0 else None


class Visqol:
    """ViSQOL v3: similarity of spectrograms patch by patch (NSIM), mapped to MOS-LQO.

    Speech is compared at 16 kHz and mapped by the lattice network, the default of Google's program; ``visqol_exp`` is
    the older exponential fit. Music is compared at 48 kHz and mapped by the support vector machine.
    """

    def __init__(self, kind: Kind) -> None:
        package = need("visqol", "ViSQOL")
        self._rate = SPEECH_RATE if kind == "speech" else AUDIO_RATE
        self._named: dict[str, Any] = {}
        mappings: dict[str, bool | None] = {"visqol": None}
        if kind == "speech":
            need("ai_edge_litert", "ViSQOL's speech mode")  # without it, ViSQOL would fall back to the other mapping
            mappings = {"visqol": True, "visqol_exp": False}
        for name, lattice in mappings.items():
            self._named[name] = package.VisqolApi()
            self._named[name].create(mode="speech" if kind == "speech" else "audio", use_lattice_model=lattice)

    def __call__(self, reference: Samples, other: Samples) -> dict[str, float | None]:
        """Return ``visqol`` (1 to 5), ``visqol_exp`` for speech, and ``nsim`` (up to 1), for ``[n]`` at 24 kHz each.

        Values are None for silence, where ViSQOL has nothing to compare.
        """
        a, b = (resampled(samples, self._rate).astype(np.float64) for samples in (reference, other))
        scores: dict[str, float | None] = {}
        for name, api in self._named.items():
            try:
                result = api.measure_from_arrays(a, b, sample_rate=self._rate)
            except ValueError:
                return dict.fromkeys((*self._named, "nsim"))
            scores[name], scores["nsim"] = float(result.moslqo), float(result.vnsim)
        return scores


class Dnsmos:
    """DNSMOS P.835 (Reddy et al., arXiv 2110.01763): predicted ratings of a voice without the original."""

    def __init__(self) -> None:
        self._dnsmos = need("speechmos.dnsmos", "DNSMOS")

    def __call__(self, samples: Samples) -> float:
        """Return the overall quality, 1 to 5, of ``[n]`` at 24 kHz; less than nine seconds are repeated."""
        heard = resampled(samples, SPEECH_RATE).clip(-1.0, 1.0)
        return float(self._dnsmos.run(heard, SPEECH_RATE)["ovrl_mos"])
